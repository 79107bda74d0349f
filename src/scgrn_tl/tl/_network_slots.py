"""A network on its way into an AnnData: sparse matrices of the pairs worth keeping."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from scgrn_tl.core import ArgumentError

from ._slots import Slots

if TYPE_CHECKING:
    from collections.abc import Callable

    from scgrn_tl.core import GRNScores

__all__ = ["check_max_edges", "network_slots"]

LOGGER = logging.getLogger(__name__)

_BESIDE = ("specificity", "std")


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
    if kept.sum() > max_edges:
        ranked = np.where(kept, scores.matrix, -np.inf).ravel()
        best = np.argpartition(ranked, -max_edges)[-max_edges:]
        LOGGER.warning(
            "Of %s scored pairs the %s likeliest are stored (`max_edges`).", f"{kept.sum():,}", f"{max_edges:,}"
        )
        kept[...] = False
        kept.flat[best] = True
    row, column = np.nonzero(kept)

    def network(values: np.ndarray) -> sparse.csr_matrix:
        regulator = scores.regulators[row]
        return sparse.csr_matrix((values[kept].astype(np.float32), (regulator, column)), shape=(n_genes, n_genes))

    # An earlier run under this key may have left slots that this one does not write.
    slots = Slots(dropped={("varp", f"{key}_{name}") for name in _BESIDE})
    slots.varp[key] = network(scores.matrix if value is None else value(scores.matrix))
    if scores.hub is not None:
        slots.varp[f"{key}_specificity"] = network(slope * (scores.matrix - scores.hub))
    if scores.std is not None:
        slots.varp[f"{key}_std"] = network(slope * scores.std)
    is_regulator = np.zeros(n_genes, dtype=bool)
    is_regulator[scores.regulators] = True
    slots.var[f"{key}_is_tf"] = is_regulator
    return slots
