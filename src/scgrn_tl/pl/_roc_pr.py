"""ROC and precision–recall curves, of a stored network or of the runs of a benchmark."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from scgrn_tl.core import ArgumentError, EdgeSplit, GRNTask, open_anndata
from scgrn_tl.core.argument_types import typed_arguments
from scgrn_tl.core.metrics import edge_metrics

from ._pair_scores import ScoredPairs, labeled_part, read_predictions, stored_scores
from ._palette import BLACK, BLUE, GREEN, GREY, PURPLE, SKY_BLUE, VERMILLION
from ._quiet_axes import COLUMN, DASHES, DOTS, SMALL, legend_below, quiet, warn_if_cut
from ._results import as_names, hub_floor_rows, read_results

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anndata import AnnData
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.typing import LineStyleType
    from mudata import MuData

    from scgrn_tl.core import LabeledPairs

__all__ = ["roc_pr"]

_COLORS = (BLUE, VERMILLION, GREEN, PURPLE, SKY_BLUE, BLACK)
_MOST_CURVES = 6
"""Curves that are told apart by their colours."""
_PANEL_HEIGHT = 1.75
"""Inches: two square panels beside each other in a column, and what is written below them."""
_LINES: tuple[LineStyleType, ...] = (
    "solid",
    (0, (9.0, 1.2)),
    (0, (6.0, 1.2, 1.0, 1.2)),
    (0, (3.0, 0.8)),
    (0, (9.0, 1.2, 1.0, 1.2, 1.0, 1.2)),
)
"""One fewer than colours: twelve curves have twelve pairs of colour and line, and six are told apart in print too."""


class _Curve(NamedTuple):
    """What one method, or the floor, is drawn from."""

    name: str
    pairs: ScoredPairs
    auroc: float
    auprc: float


@typed_arguments
def roc_pr(
    data: AnnData | MuData | pd.DataFrame,
    split: EdgeSplit | str | None = None,
    *,
    key: str | Iterable[str] = "grn",
    part: str = "test",
    dataset: str | None = None,
    methods: str | Iterable[str] | None = None,
    fold: int | None = None,
    run_seed: int | None = None,
    floor: str | None = "hub_floor",
    axes: Sequence[Axes] | np.ndarray | None = None,
    legend: bool = True,
    modality: str = "rna",
) -> np.ndarray:
    """Draw the ROC curve and, beside it, the precision–recall curve.

    Either of networks stored in an AnnData, on the pairs of an :class:`~scgrn_tl.core.EdgeSplit`; or of one run of each
    method in a table of :func:`scgrn_tl.bm.run`, from the predictions that it kept. The hub floor is dashed, the random
    level dotted: the diagonal, and the share of edges among the pairs. Precision is drawn in steps, so that the area
    under the curve is the average precision that the legend gives.

    Parameters
    ----------
    data
        Annotated data with ``varp[key]``, a MuData whose ``modality`` has it, or the results of a benchmark.
    split
        With an AnnData, the split whose pairs are judged. With a table, the kind of split (``"given"``, ``"tf"``, …),
        needed where the table holds several.
    key
        Where the network is stored, or several keys to compare. Not used with a table.
    part
        Which part of the split: ``"test"``, ``"validation"`` or ``"train"``. Not used with a table, which is of test
        pairs.
    dataset
        Which dataset of the table; needed where there are several. Not used with an AnnData, nor are the next three.
    methods
        Which methods of the table. If ``None``, the six with the highest AUROC in this run, floors and controls aside,
        of those that kept their predictions.
    fold, run_seed
        Which run of the table, by its columns ``fold`` and ``seed``; each is needed where there are several. A method
        that ran with one seed only is drawn with that one.
    floor
        With a table, the method drawn dashed, if it is there; ``None`` for none. With an AnnData, ``"hub_floor"``,
        which is made out of the split's training and validation pairs, or ``None``.
    axes
        Two axes, for ROC and for precision–recall; a new figure of one column's width if ``None``. The legend stands
        outside: make their figure with ``layout="constrained"``, or it may be cut.
    legend
        Draw the legend below, best AUROC first.
    modality
        Which modality to read if ``data`` is a MuData.

    Returns
    -------
    The two axes as ``object[2]``. Curves have the gid ``"curve:<name>"``, the lines of the random level ``"random"``.

    Raises
    ------
    MissingKeyError
        If there is no such network; if the table lacks a column, or a file of predictions is not there.
    ArgumentError
        If a name is unknown or has to be chosen; if a run failed; if the methods were not judged on the same pairs, or
        these are all of one class; if a regulator of the split was not scored.
    SplitError
        If the split is over other genes.

    Examples
    --------
    >>> sg.pl.roc_pr(adata, split)  # doctest: +SKIP
    >>> sg.pl.roc_pr(results, "given", dataset="hHEP500", fold=1, run_seed=0)  # doctest: +SKIP
    """
    import matplotlib.pyplot as plt

    if axes is not None and np.size(np.array(axes, dtype=object)) != 2:
        msg = f"axes are two, for ROC and for precision–recall; got {np.size(np.array(axes, dtype=object))}."
        raise ArgumentError(msg)
    if isinstance(data, pd.DataFrame):
        if isinstance(split, EdgeSplit):
            msg = "With a table, split= is the kind of split, such as 'given'; an EdgeSplit goes with an AnnData."
            raise ArgumentError(msg)
        curves, of_floor = _curves_of_table(
            data, split, dataset=dataset, methods=methods, fold=fold, run_seed=run_seed, floor=floor
        )
    else:
        if given := [
            name
            for name, value in {"dataset": dataset, "methods": methods, "fold": fold, "run_seed": run_seed}.items()
            if value is not None
        ]:
            msg = f"{', '.join(given)} choose a run of a table; networks of an AnnData are chosen by key=."
            raise ArgumentError(msg)
        curves, of_floor = _curves_of_networks(
            open_anndata(data, modality=modality), split, key=key, part=part, floor=floor
        )
    _check_same_pairs([*curves, *of_floor])

    figure = None
    if axes is None:
        figure, axes = plt.subplots(1, 2, figsize=(COLUMN, _PANEL_HEIGHT), layout="constrained")
    panels = np.array(axes, dtype=object).ravel()
    handles = _draw(panels, curves, of_floor)
    if legend:
        height = legend_below(panels.tolist(), handles, title="AUROC / AUPRC")
        if figure is not None:
            figure.set_size_inches(COLUMN, _PANEL_HEIGHT + height)
    if figure is None:
        warn_if_cut(panels.tolist())
    return panels


def _curves_of_networks(
    adata: AnnData, split: EdgeSplit | str | None, *, key: str | Iterable[str], part: str, floor: str | None
) -> tuple[list[_Curve], list[_Curve]]:
    if not isinstance(split, EdgeSplit):
        msg = f"With an AnnData, split= is an EdgeSplit, as of `sg.bm.split_edges`; got {split!r}."
        raise ArgumentError(msg)
    if floor not in (None, "hub_floor"):
        msg = f"With an AnnData, floor= is 'hub_floor' or None, not {floor!r}; other networks are drawn by key=."
        raise ArgumentError(msg)
    pairs = labeled_part(split, part, adata)
    keys = [key] if isinstance(key, str) else list(dict.fromkeys(key))
    if not keys:
        msg = "key is empty: there is nothing to draw. Name a network of .varp, or a list of them."
        raise ArgumentError(msg)
    curves = [_measured(name, stored_scores(adata, name, pairs)) for name in keys]
    _check_number(curves, "key")
    return curves, [_hub_floor(split, pairs, tuple(map(str, adata.var_names)))] if floor and len(split.train) else []


def _hub_floor(split: EdgeSplit, pairs: LabeledPairs, genes: tuple[str, ...]) -> _Curve:
    from scgrn_tl import methods

    # It reads nothing but the split, so the task needs no expression.
    task = GRNTask(np.zeros((len(genes), 1), np.float32), genes, split.regulators, split=split)
    scores = methods.get("hub_floor").run(task).at(pairs.pairs).astype(np.float64)
    return _measured("hub_floor", ScoredPairs(pairs.labels, scores, np.ones(len(scores), dtype=bool)))


def _curves_of_table(
    table: pd.DataFrame,
    split: str | None,
    *,
    dataset: str | None,
    methods: str | Iterable[str] | None,
    fold: int | None,
    run_seed: int | None,
    floor: str | None,
) -> tuple[list[_Curve], list[_Curve]]:
    rows = read_results(table, columns=["role", "auroc", "predictions"], split=split, datasets=dataset)
    for argument, value in {"dataset": dataset, "fold": fold, "run_seed": run_seed}.items():
        column = argument.removeprefix("run_")
        there = rows[column].unique().tolist()
        if value is None and len(there) > 1:
            msg = (
                f"Curves are of one run. Choose a {column} with {argument}=; there are: {', '.join(map(repr, there))}."
            )
            raise ArgumentError(msg)
        if value is not None and value not in there:
            msg = f"The table has no {column} {value!r}; there are: {', '.join(map(repr, there))}."
            raise ArgumentError(msg)
        chosen_run = rows[column] == (there[0] if value is None else value)
        if column == "seed":  # a method without chance may have run once, whichever seed is asked for
            chosen_run |= rows.groupby("method")["seed"].transform("nunique") == 1
        rows = rows[chosen_run]
    rows = rows.assign(predictions=rows["predictions"].astype(object).fillna("").astype(str))
    has_curve = (rows["predictions"] != "") & (rows["error"] == "")
    of_floor = hub_floor_rows(rows, floor)
    of_floor = of_floor[has_curve[of_floor.index]]
    if methods is None:
        usable = rows[(rows["role"] == "method") & has_curve]
        chosen = usable.sort_values("auroc", ascending=False, kind="stable")["method"].tolist()[:_MOST_CURVES]
        if not chosen:
            msg = "No method of this run kept its predictions: there is nothing to draw. Name floors by methods=."
            raise ArgumentError(msg)
    else:
        chosen = as_names(methods, "methods", rows["method"].unique().tolist())
    curves = [
        _curve_of_run(rows[rows["method"] == name].iloc[0]) for name in chosen if name not in set(of_floor["method"])
    ]
    _check_number(curves, "methods")
    return curves, [_curve_of_run(row) for _, row in of_floor.iterrows()]


def _curve_of_run(row: pd.Series) -> _Curve:
    run = f"{row['method']} on {row['dataset']}, split {row['split']}, fold {row['fold']}, seed {row['seed']}"
    if row["error"]:
        msg = f"{run} failed: {row['error']}. It has no curve; choose others with methods=."
        raise ArgumentError(msg)
    return _measured(str(row["method"]), read_predictions(row["predictions"], run))


def _measured(name: str, pairs: ScoredPairs) -> _Curve:
    if pairs.labels.all() or not pairs.labels.any():
        kind = "edges" if len(pairs.labels) and pairs.labels.all() else "non-edges"
        msg = (
            f"All {len(pairs.labels):,} pairs are {kind}: curves need both. "
            "Choose another `part=`, or a split with both."
        )
        raise ArgumentError(msg)
    metrics = edge_metrics(pairs.labels, pairs.scores)
    return _Curve(name, pairs, metrics["auroc"], metrics["auprc"])


def _check_number(curves: Sequence[_Curve], argument: str) -> None:
    if len(curves) > 2 * _MOST_CURVES:
        msg = f"{len(curves)} curves cannot be told apart; choose at most {2 * _MOST_CURVES} with {argument}=."
        raise ArgumentError(msg)


def _check_same_pairs(curves: Sequence[_Curve]) -> None:
    for curve in curves[1:]:
        if not np.array_equal(curve.pairs.labels, curves[0].pairs.labels):
            msg = (
                f"{curve.name!r} and {curves[0].name!r} were not judged on the same pairs (or not in the same order): "
                f"{int(curve.pairs.labels.sum()):,} edges of {len(curve.pairs.labels):,}, and "
                f"{int(curves[0].pairs.labels.sum()):,} of {len(curves[0].pairs.labels):,}. "
                "Draw each alone, or run all with one `split=`."
            )
            raise ArgumentError(msg)


def _draw(panels: np.ndarray, curves: list[_Curve], of_floor: list[_Curve]) -> list[Artist]:
    """Draw both panels; gives the handles of the legend."""
    from sklearn.metrics import precision_recall_curve, roc_curve

    roc, pr = panels
    handles: list[Artist] = []
    ranked = sorted(curves, key=lambda curve: -curve.auroc)
    for number, curve in enumerate([*ranked, *of_floor]):
        labels, scores = curve.pairs.labels, curve.pairs.scores
        false_rate, true_rate, _ = roc_curve(labels, scores)
        precision, recall, _ = precision_recall_curve(labels, scores, drop_intermediate=True)
        is_floor = number >= len(ranked)
        look = {
            "color": GREY if is_floor else _COLORS[number % len(_COLORS)],
            "ls": DASHES if is_floor else _LINES[number % len(_LINES)],
            "lw": 1.0,
            "zorder": 3.5 if is_floor else 3.0 - 0.01 * number,
            "gid": f"curve:{curve.name}",
            "label": f"{curve.name}  {curve.auroc:.3f} / {curve.auprc:.3f}",
        }
        handles += roc.plot(false_rate, true_rate, **look)
        pr.plot(recall, precision, drawstyle="steps-post", **look)
    prevalence = float(curves[0].pairs.labels.mean()) if curves else float(of_floor[0].pairs.labels.mean())
    level = {"color": GREY, "ls": DOTS, "lw": 0.8, "zorder": 1.5, "gid": "random"}
    handles += roc.plot([0, 1], [0, 1], **level, label=f"random level  0.500 / {prevalence:.3f}")
    pr.plot([0, 1], [prevalence, prevalence], **level)
    for ax, x, y in ((roc, "false positive rate", "true positive rate"), (pr, "recall", "precision")):
        quiet(ax)
        ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", xlabel=x, ylabel=y)
        ax.set_xticks([0, 0.5, 1], ["0", "0.5", "1"], fontsize=SMALL)
        ax.set_yticks([0, 0.5, 1], ["0", "0.5", "1"], fontsize=SMALL)
    return handles
