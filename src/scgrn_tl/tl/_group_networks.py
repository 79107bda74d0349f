"""A network of each group of cells, drawn towards that of all cells as far as its own cells are few."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scgrn_tl.core import ArgumentError, read_embedding
from scgrn_tl.core.gene_embedding import embedding_keys, join_embeddings
from scgrn_tl.core.slots import Slots, run_record
from scgrn_tl.core.user_warning import warn_user

from ._cell_groups import CellGroups, rename_advice
from ._fitted_embedding import data_record
from ._network_slots import network_slots

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from anndata import AnnData

    from scgrn_tl.core import GRNScores, GRNTask
    from scgrn_tl.core.calibration import PlattScaling

__all__ = ["FittedNetwork", "add_group_networks", "check_groups", "stale_groups", "warn_of_small_groups"]

LOGGER = logging.getLogger(__name__)

MIN_CELLS = 10
"""A group of fewer gets the network of all cells."""

_RESERVED = ("attention", "is_tf", "mean", "scbert", "sign", "specificity", "std")
"""What stands behind a key already: a group of that name would take its slot."""

_SHARED = ("values", "directed", "calibration", "prior", "prior_report", "prior_sources", "prior_sha256")
"""Of the record of all cells, what holds for the groups too."""


@dataclass(frozen=True, eq=False)
class FittedNetwork:
    """The fit to all cells, which the fits to groups follow.

    Attributes
    ----------
    task, scores, calibration
        What the method was given, what it gave back, and how that becomes a probability.
    run
        The method with its parameters: task → scores.
    metrics
        Scores → table of metrics, or ``None``.
    """

    task: GRNTask
    scores: GRNScores
    calibration: PlattScaling
    run: Callable[[GRNTask], GRNScores]
    metrics: Callable[[GRNScores], pd.DataFrame | None]


def check_groups(adata: AnnData, groupby: str | None, pooling: float, *, key: str) -> CellGroups | None:
    """The groups of ``obs[groupby]``; ``None`` without ``groupby``.

    Raises
    ------
    MissingKeyError
        If there is no such column.
    ArgumentError
        If ``pooling`` is not a number of at least 0, or a group has a name that would take the slot of something else.
    """
    if pooling < 0:
        msg = f"group_pooling is a number of cells of at least 0, `float('inf')` among them, not {pooling!r}."
        raise ArgumentError(msg, page="groups")
    if groupby is None:
        return None
    groups = CellGroups.from_obs(adata, groupby, "groupby")
    taken = {*_RESERVED, *(f"{name}_{suffix}" for name in groups.names for suffix in _RESERVED)}
    if strange := sorted(taken.intersection(groups.names)):
        msg = (
            f"A group of obs[{groupby!r}] (groupby=) is called {strange[0]!r}, and its network would go where another "
            f"result is kept, such as {f'{key}_{strange[0]}'!r}. Rename it: "
            f"{rename_advice(groupby, groups.shown(strange[0]))}."
        )
        raise ArgumentError(msg, page="groups")
    return groups


def warn_of_small_groups(groups: CellGroups, groupby: str) -> None:
    """Say which groups have too few cells for a network of their own."""
    sizes = zip(groups.labels, np.bincount(groups.codes[groups.codes >= 0]).tolist(), strict=True)
    if small := [f"{label!r} ({size})" for label, size in sizes if size < MIN_CELLS]:
        warn_user(
            f"{len(small)} of the {len(groups.names)} groups of obs[{groupby!r}] have fewer than {MIN_CELLS} cells and "
            f"get the network of all cells: {', '.join(small[:5])}{', …' if len(small) > 5 else ''}. "
            "Merge such groups, or leave their cells out.",
            page="groups",
        )


def stale_groups(adata: AnnData, key: str) -> set[tuple[str, str]]:
    """``(slot, key)`` of every network of a group that an earlier run under ``key`` has left."""
    record = adata.uns.get(key)
    names = record.get("groups", ()) if hasattr(record, "get") else ()
    stale = set()
    for name in names:
        own = f"{key}_{name}"
        stale |= {("varp", own)} | {("varp", f"{own}_{beside}") for beside in ("specificity", "std", "attention")}
        stale |= {("var", f"{own}_is_tf"), ("uns", own)}
    return stale


def add_group_networks(
    slots: Slots,
    adata: AnnData,
    groups: CellGroups,
    fitted: FittedNetwork,
    *,
    key: str,
    reps: Mapping[str, tuple[str, ...]],
) -> None:
    """Fit a network to each group's cells, pool it with that of all cells, and add it to ``slots``.

    Pooled are scores, and these are calibrated as those of all cells are, so that numbers compare between groups.

    Parameters
    ----------
    slots
        Results of the fit to all cells, under ``key``; those of the groups go beside them, with records like theirs.
    adata
        Where group embeddings are looked up.
    groups
        Which cells are in which group.
    fitted
        The fit to all cells.
    key
        Of the network of all cells.
    reps
        Group name → keys of its gene embeddings, if the method reads any.
    """
    record = slots.uns[key]
    params = record["params"]
    rows = []
    for name, members in groups.masks().items():
        n_cells = int(members.sum())
        label = groups.shown(name)
        LOGGER.info("Network of %r, %s cells.", label, f"{n_cells:,}")
        own_reps = reps.get(name, ())
        task = _group_task(adata, fitted.task, members, own_reps)
        own, weight = _own_fit(fitted, task, n_cells, params["group_pooling"])
        pooled = _pool(own, fitted.scores, weight)
        metrics = fitted.metrics(pooled)
        # a group without a fit of its own has the network of all cells, and its embedding
        used = own_reps if weight else embedding_keys(params.get("use_rep"))
        scaling = fitted.calibration
        added = network_slots(
            pooled,
            n_genes=task.n_genes,
            key=f"{key}_{name}",
            max_edges=params["max_edges"],
            value=scaling,
            slope=scaling.slope,
        )
        added.uns[f"{key}_{name}"] = run_record(
            {
                **params,
                "group": name,
                "n_cells": n_cells,
                "own_weight": weight,
                "use_rep": used[0] if len(used) == 1 else used or None,
            },
            **{entry: record[entry] for entry in _SHARED if entry in record},
            metrics=metrics,
            data=data_record(adata, used),
            history=dict(own.history),
        )
        for slot, entry, value in added.items():
            getattr(slots, slot)[entry] = value
        slots.dropped |= added.dropped
        row = {"group": name, "label": label, "n_cells": n_cells, "own_weight": weight, "use_rep": ", ".join(used)}
        rows.append(row | _validation(metrics))
    record["groups"] = np.array(groups.names, dtype=object)
    record["group_fits"] = pd.DataFrame(rows)


def _group_task(adata: AnnData, task: GRNTask, members: np.ndarray, reps: tuple[str, ...]) -> GRNTask:
    """The task with the group's cells and embeddings."""
    task = replace(task, expression=task.expression[:, np.flatnonzero(members)])
    if not reps:
        return task
    joined = join_embeddings([read_embedding(adata, key) for key in reps])
    return replace(task, embedding=joined.values, embedding_widths=joined.widths)


def _own_fit(fitted: FittedNetwork, task: GRNTask, n_cells: int, pooling: float) -> tuple[GRNScores, float]:
    """Scores of the group's own cells, and their weight against those of all cells."""
    if n_cells < MIN_CELLS:
        return fitted.scores, 0.0
    weight = n_cells / (n_cells + float(pooling))
    return (fitted.run(task), weight) if weight > 0 else (fitted.scores, 0.0)


def _pool(own: GRNScores, everyone: GRNScores, weight: float) -> GRNScores:
    """Weighted mean of scores; log-odds are linear in them."""

    def mean(one: np.ndarray | None, other: np.ndarray | None) -> np.ndarray | None:
        if one is None or other is None or weight in {0.0, 1.0}:
            return one if weight == 1.0 else other
        return other + weight * (one - other)

    matrix = mean(own.matrix, everyone.matrix)
    assert matrix is not None  # a method scores
    return replace(
        everyone, matrix=matrix, hub=mean(own.hub, everyone.hub), std=None, attention=own.attention, model=None
    )


def _validation(metrics: pd.DataFrame | None) -> dict[str, float]:
    """AUROC and AUPRC on the validation pairs, if there are any."""
    if metrics is None or not (rows := metrics[metrics["part"] == "validation"]).size:
        return {}
    return {name: float(rows.iloc[0][name]) for name in ("auroc", "auprc")}
