"""``scgrn-tl demo``: from counts to a network, judged on a test part."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import scgrn_tl as sg
from scgrn_tl.core import PriorNetwork, make_task
from scgrn_tl.io._atomic import replaced_when_complete

from ._print import METRICS, aligned, say

if TYPE_CHECKING:
    import argparse

    import pandas as pd
    from anndata import AnnData

    from scgrn_tl.core import EdgeSplit

__all__ = ["run_demo"]


def run_demo(arguments: argparse.Namespace) -> None:
    import matplotlib.pyplot as plt

    started = time.perf_counter()
    out = Path(arguments.out).expanduser()
    out.mkdir(parents=True, exist_ok=True)
    adata, split = _demo_data(arguments)
    truth = adata.uns["ground_truth"]
    say("data", f"{arguments.dataset}: {adata.n_obs:,} cells × {adata.n_vars:,} genes, {len(truth):,} known edges")
    train, validation, test = (f"{len(part):,} pairs ({int(part.labels.sum()):,} edges)" for part in split.parts)
    say("split", f"{split.kind}: train {train}, validation {validation}, test {test}")
    if arguments.weights is not None:
        say("embed", f"gene embeddings by scBERT, weights={arguments.weights!r} …")
        sg.tl.scbert_embed(adata, weights=arguments.weights, device=arguments.device, rng=arguments.seed)
    say("fit", f"scTransNet, {arguments.n_models} models of at most {arguments.epochs} epochs …")
    sg.tl.fit_grn(
        adata,
        truth,
        use_rep=None if arguments.weights is None else "scbert",
        split=split,
        n_models=arguments.n_models,
        epochs=arguments.epochs,
        device=arguments.device,
        rng=arguments.seed,
    )
    table = _demo_table(adata, split, seed=arguments.seed)
    with replaced_when_complete(out / "network.h5ad") as beside:
        adata.write_h5ad(beside)
    best = sg.get.grn_df(adata, min_probability=None, top_n=50)
    threshold = min(0.5, float(best["probability"].min()))
    sg.io.write_edges(adata, out / "edges.csv", min_probability=threshold)
    ax = sg.pl.grn_edges(adata, top_n=50, min_probability=threshold, reference="ground_truth")
    figure = ax.figure.figure
    with replaced_when_complete(out / "network.png") as beside:
        figure.savefig(beside, dpi=300)
    plt.close(figure)
    print(f"\nTest pairs, none of them seen in training\n\n{aligned(table)}\n")
    print("The hub floor knows neither expression nor network: only how many training edges each gene has.")
    print("The edges written and drawn are the most probable of all pairs, training edges among them.")
    print(f"\nWrote {out / 'network.h5ad'}, {out / 'edges.csv'}, {out / 'network.png'}")
    print(f"Took {time.perf_counter() - started:.0f} s")


def _demo_data(arguments: argparse.Namespace) -> tuple[AnnData, EdgeSplit]:
    if arguments.dataset == "simulated":
        adata = sg.datasets.simulated(rng=arguments.seed)
        prior = PriorNetwork.from_any(adata.uns["ground_truth"], adata.var_names)
        return adata, sg.bm.split_edges(prior, kind="random", rng=arguments.seed)
    adata = sg.datasets.beeline(arguments.dataset, arguments.n_genes)
    return adata, sg.datasets.beeline_split(arguments.dataset, arguments.n_genes, arguments.sample)


def _demo_table(adata: AnnData, split: EdgeSplit, *, seed: int) -> pd.DataFrame:
    """The fitted model on the test part, beside methods and levels that it has to beat."""
    import pandas as pd

    fitted = sg.get.grn_metrics(adata).query("part == 'test'").set_index("method")
    prior = PriorNetwork.from_any(adata.uns["ground_truth"], adata.var_names)
    task = make_task(adata, prior=prior, split=split, seed=seed)
    baselines = {
        name: sg.bm.evaluate(sg.methods.get(method).run(task), split)
        for name, method in (("hub floor", "hub_floor"), ("Pearson", "pearson"))
    }
    random = pd.Series({"auroc": 0.5, "auprc": split.test.prevalence, "auprc_ratio": 1.0, "epr": 1.0})
    rows = {"scTransNet": fitted.loc["sctransnet"], **baselines, "random level": random}
    return pd.DataFrame({name: row[list(METRICS)].astype(float) for name, row in rows.items()}).T
