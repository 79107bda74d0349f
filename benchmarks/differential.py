"""The table of docs/groups.md: realised false discovery rate and power of ``tl.differential_grn`` on simulations.

    python benchmarks/differential.py --first-seed 20000
    python benchmarks/differential.py --only rewired null --cells 800 --simulations 5

Every simulation has two conditions; a fifth of the edges into non-TFs is rewired, or none (the null). Compared are the
union of both conditions' true edges and as many pairs that are no edge in either, or what `tl.fit_grn(groupby=)` takes
for likely (`networks`: probability of 0.2 and more). Rows come as they are measured; `--out FILE` also writes them.

    python benchmarks/differential.py --only log-odds --cells 2000 --simulations 5

asks instead how well edges gained and edges lost are told apart (AUROC): by the log-odds of two groups' networks, each
fitted to itself with both conditions' true edges for a prior, and by the strengths that are tested.
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse, stats
from sklearn.metrics import roc_auc_score

import scgrn_tl as sg

SCENARIOS = {
    "rewired": "true edges and decoys",
    "null": "no edge differs",
    "depth": "no edge differs; half the counts in one condition",
    "composition": "no edge differs; states 3 : 1 and 1 : 3",
    "pooled": "the same, `strata=None`",
    "networks": "edges of `fit_grn(groupby=)`",
    "networks-null": "the same, no edge differs",
}
HEADER = ("candidates", "cells", "min_difference", "edges", "FDR, q < 0.05", "FDR, q < 0.1", "of untouched targets",
          "power, q < 0.05", "power, q < 0.1", "any, q < 0.05", "any, q < 0.1", "p < 0.05", "KS")  # fmt: skip


def candidates(adata, rng: np.random.Generator) -> pd.DataFrame:
    """Edges of either condition, and as many pairs that are none."""
    both = [adata.uns["ground_truth"], adata.uns["ground_truth_condition2"]]
    edges = pd.concat(both)[["source", "target"]].drop_duplicates()
    known = set(edges.itertuples(index=False, name=None))
    tfs = adata.var_names[adata.var["is_tf"]]
    others = [(tf, gene) for tf in tfs for gene in adata.var_names if tf != gene and (tf, gene) not in known]
    chosen = rng.choice(len(others), size=min(len(edges), len(others)), replace=False)
    return pd.concat([edges, pd.DataFrame([others[at] for at in chosen], columns=edges.columns)], ignore_index=True)


def simulate(scenario: str, n_cells: int, seed: int):
    """An AnnData of a scenario, counts in ``X``."""
    rewired = 0.2 if scenario in {"rewired", "networks"} else 0.0
    uneven = scenario in {"composition", "pooled"}
    adata = sg.datasets.simulated(
        n_cells=2 * n_cells if uneven else n_cells,
        n_states=2 if uneven else 3,
        n_conditions=2,
        rewired=rewired,
        rng=seed,
    )
    rng = np.random.default_rng([seed, 1])
    adata.X = adata.layers["counts"].astype(np.float32)
    second = (adata.obs["condition"] == "condition2").to_numpy()
    if scenario == "depth":
        counts = adata.X.toarray()
        counts[second] = rng.binomial(counts[second].astype(int), 0.5)
        adata.X = sparse.csr_matrix(counts)
    if uneven:
        same = second == (adata.obs["state"] == "state2").to_numpy()
        adata = adata[rng.random(adata.n_obs) < np.where(same, 0.75, 0.25)].copy()
    return adata, rng


def measure(
    scenario: str, n_cells: int, seed: int, n_permutations: int, margins: list[float]
) -> list[dict[str, float]]:
    """A row for each of the margins."""
    adata, rng = simulate(scenario, n_cells, seed)
    given = candidates(adata, rng)
    if scenario.startswith("networks"):
        prior = given.sample(frac=0.8, random_state=seed)  # lacks edges, and half of it are none
        sg.tl.fit_grn(adata, prior, groupby="condition", use_rep=None, rng=seed)
        given = None
    changed = adata.uns["rewired"]
    rows = []
    for min_difference in margins:
        sg.tl.differential_grn(
            adata, groupby="condition", edges=given, strata=None if scenario == "pooled" else "state",
            min_difference=min_difference, min_probability=0.2, n_permutations=n_permutations, n_jobs=1, rng=seed,
        )  # fmt: skip
        table = adata.uns["differential_grn"]["table"].dropna(subset="pvalue")
        pairs = pd.MultiIndex.from_frame(table[["source", "target"]])
        truly = pairs.isin(pd.MultiIndex.from_frame(changed[["source", "target"]]))
        near = table["target"].isin(changed["target"]).to_numpy()
        row = {"min_difference": min_difference, "edges": len(table)}
        for level in (0.05, 0.1):
            found = (table["qvalue"] < level).to_numpy()
            row |= {
                f"FDR, q < {level}": (found & ~truly).sum() / max(1, found.sum()),
                f"any, q < {level}": float(found.any()),
                f"power, q < {level}": (found & truly).sum() / truly.sum() if truly.any() else np.nan,
            }
        found = (table["qvalue"] < 0.05).to_numpy()
        row["of untouched targets"] = (found & ~near).sum() / max(1, found.sum())
        unchanged = table["pvalue"].to_numpy()[~truly]
        row |= {"p < 0.05": (unchanged < 0.05).mean(), "KS": stats.kstest(unchanged, "uniform").pvalue}
        rows.append(row)
    return rows


def told_apart(n_cells: int, seed: int, n_permutations: int) -> dict[str, float]:
    """AUROC of edges gained against edges lost, by the networks' log-odds and by strength."""
    adata, _ = simulate("rewired", n_cells, seed)
    both = pd.concat([adata.uns["ground_truth"], adata.uns["ground_truth_condition2"]])
    prior = both[["source", "target"]].drop_duplicates()
    sg.tl.fit_grn(adata, prior, groupby="condition", group_pooling=0, use_rep=None, rng=seed)
    sg.tl.differential_grn(
        adata, groupby="condition", edges=prior, strata="state", n_permutations=n_permutations, n_jobs=1, rng=seed
    )
    changed = adata.uns["rewired"].merge(adata.uns["differential_grn"]["table"], on=["source", "target"])
    changed = changed.dropna(subset="statistic")
    gained = changed["change"] == "gained"
    strength = changed["strength"].abs() - changed["strength_reference"].abs()
    by = {"log-odds": changed["log_odds_difference"], "strength": strength}
    return {name: roc_auc_score(gained, values) for name, values in by.items()}


def shown(mean: pd.Series, name: str) -> str:
    value = mean[name]
    if np.isnan(value):
        return ""
    return f"{value:.0f}" if name == "edges" else f"{value:.3g}" if name == "min_difference" else f"{value:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[*SCENARIOS, "log-odds"], default=list(SCENARIOS), metavar="NAME")
    parser.add_argument("--cells", nargs="+", type=int, default=[800, 2000], help="in both conditions together")
    parser.add_argument("--simulations", type=int, default=20, help="of a row (default 20)")
    parser.add_argument("--permutations", type=int, default=200, help="default 200")
    parser.add_argument("--margins", nargs="+", type=float, default=[0.0, 0.05], help="min_difference (0 and 0.05)")
    parser.add_argument("--first-seed", type=int, default=1000, help="of a row (default 1000)")
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    arguments = parser.parse_args()
    logging.getLogger("scgrn_tl").setLevel(logging.ERROR)
    warnings.simplefilter("ignore", UserWarning)  # edges that are not tested are not counted
    sg.settings.progress = False
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.simulations)
    if arguments.only == ["log-odds"]:
        rows = [told_apart(arguments.cells[0], seed, arguments.permutations) for seed in seeds]
        print(pd.DataFrame(rows).agg(["mean", "min", "max"]).round(3).to_string())
        return
    lines = [f"| {' | '.join(HEADER)} |", "|" + " --- |" * len(HEADER)]
    print("\n".join(lines), flush=True)
    for scenario in arguments.only:
        for n_cells in arguments.cells:
            if scenario not in {"rewired", "null"} and n_cells != arguments.cells[0]:
                continue
            started = time.perf_counter()
            rows = [
                row
                for seed in seeds
                for row in measure(scenario, n_cells, seed, arguments.permutations, arguments.margins)
            ]
            for _, part in pd.DataFrame(rows).groupby("min_difference"):
                mean = part.mean()
                cells = [SCENARIOS[scenario], f"{n_cells:,}", *(shown(mean, name) for name in HEADER[2:])]
                lines.append(f"| {' | '.join(cells)} |")
                print(lines[-1], flush=True)
            print(f"<!-- {time.perf_counter() - started:.0f} s -->", flush=True)
    if arguments.out is not None:
        arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
