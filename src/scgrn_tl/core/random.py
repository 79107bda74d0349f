"""Seeds: one generator in, as many independent ones out as are needed (SPEC 7; no global state)."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

__all__ = ["RNGLike", "spawn_seeds"]

RNGLike: TypeAlias = int | np.random.Generator | None


def spawn_seeds(rng: RNGLike, n: int) -> list[int]:
    """``n`` independent seeds below 2⁶³ from ``rng``: a seed, a generator, or fresh entropy (``None``).

    The k-th seed does not depend on ``n``, so results do not change when more are asked for.
    """
    return [int(seed) for seed in np.random.default_rng(rng).integers(0, 2**63, size=n)]
