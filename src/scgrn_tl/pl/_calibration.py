"""Are predicted probabilities frequencies? A reliability diagram."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scgrn_tl.core import ArgumentError, open_anndata
from scgrn_tl.core.argument_types import typed_arguments
from scgrn_tl.core.metrics import edge_metrics
from scgrn_tl.core.user_warning import warn_user
from scgrn_tl.get._slots import read_network

from ._pair_scores import labeled_part, stored_scores
from ._palette import BLUE, GREY
from ._quiet_axes import COLUMN, DOTS, SMALL, quiet

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from mudata import MuData

    from scgrn_tl.core import EdgeSplit

__all__ = ["calibration"]


@typed_arguments
def calibration(
    adata: AnnData | MuData,
    split: EdgeSplit,
    *,
    key: str = "grn",
    part: str = "test",
    n_bins: int = 10,
    ax: Axes | None = None,
    modality: str = "rna",
) -> Axes:
    """Draw how often pairs of a given predicted probability are edges.

    One marker a bin of equal width: the mean predicted probability of its pairs, and the share of edges among them,
    with Wilson's 95 % interval (1927). The interval takes pairs as independent, which those of one regulator are not:
    it is rather too short. On the dotted diagonal probabilities are frequencies. Below, how many pairs each bin has, on
    a logarithmic axis. In the corner the expected calibration error over these very bins, and the Brier score.

    Parameters
    ----------
    adata
        Annotated data with ``varp[key]``, or a MuData whose ``modality`` has it.
    split
        The split whose pairs are judged. Calibrated on validation pairs, as by :func:`scgrn_tl.tl.fit_grn`, a network
        looks better there than on test pairs.
    key
        Where the network is stored.
    part
        Which part of the split: ``"test"``, ``"validation"`` or ``"train"``.
    n_bins
        Bins of equal width on [0, 1], as in :func:`scgrn_tl.bm.expected_calibration_error`.
    ax
        Where to draw; a new figure of one column's width if ``None``.
    modality
        Which modality to read if ``adata`` is a MuData.

    Returns
    -------
    The axes of the diagram; those of the histogram are ``ax.child_axes[0]``. Pairs without a stored value, left out of
    a large network by ``max_edges``, are not drawn and not counted; the log says how many there are.

    Raises
    ------
    MissingKeyError
        If there is no such network.
    ArgumentError
        If it holds scores that are no probabilities; if ``n_bins`` or ``part`` cannot be used, the part has no pairs,
        or a regulator of the split was not scored.
    SplitError
        If the split is over other genes.
    """
    import matplotlib.pyplot as plt

    if n_bins < 1:
        msg = f"n_bins is a whole number of at least 1, not {n_bins!r}."
        raise ArgumentError(msg)
    adata = open_anndata(adata, modality=modality)
    pairs = labeled_part(split, part, adata)
    _check_probabilities(adata, key)
    scored = stored_scores(adata, key, pairs)
    if not scored.is_stored.all():
        warn_user(
            f"{int((~scored.is_stored).sum()):,} of {len(scored.labels):,} pairs have no value stored in "
            f".varp[{key!r}] (`max_edges`): they are left out."
        )
    if not scored.is_stored.any():
        msg = (
            f"None of the {part} pairs has a value stored in .varp[{key!r}]: there is nothing to draw. "
            "Fit again with a higher max_edges=."
        )
        raise ArgumentError(msg)
    labels, probability = scored.labels[scored.is_stored], scored.scores[scored.is_stored]
    metrics = edge_metrics(labels, probability, probability=probability, n_bins=int(n_bins))

    if ax is None:
        _, ax = plt.subplots(figsize=(COLUMN, 3.5), layout="constrained")
    _draw_reliability(ax, labels, probability, int(n_bins))
    ax.text(
        0.03,
        0.97,
        f"ECE {metrics['ece']:.3f}\nBrier {metrics['brier']:.3f}",
        transform=ax.transAxes,
        va="top",
        fontsize=SMALL,
        linespacing=1.4,
    )
    _draw_histogram(ax, probability, int(n_bins))
    return ax


def _check_probabilities(adata: AnnData, key: str) -> None:
    network = read_network(adata, key)
    if network.holds_probabilities:
        return
    values = network.matrix.data
    span = f" from {values.min():.3g} to {values.max():.3g}" if values.size else ""
    msg = (
        f".varp[{key!r}] holds scores{span}, not calibrated probabilities. `sg.tl.fit_grn` with a supervised method "
        "calibrates; the ranking of scores is drawn by `sg.pl.roc_pr`."
    )
    raise ArgumentError(msg)


def _draw_reliability(ax: Axes, labels: np.ndarray, probability: np.ndarray, n_bins: int) -> None:
    from scipy.stats import binomtest

    quiet(ax)
    ax.plot([0, 1], [0, 1], color=GREY, ls=DOTS, lw=0.8, zorder=1, gid="diagonal")
    bins = _bin_of(probability, n_bins)
    predicted, observed, below, above = [], [], [], []
    for number in np.unique(bins):
        inside = bins == number
        n_edges, n_pairs = int(labels[inside].sum()), int(inside.sum())
        interval = binomtest(n_edges, n_pairs).proportion_ci(0.95, method="wilson")
        share = n_edges / n_pairs
        predicted.append(float(probability[inside].mean()))
        observed.append(share)
        # The bounds hold the share but for rounding at 0 and 1.
        below.append(max(share - interval.low, 0.0))
        above.append(max(interval.high - share, 0.0))
    ax.errorbar(
        predicted,
        observed,
        yerr=[below, above],
        fmt="o-",
        color=BLUE,
        ms=4.2,
        lw=0.6,
        elinewidth=0.9,
        capsize=0,
        mec="white",
        mew=0.4,
        zorder=3,
    )
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), ylabel="share of edges")
    ax.tick_params(axis="x", labelbottom=False)


def _draw_histogram(ax: Axes, probability: np.ndarray, n_bins: int) -> None:
    from matplotlib.transforms import ScaledTranslation, blended_transform_factory

    # As wide as the axes, but of a height in inches, so that what is below them does not grow with them.
    inches = ax.figure.dpi_scale_trans + ScaledTranslation(0, 0, ax.transAxes)  # type: ignore[arg-type]  # any will do
    below = ax.inset_axes((0.0, -0.62, 1.0, 0.5), transform=blended_transform_factory(ax.transAxes, inches))
    quiet(below)
    counts = np.bincount(_bin_of(probability, n_bins), minlength=n_bins)
    edges = np.linspace(0, 1, n_bins + 1)
    below.bar(
        edges[:-1], counts, width=1 / n_bins, align="edge", color=GREY, alpha=0.7, edgecolor="white", linewidth=0.4
    )
    below.set_yscale("log")
    below.set(xlim=(-0.02, 1.02), ylim=(0.7, 2.5 * counts.max()), xlabel="predicted probability", ylabel="pairs")


def _bin_of(probability: np.ndarray, n_bins: int) -> np.ndarray:
    """The bins of the expected calibration error: each holds its left edge, the last one its right edge too."""
    return np.minimum((probability * n_bins).astype(np.int64), n_bins - 1)
