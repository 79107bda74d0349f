"""Seeds: one generator in, as many independent ones out as are needed (SPEC 7; no global state)."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from .argument_types import typed_arguments
from .errors import ArgumentError

__all__ = ["RNGLike", "generator_of", "spawn_seeds"]

RNGLike: TypeAlias = int | np.random.Generator | None


def generator_of(rng: RNGLike) -> np.random.Generator:
    """The generator of a seed, one itself, or one of fresh entropy (``None``).

    Raises
    ------
    ArgumentError
        If the seed is negative.
    """
    if not isinstance(rng, np.random.Generator) and rng is not None and rng < 0:
        msg = f"rng is a seed of at least 0, a numpy Generator or None, not {rng!r}."
        raise ArgumentError(msg)
    return np.random.default_rng(rng)


@typed_arguments
def spawn_seeds(rng: RNGLike, n: int) -> list[int]:
    """``n`` independent seeds below 2⁶³ from ``rng``: a seed, a generator, or fresh entropy (``None``).

    The k-th seed does not depend on ``n``, so results do not change when more are asked for.

    Raises
    ------
    ArgumentError
        If the seed or ``n`` is negative.
    """
    if n < 0:
        msg = f"n is a number of seeds, not {n!r}."
        raise ArgumentError(msg)
    return [int(seed) for seed in generator_of(rng).integers(0, 2**63, size=n)]
