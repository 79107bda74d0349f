"""Technical batches of simulated cells: how well, how deeply and how cleanly each of them was sequenced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scgrn_tl.core.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

__all__ = ["Batches"]


@dataclass(frozen=True, eq=False)
class Batches:
    r"""Which batch each cell was sequenced in, and what that does to its counts.

    Of a cell n in batch b, the expected count of gene i becomes

    .. math:: \mu'_{in} = d_b \left[(1 - α_b)\,e_{ib}\,\mu_{in}
              + \frac{α_b}{|b|} \sum_{m \in b} e_{im}\,\mu_{im}\right]

    with a depth d, an ambient share α, and the gene's capture efficiency e, log-normal with mean 1 (the distribution of
    Splatter's batch factors, Zappia et al. 2017).

    Attributes
    ----------
    codes
        ``int64[N]``, each cell's batch.
    efficiency
        ``float64[G, B]``, e.
    depth
        ``float64[B]``, d.
    ambient
        ``float64[B]``, α: of all counts of the batch, the share that comes from the soup around its cells.
    """

    codes: np.ndarray
    efficiency: np.ndarray
    depth: np.ndarray
    ambient: np.ndarray

    @classmethod
    def draw(
        cls,
        n_cells: int,
        n_genes: int,
        *,
        n_batches: int,
        effect: float,
        sizes: Sequence[float] | None,
        depths: Sequence[float] | None,
        ambient: Sequence[float] | None,
        rng: np.random.Generator,
    ) -> Batches:
        """Deal cells to batches at random, as many as ``sizes`` say, and draw each batch's capture efficiencies.

        Raises
        ------
        ArgumentError
            If an argument is out of range, or a batch would have no cell.
        """
        if not isinstance(n_batches, (int, np.integer)) or not 1 <= n_batches <= n_cells:
            msg = f"n_batches={n_batches!r} is out of range: it is a whole number between 1 and n_cells={n_cells}."
            raise ArgumentError(msg)
        if not 0 <= effect < np.inf:
            msg = f"batch_effect={effect!r} is out of range: it lies between 0 and inf."
            raise ArgumentError(msg)
        share = _one_per_batch("batch_sizes", sizes, n_batches, default=1.0, least=np.nextafter(0, 1))
        bounds = np.rint(np.cumsum(share) / share.sum() * n_cells).astype(np.int64)
        n_of_batch = np.diff(bounds, prepend=0)
        if (n_of_batch < 1).any():
            msg = f"batch_sizes={sizes!r} leaves a batch without any of the {n_cells} cells."
            raise ArgumentError(msg)
        codes = rng.permutation(np.repeat(np.arange(n_batches), n_of_batch))
        # a single batch has nothing to differ from: its efficiencies are part of the genes' levels
        spread = effect if n_batches > 1 else 0.0
        return cls(
            codes,
            np.exp(spread * rng.standard_normal((n_genes, n_batches)) - spread**2 / 2),
            _one_per_batch("batch_depths", depths, n_batches, default=1.0, least=np.nextafter(0, 1)),
            _one_per_batch("batch_ambient", ambient, n_batches, default=0.0, least=0.0, most=1.0),
        )

    def distort(self, expected: np.ndarray) -> np.ndarray:
        """Expected counts ``float64[N, G]`` as they are in the cells' batches."""
        captured = expected * self.efficiency.T[self.codes]
        soup = np.stack([captured[self.codes == batch].mean(axis=0) for batch in range(len(self.depth))])  # (B, G)
        ambient = self.ambient[self.codes, None]  # (N, 1)
        return self.depth[self.codes, None] * ((1 - ambient) * captured + ambient * soup[self.codes])

    def to_obs(self) -> pd.Categorical:
        """``batch1``, ``batch2``, … of the cells."""
        import pandas as pd

        return pd.Categorical.from_codes(self.codes, categories=[f"batch{b + 1}" for b in range(len(self.depth))])


def _one_per_batch(
    name: str, given: Sequence[float] | None, n_batches: int, *, default: float, least: float, most: float = np.inf
) -> np.ndarray:
    """``float64[B]``, checked; ``default`` for each if none are given."""
    if given is None:
        return np.full(n_batches, default)
    values = np.asarray(given, dtype=np.float64)
    if values.shape != (n_batches,):
        msg = f"{name}={given!r} is one number for each of the n_batches={n_batches} batches."
        raise ArgumentError(msg)
    if not (np.isfinite(values) & (values >= least) & (values <= most)).all():
        msg = f"{name}={given!r} is out of range: each lies between {least:g} and {most:g}."
        raise ArgumentError(msg)
    return values
