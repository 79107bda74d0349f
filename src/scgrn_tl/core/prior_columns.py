"""What the columns of a table of edges mean: regulator, target, weight and sign, by the names that tools give them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .errors import PriorError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["as_text", "edge_columns", "has_edge_columns", "is_sign_word", "regulator_and_sign", "weights_and_signs"]

# In each tuple the first match wins; compared in lower case.
_SOURCE_NAMES = ("source", "tf", "gene1", "regulator", "regulatorygene")
_TARGET_NAMES = ("target", "gene2", "gene", "targetgene")
_SIGN_NAMES = ("sign", "mor", "mode", "effect")
_WEIGHT_NAMES = ("weight", "score", "importance", "edgeweight")
# Columns of these names may hold anything; they are signs where some of their values are.
_PERHAPS_SIGN_NAMES = ("type", "regulation", "relation", "interaction")
_SIGN_WORDS = {
    "activation": 1, "activates": 1, "activator": 1, "activating": 1, "stimulation": 1, "positive": 1, "+": 1,
    "repression": -1, "represses": -1, "repressor": -1, "repressing": -1, "inhibition": -1, "inhibits": -1,
    "negative": -1, "-": -1,
}  # fmt: skip
_NO_SIGN_WORDS = {"unknown", "?", "", "regulates", "regulation"}
_CONFIDENCES = {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}
"""Levels of DoRothEA, and what decoupler divides the mode of regulation by."""

# "GATA1(+)", "GATA1_(-)-motif", "GATA1_extended (12g)", "GATA1_TARGET_GENES"
_SIGNED_NAME = re.compile(r"^(.+?)[ _]*\(([+-])\).*$")
_SET_NAME_END = re.compile(r"(?:_extended)?(?: \(\d+g\))?$|(?i:_target_genes)$")


def as_text(column: pd.Series) -> np.ndarray:
    """Every value as text, whatever it is: ``astype(str)`` reads bytes as UTF-8, which they need not be."""
    return np.array([str(value) for value in column], dtype=object)


def edge_columns(frame: pd.DataFrame) -> tuple[Any, Any]:
    """The columns of a table of edges that name regulators and targets.

    Raises
    ------
    PriorError
        If there are none.
    """
    columns = _by_lower_name(frame.columns)
    source = next((columns[name] for name in _SOURCE_NAMES if name in columns), None)
    target = next((columns[name] for name in _TARGET_NAMES if name in columns), None)
    if source is None or target is None:
        names = list(map(str, frame.columns))
        shown = str(names) if len(names) <= 12 else f"{str(names[:12])[:-1]}, …] ({len(names):,} in all)"
        msg = (
            f"The table of edges has the columns {shown}; it needs one of source, TF, Gene1 or "
            "regulator, and one of target, Gene2 or gene. Rename them, for instance "
            "`table.rename(columns={'from': 'source', 'to': 'target'})`."
        )
        raise PriorError(msg)
    return source, target


def has_edge_columns(names: Iterable[Any]) -> bool:
    """Whether among ``names`` one is that of regulators and one that of targets."""
    lower = {str(name).strip().lower() for name in names}
    return not lower.isdisjoint(_SOURCE_NAMES) and not lower.isdisjoint(_TARGET_NAMES)


def is_sign_word(word: str) -> bool:
    """Whether ``word`` says which sign an edge has, or that it is not known."""
    word = word.strip().lower()
    return word in _SIGN_WORDS or word in _NO_SIGN_WORDS


def regulator_and_sign(name: str) -> tuple[str, int]:
    """Regulator and sign of a set of targets, by the set's name: ``"GATA1(-)"`` is ``("GATA1", -1)``."""
    name = name.strip().rstrip(",")  # pySCENIC ends names in a comma where it writes gmt files
    if match := _SIGNED_NAME.match(name):
        return match[1], 1 if match[2] == "+" else -1
    return _SET_NAME_END.sub("", name), 0


def weights_and_signs(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Positive weight ``float32[E]`` and sign ``int8[E]`` of every row of a table of edges.

    Raises
    ------
    PriorError
        If a weight is no number.
    """
    columns = _by_lower_name(frame.columns)
    weight = np.ones(len(frame), dtype=np.float32)
    sign = np.zeros(len(frame), dtype=np.int8)
    weight_column = next((columns[name] for name in _WEIGHT_NAMES if name in columns), None)
    sign_column = next((columns[name] for name in _SIGN_NAMES if name in columns), None)
    if weight_column is not None:
        values = pd.to_numeric(frame[weight_column], errors="coerce").to_numpy(dtype=np.float64)
        with np.errstate(over="ignore"):
            weight = np.abs(values).astype(np.float32)
        if n_bad := int((~np.isfinite(weight)).sum()):
            msg = (
                f"Column {weight_column!r} of the prior holds {n_bad} values that are no number, or too large a one. "
                "Drop such rows, or the column."
            )
            raise PriorError(msg)
        if (values < 0).any():
            sign = np.sign(values).astype(np.int8)
    else:
        weight = _weights_without_column(frame, columns)
    if sign_column is not None:
        sign = _signs(frame[sign_column])
    elif not sign.any():
        perhaps = (_signs(frame[columns[name]], strict=True) for name in _PERHAPS_SIGN_NAMES if name in columns)
        sign = next((signs for signs in perhaps if signs.any()), sign)
    return weight, sign


def _by_lower_name(names: Iterable[Any]) -> dict[str, Any]:
    return {str(name).strip().lower(): name for name in reversed(list(names))}


def _signs(column: pd.Series, *, strict: bool = False) -> np.ndarray:
    """``int8[E]``: signs given as numbers or in words; if ``strict``, of numbers only −1, 0 and 1."""
    numbers = pd.to_numeric(column, errors="coerce").astype(float)
    if strict and not numbers.dropna().isin([-1, 0, 1]).all():
        return np.zeros(len(column), dtype=np.int8)
    words = pd.Series(as_text(column), column.index).str.strip().str.lower().map(_SIGN_WORDS).astype(float)
    return np.sign(numbers.fillna(words).fillna(0)).to_numpy(dtype=np.int8)


def _weights_without_column(frame: pd.DataFrame, columns: Mapping[str, Any]) -> np.ndarray:
    """``float32[E]``: the size of a mode of regulation, or by the confidence levels of DoRothEA; else ones."""
    weight = np.ones(len(frame), dtype=np.float32)
    if "mor" in columns:
        size = pd.to_numeric(frame[columns["mor"]], errors="coerce").abs().astype(float)
        usable = (np.isfinite(size) & (size > 0)).to_numpy()
        weight[usable] = size.to_numpy()[usable]
    if "confidence" in columns:
        levels = (
            pd.Series(as_text(frame[columns["confidence"]]), frame.index)
            .str.strip()
            .str.lower()
            .map(_CONFIDENCES)
            .astype(float)
        )
        if levels.notna().all():
            weight = (weight / levels.to_numpy()).astype(np.float32)
    return weight
