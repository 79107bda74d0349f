"""The jobs of a benchmark, each run in a process of its own: embed genes, prepare a method, run and judge it."""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from scgrn_tl.core.calibration import calibrate
from scgrn_tl.core.metrics import edge_metrics

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

    from scgrn_tl.core import EdgeSplit, GRNScores, GRNTask, PlattScaling
    from scgrn_tl.methods import Method

__all__ = ["EMBEDDINGS", "embed", "infer", "judge", "prepare", "run_and_judge"]

EMBEDDINGS = ("scbert", "scbert_mean")
"""Keys of ``varm`` that :func:`embed` fills."""


def embed(adata: AnnData, weights: str, seed: int) -> dict[str, np.ndarray]:
    """Gene embeddings of a dataset, ``float32 (G, D)`` each."""
    from scgrn_tl.tl import scbert_embed

    scbert_embed(adata, weights=weights, store_attention=False, rng=seed)
    return {key: np.asarray(adata.varm[key], dtype=np.float32) for key in EMBEDDINGS}


def prepare(entry: Method, task: GRNTask, params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """What a method can compute of a dataset before it sees a label."""
    return dict(entry.prepared(task, **params))


def infer(entry: Method, task: GRNTask, params: Mapping[str, Any], n_models: int) -> dict[str, np.ndarray]:
    """All scores of a method that does not learn: ``regulators`` and ``matrix``."""
    scores = entry.run(task, n_models=n_models, **params)
    return {"regulators": scores.regulators, "matrix": scores.matrix}


def run_and_judge(
    entry: Method, task: GRNTask, params: Mapping[str, Any], n_models: int, split: EdgeSplit
) -> dict[str, Any]:
    """Run a method that learns, and judge it on the test part of the split that the task was made with.

    Returns
    -------
    ``fit_seconds`` and ``cpu_seconds`` of the method alone, and ``judged``, a list with what :func:`judge` returns.
    """
    started = time.perf_counter(), time.process_time()
    scores = entry.run(task, n_models=n_models, **params)
    took = time.perf_counter() - started[0], time.process_time() - started[1]
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # the metrics tell, in a table of many
        calibration, fitted_on = calibrate(scores, task)
    judged = judge(scores, split, calibration if fitted_on == "validation" else None)
    return {"fit_seconds": took[0], "cpu_seconds": took[1], "judged": [judged]}


def judge(
    scores: GRNScores, split: EdgeSplit, calibration: PlattScaling | None = None
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Metrics of scores on the test part of a split, and the arrays that they were computed of.

    The arrays are ``labels``, ``scores``, ``regulators``, ``targets`` and, with a calibration, ``probability``.
    """
    pairs, labels = split.test.pairs, split.test.labels
    predictions = {
        "labels": labels,
        "scores": scores.at(pairs),
        "regulators": pairs[:, 0].astype(np.int32),
        "targets": pairs[:, 1].astype(np.int32),
    }
    if calibration is not None:
        predictions["probability"] = calibration(predictions["scores"])
    metrics = edge_metrics(
        labels, predictions["scores"], pairs[:, 0], probability=predictions.get("probability"), top_k=(100,)
    )
    return metrics, predictions
