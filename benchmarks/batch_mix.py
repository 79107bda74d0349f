"""How far two studies agree that hold the same two batches in opposite proportions, with and without `batch_key`.

    python benchmarks/batch_mix.py
    python benchmarks/batch_mix.py --seeds 10

400 simulated cells of one biology in two batches, a good one and one of a third of the depth with a tenth of its counts
from ambient RNA, as in `batches.py`. Study one has three quarters of the good batch and a quarter of the poor one,
study two the rest: no cell is in both, and nothing but the mix differs. One encoder, trained on all cells, embeds both.

Agreement of the two gene embeddings: their root mean square distance over their spread (0 is best), the mean cosine of
genes' vectors from the centre, and the share of genes' ten nearest neighbours in common. Of the two networks that
scTransNet fits to the studies with one prior: rank correlation of the log-odds beyond hub rates, and overlap of the
200 likeliest edges. `halves` is what chance leaves: two studies of the same mix.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from batches import EFFECT, GOOD, N_GENES, N_TFS, POOR, mean_and_interval

import scgrn_tl as sg
from scgrn_tl.core.agreement import mean_cosine, nearest_genes, network_agreement, shared_neighbors

N_CELLS, SHARE = 400, 0.75
MEASURES = ("distance", "cosine", "shared neighbors", "specificity, Spearman", "edges, Jaccard")
VARIANTS = {
    "no batch_key": (None, None),
    "pooling": (None, "batch"),
    "training": ("batch", None),
    "training and pooling": ("batch", "batch"),
}


def simulate(seed: int):
    return sg.datasets.simulated(
        N_CELLS,
        N_GENES,
        N_TFS,
        n_batches=2,
        batch_effect=EFFECT,
        batch_depths=(GOOD["depth"], POOR["depth"]),
        batch_ambient=(GOOD["ambient"], POOR["ambient"]),
        rng=seed,
    )


def studies(adata, shares: tuple[float, float], seed: int) -> list:
    """Two studies without a cell in common, with those shares of the first batch's cells and the rest of the second."""
    rng = np.random.default_rng(seed)
    first, second = (rng.permutation(np.flatnonzero(adata.obs["batch"] == name)) for name in ("batch1", "batch2"))
    taken = [[], []]
    for cells, parts in ((first, shares), (second, shares[::-1])):
        n_one = round(parts[0] * len(cells))
        taken[0].append(cells[:n_one])
        taken[1].append(cells[n_one : n_one + round(parts[1] * len(cells))])
    return [adata[np.sort(np.concatenate(rows))].copy() for rows in taken]


def agreement(pair: list, weights: Path, batch_key: str | None, prior: pd.DataFrame, seed: int) -> dict[str, float]:
    for study in pair:
        sg.tl.scbert_embed(study, weights=weights, layer="counts", batch_key=batch_key, rng=seed)
        sg.tl.fit_grn(study, prior, use_rep="scbert", layer="counts", rng=seed)
    one, other = (study.varm["scbert"].astype(np.float64) for study in pair)
    spread = np.sqrt(np.mean([values.var(axis=0).sum() for values in (one, other)]))
    networks = network_agreement(*(study.varp["grn"] for study in pair), n_top=200)
    specific = network_agreement(*(study.varp["grn_specificity"] for study in pair), n_top=200)
    return {
        "distance": np.sqrt(((one - other) ** 2).sum(axis=1).mean()) / spread,
        "cosine": mean_cosine(one, other),
        "shared neighbors": shared_neighbors(nearest_genes(one, 10), nearest_genes(other, 10)),
        "specificity, Spearman": specific["spearman"],
        "edges, Jaccard": networks["jaccard"],
    }


def run(seed: int, folder: Path) -> list[dict]:
    adata = simulate(seed)
    prior = adata.uns["ground_truth"].sample(frac=0.7, random_state=seed)
    encoders = {
        key: sg.tl.scbert_pretrain(adata, layer="counts", batch_key=key, weights_dir=folder / f"{seed}-{key}", rng=seed)
        for key in (None, "batch")
    }
    halves = studies(adata, (0.5, 0.5), seed)
    rows = [{"variant": "halves"} | agreement(halves, encoders[None], None, prior, seed)]
    for variant, (in_training, in_pooling) in VARIANTS.items():
        pair = studies(adata, (SHARE, 1 - SHARE), seed)
        rows.append({"variant": variant} | agreement(pair, encoders[in_training], in_pooling, prior, seed))
    return [{"seed": seed} | row for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="also write every run to this .csv")
    arguments = parser.parse_args()
    logging.getLogger("scgrn_tl").setLevel(logging.ERROR)
    sg.settings.progress = False
    rows: list[dict] = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(arguments.seeds):
            rows += run(seed, Path(folder))
            if arguments.out is not None:
                pd.DataFrame(rows).to_csv(arguments.out, index=False)
    table = pd.DataFrame(rows)
    print(f"| variant | {' | '.join(MEASURES)} |")
    print("| --- " * (len(MEASURES) + 1) + "|")
    for variant, part in table.groupby("variant", sort=False):
        print(f"| {variant} | {' | '.join(mean_and_interval(part[name]) for name in MEASURES)} |")
    print("\nDifferences to `no batch_key`, paired by seed:\n")
    of_variants = {name: own.set_index("seed")[list(MEASURES)] for name, own in table.groupby("variant", sort=False)}
    for variant in list(VARIANTS)[1:]:
        difference = of_variants[variant] - of_variants["no batch_key"]
        print(f"| {variant} | {' | '.join(mean_and_interval(difference[name]) for name in MEASURES)} |")


if __name__ == "__main__":
    main()
