"""What `batch_key` does for networks and embeddings where batches differ in size and quality.

    python benchmarks/batches.py
    python benchmarks/batches.py --seeds 10 --out batches.md

Two simulated batches of the same biology. One is good; the other is sequenced to a third of the depth, with a tenth of
its counts from ambient RNA; and each captures genes with efficiencies of its own (log-normal, standard deviation 0.4).
One has three times the cells of the other, the good one in the setting `small batch poor`, the poor one in `large batch
poor`: weighing batches alike takes weight from the good batch in the first and gives it weight in the second, so that
the choice of one setting would decide the outcome.

These numbers were chosen before any variant was run, as what one meets between two laboratories or chemistries: depths
that differ severalfold, ambient RNA whose share differs between experiments (Young and Behjati 2020), and genes whose
detection differs by tens of per cent beyond that (log-normal factors, as Splatter draws them; Zappia et al. 2017).

Every variant of one seed has the same cells, held-out edges (a third of each TF's), seeds and settings. `one batch` is
the same molecules sequenced without batches, at the depth of the good one. Test edges are scored by scTransNet on the
pooled embedding; the hub floor knows no expression. Agreement is that of `tl.batch_agreement`, of genes' ten nearest
neighbours and of cells' attention: within is between two halves of one batch, between is between halves of the two.
"""

from __future__ import annotations

import argparse
import inspect
import logging
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t as student_t

import scgrn_tl as sg

N_CELLS, N_GENES, N_TFS = 600, 120, 20
GOOD, POOR = {"depth": 1.0, "ambient": 0.02}, {"depth": 1 / 3, "ambient": 0.1}
SETTINGS = {"small batch poor": (GOOD, POOR), "large batch poor": (POOR, GOOD)}
SIZES, EFFECT = (0.75, 0.25), 0.4
MEASURES = (
    "AUPRC", "AUPRC ratio", "AUROC", "CKA within", "CKA between", "shared neighbors within", "shared neighbors between",
    "batch from attention",
)  # fmt: skip


def simulate(setting: str, seed: int):
    large, small = SETTINGS[setting]
    return sg.datasets.simulated(
        N_CELLS,
        N_GENES,
        N_TFS,
        n_batches=2,
        batch_effect=EFFECT,
        batch_sizes=SIZES,
        batch_depths=(large["depth"], small["depth"]),
        batch_ambient=(large["ambient"], small["ambient"]),
        rng=seed,
    )


def edge_metrics(adata, seed: int) -> list[dict]:
    """Of scTransNet and of the hub floor, on the test pairs."""
    genes = tuple(adata.var_names)
    prior = sg.core.PriorNetwork.from_any(adata.uns["ground_truth"], genes)
    split = sg.bm.split_edges(prior, rng=seed)
    sg.tl.fit_grn(adata, adata.uns["ground_truth"], use_rep="scbert", layer="counts", split=split, rng=seed)
    table = adata.uns["grn"]["metrics"].query("part == 'test'")
    return [
        {"method": row["method"], "AUPRC": row["auprc"], "AUPRC ratio": row["auprc_ratio"], "AUROC": row["auroc"]}
        for row in table.to_dict("records")
    ]


def agreement(adata, seed: int) -> dict[str, float]:
    sg.tl.batch_agreement(adata, batch_key="batch", halves=True, rng=seed)
    result = adata.uns["batch_agreement"]
    table = result["embeddings"].query("cells == 'half'")
    itself = table["batch_1"] == table["batch_2"]
    return {
        "CKA within": table.loc[itself, "cka"].mean(),
        "CKA between": table.loc[~itself, "cka"].mean(),
        "shared neighbors within": table.loc[itself, "shared_neighbors"].mean(),
        "shared neighbors between": table.loc[~itself, "shared_neighbors"].mean(),
        "batch from attention": result["cells"]["balanced_accuracy"],
    }


def encoder(adata, folder: Path, seed: int, batch_key: str | None) -> Path:
    arguments = {} if batch_key is None else {"batch_key": batch_key}
    return sg.tl.scbert_pretrain(adata, weights_dir=folder, layer="counts", rng=seed, **arguments)


def run(setting: str, seed: int, folder: Path, *, with_training: bool) -> list[dict]:
    """A row for every variant of one seed."""
    rows = []
    plain = encoder(simulate(setting, seed), folder / f"{setting} {seed}", seed, None)
    variants = {"no batch_key": (plain, None), "pooling": (plain, "batch")}
    if with_training:
        own = encoder(simulate(setting, seed), folder / f"{setting} {seed} batches", seed, "batch")
        variants["training and pooling"] = (own, "batch")
    for variant, (weights, batch_key) in variants.items():
        adata = simulate(setting, seed)
        sg.tl.scbert_embed(adata, weights=weights, layer="counts", groupby="batch", batch_key=batch_key, rng=seed)
        scores, *floor = edge_metrics(adata, seed)
        rows.append({"setting": setting, "seed": seed, "variant": variant} | scores | agreement(adata, seed))
        if variant == "no batch_key":
            rows += [{"setting": setting, "seed": seed, "variant": "hub floor"} | each for each in floor]
    return rows


def run_one_batch(seed: int, folder: Path) -> list[dict]:
    adata = sg.datasets.simulated(N_CELLS, N_GENES, N_TFS, rng=seed)
    weights = encoder(adata, folder / f"one {seed}", seed, None)
    sg.tl.scbert_embed(adata, weights=weights, layer="counts", rng=seed)
    return [{"setting": "one batch", "seed": seed, "variant": "no batch_key"} | edge_metrics(adata, seed)[0]]


def mean_and_interval(values: pd.Series) -> str:
    """Mean ± half the 95 % interval of Student's t."""
    values = values.dropna()
    if len(values) < 2:
        return "" if values.empty else f"{values.mean():.3f}"
    half = student_t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():.3f} ± {half:.3f}"


def tables(rows: pd.DataFrame) -> str:
    lines = [f"| setting | variant | {' | '.join(MEASURES)} |", "| --- " * (len(MEASURES) + 2) + "|"]
    for (setting, variant), part in rows.groupby(["setting", "variant"], sort=False):
        lines.append(f"| {setting} | {variant} | {' | '.join(mean_and_interval(part[name]) for name in MEASURES)} |")
    lines += ["", "Differences to `no batch_key`, paired by seed:", "", *lines[:2]]
    for setting, part in rows.groupby("setting", sort=False):
        of_variants = {name: own.set_index("seed") for name, own in part.groupby("variant", sort=False)}
        for variant in [name for name in of_variants if name not in {"no batch_key", "hub floor"}]:
            difference = of_variants[variant][list(MEASURES)] - of_variants["no batch_key"][list(MEASURES)]
            cells = " | ".join(mean_and_interval(difference[name]) for name in MEASURES)
            lines.append(f"| {setting} | {variant} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--out", type=Path, help="also write the tables to this file, and every run to a .csv beside it"
    )
    arguments = parser.parse_args()
    logging.getLogger("scgrn_tl").setLevel(logging.ERROR)
    sg.settings.progress = False
    with_training = "batch_key" in inspect.signature(sg.tl.scbert_pretrain).parameters
    if not with_training:
        print("scbert_pretrain takes no batch_key: the variant `training and pooling` is left out.")
    began = time.perf_counter()
    rows: list[dict] = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(arguments.seeds):
            rows += run_one_batch(seed, Path(folder))
            for setting in SETTINGS:
                rows += run(setting, seed, Path(folder), with_training=with_training)
            print(f"seed {seed}: {time.perf_counter() - began:.0f} s", flush=True)
            if arguments.out is not None:  # what is done survives an end before its time
                pd.DataFrame(rows).to_csv(arguments.out.with_suffix(".csv"), index=False)
    text = tables(pd.DataFrame(rows))
    print(f"\n{text}")
    if arguments.out is not None:
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
