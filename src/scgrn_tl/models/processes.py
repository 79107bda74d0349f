"""The processes that share one run, on ``torch.distributed``."""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist

from scgrn_tl._settings import settings
from scgrn_tl.core import ArgumentError, ProcessError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy as np

__all__ = ["Processes", "launched_rank", "processes_of_launcher"]

Value = TypeVar("Value")

LONGEST_WAIT = timedelta(days=14)
"""For the slowest process of a run; one that ends is noticed at once."""
MESSAGE_VALUES = 2**26
"""Values of an array sent at a time."""
_GROUPS = count()
"""Numbers of the groups made by this process: the same in all, since they make them together."""
LAUNCHER = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, eq=False)
class Processes:
    """Processes that work on one run together; by default this one alone.

    Everything they tell each other is small or is told once, so it goes through gloo, also where they compute on GPUs.
    Each method but :meth:`device` has to be called by all of them, in the same order.

    Attributes
    ----------
    rank
        This process's number, from 0.
    size
        How many there are.
    local_rank
        This process's number on its machine.
    group
        Of ``torch.distributed``; ``None`` for one process.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    group: Any = None

    @property
    def is_first(self) -> bool:
        """Whether this process speaks and writes for all."""
        return self.rank == 0

    def device(self, name: str) -> str:
        """The device of this process: of ``"cuda"`` without a number, one of the machine's by its ``local_rank``."""
        if name != "cuda" or self.size == 1:
            return name
        return f"cuda:{self.local_rank % torch.cuda.device_count()}"

    def wait(self) -> None:
        """Go on once all processes are here."""
        self.gather(None)

    def gather(self, value: Value) -> list[Value]:
        """Every process's ``value``, in the order of ranks."""
        if self.group is None:
            return [value]
        values: list[Any] = [None] * self.size
        with _readable():
            dist.all_gather_object(values, value, group=self.group)
        return values

    def each(self, value: Value) -> Iterator[Value]:
        """Every process's ``value``, one after another in the order of ranks; for large values."""
        for rank in range(self.size):
            yield self._broadcast(value if rank == self.rank else None, rank)

    def once(self, make: Callable[[], Value]) -> Value:
        """What ``make`` gives in the first process, which alone calls it."""
        return self._broadcast(make() if self.is_first else None, 0)

    def first_then(self, first: Callable[[], Value], others: Callable[[], Value]) -> Value:
        """``first()`` in the first process, and when it has returned ``others()`` in each of the others."""
        if self.is_first:
            made = first()
            self.wait()
            return made
        self.wait()
        return others()

    def share(self, array: np.ndarray, bounds: Sequence[int]) -> None:
        """Fill ``array`` everywhere: process r has the rows from ``bounds[r]`` to ``bounds[r + 1]``, and sends them."""
        if self.group is None:
            return
        step = max(1, MESSAGE_VALUES // max(1, array[0].size))
        with _readable():
            for rank in range(self.size):
                for start in range(bounds[rank], bounds[rank + 1], step):
                    part = torch.from_numpy(array[start : min(start + step, bounds[rank + 1])])
                    dist.broadcast(part, dist.get_global_rank(self.group, rank), group=self.group)

    def bounds(self, chosen: np.ndarray, n_rows: int, *, align: int = 1) -> list[int]:
        """Bounds of the rows of each process, with about as many ``chosen`` (ascending) ones each.

        Parameters
        ----------
        chosen
            Rows that make work.
        n_rows
            Of all.
        align
            Bounds are multiples of it, so that no two processes write into one stored chunk.
        """
        bounds = [0]
        for rank in range(1, self.size):
            row = int(chosen[len(chosen) * rank // self.size])
            bounds.append(max(bounds[-1], row - row % align))
        return [*bounds, n_rows]

    def check_same(self, described: Mapping[str, Any], advice: str) -> None:
        """Raise :class:`ArgumentError`, in every process, where they were not all given the same."""
        given = self.gather(dict(described))
        differing = [name for name in described if any(each.get(name) != given[0][name] for each in given)]
        if differing:
            msg = f"The {self.size} processes were given different {' and '.join(differing)}. {advice}"
            raise ArgumentError(msg, page="many-machines")

    def _broadcast(self, value: Value | None, source: int) -> Value:
        if self.group is None:
            return value  # type: ignore[return-value]
        values = [value]
        with _readable():
            dist.broadcast_object_list(values, dist.get_global_rank(self.group, source), group=self.group)
        return values[0]  # type: ignore[return-value]


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        msg = f"Another process of this run has ended; its own message says why. ({str(error).splitlines()[0]})"
        raise ProcessError(msg) from error


def launched_rank() -> int:
    """Rank of this process where a launcher started several, else 0; joins nothing."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank()
    return int(os.environ["RANK"]) if all(name in os.environ for name in LAUNCHER) else 0


@cache
def _launcher_store() -> tuple[Any, int, int]:
    """The launcher's key-value store, kept open, with this process's rank and the number of processes."""
    return next(dist.rendezvous("env://"))  # type: ignore[attr-defined]


@contextmanager
def processes_of_launcher(*, distributed: bool = True) -> Iterator[Processes]:
    """The processes that ``torchrun`` (or another launcher that sets its variables) started, for a ``with`` block.

    A process group that is already initialised is used, and left as it is; else one is made, and ended with the block,
    also by an error: the others then do not wait for this process. All but the first process keep silent meanwhile:
    no progress bars, no log below errors.

    Parameters
    ----------
    distributed
        ``False`` for this process alone.
    """
    initialized = dist.is_available() and dist.is_initialized()
    launched = initialized or int(os.environ.get("WORLD_SIZE", "1")) > 1
    if not distributed or not launched or (not initialized and not all(name in os.environ for name in LAUNCHER)):
        yield Processes()
        return
    if not dist.is_available():
        msg = "This build of PyTorch has no torch.distributed: run one process, without torchrun."
        raise ProcessError(msg)
    if not initialized:
        with _readable():
            store, rank, size = _launcher_store()
            # each group has keys of its own: it would else find the addresses of one that was ended before
            prefixed = dist.PrefixStore(f"scgrn_tl/{next(_GROUPS)}", store)  # type: ignore[attr-defined]
            dist.init_process_group("gloo", store=prefixed, rank=rank, world_size=size)
    group = None
    try:
        with _readable():
            group = dist.new_group(backend="gloo", timeout=LONGEST_WAIT)
        rank, size = dist.get_rank(), dist.get_world_size()
        processes = Processes(rank, size, int(os.environ.get("LOCAL_RANK", rank)), group)
        with _silence() if rank else nullcontext():
            yield processes if size > 1 else Processes()
    finally:
        if group is not None:
            dist.destroy_process_group(group)
        if not initialized:
            dist.destroy_process_group()


@contextmanager
def _silence() -> Iterator[None]:
    logger = logging.getLogger("scgrn_tl")
    with settings.override(progress=False):
        logger.setLevel(logging.ERROR)
        yield
