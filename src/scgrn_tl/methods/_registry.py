"""The registry of GRN methods: one decorator puts a method on the list."""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd

from scgrn_tl.core.errors import ArgumentError, SplitError
from scgrn_tl.core.task import GRNScores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from scgrn_tl.core.task import GRNTask

__all__ = ["Method", "discover", "get", "method", "names", "show"]

F = TypeVar("F", bound="Callable[..., GRNScores]")

_REGISTRY: dict[str, Method] = {}


@dataclass(frozen=True, eq=False)
class Method:
    """A GRN method: the function that scores a task, and what there is to know about it.

    Attributes
    ----------
    name
        Name under which :func:`get` finds it.
    func
        ``func(task, *, …) -> GRNScores``; every parameter but ``task`` is keyword-only and has a default.
    supervised
        Whether it learns from known edges; such a method needs ``task.split``.
    directed
        Whether the score of (a, b) can differ from that of (b, a).
    stochastic
        Whether the result depends on ``task.seed``.
    uses_embedding
        Whether it reads ``task.embedding``.
    reference
        Who published it, as ``"Author et al. Year"``.
    check
        Called with the parameters before any compute; raises where their values make no sense.
    """

    name: str
    func: Callable[..., GRNScores]
    supervised: bool
    directed: bool
    stochastic: bool
    uses_embedding: bool
    reference: str
    check: Callable[..., object] | None = None

    @property
    def description(self) -> str:
        """First line of the function's docstring."""
        return (inspect.getdoc(self.func) or "").partition("\n")[0].rstrip(".")

    @property
    def doc(self) -> str:
        """Docstring of the function, where its parameters are explained."""
        return inspect.getdoc(self.func) or ""

    @property
    def parameters(self) -> dict[str, Any]:
        """Accepted parameters and their defaults, in the order of the signature."""
        found = inspect.signature(self.func).parameters.values()
        return {parameter.name: parameter.default for parameter in found if parameter.kind is parameter.KEYWORD_ONLY}

    def check_parameters(self, params: Mapping[str, Any]) -> None:
        """Raise :class:`~scgrn_tl.core.ArgumentError` if a parameter of ``params`` is unknown or its value no good."""
        accepted = self.parameters
        unknown = [name for name in params if name not in accepted]
        if unknown:
            given = ", ".join(map(repr, unknown))
            takes = f"takes {', '.join(accepted)}" if accepted else "takes no parameters"
            msg = f"Method {self.name!r} has no parameter {given}; it {takes}.{_did_you_mean(unknown[0], accepted)}"
            raise ArgumentError(msg)
        if self.check is not None:
            self.check(**params)

    def run(self, task: GRNTask, **params: Any) -> GRNScores:
        """Score every pair of a regulator and a gene of ``task``.

        Parameters
        ----------
        task
            What the method may see.
        **params
            The method's own parameters, see :attr:`parameters`.

        Returns
        -------
        Scores of the regulators of ``task``, in that order, for all its genes.

        Raises
        ------
        ArgumentError
            Before any compute, if a parameter is unknown; after it, if the method gave back scores of another shape,
            or scores that are NaN or infinite.
        SplitError
            If the method is supervised and the task has no training pairs.
        """
        self.check_parameters(params)
        if self.supervised and (task.split is None or not len(task.split.train)):
            msg = (
                f"Method {self.name!r} learns from a prior network, but the task has no training pairs. Give `prior=`."
            )
            raise SplitError(msg)
        scores = self.func(task, **params)
        expected = (len(task.regulators), task.n_genes)
        if not isinstance(scores, GRNScores) or not np.array_equal(scores.regulators, task.regulators):
            msg = (
                f"Method {self.name!r} has to return GRNScores of the task's {expected[0]} regulators, in their order."
            )
            raise ArgumentError(msg)
        if scores.matrix.shape != expected:
            msg = f"Method {self.name!r} returned scores of shape {scores.matrix.shape}; expected {expected}."
            raise ArgumentError(msg)
        n_bad = int((~np.isfinite(scores.matrix)).sum())
        if n_bad:
            msg = f"Method {self.name!r} returned {n_bad:,} scores that are NaN or infinite."
            raise ArgumentError(msg)
        return scores

    def __call__(self, task: GRNTask, **params: Any) -> GRNScores:
        """Do as :meth:`run`."""
        return self.run(task, **params)

    def __repr__(self) -> str:
        traits = [
            "supervised" if self.supervised else "unsupervised",
            "directed" if self.directed else "symmetric",
            "stochastic" if self.stochastic else "deterministic",
        ]
        return f"Method({self.name}: {', '.join(traits)}; {self.reference})"


def method(
    *,
    name: str,
    supervised: bool,
    directed: bool,
    stochastic: bool,
    reference: str,
    uses_embedding: bool = False,
    check: Callable[..., object] | None = None,
) -> Callable[[F], F]:
    """Register a function as a GRN method.

    Parameters
    ----------
    name
        Name under which :func:`get` finds it, unique.
    supervised, directed, stochastic, uses_embedding, reference, check
        See :class:`Method`.

    Returns
    -------
    A decorator that leaves the function as it is. The function takes a :class:`~scgrn_tl.core.GRNTask` as its only
    positional argument and returns :class:`~scgrn_tl.core.GRNScores`. It imports heavy packages inside its body.

    Raises
    ------
    ArgumentError
        If the name is taken by another function, or the function's signature is not of that form.

    Examples
    --------
    >>> from scgrn_tl import methods
    >>> from scgrn_tl.core import GRNScores
    >>> @methods.method(
    ...     name="mean_expression", supervised=False, directed=True, stochastic=False, reference="an example"
    ... )
    ... def mean_expression(task, *, weight=1.0):
    ...     '''Mean expression of the target.'''
    ...     row = weight * task.expression.mean(axis=1)
    ...     return GRNScores(task.regulators, row[None].repeat(len(task.regulators), 0))
    >>> methods.get("mean_expression").parameters
    {'weight': 1.0}
    """

    def register(func: F) -> F:
        _check_signature(name, func)
        taken = _REGISTRY.get(name)
        # The same function again is a reloaded module or a notebook cell run twice.
        if taken is not None and _origin(taken.func) != _origin(func):
            msg = f"There is a method {name!r} already, {_origin(taken.func)}. Choose another name."
            raise ArgumentError(msg)
        _REGISTRY[name] = Method(name, func, supervised, directed, stochastic, uses_embedding, reference, check)
        return func

    return register


def get(name: str) -> Method:
    """The method called ``name``.

    Raises
    ------
    ArgumentError
        If there is none; the message lists those there are.
    """
    if name not in _REGISTRY:
        hint = _did_you_mean(str(name), _REGISTRY)
        msg = f"There is no method {name!r}. There are: {', '.join(names())}.{hint} See `sg.methods.show()`."
        raise ArgumentError(msg)
    return _REGISTRY[name]


def names() -> list[str]:
    """Names of all methods, sorted."""
    return sorted(_REGISTRY)


def show() -> pd.DataFrame:
    """All methods as a table.

    Returns
    -------
    A row a method, indexed by ``name``, with the columns ``description`` (str), ``supervised``, ``directed``,
    ``stochastic``, ``uses_embedding`` (bool), ``parameters`` (str, ``name=default`` joined by commas) and ``reference``
    (str).
    """
    rows = [
        {
            "name": entry.name,
            "description": entry.description,
            "supervised": entry.supervised,
            "directed": entry.directed,
            "stochastic": entry.stochastic,
            "uses_embedding": entry.uses_embedding,
            "parameters": ", ".join(f"{key}={value!r}" for key, value in entry.parameters.items()),
            "reference": entry.reference,
        }
        for entry in map(get, names())
    ]
    return pd.DataFrame(rows).set_index("name")


def discover(package: str, paths: Iterable[str]) -> None:
    """Import every public module of a package, so that its decorators run.

    Parameters
    ----------
    package
        Full name of the package.
    paths
        Its ``__path__``.
    """
    for module in pkgutil.iter_modules(paths):
        if not module.name.startswith("_"):
            importlib.import_module(f"{package}.{module.name}")


def _origin(func: Callable[..., Any]) -> str:
    return f"{func.__module__}.{func.__qualname__}"


def _did_you_mean(given: str, known: Iterable[str] | Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(given, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def _check_signature(name: str, func: Callable[..., Any]) -> None:
    """Raise unless ``func`` takes one positional argument, and all others by keyword with a default."""
    parameters = list(inspect.signature(func).parameters.values())
    sound = (
        len(parameters) > 0
        and parameters[0].kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        and all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in parameters[1:])
    )
    if not sound:
        msg = (
            f"Method {name!r} has the signature {inspect.signature(func)}; a method is `func(task, *, a=1, b=2)`: "
            "one positional argument, all others keyword-only with a default."
        )
        raise ArgumentError(msg)
