"""Arguments of another type than the signature says are refused at the door, by name."""

from __future__ import annotations

import functools
import inspect
import os
import reprlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from importlib import import_module
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, SimpleNamespace, UnionType
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
import pandas as pd

from .errors import ArgumentError

__all__ = ["argument_types", "check_type", "typed_arguments"]

P = ParamSpec("P")
T = TypeVar("T")

NAMES = {
    "Any": Any,
    "Callable": Callable,
    "Iterable": Iterable,
    "Literal": Literal,
    "Mapping": Mapping,
    "Path": Path,
    "Sequence": Sequence,
    "np": np,
    "os": os,
    "pd": pd,
}
"""What annotations may name that their module imports for the type checker alone."""
CLASSES = {"AnnData": "anndata", "Axes": "matplotlib.axes", "MuData": "mudata"}
"""Classes of other packages that are imported where an annotation names them, and their modules."""

_KINDS: dict[Any, tuple[str, Callable[[Any], bool]]] = {
    int: ("a whole number", lambda value: isinstance(value, Integral) and not _is_flag(value)),
    float: ("a number", lambda value: isinstance(value, Real) and not _is_flag(value) and value == value),
    bool: ("True or False", lambda value: _is_flag(value)),
    str: ("a string", lambda value: isinstance(value, str)),
    NoneType: ("None", lambda value: value is None),
    np.random.Generator: ("a numpy Generator", lambda value: isinstance(value, np.random.Generator)),
    np.ndarray: ("a numpy array", lambda value: isinstance(value, np.ndarray)),
    pd.DataFrame: ("a DataFrame", lambda value: isinstance(value, pd.DataFrame)),
    slice: ("a slice", lambda value: isinstance(value, slice)),
}
_GENERICS = {Mapping: "a dict", os.PathLike: "a path", Callable: "a function"}
_LISTS = (Iterable, Sequence, tuple)

LEFT_ALONE = {"device", "kind"}
"""Parameters that functions check themselves: a :class:`torch.device` is taken for a string, and of kinds of splits
there is more to say than which there are."""
_MADE_BY = {
    "EdgeSplit": ", such as `sg.bm.split_edges` makes",
    "GRNScores": ", such as `sg.methods.get(name).run(task)` returns",
    "ScBERT": ", such as `sg.models.load_scbert` reads",
    "PriorNetwork": ", such as `sg.core.PriorNetwork.from_any` makes",
}


def typed_arguments(function: Callable[P, T]) -> Callable[P, T]:
    """Have ``function`` refuse arguments that are not of the type its signature names.

    A parameter is checked where every part of its annotation is understood: numbers, flags, strings, paths, ``None``,
    literals, lists of these, arrays, tables, annotated data and the value types of this package. Ranges stay the
    function's own business, and so do annotations with other parts.

    Parameters
    ----------
    function
        Any function or method; its signature and docstring are kept.

    Returns
    -------
    The function, which raises :class:`ArgumentError` before it begins.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError:  # too many arguments or too few: Python's own words for it are as good
            return function(*args, **kwargs)
        types = argument_types(function)
        for name in given.keys() & types.keys() - LEFT_ALONE:
            check_type(name, given[name], types[name])
        return function(*args, **kwargs)

    return checked


def check_type(name: str, value: Any, annotation: Any) -> None:
    """Raise :class:`ArgumentError`, naming the argument, unless ``value`` is of a type that ``annotation`` names."""
    options = _options(annotation)
    if options is None or any(_is_one(value, option) for option in options):
        return
    words = list(dict.fromkeys(word for option in options for word in _in_words(option)))
    one_of = "one of " if len(words) > 2 and any(get_origin(option) is Literal for option in options) else ""
    expected = " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
    plain = value is None or isinstance(value, (str, bytes, Real, list, tuple, dict))
    msg = f"{name} is {one_of}{expected}, not {reprlib.repr(value) if plain else f'a {type(value).__name__}'}."
    if name == "adata" and isinstance(value, (str, os.PathLike)):
        msg += f" Read it first: `adata = anndata.read_h5ad({os.fspath(value)!r})`."
    raise ArgumentError(msg)


@functools.cache
def argument_types(function: Callable[..., Any]) -> dict[str, Any]:
    """The type of each parameter; those are left out whose annotation cannot be understood without further imports."""
    from scgrn_tl import core

    found: dict[str, Any] = {}
    names = NAMES | vars(core.tokens) | vars(core) | function.__globals__
    for name, annotation in inspect.get_annotations(function).items():
        parameter = SimpleNamespace(__annotations__={name: annotation})
        names |= {cls: getattr(import_module(module), cls) for cls, module in CLASSES.items() if cls in str(annotation)}
        try:
            found |= get_type_hints(parameter, globalns=names)
        except (NameError, AttributeError, TypeError):
            continue
    return {
        parameter.name: found[parameter.name]
        for parameter in inspect.signature(function).parameters.values()
        if parameter.name in found and parameter.kind is not parameter.VAR_KEYWORD
    }


def _options(annotation: Any) -> list[Any] | None:
    """The parts of a union; ``None`` where one of them says nothing that can be checked."""
    if get_origin(annotation) in (Union, UnionType):
        parts = [_options(part) for part in get_args(annotation)]
        return None if None in parts else [option for part in parts for option in part or ()]
    if get_origin(annotation) is Literal:
        return [annotation]
    origin = get_origin(annotation)
    if origin is tuple and get_args(annotation)[1:] != (...,):
        return None
    known = annotation in _KINDS or origin in _LISTS or origin in _GENERICS
    return [annotation] if known or _is_value_type(annotation) else None


def _is_value_type(annotation: Any) -> bool:
    """Whether it is a class of this package's core or models, or one of :data:`CLASSES`."""
    if not isinstance(annotation, type):
        return False
    return annotation.__name__ in CLASSES or annotation.__module__.startswith(("scgrn_tl.core.", "scgrn_tl.models."))


def _is_flag(value: Any) -> bool:
    return isinstance(value, (bool, np.bool_))


def _is_one(value: Any, option: Any) -> bool:
    if option in _KINDS:
        return _KINDS[option][1](value)
    origin = get_origin(option)
    if origin is Literal:
        return isinstance(value, (str, bool)) and value in get_args(option)
    if origin in _LISTS:
        return _is_list(value, get_args(option)[0])
    return isinstance(value, origin or option)


def _is_list(value: Any, item: Any) -> bool:
    """Whether ``value`` is a collection of items of a type.

    What can be gone through only once is not looked into, nor are names, of which functions have more to say.
    """
    if isinstance(value, str):
        return item is str
    if not isinstance(value, Iterable) or isinstance(value, (bytes, Mapping, pd.DataFrame)):
        return False
    options = _options(item)
    if isinstance(value, np.ndarray) and value.ndim != 1:
        return False
    if item is str or options is None or not isinstance(value, Collection):
        return True
    return all(any(_is_one(each, option) for option in options) for each in value)


def _in_words(option: Any) -> list[str]:
    origin = get_origin(option)
    return list(map(repr, get_args(option))) if origin is Literal else [_in_word(option, origin)]


def _in_word(option: Any, origin: Any) -> str:
    if option in _KINDS:
        return _KINDS[option][0]
    if origin in _LISTS:
        plural = {str: "strings", int: "whole numbers", float: "numbers"}
        return f"a list of {plural.get(get_args(option)[0], 'such')}"
    if origin in _GENERICS:
        return _GENERICS[origin]
    name = option.__name__
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}{_MADE_BY.get(name, '')}"
