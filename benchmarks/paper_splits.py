"""scTransNet and its floors on the published BEELINE splits (cell-type-specific ChIP-seq, TFs+500).

    python benchmarks/paper_splits.py --out docs/_static/paper_splits.csv

For every dataset and seed the genes are embedded once; every split sample is then fitted with ``tl.fit_grn`` and judged
on its test pairs. Beside it: both forms of the hub floor, absolute Pearson correlation, the random level.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd

import scgrn_tl as sg

METRICS = ["auroc", "auprc", "auprc_ratio", "epr", "tf_auroc", "brier", "ece"]
VARIANTS = {
    "scTransNet": {},
    "scTransNet, 4 models": {"n_models": 4},
    "no gene embedding": {"use_rep": None},
    "mean pooling": {"use_rep": "scbert_mean"},
    "no prior graph": {"use_gnn": False},
    "neither hub terms nor all negatives (as in the paper)": {"hub_terms": False, "negatives": "hard"},
}


def baselines(adata, split, dataset: str, sample: int) -> list[dict]:
    """Rows of the methods that have no seed."""
    prior = sg.core.PriorNetwork.from_any(adata.uns["ground_truth"], adata.var_names)
    task = sg.core.make_task(adata, prior=prior, split=split)
    floor = sg.methods.get("hub_floor")
    scored = {
        "hub floor": floor(task),
        "hub floor, rates": floor(task, form="logit"),
        "hub floor, degrees": floor(task, form="degree"),
        "Pearson": sg.methods.get("pearson")(task),
    }
    rows = []
    for name, scores in scored.items():
        metrics = sg.bm.evaluate(scores, split)[METRICS].to_dict()
        rows.append({"dataset": dataset, "sample": sample, "method": name, "seed": -1} | metrics)
    prevalence = split.test.prevalence
    random = {"auroc": 0.5, "auprc": prevalence, "auprc_ratio": 1.0, "epr": 1.0, "tf_auroc": 0.5}
    return [*rows, {"dataset": dataset, "sample": sample, "method": "random", "seed": -1} | random]


def fit(adata, split, dataset: str, sample: int, variant: str, seed: int, embed_seconds: float) -> dict:
    """Row of one fit, with the 95 % interval of its difference from the hub floor over resampled regulators."""
    started = time.perf_counter()
    fitted = sg.tl.fit_grn(adata, adata.uns["ground_truth"], split=split, rng=seed, copy=True, **VARIANTS[variant])
    seconds = time.perf_counter() - started
    table = sg.get.grn_metrics(fitted).query("part == 'test'").set_index("method")
    row = {"dataset": dataset, "sample": sample, "method": variant, "seed": seed}
    row |= table.loc["sctransnet", METRICS].to_dict()
    pairs = split.test.pairs
    probability = np.asarray(fitted.varp["grn"][pairs[:, 0], pairs[:, 1]]).ravel()
    prior = sg.core.PriorNetwork.from_any(adata.uns["ground_truth"], adata.var_names)
    floor = sg.methods.get("hub_floor")(sg.core.make_task(adata, prior=prior, split=split))
    compared = sg.bm.paired_bootstrap(split.test.labels, probability, floor.at(pairs), regulators=pairs[:, 0])
    for metric in ("auroc", "auprc"):
        row |= {f"{metric}_{bound}": compared.loc[metric, bound] for bound in ("difference", "low", "high")}
    return row | {"fit_seconds": seconds, "embed_seconds": embed_seconds}


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Mean over samples and seeds; per sample, the worst difference from the better form of the floor."""
    means = table.groupby(["dataset", "method"], sort=False)[[*METRICS, "embed_seconds", "fit_seconds"]].mean()
    forms = table[table["method"].str.startswith("hub floor,")].groupby(["dataset", "sample"])[["auroc", "auprc"]].max()
    for metric in ("auroc", "auprc"):
        floor = pd.MultiIndex.from_frame(table[["dataset", "sample"]]).map(forms[metric])
        above = table.assign(above=table[metric] - np.asarray(floor, dtype=float))
        means[f"worst {metric} − floor"] = above.groupby(["dataset", "method"], sort=False)["above"].min()
    return means


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", nargs="+", default=["hHEP", "mDC", "mHSC-L"])
    parser.add_argument("--samples", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--variants", nargs="+", default=["scTransNet"], choices=list(VARIANTS))
    parser.add_argument("--out", type=Path, default=Path("paper_splits.csv"))
    arguments = parser.parse_args()
    sg.settings.progress = False
    rows: list[dict] = []
    for dataset in arguments.datasets:
        adata = sg.datasets.beeline(dataset)
        splits = {sample: sg.datasets.beeline_split(dataset, 500, sample) for sample in arguments.samples}
        for sample, split in splits.items():
            rows += baselines(adata, split, dataset, sample)
        for seed in range(arguments.seeds):
            started = time.perf_counter()
            sg.tl.scbert_embed(adata, weights="fit", rng=seed)
            embed_seconds = time.perf_counter() - started
            for variant in arguments.variants:
                for sample, split in splits.items():
                    rows.append(fit(adata, split, dataset, sample, variant, seed, embed_seconds))
                    print(pd.Series(rows[-1]).to_frame().T.to_string(header=False, index=False), flush=True)
                    pd.DataFrame(rows).to_csv(arguments.out, index=False)
    table = pd.DataFrame(rows)
    print(summary(table).round(4).to_string())


if __name__ == "__main__":
    main()
