"""Reproducible torch randomness without touching anyone else's."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from scgrn_tl.core.argument_types import typed_arguments

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Dropout", "dropout_generator", "seeded_rng", "use_generator"]


@typed_arguments
@contextmanager
def seeded_rng(seed: int, device: str | torch.device = "cpu") -> Iterator[None]:
    """Inside the block, torch's global random state starts from ``seed``; after it, it is what it was before.

    Modules draw their first weights and dropout masks from the global state, which takes no generator. This isolates
    them: code outside the block neither affects what is drawn inside nor notices it.

    Parameters
    ----------
    seed
        Any integer that :meth:`torch.Generator.manual_seed` takes.
    device
        With a CUDA or MPS device, that device's state is set and put back as well as the CPU's.

    Raises
    ------
    ArgumentError
        If the seed is no whole number.

    Examples
    --------
    >>> import torch
    >>> with seeded_rng(0):
    ...     first = torch.rand(2)
    >>> with seeded_rng(0):
    ...     second = torch.rand(2)
    >>> torch.equal(first, second)
    True
    """
    device = torch.device(device)
    cuda = []
    if device.type == "cuda":
        cuda = [torch.cuda.current_device() if device.index is None else device.index]
    mps_before = torch.mps.get_rng_state() if device.type == "mps" else None
    with torch.random.fork_rng(devices=cuda):
        torch.set_rng_state(torch.Generator().manual_seed(seed).get_state())
        for index in cuda:
            torch.cuda.set_rng_state(torch.Generator(device=f"cuda:{index}").manual_seed(seed).get_state(), index)
        if mps_before is None:
            yield
            return
        torch.mps.set_rng_state(torch.Generator(device="mps").manual_seed(seed).get_state())
        try:
            yield
        finally:
            torch.mps.set_rng_state(mps_before)


class Dropout(nn.Dropout):
    """Dropout that can draw from a generator of its own, so that models can train side by side.

    A generator in the state of torch's global one draws the same masks on the CPU.
    """

    generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        """``x`` with a share ``p`` of its entries dropped in training, the others scaled up."""
        if self.generator is None or not self.training or self.p == 0:
            return super().forward(x)
        kept = torch.empty_like(x).bernoulli_(1 - self.p, generator=self.generator)
        return x * kept.div_(1 - self.p)


def dropout_generator(seed: int, device: str | torch.device) -> torch.Generator:
    """A generator for :class:`Dropout`: on the CPU it goes on where torch's global state is, else from ``seed``."""
    generator = torch.Generator(device=device)
    if torch.device(device).type == "cpu":
        return generator.set_state(torch.get_rng_state())
    return generator.manual_seed(seed)


@contextmanager
def use_generator(module: nn.Module, generator: torch.Generator | None) -> Iterator[None]:
    """Inside the block, every :class:`Dropout` of a module draws from ``generator``."""
    layers = [layer for layer in module.modules() if isinstance(layer, Dropout)]
    for layer in layers:
        layer.generator = generator
    try:
        yield
    finally:
        for layer in layers:
            layer.generator = None
