"""A network on its way into an AnnData: sparse matrices of the pairs worth keeping."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from scgrn_tl.core import ArgumentError
from scgrn_tl.core.slots import Slots

if TYPE_CHECKING:
    from collections.abc import Callable

    from scgrn_tl.core import GRNScores

__all__ = ["check_max_edges", "network_slots"]

LOGGER = logging.getLogger(__name__)

_BESIDE = ("specificity", "std", "attention", "stability", "low", "high", "n_cells")


def check_max_edges(max_edges: int) -> None:
    """Raise :class:`ArgumentError` unless ``max_edges`` is a whole number above 0."""
    if not isinstance(max_edges, (int, np.integer)) or max_edges < 1:
        msg = f"max_edges is a whole number above 0, not {max_edges!r}."
        raise ArgumentError(msg)


def network_slots(
    scores: GRNScores,
    *,
    n_genes: int,
    key: str,
    max_edges: int,
    value: Callable[[np.ndarray], np.ndarray] | None = None,
    slope: float = 1.0,
) -> Slots:
    """``varp`` and ``var`` of a network: every scored pair but self pairs, or the ``max_edges`` of the highest score.

    Parameters
    ----------
    scores
        What a method returned.
    n_genes, key
        G, and under which key the network goes.
    max_edges
        Most pairs to keep.
    value
        What is stored of a score, such as its probability; the score itself if ``None``, and a score of 0 not at all.
    slope
        Factor of what is stored beside it: specificity and spread.
    """
    n_regulators = len(scores.regulators)
    kept = np.ones(scores.matrix.shape, dtype=bool) if value is not None else scores.matrix != 0
    kept[np.arange(n_regulators), scores.regulators] = False
    if (n_scored := int(kept.sum())) > max_edges:
        _keep_highest(scores.matrix, kept, max_edges)
        LOGGER.warning(
            "Of %s scored pairs the %s likeliest are stored (`max_edges`).", f"{n_scored:,}", f"{max_edges:,}"
        )
    n_kept = np.zeros(n_genes, dtype=np.int64)
    n_kept[scores.regulators] = kept.sum(axis=1)
    starts = np.concatenate([[0], n_kept.cumsum()])
    columns = np.nonzero(kept)[1]

    def network(values: np.ndarray) -> sparse.csr_matrix:
        return sparse.csr_matrix((values.astype(np.float32, copy=False), columns, starts), shape=(n_genes, n_genes))

    # An earlier run under this key may have left slots that this one does not write.
    slots = Slots(dropped={("varp", f"{key}_{name}") for name in _BESIDE})
    score = scores.matrix[kept]
    slots.varp[key] = network(score if value is None else value(score))
    if scores.hub is not None:
        slots.varp[f"{key}_specificity"] = network(slope * (score - scores.hub[kept]))
    if scores.std is not None:
        slots.varp[f"{key}_std"] = network(slope * scores.std[kept])
    if scores.attention is not None:
        slots.varp[f"{key}_attention"] = sparse.csr_matrix(scores.attention, dtype=np.float32)
    is_regulator = np.zeros(n_genes, dtype=bool)
    is_regulator[scores.regulators] = True
    slots.var[f"{key}_is_tf"] = is_regulator
    return slots


def _keep_highest(matrix: np.ndarray, kept: np.ndarray, number: int) -> None:
    """Of the pairs ``kept (R, G)``, keep those of the highest score; among the lowest that tie, the first."""
    scores = matrix[kept]
    least = np.partition(scores, len(scores) - number)[len(scores) - number]
    tied = np.flatnonzero(scores == least)[number - int((scores > least).sum()) :]
    stays = scores >= least
    stays[tied] = False
    kept[kept] = stays
