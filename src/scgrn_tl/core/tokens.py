"""From expression to the tokens scBERT reads (model.md §1; Yang et al. 2022)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from .errors import ArgumentError

if TYPE_CHECKING:
    from .matrix import ExpressionSummary

__all__ = ["MASK_TOKEN", "N_BINS", "N_TOKENS", "Normalize", "needs_normalization", "tokenize"]

LOGGER = logging.getLogger(__name__)

N_BINS = 6
"""Expression bins 0…5."""
MASK_TOKEN = 6
N_TOKENS = 7

Normalize = Literal["auto"] | bool


def needs_normalization(normalize: Normalize, summary: ExpressionSummary) -> bool:
    """Whether values are counts to be normalised.

    ``normalize="auto"`` looks at the ``summary`` of the data: whole numbers are counts; anything else is taken as it
    is, and the log says so. ``True`` and ``False`` are taken as they are.
    """
    if normalize not in (True, False, "auto"):
        msg = f"normalize is one of {get_args(get_args(Normalize)[0])[0]!r}, True or False; not {normalize!r}."
        raise ArgumentError(msg)
    if normalize != "auto":
        return bool(normalize)
    if summary.is_counts:
        LOGGER.info("Whole-number expression: taken as counts and normalised to log2(1 + 10⁴·count/total).")
        return True
    LOGGER.info(
        "Expression is not whole numbers (largest value %.3g): taken as log-normalised already. "
        "Pass normalize=True if these are counts.",
        summary.maximum,
    )
    return False


def tokenize(block: np.ndarray, totals: np.ndarray | None = None) -> np.ndarray:
    """Bin expression as scBERT does: ``clip(floor(x), 0, 5)``, with ``x = log2(1 + 10⁴·count/total)`` for counts.

    Parameters
    ----------
    block
        ``(B, T)``, counts if ``totals`` is given, else log2-normalised values.
    totals
        ``(B,)``, each cell's sum over **all** its genes, also those outside the vocabulary. A cell without counts gets
        zeros.

    Returns
    -------
    ``int64 (B, T)``, tokens 0…5.
    """
    values = np.asarray(block, dtype=np.float64)
    if totals is not None:
        scale = np.divide(1e4, totals, out=np.zeros(len(values)), where=np.asarray(totals) > 0)
        values = np.log2(1 + values * scale[:, None])
    return np.clip(np.floor(values), 0, N_BINS - 1).astype(np.int64)
