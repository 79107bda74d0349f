"""GRNBoost2 and GENIE3 against the same scikit-learn loop run serially, which is what arboreto runs inside.

    python benchmarks/tree_methods_speed.py --jobs 2

Checks that the importances are identical, and prints seconds and the ratio for each.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import replace

import numpy as np
from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor

import scgrn_tl as sg

SEED = 7


def boosting(x, y):
    def stop(tree, model, _):
        return tree >= 24 and np.mean(model.oob_improvement_[tree - 24 : tree + 1]) < 0

    model = GradientBoostingRegressor(
        learning_rate=0.01, n_estimators=5000, max_features=0.1, subsample=0.9, random_state=SEED
    ).fit(x, y, monitor=stop)
    return model.feature_importances_ * len(model.estimators_)


def forest(x, y, n_trees):
    model = RandomForestRegressor(n_estimators=n_trees, max_features="sqrt", n_jobs=1, random_state=SEED)
    return model.fit(x, y).feature_importances_


def serial(task, importance):
    matrix = np.zeros((len(task.regulators), task.n_genes), dtype=np.float32)
    for target in range(task.n_genes):
        others = task.regulators != target
        x = task.expression[task.regulators[others]].T
        matrix[others, target] = importance(x, task.expression[target])
    return matrix


def measure(dataset: str, n_tfs: int, n_others: int, n_trees: int, n_jobs: int, repeats: int):
    """Yield method, seconds of the loop, seconds of ``n_jobs`` processes, and whether importances are identical."""
    adata = sg.datasets.beeline(dataset)
    is_tf = adata.var["is_tf"].to_numpy()
    chosen = np.r_[np.flatnonzero(is_tf)[:n_tfs], np.flatnonzero(~is_tf)[:n_others]]
    adata = adata[:, chosen].copy()
    task = sg.core.make_task(adata, tf_names=adata.var_names[adata.var["is_tf"]], seed=SEED)
    task = replace(task, n_jobs=n_jobs)
    cases = {
        "grnboost2": ({}, boosting),
        "genie3": ({"n_trees": n_trees}, lambda x, y: forest(x, y, n_trees)),
    }
    list(sg.core.parallel_map(abs, range(n_jobs), n_jobs=n_jobs))
    for name, (params, importance) in cases.items():
        for _ in range(repeats):
            started = time.perf_counter()
            expected = serial(task, importance)
            middle = time.perf_counter()
            found = sg.methods.get(name)(task, **params).matrix
            ended = time.perf_counter()
            yield name, middle - started, ended - middle, np.array_equal(expected, found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="hHEP")
    parser.add_argument("--tfs", type=int, default=60)
    parser.add_argument("--genes", type=int, default=140)
    parser.add_argument("--trees", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    sg.settings.progress = False
    ratios = {}
    for name, loop, ours, same in measure(
        arguments.dataset, arguments.tfs, arguments.genes, arguments.trees, arguments.jobs, arguments.repeats
    ):
        ratios.setdefault(name, []).append(loop / ours)
        print(
            f"{name}: serial loop {loop:.1f} s, {arguments.jobs} jobs {ours:.1f} s, "
            f"ratio {loop / ours:.2f}, identical: {same}",
            flush=True,
        )
    for name, found in ratios.items():
        print(f"{name}: median ratio {np.median(found):.2f}")


if __name__ == "__main__":
    main()
