"""The registry of GRN methods: one decorator puts a method on the list."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

import numpy as np
import pandas as pd

from scgrn_tl.core.argument_types import argument_types, check_type, typed_arguments
from scgrn_tl.core.errors import ArgumentError, MissingKeyError, SplitError
from scgrn_tl.core.names import did_you_mean
from scgrn_tl.core.random import spawn_seeds
from scgrn_tl.core.task import GRNScores

from ._ensemble import average_scores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from scgrn_tl.core.task import GRNTask

__all__ = ["Method", "Role", "discover", "get", "method", "names", "show"]

Role = Literal["method", "floor", "control"]

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
    default_rep
        Key of the gene embedding that it is given where none is named. A method that has one does not run without an
        embedding; for others, which have ``None``, no name is no embedding.
    uses_pseudotime
        Whether it needs ``task.pseudotime``.
    reads_sparse
        Whether it can read a sparse ``task.expression``; for other methods it is made dense, which for many cells takes
        gigabytes.
    role
        ``"method"``; ``"floor"``, what a method has to beat; or ``"control"``, a method robbed of a part of its input.
    reference
        Who published it, as ``"Author et al. Year"``.
    check
        Called with the parameters before any compute; raises where their values make no sense.
    prepare
        ``prepare(task, *, …) -> {name: array}``: the part of the work that knows no label, for methods where it is
        long. It gets the task without prior and split, and those of the parameters that it names. What it returns
        reaches ``func`` as ``task.prepared``, and may be kept and given again to any task of the same expression and
        seed.
    """

    name: str
    func: Callable[..., GRNScores]
    supervised: bool
    directed: bool
    stochastic: bool
    uses_embedding: bool
    reference: str
    default_rep: str | None = None
    uses_pseudotime: bool = False
    reads_sparse: bool = False
    role: Role = "method"
    check: Callable[..., object] | None = None
    prepare: Callable[..., Mapping[str, np.ndarray]] | None = None

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

    def check_parameters(self, params: Mapping[str, Any], *, n_models: int = 1) -> None:
        """Raise :class:`~scgrn_tl.core.ArgumentError` if a parameter of ``params`` is unknown or its value no good."""
        accepted = self.parameters
        if isinstance(n_models, bool) or int(n_models) != n_models or n_models < 1:
            msg = f"n_models is a whole number of at least 1, not {n_models!r}."
            raise ArgumentError(msg)
        if n_models > 1 and not self.stochastic:
            msg = (
                f"Method {self.name!r} is deterministic: {n_models} models of it would all be the same one. "
                "Leave out n_models."
            )
            raise ArgumentError(msg)
        unknown = [name for name in params if name not in accepted]
        if unknown:
            given = ", ".join(map(repr, unknown))
            takes = f"takes {', '.join(accepted)}" if accepted else "takes no parameters"
            msg = f"Method {self.name!r} has no parameter {given}; it {takes}.{did_you_mean(unknown[0], accepted)}"
            raise ArgumentError(msg)
        kinds = argument_types(self.func)
        for name, value in params.items():
            check_type(name, value, kinds.get(name, Any))
        if self.check is not None:
            self.check(**params)

    def prepared(self, task: GRNTask, **params: Any) -> Mapping[str, np.ndarray]:
        """What :attr:`prepare` computes of this task's expression; empty for a method that has no such part.

        Parameters
        ----------
        task
            Its prior and split are left out.
        **params
            The method's own parameters; those that ``prepare`` does not name make no difference to it.
        """
        if self.prepare is None:
            return {}
        named = inspect.signature(self.prepare).parameters
        task = task if self.reads_sparse else task.with_dense_expression()
        return self.prepare(
            task.without_supervision(), **{name: value for name, value in params.items() if name in named}
        )

    def run(self, task: GRNTask, *, n_models: int = 1, **params: Any) -> GRNScores:
        """Score every pair of a regulator and a gene of ``task``.

        Parameters
        ----------
        task
            What the method may see.
        n_models
            Runs from different seeds whose scores are averaged, their spread kept; for stochastic methods.
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
        MissingKeyError
            If the method needs a pseudotime or a gene embedding and the task has none.
        SplitError
            If the method is supervised and the task has no training pairs; if it learns from edges and they have none.
        """
        self.check_parameters(params, n_models=n_models)
        if self.uses_pseudotime and task.pseudotime is None:
            msg = (
                f"Method {self.name!r} needs the cells' pseudotime. `sg.tl.infer_grn` takes it from columns of .obs "
                "named by `pseudotime=`, `sg.bm.run` from .obs['dpt_pseudotime'] or an ordered .obs['stage']."
            )
            raise MissingKeyError(msg)
        if self.supervised and (task.split is None or not len(task.split.train)):
            msg = (
                f"Method {self.name!r} learns from a prior network, but the task has no training pairs. Give `prior=`."
            )
            raise SplitError(msg)
        if self.supervised and self.role != "floor":
            train, _ = task.supervision()
            if not train.labels.any():
                msg = (
                    f"Method {self.name!r} learns from edges, and the {len(train):,} training pairs are all non-edges. "
                    "Make the split of a prior with edges: `sg.bm.split_edges(prior)`."
                )
                raise SplitError(msg)
        if self.default_rep is not None and task.embedding is None:
            msg = f"Method {self.name!r} needs a gene embedding, and the task has none: use_rep={self.default_rep!r}."
            raise MissingKeyError(msg)
        if not self.reads_sparse:
            task = task.with_dense_expression()
        if "n_models" in self.parameters:  # it averages by itself
            return self._run_once(task, n_models=n_models, **params)
        if n_models == 1:
            return self._run_once(task, **params)
        seeds = spawn_seeds(task.seed, n_models)
        # What was prepared is of one seed; models that shared it would differ by less than they do.
        return average_scores([self._run_once(replace(task, seed=seed, prepared=None), **params) for seed in seeds])

    def _run_once(self, task: GRNTask, **params: Any) -> GRNScores:
        if self.prepare is not None and task.prepared is None:
            task = replace(task, prepared=self.prepared(task, **params))
        scores = self.func(task, **params)
        expected = (len(task.regulators), task.n_genes)
        if not isinstance(scores, GRNScores) or not np.array_equal(scores.regulators, task.regulators):
            found = "GRNScores of others" if isinstance(scores, GRNScores) else f"a {type(scores).__name__}"
            msg = (
                f"Method {self.name!r} has to return GRNScores of the task's {expected[0]} regulators, in their order; "
                f"it returned {found}. "
                "Make them by `GRNScores(task.regulators, matrix)`."
            )
            raise ArgumentError(msg)
        if scores.matrix.shape != expected:
            msg = f"Method {self.name!r} returned scores of shape {scores.matrix.shape}; expected {expected}."
            raise ArgumentError(msg)
        n_bad = int((~np.isfinite(scores.matrix)).sum())
        if n_bad:
            advice = (
                "Its training may have diverged: lower `lr`."
                if "lr" in self.parameters
                else "Give such pairs a low score."
            )
            msg = f"Method {self.name!r} returned {n_bad:,} scores that are NaN or infinite. {advice}"
            raise ArgumentError(msg)
        return scores

    def __call__(self, task: GRNTask, *, n_models: int = 1, **params: Any) -> GRNScores:
        """Do as :meth:`run`."""
        return self.run(task, n_models=n_models, **params)

    def __repr__(self) -> str:
        traits = [
            "supervised" if self.supervised else "unsupervised",
            "directed" if self.directed else "symmetric",
            "stochastic" if self.stochastic else "deterministic",
        ]
        if self.role != "method":
            traits.insert(0, self.role)
        return f"Method({self.name}: {', '.join(traits)}; {self.reference})"


@typed_arguments
def method(
    *,
    name: str,
    supervised: bool,
    directed: bool,
    stochastic: bool,
    reference: str,
    uses_embedding: bool = False,
    default_rep: str | None = None,
    uses_pseudotime: bool = False,
    reads_sparse: bool = False,
    role: Role = "method",
    check: Callable[..., object] | None = None,
    prepare: Callable[..., Mapping[str, np.ndarray]] | None = None,
) -> Callable[[F], F]:
    """Register a function as a GRN method.

    Parameters
    ----------
    name
        Name under which :func:`get` finds it, unique.
    supervised, directed, stochastic, reference, uses_embedding, default_rep, uses_pseudotime, reads_sparse
        See :class:`Method`.
    role, check, prepare
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
        if role not in get_args(Role):
            msg = f"role is one of {', '.join(map(repr, get_args(Role)))}, not {role!r}."
            raise ArgumentError(msg)
        if prepare is not None:
            _check_signature(name, prepare)
        taken = _REGISTRY.get(name)
        # The same function again is a reloaded module or a notebook cell run twice.
        if taken is not None and _origin(taken.func) != _origin(func):
            msg = f"There is a method {name!r} already, {_origin(taken.func)}. Choose another name."
            raise ArgumentError(msg)
        _REGISTRY[name] = Method(
            name,
            func,
            supervised=supervised,
            directed=directed,
            stochastic=stochastic,
            uses_embedding=uses_embedding,
            default_rep=default_rep,
            uses_pseudotime=uses_pseudotime,
            reads_sparse=reads_sparse,
            reference=reference,
            role=role,
            check=check,
            prepare=prepare,
        )
        return func

    return register


@typed_arguments
def get(name: str) -> Method:
    """The method called ``name``.

    Raises
    ------
    ArgumentError
        If there is none; the message lists those there are.
    """
    if name not in _REGISTRY:
        hint = did_you_mean(str(name), _REGISTRY)
        msg = f"There is no method {name!r}. There are: {', '.join(names())}.{hint} See `sg.methods.show()`."
        raise ArgumentError(msg)
    return _REGISTRY[name]


@typed_arguments
def names(*, role: Role | None = None, supervised: bool | None = None) -> list[str]:
    """Names of all methods, sorted; only those of a ``role``, only ``supervised`` ones or only others, if asked for.

    Raises
    ------
    ArgumentError
        If ``role`` is none of the three.
    """
    return sorted(
        name
        for name, entry in _REGISTRY.items()
        if role in (None, entry.role) and supervised in (None, entry.supervised)
    )


def show() -> pd.DataFrame:
    """All methods as a table.

    Returns
    -------
    A row a method, indexed by ``name``, with the columns ``description``, ``role`` (str), ``supervised``, ``directed``,
    ``stochastic``, ``uses_embedding``, ``uses_pseudotime`` (bool), ``parameters`` (str, ``name=default`` joined by
    commas) and ``reference`` (str).
    """
    rows = [
        {
            "name": entry.name,
            "description": entry.description,
            "role": entry.role,
            "supervised": entry.supervised,
            "directed": entry.directed,
            "stochastic": entry.stochastic,
            "uses_embedding": entry.uses_embedding,
            "uses_pseudotime": entry.uses_pseudotime,
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
