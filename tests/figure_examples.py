"""Figures of inputs written by hand: no fit, no random numbers, and no layout that a library may change.

``python tests/figure_examples.py`` draws the images anew that ``test_figures.py`` compares with; look at each of them
before it is committed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import anndata as ad
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import sparse

import scgrn_tl as sg
from scgrn_tl.core import EdgeSplit, LabeledPairs

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

IMAGES: Final = Path(__file__).parent / "images"
DPI: Final = 80
GOLDEN: Final = (5**0.5 - 1) / 2


def even(n: int, step: float = GOLDEN) -> np.ndarray:
    """``float[n]`` in [0, 1): numbers that look as if drawn, and are the same everywhere."""
    return (np.arange(1, n + 1) * step) % 1.0


def network(n_edges: int, *, long_names: bool = False) -> tuple[ad.AnnData, dict[str, tuple[float, float]]]:
    """A network of hubs, the first the largest, a reference that has most of it, and a place for each gene."""
    n_tfs, n_targets = max(3, round(n_edges**0.5)), max(8, round(0.55 * n_edges))
    of_target = (n_tfs * even(n_targets) ** 2.5).astype(int)
    first = [(tf, n_tfs + target) for target, tf in enumerate(of_target)]
    further = [(number % n_tfs, n_tfs + (7 * number) % n_targets) for number in range(3 * n_edges)]
    edges = list(dict.fromkeys([(0, 1), (1, 0), *first, *further]))[:n_edges]
    tf_names = [f"ENSG000001{number:05d}" if long_names else f"TF{number}" for number in range(n_tfs)]
    names = [*tf_names, *(f"{'A830018L16Rik' if long_names else 'GENE'}{number}" for number in range(n_targets))]
    matrix = np.zeros((len(names), len(names)), np.float32)
    matrix[tuple(np.array(edges).T)] = 0.55 + 0.4 * even(len(edges))
    adata = ad.AnnData(np.ones((1, len(names)), np.float32), var=pd.DataFrame(index=names))
    adata.varp["grn"], adata.uns["grn"] = sparse.csr_matrix(matrix), {"params": {}}
    adata.var["grn_is_tf"] = np.arange(len(names)) < n_tfs
    missed = [(tf, n_tfs + (5 * tf + 3) % n_targets) for tf in range(n_tfs)]
    known = [edge for number, edge in enumerate(edges) if number % 3] + [edge for edge in missed if edge not in edges]
    adata.uns["known"] = pd.DataFrame(
        {
            "source": [names[tf] for tf, _ in known],
            "target": [names[target] for _, target in known],
            "sign": np.where(np.arange(len(known)) % 4, 1, -1),
        }
    )
    angle = 2 * np.pi * np.arange(n_tfs) / n_tfs
    hubs = np.column_stack([np.cos(angle), np.sin(angle)])
    order = np.argsort(np.argsort(of_target, kind="stable"))  # targets of one hub lie beside each other
    around = 2 * np.pi * order / n_targets
    rings = 1.6 + 0.35 * (np.arange(n_targets) % 3)
    places = np.vstack([hubs, rings[:, None] * np.column_stack([np.cos(around), np.sin(around)])])
    return adata, {name: (x, y) for name, (x, y) in zip(names, places.tolist(), strict=True)}


def grn_edges(n_edges: int) -> Figure:
    """At the size of a column and a half: at their own, the largest would weigh as much as all others together."""
    adata, positions = network(n_edges)
    _, ax = plt.subplots(figsize=(3.4, 3.4) if n_edges < 50 else (4.6, 4.8), layout="constrained")
    return sg.pl.grn_edges(adata, top_n=n_edges, reference="known", positions=positions, ax=ax).figure


def results() -> pd.DataFrame:
    """A table as of ``bm.run``: two datasets, three folds, six methods."""
    about = [
        ("sctransnet", "method", True, 0.91),
        ("grnboost2", "method", False, 0.63),
        ("pearson", "method", False, 0.57),
        ("hub_floor", "floor", True, 0.84),
        ("tf_rate", "floor", True, 0.71),
        ("permuted_expression", "control", True, 0.80),
    ]
    rows = [
        {
            "dataset": dataset,
            "method": method,
            "role": role,
            "supervised": supervised,
            "split": "given",
            "fold": fold,
            "seed": 0,
            "error": "",
            "auroc": level - harder + 0.012 * (fold - 2) + 0.004 * ((fold * len(method)) % 3),
            "auprc": (level - harder) * prevalence * 1.8 + 0.01 * (fold - 2),
            "prevalence": prevalence,
        }
        for dataset, harder, prevalence in (("hHEP500", 0.0, 0.4), ("mDC500", 0.08, 0.05))
        for method, role, supervised, level in about
        for fold in (1, 2, 3)
    ]
    return pd.DataFrame(rows)


def benchmark() -> Figure:
    return sg.pl.benchmark(results(), highlight="sctransnet")[0, 0].figure


def ablation() -> Figure:
    names = {"grnboost2": "no graph", "pearson": "no transformer"}
    return sg.pl.ablation(results().replace({"method": names}), full="sctransnet").figure


def judged() -> tuple[ad.AnnData, EdgeSplit]:
    """A network of probabilities, and pairs in three parts to judge it by."""
    n_tfs, n_genes = 8, 40
    pairs = np.argwhere(~np.eye(n_tfs, n_genes, dtype=bool))
    pairs = pairs[np.argsort(even(len(pairs)), kind="stable")]
    probability = np.round(even(len(pairs), 0.7548776662), 2) * 0.96 + 0.02
    is_edge = even(len(pairs), 0.5698402910) < 0.9 * probability**1.6
    matrix = np.zeros((n_genes, n_genes), np.float32)
    matrix[tuple(pairs.T)] = probability
    adata = ad.AnnData(np.ones((1, n_genes), np.float32), var=pd.DataFrame(index=[f"G{i}" for i in range(n_genes)]))
    adata.varp["grn"], adata.uns["grn"] = sparse.csr_matrix(matrix), {"params": {}}
    adata.var["grn_is_tf"] = np.arange(n_genes) < n_tfs
    cuts = (slice(0, 80), slice(80, 110), slice(110, None))
    return adata, EdgeSplit(*(LabeledPairs(pairs[cut], is_edge[cut]) for cut in cuts))


def roc_pr() -> Figure:
    return sg.pl.roc_pr(*judged())[0].figure


def calibration() -> Figure:
    return sg.pl.calibration(*judged()).figure


def edge_explanation() -> Figure:
    adata = ad.AnnData(np.ones((1, 1), np.float32))
    groups = ["CD14+ Monocytes", "CD4+/CD25 T Reg", "Dendritic", "CD56+ NK", "CD19+ B"]
    share = np.array([0.34, 0.25, 0.18, 0.14, 0.09])
    cells = [
        pd.DataFrame({"gene": gene, "group": groups, "cell_share": share, "weight_share": share[order]})
        for gene, order in (("IRF8", [1, 0, 3, 2, 4]), ("HLA-DPA1", [4, 2, 0, 1, 3]))
    ]
    messages = pd.DataFrame(
        [
            ("IRF8", "IRF8", "self", 0.41, 0.25),
            ("IRF8", "SPI1", "activates", 0.33, 0.25),
            ("IRF8", "BATF3", "represses", 0.15, 0.25),
            ("IRF8", "CIITA", "activated by", 0.11, 0.25),
            ("HLA-DPA1", "HLA-DPA1", "self", 0.22, 0.333),
            ("HLA-DPA1", "CIITA", "activates", 0.53, 0.333),
            ("HLA-DPA1", "RFX5", "regulates", 0.25, 0.333),
        ],
        columns=["gene", "sender", "relation", "attention", "uniform"],
    )
    edges = pd.DataFrame(
        {
            "source": ["IRF8"],
            "target": ["HLA-DPA1"],
            "probability": [0.83],
            "hub": [0.62],
            "specificity": [0.97],
            "logit": [1.59],
        }
    )
    adata.uns["edge_explanation"] = {"edges": edges, "cells": pd.concat(cells), "messages": messages, "absent": {}}
    return sg.pl.edge_explanation(adata, "IRF8", "HLA-DPA1")[0].figure


def edge_evidence() -> Figure:
    adata, _ = network(10)
    probability = adata.varp["grn"].toarray()
    is_stored = probability > 0
    spread = 0.02 + 0.15 * np.abs(np.sin(np.arange(probability.size))).reshape(probability.shape)
    slots = {
        "low": probability - spread,
        "high": np.minimum(probability + 0.6 * spread, 0.99),
        "stability": 1 - 3 * spread,
        "specificity": 6 * (spread - 0.08),
        "n_cells": np.round(5000 * spread),
        "std": spread,
    }
    for name, values in slots.items():
        dtype = np.int32 if name == "n_cells" else np.float32
        adata.varp[f"grn_{name}"] = sparse.csr_matrix(np.where(is_stored, values, 0).astype(dtype))
    adata.uns["grn"] |= {"values": "probability", "prior": adata.uns["known"], "evidence": {}}
    return sg.pl.edge_evidence(adata).figure


def differential_grn() -> Figure:
    n = 60
    reference = 0.9 * np.sin(np.arange(n) * 1.7)
    strength = reference + 0.08 * np.cos(np.arange(n) * 2.3)
    strength[:6] = [0.72, -0.64, 0.05, -0.4, 0.55, -0.08]
    reference[:6] = [0.03, -0.05, 0.68, 0.42, -0.5, -0.77]
    qvalue = np.where(np.arange(n) < 6, 0.001 * (1 + np.arange(n)), 0.5)
    table = pd.DataFrame(
        {
            "source": [f"TF{number % 7}" for number in range(n)],
            "target": [f"GENE{number}" for number in range(n)],
            "strength": strength,
            "strength_reference": reference,
            "pvalue": qvalue / 2,
            "qvalue": qvalue,
        }
    )
    adata = ad.AnnData(np.ones((1, 1), np.float32))
    adata.uns["differential_grn"] = {"table": table, "params": {"group": "treated", "reference": "control"}}
    return sg.pl.differential_grn(adata).figure


def training_history() -> Figure:
    adata = ad.AnnData(np.ones((1, 1), np.float32))
    epochs = np.arange(30)
    history = {
        "train_loss": 0.25 + 0.5 * np.exp(-epochs / 8),
        "validation_loss": 0.33 + 0.42 * np.exp(-epochs / 6) + 0.003 * epochs,
        "validation_auroc": 0.92 - 0.4 * np.exp(-epochs / 7) - 0.001 * epochs,
        "validation_auprc": 0.75 - 0.5 * np.exp(-epochs / 9) - 0.002 * epochs,
    }
    adata.uns["grn"] = {"history": history, "best_epoch": 17}
    return sg.pl.training_history(adata).figure


FIGURES: Final[dict[str, Callable[[], Figure]]] = {
    "grn_edges_10": lambda: grn_edges(10),
    "grn_edges_100": lambda: grn_edges(100),
    "grn_edges_500": lambda: grn_edges(500),
    "benchmark": benchmark,
    "ablation": ablation,
    "calibration": calibration,
    "roc_pr": roc_pr,
    "edge_explanation": edge_explanation,
    "edge_evidence": edge_evidence,
    "differential_grn": differential_grn,
    "training_history": training_history,
}


def draw(name: str, path: Path, *, dpi: int = DPI) -> None:
    """Draw a figure in matplotlib's own style, whatever the user's; the file says by which version."""
    with mpl.rc_context(), mpl.style.context("default"):
        figure = FIGURES[name]()
        figure.savefig(path, dpi=dpi)
        plt.close(figure)


if __name__ == "__main__":
    mpl.use("Agg")
    IMAGES.mkdir(exist_ok=True)
    for name in FIGURES:
        draw(name, IMAGES / f"{name}.png")
        print(f"{IMAGES / name}.png")
