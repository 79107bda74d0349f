"""Stand-ins for what pages take for granted: cells with names of real genes, downloads, and minutes to spare."""

from __future__ import annotations

import csv
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import scgrn_tl as sg
from scgrn_tl.core import PriorNetwork

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    import pytest
    from anndata import AnnData

TABLE = Path(__file__).parent / "gene_names" / "hgnc_entries.tsv"
FEW = {"max_epochs": 1, "max_cells": 64, "max_genes": 256}
ENCODER = {"dim": 16, "depth": 2, "heads": 2, "dim_head": 8, **FEW}


def cells() -> AnnData:
    """Simulated cells of two donors and conditions and of three types, with names of real genes.

    ``HIC1`` has no known edge.
    """
    adata = sg.datasets.simulated(n_cells=120, n_genes=50, n_tfs=10, n_batches=2, n_conditions=2, rng=0)
    with TABLE.open(encoding="utf-8") as file:
        symbols = [row["Approved symbol"] for row in csv.DictReader(file, delimiter="\t")]
    called = dict(zip(adata.var_names, [*symbols[: adata.n_vars - 1], "HIC1"], strict=True))
    adata.var_names = list(called.values())
    truth = adata.uns["ground_truth"].replace({"source": called, "target": called})
    adata.uns["ground_truth"] = truth[truth["target"] != "HIC1"].reset_index(drop=True)
    adata.obs["cell_type"], adata.obs["donor"] = adata.obs["state"], adata.obs["batch"]
    adata.obs["dpt_pseudotime"] = np.asarray(adata[:, adata.var["is_tf"]].X.sum(axis=1)).ravel()
    return adata


def _always(function: Callable[..., Any], **fixed: Any) -> Callable[..., Any]:
    @wraps(function)
    def called(*positional: Any, **given: Any) -> Any:
        return function(*positional, **{**given, **fixed})

    return called


def make_small(patch: pytest.MonkeyPatch, known: AnnData) -> None:
    """Have the verbs take seconds: small encoders, few epochs, resamples and runs; downloads are about ``known``."""
    tl = sg.tl
    embed, pretrain, finetune = tl.scbert_embed, tl.scbert_pretrain, tl.scbert_finetune
    fit, infer, differential, run = tl.fit_grn, tl.infer_grn, tl.differential_grn, sg.bm.run

    def encoder(adata: Any, weights: Any, given: dict[str, Any]) -> Any:
        """A folder is what it is; published and fitted encoders are small ones of the cells."""
        return pretrain(adata, layer=given.get("layer"), **ENCODER) if weights in {"panglao", "fit"} else weights

    def small_embed(adata: Any, *, weights: Any = "panglao", **given: Any) -> Any:
        return embed(adata, weights=encoder(adata, weights, given), **given)

    def small_finetune(adata: Any, *, weights: Any = "panglao", **given: Any) -> Any:
        return finetune(adata, weights=encoder(adata, weights, given), **{**FEW, **given})

    def small_infer(adata: Any, *, method: str = "grnboost2", **given: Any) -> Any:
        few = {"n_trees": 10} if "n_trees" in sg.methods.get(method).parameters else {}
        return infer(adata, method=method, **{**given, **few, "n_jobs": 1})

    def small_run(datasets: Any, methods: Any, *, splits: Any = None, **given: Any) -> pd.DataFrame:
        """One seed, and one sample or two folds; data that are called by name are ``known``."""
        named = [datasets] if isinstance(datasets, str) else datasets
        if isinstance(named, list):
            datasets = dict.fromkeys(named, known)
            network = PriorNetwork.from_any(known.uns["ground_truth"], known.var_names)
            splits = {"given": sg.bm.split_edges(network)}
        wanted = methods if isinstance(methods, dict) else {name: {"method": name} for name in methods}
        few = {"epochs": 1, "n_trees": 5}
        settings = {
            label: {**about, **{name: few[name] for name in few if name in sg.methods.get(about["method"]).parameters}}
            for label, about in wanted.items()
        }
        small = {"seeds": 1, "n_samples": 1, "n_folds": 2, "n_jobs": 1}
        return run(datasets, settings, splits=splits, **{**given, **small})

    patch.setattr(tl, "scbert_embed", small_embed)
    patch.setattr(tl, "scbert_pretrain", _always(pretrain, **ENCODER))
    patch.setattr(tl, "scbert_finetune", small_finetune)
    patch.setattr(
        tl, "fit_grn", lambda adata, prior, **given: fit(adata, prior, **{"epochs": 5, **given, "n_models": 1})
    )
    patch.setattr(tl, "infer_grn", small_infer)
    patch.setattr(tl, "edge_evidence", _always(tl.edge_evidence, n_bootstraps=2, n_jobs=1))
    few_edges = {
        "min_probability": 0.1,
        "n_permutations": 50,
        "n_jobs": 1,
    }  # known edges are few, and so are likely ones
    patch.setattr(tl, "differential_grn", lambda adata, **given: differential(adata, **{**few_edges, **given}))
    patch.setattr(sg.bm, "run", small_run)
    patch.setattr(sg.datasets, "collectri", lambda organism="human": known.uns["ground_truth"][["source", "target"]])
    patch.setattr(sg.datasets, "tf_names", lambda organism="human": list(known.var_names[known.var["is_tf"]]))
