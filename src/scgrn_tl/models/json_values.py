"""Values that models of scvi-tools keep, as JSON and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from scgrn_tl.core.errors import ArgumentError

__all__ = ["from_json", "to_json"]

KIND = "__kind__"


def to_json(value: Any, name: str) -> Any:
    """``value`` in what JSON has, and what it was beside it where JSON has no such thing. Tuples become lists.

    Parameters
    ----------
    name
        What the value is called, for the error.

    Raises
    ------
    ArgumentError
        If it holds anything that cannot be read back.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return to_json(value.item(), name)
    if isinstance(value, pd.Interval):
        ends = to_json(value.left, name), to_json(value.right, name)
        return {KIND: "interval", "ends": list(ends), "closed": value.closed}
    if isinstance(value, np.ndarray):
        return {KIND: "array", "dtype": str(value.dtype), "values": to_json(value.tolist(), name)}
    if isinstance(value, pd.DataFrame):
        columns = {str(column): to_json(value[column].tolist(), name) for column in value.columns}
        index = {"index": to_json(value.index.tolist(), name), "index_name": to_json(value.index.name, name)}
        return {KIND: "frame", "columns": columns} | index
    if isinstance(value, Mapping):
        if all(isinstance(key, str) and key != KIND for key in value):
            return {key: to_json(inner, name) for key, inner in value.items()}
        items = [[to_json(key, name), to_json(inner, name)] for key, inner in value.items()]
        return {KIND: "mapping", "items": items}
    if isinstance(value, (list, tuple)):
        return [to_json(inner, name) for inner in value]
    msg = f"{name} holds a {type(value).__name__}, which cannot be saved with the model: make it text or numbers."
    raise ArgumentError(msg)


def from_json(value: Any) -> Any:
    """What :func:`to_json` was given."""
    if isinstance(value, list):
        return [from_json(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    kind = value.get(KIND)
    if kind == "interval":
        left, right = from_json(value["ends"])
        return pd.Interval(left, right, closed=value["closed"])
    if kind == "array":
        values = from_json(value["values"])
        if value["dtype"] != "object":
            return np.array(values, dtype=value["dtype"])
        objects = np.empty(len(values), dtype=object)
        objects[:] = values
        return objects
    if kind == "frame":
        index = pd.Index(from_json(value["index"]), name=value["index_name"])
        return pd.DataFrame({name: from_json(inner) for name, inner in value["columns"].items()}, index=index)
    if kind == "mapping":
        return {_as_key(from_json(key)): from_json(inner) for key, inner in value["items"]}
    return {key: from_json(inner) for key, inner in value.items()}


def _as_key(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
