"""Edges that somebody names: a table, pairs, or one pair."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from scgrn_tl.core import ArgumentError

__all__ = ["pairs_of"]


def pairs_of(edges: Any) -> list[tuple[str, str]]:
    """``edges`` as pairs of names, each once.

    Parameters
    ----------
    edges
        A DataFrame ``source``, ``target``, an iterable of pairs, or one pair.

    Raises
    ------
    ArgumentError
        If it is anything else, or empty.
    """
    if isinstance(edges, pd.DataFrame):
        if missing := [name for name in ("source", "target") if name not in edges]:
            msg = f"edges has no column {missing[0]!r}; there are: {list(edges.columns)}."
            raise ArgumentError(msg)
        edges = list(zip(edges["source"], edges["target"], strict=True))
    if isinstance(edges, tuple) and len(edges) == 2 and all(isinstance(name, str) for name in edges):
        edges = [edges]
    if hasattr(edges, "__len__") and not len(edges):
        msg = "There are no edges: edges is empty. Give pairs (source, target), or None for those of the network."
        raise ArgumentError(msg)
    given = list(edges) if isinstance(edges, Iterable) and not isinstance(edges, (str, dict)) else []
    if not given or not all(not isinstance(pair, str) and isinstance(pair, Iterable) for pair in given):
        msg = f"edges is pairs (source, target) or a DataFrame with these columns, at least one; not {edges!r}."
        raise ArgumentError(msg)
    pairs = [tuple(map(str, pair)) for pair in given]
    if wrong := [pair for pair in pairs if len(pair) != 2]:
        msg = f"An edge is a pair (source, target), not {wrong[0]!r}."
        raise ArgumentError(msg)
    return list(dict.fromkeys(pairs))  # type: ignore[arg-type]
