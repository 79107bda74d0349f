"""From expression to the tokens scBERT reads (model.md §1; Yang et al. 2022)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np

from .argument_types import typed_arguments
from .errors import ArgumentError
from .user_warning import warn_user

if TYPE_CHECKING:
    from anndata import AnnData

    from .matrix import ExpressionSummary

__all__ = [
    "MASK_TOKEN",
    "N_BINS",
    "N_TOKENS",
    "Normalize",
    "log_base_factor",
    "log_normalize",
    "needs_normalization",
    "tokenize",
]

LOGGER = logging.getLogger(__name__)

N_BINS = 6
"""Expression bins 0…5."""
LARGEST_LOG = 30
"""No count has a larger natural or binary logarithm."""
MASK_TOKEN = 6
N_TOKENS = 7

Normalize = Literal["auto"] | bool


@typed_arguments
def needs_normalization(normalize: Normalize, summary: ExpressionSummary) -> bool:
    """Whether values are counts to be normalised.

    ``normalize="auto"`` looks at the ``summary`` of the data: whole numbers are counts; anything else is taken as it
    is, and the log says so. ``True`` and ``False`` are taken as they are.

    Raises
    ------
    ArgumentError
        If ``normalize`` is neither ``"auto"`` nor a bool.
    """
    if normalize != "auto":
        return bool(normalize)
    if summary.is_counts:
        LOGGER.info("Whole-number expression: taken as counts and normalised to log2(1 + 10⁴·count/total).")
        return True
    if summary.maximum > LARGEST_LOG:
        warn_user(
            f"Expression is not whole numbers, and taken as log-normalised; but its largest value, "
            f"{summary.maximum:.3g}, is more than logarithms of counts reach. Run `sc.pp.log1p` first, or hand over "
            "counts.",
            page="getting-started#what-the-file-has-to-hold",
        )
    else:
        LOGGER.info(
            "Expression is not whole numbers (largest value %.3g): taken as log-normalised already.", summary.maximum
        )
    return False


@typed_arguments
def log_base_factor(adata: AnnData) -> float:
    """What turns log values of ``adata``, in ``X`` or a layer, into logarithms to base 2 by multiplication.

    :func:`scanpy.pp.log1p` notes in ``uns["log1p"]`` that it made logarithms, and to which base (natural ones unless
    told otherwise); they may have gone from ``X`` to a layer since, before :func:`scanpy.pp.scale`. Without such a note
    values are taken to be to base 2, as BEELINE's and scBERT's data are.

    Raises
    ------
    ArgumentError
        If ``adata`` is no AnnData.
    """
    note = adata.uns.get("log1p")
    if not isinstance(note, Mapping):
        return 1.0
    base = note.get("base")
    factor = float(np.log(np.e if base is None else float(base)) / np.log(2))
    LOGGER.info('uns["log1p"] says logarithms to base %s: multiplied by %.3f for base 2.', base or "e", factor)
    return factor


def log_normalize(counts: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """``log2(1 + 10⁴·count/total)`` of counts ``(B, T)``, in their own precision; zeros for a cell without counts."""
    scale = np.divide(1e4, totals, out=np.zeros(len(counts)), where=np.asarray(totals) > 0)
    normalized: np.ndarray = counts * scale[:, None].astype(counts.dtype)
    normalized += 1
    return np.log2(normalized)


@typed_arguments
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

    Raises
    ------
    ArgumentError
        If ``block`` or ``totals`` is no numpy array, or they are not of the same cells.
    """
    values = np.asarray(block, dtype=np.float64)
    if totals is not None:
        if totals.shape != values.shape[:1]:
            msg = f"totals has a sum per cell, ({len(values)},) for this block; got {totals.shape}."
            raise ArgumentError(msg)
        values = log_normalize(values, totals)
    bins = np.floor(values)
    return np.clip(bins, 0, N_BINS - 1, out=bins).astype(np.int64)
