"""The members of an ensemble, trained side by side."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from .threads import n_threads, threads_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .link_training import LinkTrainer

__all__ = ["train_members"]

_LARGE = 2**24
"""Pairs of a regulator and a gene from which on members train in turn: one of them fills memory and cores alone."""


class _Stopped(Exception):  # noqa: N818  (not an error: another member's is)
    """Another member failed, or the user has had enough."""


def train_members(trainers: Sequence[LinkTrainer]) -> None:
    """Run every trainer, on the CPU at the same time, each with its share of PyTorch's threads.

    One fit of a usual size gains little from a second core. Every trainer has generators of its own, so what one draws
    does not depend on the others.

    Parameters
    ----------
    trainers
        One for each member, none run yet.
    """
    first = trainers[0]
    in_turn = first.genes.features.device.type != "cpu" or first.supervision.mask.numel() >= _LARGE
    if len(trainers) == 1 or n_threads() == 1 or in_turn:
        with threads_for(first.n_values):
            for trainer in trainers:
                trainer.run()
        return
    stop, lock = threading.Event(), threading.Lock()

    def guarded(on_epoch: Callable[[], object] | None) -> Callable[[], None]:
        def call() -> None:
            if stop.is_set():
                raise _Stopped
            if on_epoch is not None:
                with lock:
                    on_epoch()

        return call

    for trainer in trainers:
        trainer.on_epoch = guarded(trainer.on_epoch)
    n_workers = min(len(trainers), n_threads())
    # PyTorch's number of threads is each thread's own: new ones start with that of the process, set here.
    with _threads_each(n_threads() // n_workers), ThreadPoolExecutor(n_workers) as pool:
        running = [pool.submit(trainer.run) for trainer in trainers]
        try:
            for future in as_completed(running):
                future.result()
        except BaseException:
            stop.set()
            for future in running:
                future.cancel()
            raise


@contextmanager
def _threads_each(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
