"""Conditions of a simulation: networks in which some edges have left their regulator for another one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    import pandas as pd

    from ._kinetics import Kinetics

__all__ = ["changed_edges", "integrate_conditions", "rewire"]


def rewire(
    source: np.ndarray, target: np.ndarray, *, n_genes: int, n_tfs: int, share: float, rng: np.random.Generator
) -> np.ndarray:
    """Edges of another condition: a ``share`` of those into genes that are no TF get another regulator.

    Every TF that does not regulate the gene yet is as likely as any other to be the new regulator, and no two edges of
    a gene get the same one. In-degrees stay, and so does everything between TFs. Where a gene has more edges than
    there are other TFs, as many move as can.

    Parameters
    ----------
    source, target
        ``int64[E]``, gene indices; the TFs are the first ``n_tfs`` genes.
    n_genes, n_tfs
        How many there are.
    share
        Of the edges into other genes.
    rng
        Which edges, and where to.

    Returns
    -------
    ``int64[E]``, the regulator of each edge.
    """
    order = rng.permutation(np.flatnonzero(target >= n_tfs))
    n_moved = round(share * len(order))
    preference = rng.random((n_genes, n_tfs))
    preference[target, source] = np.inf  # last: who regulates the gene already
    n_free = n_tfs - np.bincount(target, minlength=n_genes)
    place = _place_in_group(target[order])
    movable = place < n_free[target[order]]
    moved, place = order[movable][:n_moved], place[movable][:n_moved]
    changed = source.copy()
    changed[moved] = np.argsort(preference, axis=1)[target[moved], place]
    return changed


def _place_in_group(labels: np.ndarray) -> np.ndarray:
    """How many elements of the same label stand before each one."""
    order = np.argsort(labels, kind="stable")
    ordered = labels[order]
    starts = np.searchsorted(ordered, ordered)
    place = np.empty(len(labels), dtype=np.int64)
    place[order] = np.arange(len(labels)) - starts
    return place


def integrate_conditions(
    kinetics: Kinetics,
    source: np.ndarray,
    target: np.ndarray,
    *,
    sources: list[np.ndarray],
    conditions: np.ndarray,
    states: np.ndarray,
    extrinsic: np.ndarray,
    noise: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Levels ``float32[G, N]`` of cells that each follow the network of their condition.

    Parameters
    ----------
    kinetics
        Of the network ``source``, ``target`` (``int64[E]``).
    sources
        The regulator of each edge, in every condition. An edge that has moved keeps its strength and sign.
    conditions
        ``int64[N]``, each cell's.
    states, extrinsic, noise, rng
        See :meth:`Kinetics.integrate`.
    """
    strength = np.asarray(kinetics.regulation[target, source]).ravel() if len(source) else np.empty(0)
    levels = np.empty(extrinsic.shape, dtype=np.float32)
    for condition, changed in enumerate(sources):
        cells = np.flatnonzero(conditions == condition)
        regulation = sparse.csr_matrix((strength, (target, changed)), shape=kinetics.regulation.shape)
        model = replace(kinetics, regulation=regulation)
        levels[:, cells] = model.integrate(states[cells], rng, noise=noise, extrinsic=extrinsic[:, cells])
    return levels


def changed_edges(truths: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Which edges each further condition has lost and gained, against the first.

    Parameters
    ----------
    truths
        Condition → its edges ``source, target, sign, …``, the first condition first; the same edge in the same row.

    Returns
    -------
    ``condition``, ``source``, ``target``, ``sign``, ``change`` (``"lost"`` or ``"gained"``).
    """
    import pandas as pd

    (_, first), *others = truths.items()
    parts = []
    for name, truth in others:
        differs = (truth["source"] != first["source"]).to_numpy()
        parts += [
            frame.loc[differs, ["source", "target", "sign"]].assign(condition=name, change=change)
            for frame, change in ((first, "lost"), (truth, "gained"))
        ]
    return pd.concat(parts, ignore_index=True)[["condition", "source", "target", "sign", "change"]]
