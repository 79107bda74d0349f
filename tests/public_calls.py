"""A good call of every public function on small data, for the tests that spoil one argument of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import scgrn_tl as sg
from scgrn_tl.core import GeneVocabulary, GRNScores, PriorNetwork, summarize_expression
from scgrn_tl.models import ScBERT, ScBERTConfig, ScTransNet

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import anndata as ad

FAST = {"epochs": 2, "gnn_widths": (8, 8), "gnn_heads": 2, "channel_hidden": 8, "channel_width": 4}
HUMAN = ["GATA1", "KLF1", "TCL5", "SPI1", "CEBPA", "p53"]
"""Names that the small tables of the fixture ``gene_tables`` know."""
TINY = {"dim": 8, "depth": 1, "heads": 2, "dim_head": 4, "max_epochs": 1}


class World(NamedTuple):
    """What the calls share. None may change it but for the fields that it writes again."""

    folder: Path
    adata: ad.AnnData
    prior: pd.DataFrame
    network: PriorNetwork
    split: sg.core.EdgeSplit
    scores: GRNScores
    vocabulary: GeneVocabulary
    encoder: ScBERT
    results: pd.DataFrame
    ablated: pd.DataFrame
    model: ScTransNet


def make_world(folder: Path) -> World:
    """Simulated cells with everything that a verb could want of them."""
    import torch

    adata = sg.datasets.simulated(30, 24, 6, mean_targets=6, n_batches=2, rng=1)
    adata.obs["dpt_pseudotime"] = np.linspace(0, 1, adata.n_obs)
    prior = adata.uns["ground_truth"]
    vocabulary = GeneVocabulary(adata.var_names)
    encoder = ScBERT(ScBERTConfig(n_genes=len(vocabulary), dim=8, depth=1, heads=2, dim_head=4))
    encoder.initialize(torch.Generator().manual_seed(0)).save(folder / "encoder", vocabulary)
    sg.tl.scbert_embed(adata, weights=folder / "encoder", groupby="state", batch_key="batch")
    sg.tl.scbert_embed(adata, weights=folder / "encoder", groupby="batch", key_added="by_batch")
    network = PriorNetwork.from_any(prior, adata.var_names)
    split = sg.bm.split_edges(network, rng=0)
    sg.tl.fit_grn(adata, prior, use_rep="scbert", split=split, **FAST)
    sg.tl.explain_edges(adata, top_n=2)
    sg.tl.edge_evidence(adata, split=split, n_bootstraps=2)
    states = adata.obs["state"].unique()
    sg.tl.differential_grn(
        adata,
        groupby="state",
        group=states[0],
        reference=states[1],
        min_cells=3,
        min_probability=0.0,
        n_permutations=20,
    )
    results = sg.bm.run(
        adata, ["pearson", "hub_floor", "random"], splits=["random"], n_samples=1, out=folder / "results"
    )
    model = ScTransNet.from_anndata(adata, prior, use_rep="scbert", split=split, **FAST).fit()
    model.save(folder / "network")
    scores = GRNScores(
        network.regulators, np.random.default_rng(0).normal(size=(len(network.regulators), adata.n_vars))
    )
    ablated = results.assign(method=results["method"].replace({"pearson": "full", "hub_floor": "no GNN"}))
    return World(folder, adata, prior, network, split, scores, vocabulary, encoder, results, ablated, model)


def _expression(w: World) -> dict[str, Any]:
    return {"matrix": w.adata.X[:8].toarray()}


def _edges_of(w: World) -> dict[str, Any]:
    return {"adata": w.adata, "tfs": None, "targets": None, "min_probability": "auto", "top_n": 5, "modality": "rna"}


def _human(w: World) -> ad.AnnData:
    """Counts of genes that go by names of human genes."""
    named = w.adata[:, : len(HUMAN)].copy()
    named.var_names = HUMAN
    named.X = np.ones(named.shape, dtype=np.float32)
    return named


def _rankings() -> pd.DataFrame:
    """As cisTarget's databases: a row per motif, and in it the place of each gene."""
    ranks = [[0, 1, 2, 3], [3, 2, 1, 0]]
    return pd.DataFrame(ranks, index=["motif1", "motif2"], columns=["KLF1", "TAL1", "SPI1", "MYC"])


def _labels(_: World) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {"y_true": rng.random(40) < 0.3, "y_score": rng.random(40)}


def _runs(w: World) -> dict[str, Any]:
    return {"datasets": w.adata, "splits": ["random"], "seeds": 1, "n_samples": 1, "n_folds": 2, "out": None}


def _encoding(w: World) -> dict[str, Any]:
    return {"modality": "rna", "device": "cpu", "rng": 0, "min_overlap": 0.5, "layer": None, "normalize": "auto"}


def _training() -> dict[str, Any]:
    return {"max_epochs": 1, "batch_size": 4, "learning_rate": 1e-3, "patience": 1, "validation_fraction": 0.2,
            "max_genes": 24, "max_cells": 20, "batch_key": None, "key_added": "training"}  # fmt: skip


def _ax() -> Any:
    return plt.figure().add_subplot()


CALLS: dict[str, Callable[[World], dict[str, Any]]] = {
    "bm.ablate": lambda w: _runs(w) | {"prior": None, "weights": str(w.folder / "encoder"), "epochs": 1},
    "bm.check_ranking": lambda w: _labels(w) | {"regulators": np.arange(40) % 4},
    "bm.edge_metrics": lambda w: _labels(w) | {"regulators": np.arange(40) % 4, "probability": np.full(40, 0.5)},
    "bm.evaluate": lambda w: {"scores": w.scores, "split": w.split, "n_bootstrap": 5, "baseline": w.scores},
    "bm.expected_calibration_error": lambda w: {"y_true": _labels(w)["y_true"], "probability": np.full(40, 0.5)},
    "bm.paired_bootstrap": lambda w: _labels(w)
    | {"y_baseline": _labels(w)["y_score"], "regulators": np.arange(40) % 4, "n_resamples": 5},
    "bm.per_regulator_metrics": lambda w: _labels(w) | {"regulators": np.arange(40) % 4},
    "bm.precision_at_k": lambda w: _labels(w) | {"k": 3},
    "bm.read_results": lambda w: {"out": w.folder / "results"},
    "bm.report": lambda w: {"table": w.results, "path": w.folder / "report.md"},
    "bm.run": lambda w: _runs(w) | {"methods": ["pearson", "hub_floor"]},
    "bm.split_edges": lambda w: {"prior": w.network},
    "bm.summary": lambda w: {"table": w.results, "n_resamples": 5},
    "core.available_memory": lambda _: {},
    "core.by_rows": _expression,
    "core.check_unique_genes": lambda w: {"names": list(w.adata.var_names)},
    "core.expression_matrix": lambda w: {"adata": w.adata},
    "core.gene_indices": lambda w: {"names": list(w.adata.var_names[:3]), "genes": list(w.adata.var_names)},
    "core.genes_by_cells": lambda w: {"adata": w.adata},
    "core.iter_cells": _expression,
    "core.log_base_factor": lambda w: {"adata": w.adata},
    "core.make_task": lambda w: {"adata": w.adata, "prior": w.network, "split": w.split},
    "core.needs_normalization": lambda w: {"normalize": "auto", "summary": summarize_expression(w.adata.X)},
    "core.open_anndata": lambda w: {"data": w.adata},
    "core.parallel_map": lambda _: {"function": repr, "parts": [1, -2], "n_jobs": 1},
    "core.peak_memory": lambda _: {},
    "core.read_embedding": lambda w: {"adata": w.adata, "key": "scbert"},
    "core.read_pseudotime": lambda w: {"adata": w.adata, "columns": ["dpt_pseudotime"]},
    "core.resolve_device": lambda _: {"device": "cpu"},
    "core.spawn_seeds": lambda _: {"rng": 0, "n": 2},
    "core.summarize_expression": _expression,
    "core.to_dense": lambda w: {"block": w.adata.X},
    "core.tokenize": lambda w: {"block": w.adata.X.toarray()},
    "core.total_memory": lambda _: {},
    "datasets.beeline": lambda _: {"cell_type": "hESC"},
    "datasets.beeline_split": lambda _: {"cell_type": "hESC"},
    "datasets.collectri": lambda _: {"organism": "human"},
    "datasets.dorothea": lambda _: {"organism": "human", "levels": "A"},
    "datasets.gene_names": lambda _: {"organism": "human"},
    "datasets.gene_orthologs": lambda _: {},
    "datasets.scbert_vocabulary": lambda _: {},
    "datasets.scbert_weights": lambda w: {"path": w.folder / "encoder" / "model.safetensors"},
    "datasets.simulated": lambda _: {"n_cells": 12, "n_genes": 12, "n_tfs": 3, "n_batches": 2, "mean_targets": 3.0},
    "datasets.tf_names": lambda _: {"organism": "human"},
    "datasets.trrust": lambda _: {"organism": "human"},
    "get.grn_df": _edges_of,
    "get.grn_metrics": lambda w: {"adata": w.adata},
    "io.read_rankings": lambda _: {"rankings": _rankings(), "top_n": 2, "motif_to_tf": {"motif1": "GATA1"}},
    "io.to_celloracle": _edges_of,
    "io.to_decoupler": _edges_of,
    "io.to_networkx": _edges_of,
    "io.to_pyscenic": _edges_of,
    "io.to_regulons": _edges_of,
    "io.write_beeline": lambda w: _edges_of(w) | {"path": w.folder / "rankedEdges.csv"},
    "io.write_edges": lambda w: _edges_of(w) | {"path": w.folder / "edges.csv"},
    "methods.get": lambda _: {"name": "pearson"},
    "methods.method": lambda _: {
        "name": "spoilt", "supervised": False, "directed": True, "stochastic": False, "reference": "nobody",
    },
    "methods.names": lambda _: {},
    "methods.show": lambda _: {},
    "models.fit_hub_rates": lambda _: {"labels": np.eye(4, dtype=bool), "mask": np.ones((4, 4), dtype=bool)},
    "models.gene_features": lambda w: {"expression": w.adata.X.T.toarray(), "n_components": 4},
    "models.load_scbert": lambda w: {"path": w.folder / "encoder"},
    "models.seeded_rng": lambda _: {"seed": 0},
    "pl.ablation": lambda w: {"table": w.ablated, "ax": _ax()},
    "pl.benchmark": lambda w: {"table": w.results},
    "pl.calibration": lambda w: {"adata": w.adata, "split": w.split, "ax": _ax()},
    "pl.differential_grn": lambda w: {"adata": w.adata, "max_qvalue": 1.0, "ax": _ax()},
    "pl.edge_evidence": lambda w: {"adata": w.adata, "top_n": 5, "ax": _ax()},
    "pl.edge_explanation": lambda w: {
        "adata": w.adata,
        **w.adata.uns["edge_explanation"]["edges"].iloc[0][["source", "target"]].to_dict(),
    },
    "pl.grn_edges": lambda w: {"adata": w.adata, "top_n": 5, "min_probability": None, "ax": _ax()},
    "pl.roc_pr": lambda w: {"data": w.adata, "split": w.split},
    "pl.training_history": lambda w: {"adata": w.adata, "ax": _ax()},
    "pp.resolve_genes": lambda w: {"adata": _human(w), "min_overlap": 0.1},
    "pp.resolve_names": lambda _: {"names": HUMAN},
    "pp.select_genes": lambda w: {
        "adata": w.adata, "n_top": 5, "tf_names": list(w.adata.var_names[:3]), "key_added": "chosen",
        "copy": True,
    },
    "tl.attentive_pool": lambda w: {
        "adata": w.adata, "weighting": "mean", "key_added": "pooled", "temperature": 1.0, "top_k": None,
    },
    "tl.batch_agreement": lambda w: {"adata": w.adata, "batch_key": "batch", "n_neighbors": 3, "n_top": 20,
        "key": "by_batch"},
    "tl.differential_grn": lambda w: {
        "adata": w.adata, "groupby": "state", "group": w.adata.obs["state"].unique()[0],
        "reference": w.adata.obs["state"].unique()[1], "min_cells": 3, "min_probability": 0.0,
        "n_permutations": 20, "n_jobs": 1,
    },
    "tl.edge_evidence": lambda w: {"adata": w.adata, "split": w.split, "n_bootstraps": 2, "n_jobs": 1, "device": "cpu",
        "key_added": "resampled"},
    "tl.explain_edges": lambda w: {"adata": w.adata, "top_n": 2},
    "tl.fit_grn": lambda w: {"adata": w.adata, "prior": w.prior, **FAST, "lr": 1e-3, "device": "cpu", "key_added": "g"},
    "tl.infer_grn": lambda w: {"adata": w.adata, "method": "pearson", "key_added": "p", "device": "cpu"},
    "tl.scbert_embed": lambda w: _encoding(w) | {"adata": w.adata, "weights": w.folder / "encoder", "key_added": "e"},
    "tl.scbert_finetune": lambda w: _encoding(w) | _training()
    | {"adata": w.adata, "weights": w.folder / "encoder", "weights_dir": w.folder / "tuned", "train_blocks": 1},
    "tl.scbert_pretrain": lambda w: {name: value for name, value in _encoding(w).items() if name != "min_overlap"}
    | TINY | _training() | {"adata": w.adata, "weights_dir": w.folder / "trained", "gene_init": "random"},
    "tl.transfer_grn": lambda w: {"adata": w.adata, "model": w.model, "device": "cpu", "key_added": "transferred"},
}  # fmt: skip
"""Name of each public function → the arguments of a call that works."""
