"""How far the ranking of an unsupervised method hangs on its seed, and what averaging seeds does about it.

    python benchmarks/stability.py --out stability.csv

For every target, Spearman's correlation of all regulators' scores between two disjoint groups of k seeds, averaged over
targets. Targets and regulators are those of a BEELINE experiment, all TFs and some further genes.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

import scgrn_tl as sg

RUNS = {
    "grnboost2": ({}, 10),
    "genie3, 200 trees": ({"method": "genie3", "n_trees": 200}, 2),
    "genie3, 1000 trees": ({"method": "genie3", "n_trees": 1000}, 2),
}


def agreement(one: np.ndarray, other: np.ndarray, regulators: np.ndarray) -> float:
    """Mean over targets of the rank correlation of their regulators' scores, the target itself left out."""
    values = []
    for target in range(one.shape[1]):
        kept = regulators != target
        if np.ptp(one[kept, target]) > 0 and np.ptp(other[kept, target]) > 0:
            values.append(spearmanr(one[kept, target], other[kept, target]).statistic)
    return float(np.mean(values))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="mDC")
    parser.add_argument("--genes", type=int, default=100, help="genes that are no TFs")
    parser.add_argument("--runs", nargs="+", choices=list(RUNS), default=list(RUNS))
    parser.add_argument("--jobs", type=int, default=-1)
    parser.add_argument("--out", type=Path, default=Path("stability.csv"))
    arguments = parser.parse_args()
    adata = sg.datasets.beeline(arguments.dataset)
    is_tf = adata.var["is_tf"].to_numpy()
    adata = adata[:, np.r_[np.flatnonzero(is_tf), np.flatnonzero(~is_tf)[: arguments.genes]]].copy()
    tf_names = adata.var_names[adata.var["is_tf"]]
    task = replace(sg.core.make_task(adata, tf_names=tf_names), n_jobs=arguments.jobs)
    rows = []
    for label in arguments.runs:
        settings, n_seeds = RUNS[label]
        params = dict(settings)
        run = sg.methods.get(params.pop("method", label))
        started = time.perf_counter()
        matrices = [run(replace(task, seed=seed), **params).matrix for seed in range(n_seeds)]
        seconds = (time.perf_counter() - started) / n_seeds
        for k in range(1, n_seeds // 2 + 1):
            groups = [np.mean(matrices[start : start + k], axis=0) for start in range(0, n_seeds - k + 1, k)]
            pairs = [agreement(a, b, task.regulators) for a, b in zip(groups[::2], groups[1::2], strict=False)]
            rows.append({"method": label, "n_models": k, "spearman": np.mean(pairs), "seconds_per_model": seconds})
            print(rows[-1], flush=True)
        pd.DataFrame(rows).to_csv(arguments.out, index=False)


if __name__ == "__main__":
    main()
