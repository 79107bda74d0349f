"""Independent parts of one job, spread over processes or over whatever cluster joblib is told to use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from scgrn_tl._settings import settings

from .argument_types import typed_arguments
from .errors import ArgumentError
from .progress_bar import progress_bar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["check_n_jobs", "parallel_map"]

Part = TypeVar("Part")
Result = TypeVar("Result")


def check_n_jobs(n_jobs: int | None) -> None:
    """Raise :class:`ArgumentError` if ``n_jobs`` is 0."""
    if n_jobs == 0:
        msg = f"n_jobs is a whole number of processes, or -1 for one a core; not {n_jobs!r}."
        raise ArgumentError(msg)


@typed_arguments
def parallel_map(
    function: Callable[..., Result],
    parts: Sequence[Part],
    *shared: Any,
    n_jobs: int | None = None,
    description: str | None = None,
) -> Iterable[Result]:
    """``function(part, *shared)`` of every part, in order, with a progress bar.

    Parameters
    ----------
    function
        A function at the top of a module, so that other processes find it. What it returns must not depend on which
        process computes it.
    parts
        One small value each, such as a number.
    *shared
        Handed to every call. joblib lays large arrays down once for all processes to read, not a copy for each.
    n_jobs
        How many processes: see :class:`scgrn_tl._settings.Settings`, whose value counts if ``None``.
    description
        Label of the progress bar; no bar if ``None``.

    Yields
    ------
    The results, in the order of ``parts``, as they come; all at the end from a joblib backend that cannot do so.

    Raises
    ------
    ArgumentError
        If ``function`` is none, or ``n_jobs`` is 0.
    """
    from joblib import Parallel, delayed, effective_n_jobs

    check_n_jobs(n_jobs)
    if len(parts) == 1:
        n_jobs = 1  # nothing to share
    n_jobs = settings.n_jobs if n_jobs is None else n_jobs
    if n_jobs is None and effective_n_jobs(None) == 1:
        n_jobs = -1  # nobody said how many: neither here, nor in the settings, nor by joblib.parallel_config
    calls = (delayed(function)(part, *shared) for part in parts)
    try:
        pool = Parallel(n_jobs=n_jobs, return_as="generator")
    except ValueError:  # a backend that cannot hand results over as they come
        pool = Parallel(n_jobs=n_jobs)
    results = pool(calls)
    yield from progress_bar(results, hidden=description is None, total=len(parts), desc=description)
