"""How far the numbers beside an edge are to be trusted: calibration, coverage and stability on simulated networks.

    python benchmarks/trust.py --out trust
    python benchmarks/trust.py --beeline hHEP --bootstraps 2 --out trust

For every seed a network is simulated and, from it, sets of cells that share nothing else. scTransNet is fitted to the
first set, with a third of each regulator's pairs held out; `tl.edge_evidence` resamples that set alone. What it
estimates is known from the other sets: the mean log-odds of fits to each. A file a seed is kept in the folder `--out`,
and not made again; the tables are made of all of them.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import logit
from scipy.stats import t as student
from sklearn.metrics import roc_auc_score

import scgrn_tl as sg

N_BINS = 20
"""Bins of equal numbers of held-out pairs: what is left of the probability within them is little."""
CERTAIN = 2.0**-24
EVIDENCE = ("stability", "low", "specificity", "n_cells", "-std", "probability")


def log_odds(probability: np.ndarray) -> np.ndarray:
    return logit(probability.astype(np.float64).clip(CERTAIN, 1 - CERTAIN))


def embed(adata, weights: str) -> str:
    """Embed the genes, and say where the weights are."""
    sg.tl.scbert_embed(adata, weights=weights)
    return str(adata.uns["scbert"]["weights"]["path"])


def simulate(
    seed: int, *, n_cells: int, n_sets: int, n_bootstraps: int, n_models: int, with_embedding: bool
) -> pd.DataFrame:
    """A row for each pair of a regulator and a gene: part, label, and all that was measured."""
    everything = sg.datasets.simulated(n_cells=n_cells * (n_sets + 1), rng=seed)
    cells = np.random.default_rng(seed).permutation(everything.n_obs).reshape(n_sets + 1, n_cells)
    sets = [everything[np.sort(rows)].copy() for rows in cells]
    prior = sg.core.PriorNetwork.from_any(everything.uns["ground_truth"], everything.var_names)
    split = sg.bm.split_edges(prior, rng=seed)
    use_rep, weights, others = "scbert" if with_embedding else None, "fit", []
    for number, adata in enumerate(sets):
        if with_embedding:
            weights = embed(adata, weights)
        sg.tl.fit_grn(adata, prior, split=split, use_rep=use_rep, rng=1000 * seed + number)
        if number:
            others.append(log_odds(adata.varp["grn"].data))
    table = measure(sets[0], split, n_bootstraps, seed)
    if n_models > 1:
        sg.tl.fit_grn(
            sets[0], prior, split=split, use_rep=use_rep, n_models=n_models, rng=seed + 1, key_added="several"
        )
        table["-std"] = -sets[0].varp["several_std"].data
    return table.assign(independent=np.mean(others, axis=0))


def measure(adata, split, n_bootstraps: int, seed: int) -> pd.DataFrame:
    """Evidence of the network in ``adata``, and labels and parts of its pairs."""
    started = time.perf_counter()
    sg.tl.edge_evidence(adata, split=split, n_bootstraps=n_bootstraps, n_jobs=1)
    seconds = (time.perf_counter() - started) / n_bootstraps
    network = adata.varp["grn"].tocoo()
    table = pd.DataFrame({"row": network.row, "column": network.col, "probability": network.data})
    for name in ("stability", "low", "high", "n_cells", "specificity"):
        table[name] = adata.varp[f"grn_{name}"].data
    place = pd.MultiIndex.from_frame(table[["row", "column"]])
    table["part"], table["label"] = "", False
    for part in ("train", "validation", "test"):
        pairs = getattr(split, part)
        at = place.get_indexer(pd.MultiIndex.from_arrays(pairs.pairs.T))
        table.loc[at, "part"], table.loc[at, "label"] = part, pairs.labels
    return table.assign(seed=seed, seconds_per_resample=seconds)


def interval(values: np.ndarray) -> str:
    """Mean over simulations with its 95 % interval."""
    values = np.asarray(values, dtype=float)
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return f"{values.mean():.3f}"
    half = student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():.3f} ± {half:.3f}"


def within_bins(test: pd.DataFrame, name: str, n_bins: int = N_BINS) -> float:
    """AUROC within bins of probability, pooled over bins by their pairs of an edge and a non-edge."""
    bins = pd.qcut(test["probability"].rank(method="first"), n_bins, labels=False)
    total = weight = 0.0
    for _, pairs in test.groupby(bins):
        n_comparisons = int(pairs["label"].sum()) * int((~pairs["label"]).sum())
        if n_comparisons:
            total += n_comparisons * roc_auc_score(pairs["label"], pairs[name])
            weight += n_comparisons
    return total / weight if weight else np.nan


def calibration_table(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """A row a simulation: held-out pairs alone."""
    rows = []
    for table in tables:
        test = table[table["part"] == "test"]
        label, probability = test["label"].to_numpy(), test["probability"].to_numpy(dtype=float)
        called = probability >= 0.5
        base = np.full(len(test), table.loc[table["part"] == "train", "label"].mean())
        rows.append(
            {
                "seed": table["seed"].iloc[0],
                "pairs": len(test),
                "edges": int(label.sum()),
                "ECE": sg.bm.expected_calibration_error(label, probability),
                "ECE of the base rate": sg.bm.expected_calibration_error(label, base),
                "Brier": np.mean((probability - label) ** 2),
                "Brier of the base rate": np.mean((base - label) ** 2),
                "called": int(called.sum()),
                "mean p": probability[called].mean(),
                "edges among called": label[called].mean(),
                "AUROC": roc_auc_score(label, probability),
            }
        )
    return pd.DataFrame(rows)


def coverage_table(tables: list[pd.DataFrame]) -> pd.DataFrame:
    rows = []
    for table in tables:
        low, high = log_odds(table["low"].to_numpy()), log_odds(table["high"].to_numpy())
        own = log_odds(table["probability"].to_numpy())
        truth = table["independent"].to_numpy()
        covered, inside = (low <= truth) & (truth <= high), (low <= own) & (own <= high)
        around_own = np.abs(truth - own) <= (high - low) / 2
        called, test = table["probability"].to_numpy() >= 0.5, (table["part"] == "test").to_numpy()
        rows.append(
            {
                "all pairs": covered.mean(),
                "held-out pairs": covered[test].mean(),
                "pairs with p ≥ 0.5": covered[called].mean(),
                "pairs whose mean is ≥ 0.5": covered[truth >= 0].mean(),
                "intervals of the same width around the network's own p: all pairs": around_own.mean(),
                "those of pairs with p ≥ 0.5": around_own[called].mean(),
                "the network's own p inside": inside.mean(),
                "own p inside, p ≥ 0.5": inside[called].mean(),
            }
        )
    return pd.DataFrame(rows)


def frequency_table(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Held-out pairs of all simulations by probability: do edges occur as often as intervals allow?"""
    pairs = pd.concat(tables).query("part == 'test'")
    bins = pd.cut(pairs["probability"], [0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0])
    found = pairs.groupby(bins, observed=True).agg(
        pairs=("label", "size"),
        probability=("probability", "mean"),
        low=("low", "mean"),
        edges=("label", "mean"),
        high=("high", "mean"),
    )
    return found.assign(inside=found["edges"].between(found["low"], found["high"])).reset_index(names="bin")


def ranking_table(tables: list[pd.DataFrame]) -> pd.DataFrame:
    rows = []
    for name in filter(tables[0].columns.__contains__, EVIDENCE):
        values, likely = [], []
        for table in tables:
            test = table[table["part"] == "test"]
            values.append(within_bins(test, name))
            likely.append(within_bins(test[test["probability"] >= 0.15], name, 5))
        rows.append({"evidence": name, "AUROC in bins": interval(values), "of pairs with p ≥ 0.15": interval(likely)})
    return pd.DataFrame(rows)


def show(tables: list[pd.DataFrame]) -> None:
    calibration = calibration_table(tables)
    print(calibration.round(3).to_string(index=False))
    for name in calibration.columns[3:]:
        print(f"  {name}: {interval(calibration[name])}")
    if "independent" in tables[0]:
        coverage = coverage_table(tables)
        print("\nCoverage of 95 % intervals")
        for name in coverage:
            print(f"  {name}: {interval(coverage[name])}")
    print(f"\n{frequency_table(tables).round(3).to_string(index=False)}")
    print(f"\n{ranking_table(tables).to_string(index=False)}")
    print("\nSeconds a resample:", interval([table["seconds_per_resample"].iloc[0] for table in tables]))


def beeline(cell_type: str, n_bootstraps: int) -> pd.DataFrame:
    """A BEELINE network with a third of its pairs held out; there is one set of cells, and so no coverage."""
    adata = sg.datasets.beeline(cell_type)
    prior = sg.core.PriorNetwork.from_any(adata.uns["ground_truth"], adata.var_names)
    split = sg.bm.split_edges(prior, rng=0)
    sg.tl.fit_grn(adata, prior, split=split, use_rep=None)
    return measure(adata, split, n_bootstraps, 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="*", default=list(range(2001, 2011)))
    parser.add_argument("--cells", type=int, default=400)
    parser.add_argument("--sets", type=int, default=10, help="independent sets of cells beside the first")
    parser.add_argument("--bootstraps", type=int, default=20)
    parser.add_argument("--models", type=int, default=5, help="of an ensemble whose spread is compared; 1 for none")
    parser.add_argument("--embedding", action="store_true", help="with the gene embedding of a small encoder")
    parser.add_argument("--beeline", help="measure on this BEELINE network instead, such as hHEP")
    parser.add_argument("--out", type=Path, default=Path("trust"))
    arguments = parser.parse_args()
    sg.settings.progress = False
    arguments.out.mkdir(parents=True, exist_ok=True)
    tables = []
    for name in [arguments.beeline] if arguments.beeline else arguments.seeds:
        path = arguments.out / f"{name}.csv"
        if not path.exists():
            if arguments.beeline:
                table = beeline(name, arguments.bootstraps)
            else:
                table = simulate(
                    name,
                    n_cells=arguments.cells,
                    n_sets=arguments.sets,
                    n_bootstraps=arguments.bootstraps,
                    n_models=arguments.models,
                    with_embedding=arguments.embedding,
                )
            table.to_csv(path, index=False)
            print(f"{name}: {table['seconds_per_resample'].iloc[0]:.1f} s a resample", flush=True)
        tables.append(pd.read_csv(path, keep_default_na=False))
    show(tables)


if __name__ == "__main__":
    main()
