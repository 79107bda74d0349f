"""Labelled TF→target pairs and their division into training, validation and test."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from .errors import SplitError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["EdgeSplit", "LabeledPairs", "SplitKind"]

SplitKind = Literal["random", "given", "tf", "target", "both"]


@dataclass(frozen=True, eq=False)
class LabeledPairs:
    """Ordered gene pairs with a label each.

    Attributes
    ----------
    pairs
        ``int64[P, 2]``: gene index of the regulator, gene index of the target.
    labels
        ``bool[P]``: whether the regulator is known to regulate the target.
    """

    pairs: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        pairs = np.ascontiguousarray(self.pairs, dtype=np.int64).reshape(-1, 2)
        labels = np.ascontiguousarray(self.labels, dtype=bool).reshape(-1)
        if len(pairs) != len(labels):
            msg = f"{len(pairs)} pairs but {len(labels)} labels."
            raise SplitError(msg)
        object.__setattr__(self, "pairs", pairs)
        object.__setattr__(self, "labels", labels)

    @classmethod
    def empty(cls) -> LabeledPairs:
        """No pairs at all."""
        return cls(np.empty((0, 2), dtype=np.int64), np.empty(0, dtype=bool))

    @property
    def positives(self) -> np.ndarray:
        """``int64[E, 2]``, the pairs labelled as edges."""
        return self.pairs[self.labels]

    @property
    def prevalence(self) -> float:
        """Share of positives; NaN without pairs."""
        return float(self.labels.mean()) if len(self.labels) else float("nan")

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"LabeledPairs({len(self):,} pairs, {int(self.labels.sum()):,} edges)"


@dataclass(frozen=True, eq=False)
class EdgeSplit:
    """Pairs for training, validation and test; no pair stands in more than one part.

    Attributes
    ----------
    train, validation, test
        The three parts.
    kind
        ``"random"`` (each TF's edges divided), ``"given"`` (published files), ``"tf"`` (regulators held out),
        ``"target"`` (targets held out) or ``"both"`` (neither seen in training).
    genes
        Names of the genes that the pairs' indices count over, so that a split cannot be taken for other data; ``None``
        if they are not known.
    """

    train: LabeledPairs
    validation: LabeledPairs
    test: LabeledPairs
    kind: SplitKind = "random"
    genes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(SplitKind):
            msg = f"A split's kind is one of {', '.join(get_args(SplitKind))}, not {self.kind!r}."
            raise SplitError(msg)
        everything = np.concatenate([part.pairs for part in self.parts])
        if len(everything) and everything.min() < 0:
            msg = "A split's pairs are gene indices; a negative one is there."
            raise SplitError(msg)
        n_genes = int(everything.max()) + 1 if len(everything) else 1
        # Sorted, not np.unique, whose hashing takes 50 times as long on millions of pairs.
        codes = np.sort(everything[:, 0] * n_genes + everything[:, 1])
        n_repeated = int((codes[1:] == codes[:-1]).sum())
        if n_repeated:
            msg = f"{n_repeated} pairs stand more than once in the split's three parts. Drop repeated ones."
            raise SplitError(msg)

    @property
    def parts(self) -> tuple[LabeledPairs, LabeledPairs, LabeledPairs]:
        """Train, validation, test."""
        return self.train, self.validation, self.test

    @property
    def regulators(self) -> np.ndarray:
        """Sorted gene indices of every regulator that stands in some pair."""
        return np.unique(np.concatenate([part.pairs[:, 0] for part in self.parts]))

    def without_test(self) -> EdgeSplit:
        """The same split with an empty test part: all that a method may see."""
        return replace(self, test=LabeledPairs.empty())

    def check_genes(self, genes: Sequence[str]) -> None:
        """Raise :class:`SplitError` if the split is over other genes, or names a gene index beyond them."""
        n_genes = len(genes)
        if self.genes is not None and self.genes != tuple(genes):
            msg = (
                f"The split was made for other data: it counts over {len(self.genes)} genes "
                f"({', '.join(self.genes[:3])}, …), the data has {n_genes} ({', '.join(list(genes)[:3])}, …), or they "
                "stand in another order. Make the split after subsetting and sorting genes."
            )
            raise SplitError(msg)
        top = max((int(part.pairs.max()) for part in self.parts if len(part)), default=-1)
        if top >= n_genes:
            msg = (
                f"The split names gene index {top}, but the data has {n_genes} genes: it was made for other data. "
                "Make the split anew: `sg.bm.split_edges(prior)`."
            )
            raise SplitError(msg)

    def __repr__(self) -> str:
        train, validation, test = (f"{len(p):,} ({int(p.labels.sum()):,} edges)" for p in self.parts)
        return f"EdgeSplit({self.kind}: train {train}, validation {validation}, test {test})"
