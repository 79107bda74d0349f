"""How a fit went, epoch by epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scgrn_tl.core import MissingKeyError, open_anndata
from scgrn_tl.core.argument_types import typed_arguments
from scgrn_tl.get._slots import read_record

from ._palette import BLACK, BLUE, GREEN, GREY, PURPLE, VERMILLION
from ._quiet_axes import COLUMN, DOTS, SMALL, quiet

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from matplotlib.axes import Axes
    from mudata import MuData

__all__ = ["training_history"]

_COLORS = (BLUE, VERMILLION, GREEN, PURPLE, BLACK, GREY)
_DASHES = ("solid", (0, (5, 1.5)), (0, (1, 1)), (0, (4, 1, 1, 1)))


@typed_arguments
def training_history(
    adata: AnnData | MuData, *, key: str = "grn", ax: Axes | None = None, modality: str = "rna"
) -> Axes:
    """Draw what a fit recorded per epoch: losses on the left axis, validation measures on the right.

    Where the record tells which epoch was kept (``best_epoch``; one for each model of an ensemble), a dotted line is
    there.

    Parameters
    ----------
    adata
        Annotated data with ``uns[key]["history"]`` and, where the epoch kept is known, ``uns[key]["best_epoch"]``; or
        a MuData whose ``modality`` has them.
    key
        Where the network is stored.
    ax
        Where to draw; a new figure of one column's width if ``None``.
    modality
        Which modality to read if ``adata`` is a MuData.

    Returns
    -------
    The axes of the losses. Measures, whose names have no ``loss`` in them, are on a twin of it if there are losses too;
    the legend then says which axis a curve belongs to. A curve that is longer than another by one starts at epoch 0,
    before any training. Lines at the epochs kept have the gid ``"best_epoch"``.

    Raises
    ------
    ArgumentError
        If an argument is of another kind than the signature says.
    MissingKeyError
        If no history is stored under ``key``, as for methods that do not train.
    """
    import matplotlib.pyplot as plt
    from matplotlib.ticker import MaxNLocator

    record = read_record(open_anndata(adata, modality=modality), key)
    stored = record.get("history", {}) if hasattr(record, "get") else {}
    curves = {str(name): np.asarray(values, dtype=float) for name, values in stored.items() if name != "best_epoch"}
    curves = {name: values for name, values in curves.items() if values.ndim == 1 and np.isfinite(values).any()}
    if not curves:
        msg = f"Did not find a record in .uns[{key!r}]['history']. Run `sg.tl.fit_grn` with a method that trains."
        raise MissingKeyError(msg)
    if ax is None:
        _, ax = plt.subplots(figsize=(COLUMN, 2.4), layout="constrained")
    losses = [name for name in curves if "loss" in name]
    measures = [name for name in curves if "loss" not in name]
    n_epochs = min(map(len, curves.values()))
    other = ax.twinx() if losses and measures else ax
    lines = []
    for number, name in enumerate([*losses, *measures]):
        values = curves[name]
        where = ax if name in losses else other
        side = "" if other is ax else " (left)" if name in losses else " (right)"
        lines += where.plot(
            np.arange(len(values)) + 1 - (len(values) - n_epochs),
            values,
            color=_COLORS[number % len(_COLORS)],
            linestyle=_DASHES[number % len(_DASHES)],
            linewidth=1.2,
            label=name.replace("_", " ") + side,
        )
    kept = _epochs_kept(record)
    for number, epoch in enumerate(kept):
        label = f"epoch kept: {epoch}" if len(kept) == 1 else "epochs kept"
        line = ax.axvline(epoch, color=GREY, ls=DOTS, lw=0.9, zorder=1, gid="best_epoch", label=label)
        lines += [line] if number == 0 else []
    ax.set_xlabel("epoch")
    ax.set_ylabel("loss" if losses else "value")
    quiet(ax)
    if other is not ax:
        other.set_ylabel("measure")
        quiet(other)
        other.spines["left"].set_visible(False)
        other.spines["right"].set_visible(True)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(
        handles=lines,
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=2,
        frameon=False,
        fontsize=SMALL,
        columnspacing=1.2,
        labelspacing=0.35,
    )
    return ax


def _epochs_kept(record: Mapping[str, Any]) -> list[int]:
    """The epoch whose weights are used, of each model; none where no record tells."""
    found = record.get("best_epoch", record.get("history", {}).get("best_epoch"))
    return [] if found is None else np.unique(np.asarray(found, dtype=float).ravel()).astype(int).tolist()
