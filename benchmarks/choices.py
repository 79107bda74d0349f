"""What scTransNet's defaults were chosen by: variants on pairs held out of the training and validation parts.

    python benchmarks/choices.py --out choices --jobs 2
    python benchmarks/choices.py --kinds target tf both --variants default "no GNN" --out choices

Test pairs of the published splits are never read: of each sample's training and validation pairs a fifth is held out
(single pairs; or all of a fifth of the TFs, of the targets, or of both), an eighth of the rest validates. Finished runs
are kept in the folder and not run again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import scgrn_tl as sg
from scgrn_tl.core import EdgeSplit, LabeledPairs

N_FOLDS = 5

VARIANTS = {
    "default": {},
    "4 models": {"n_models": 4},
    "pair effects alone": {"use_gnn": False},
    "no latent factors": {"latent_factors": 0},
    "4 latent factors": {"latent_factors": 4},
    "30 latent factors": {"latent_factors": 30},
    "no expression effects": {"expression_effects": False},
    "no pair effects": {"latent_factors": 0, "expression_effects": False},
    "encoder": {"use_rep": "scbert"},
    "encoder, no GNN": {"use_rep": "scbert", "use_gnn": False},
    "hidden edges 0.3": {"hidden_edges": 0.3},
    "hidden edges 0.7": {"hidden_edges": 0.7},
    "lr 0.001": {"lr": 1e-3},
    "lr 0.003": {"lr": 3e-3},
    "dropout 0.4": {"dropout": 0.4},
    "weight decay 0.01": {"weight_decay": 1e-2},
    "wide (256, 128)": {"gnn_widths": (256, 128), "channel_hidden": 128, "channel_width": 64},
    "select by AUPRC": {"select": "auprc"},
    "hard negatives": {"negatives": "hard"},
    "64 components": {"n_components": 64},
}


def held_out(split: EdgeSplit, kind: str, seed: int) -> EdgeSplit:
    """A split of a split's training and validation pairs; nothing of its test part."""
    pairs = np.vstack([split.train.pairs, split.validation.pairs])
    labels = np.concatenate([split.train.labels, split.validation.labels])
    rng = np.random.default_rng(seed)

    def parts(values: np.ndarray, n_parts: int) -> np.ndarray:
        """Part of each pair, by the group in ``values`` that it belongs to."""
        groups, group = np.unique(values, return_inverse=True)
        return rng.permutation(np.arange(len(groups)) % n_parts)[group]

    if kind == "pair":
        test = parts(np.arange(len(pairs)), N_FOLDS) == 0
        validation = ~test & (parts(np.arange(len(pairs)), 8) == 0)
        train = ~test & ~validation
    else:
        tf = parts(pairs[:, 0], N_FOLDS) if kind in ("tf", "both") else None
        gene = parts(pairs[:, 1], N_FOLDS) if kind in ("target", "both") else None
        of = [part for part in (tf, gene) if part is not None]
        test, validation = (np.logical_and.reduce([part == number for part in of]) for number in (0, 1))
        train = np.logical_and.reduce([part > 1 for part in of])
    made = [LabeledPairs(pairs[chosen], labels[chosen]) for chosen in (train, validation, test)]
    return EdgeSplit(*made, "random" if kind == "pair" else kind, split.genes)  # type: ignore[arg-type]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", nargs="+", default=["hHEP500", "mDC500", "mHSC-L500"])
    parser.add_argument("--kinds", nargs="+", default=["pair"], choices=["pair", "tf", "target", "both"])
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("choices"))
    arguments = parser.parse_args()
    methods = {name: {"method": "sctransnet", **VARIANTS[name]} for name in arguments.variants}
    for dataset in arguments.datasets:
        cell_type = dataset.removesuffix("500")
        samples = [sg.datasets.beeline_split(cell_type, 500, sample) for sample in (1, 2, 3)]
        splits = {kind: [held_out(split, kind, seed) for seed, split in enumerate(samples)] for kind in arguments.kinds}
        table = sg.bm.run(
            [dataset], methods, splits=splits, seeds=arguments.seeds, n_jobs=arguments.jobs, out=arguments.out / dataset
        )
        means = table.groupby(["split", "method"])[["auroc", "auprc", "tf_auroc"]].mean()
        print(dataset, means.round(4).to_string(), sep="\n", flush=True)


if __name__ == "__main__":
    main()
