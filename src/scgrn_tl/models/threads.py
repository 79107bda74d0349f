"""How many threads PyTorch computes with: as many as the settings say, and one for small work."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from scgrn_tl._settings import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SMALL_WORK", "n_threads", "threads_for", "threads_set"]

SMALL_WORK = 2**18
"""Values of the largest activation up to which a second thread gains next to nothing."""


def n_threads() -> int:
    """Threads for work that gains from them: ``settings.n_threads``, or PyTorch's own number."""
    return settings.n_threads or torch.get_num_threads()


@contextmanager
def threads_set() -> Iterator[None]:
    """Inside the block PyTorch computes with :func:`n_threads`, whatever the work.

    Another library may have changed PyTorch's own number: numba's parallel loops, which scanpy runs, set that of all
    libraries in the process to the number of cores.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads())
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def threads_for(n_values: int) -> Iterator[None]:
    """Inside the block PyTorch computes with :func:`n_threads`, or with one if its activations have few values.

    Threads that have to meet after every small operation wait for each other most of the time. Where they have fewer
    cores than they think (a busy laptop, a container with a quota), that makes it tens of times slower. The choice
    depends on the size alone, so that results do not change from run to run.

    Parameters
    ----------
    n_values
        Values of the largest activation of one step.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1 if n_values <= SMALL_WORK else n_threads())
    try:
        yield
    finally:
        torch.set_num_threads(before)
