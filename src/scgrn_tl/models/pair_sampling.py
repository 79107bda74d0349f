"""Labelled pairs as a torch method sees them: batches of an epoch, and every pair there is to score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scgrn_tl.core.split import LabeledPairs

__all__ = ["PairSampler", "pair_tensors", "score_matrix"]


def pair_tensors(part: LabeledPairs, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Pairs ``int64 (P, 2)`` and labels ``float32 (P,)`` on a device."""
    return torch.from_numpy(part.pairs.copy()).to(device), torch.from_numpy(part.labels.astype(np.float32)).to(device)


@dataclass(eq=False)
class PairSampler:
    """Training pairs in batches; iterating once is one epoch.

    Attributes
    ----------
    pairs
        ``int64 (P, 2)``: gene index of the regulator, gene index of the target.
    labels
        ``float32 (P,)``, 1 for edges.
    batch_size
        Pairs in a batch.
    generator
        Of everything drawn, on the CPU, so that every device sees the same batches.
    negatives
        ``"all"`` non-edges; or ``"balanced"``: of each regulator as many as it has edges (all, where it has fewer),
        drawn anew each epoch.
    by_target
        Keep the pairs of one target together, in one batch or in neighbouring ones, so that what is computed of a
        target serves all its pairs. Targets are shuffled then, and not pairs.
    """

    pairs: Tensor
    labels: Tensor
    batch_size: int
    generator: torch.Generator
    negatives: Literal["all", "balanced"] = "all"
    by_target: bool = False

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches ``(pairs, labels)`` of one epoch."""
        chosen = self._chosen()
        if self.by_target:
            targets = self.pairs[:, 1].cpu()
            rank = torch.randperm(int(targets.max()) + 1, generator=self.generator)
            order = chosen[rank[targets[chosen]].argsort(stable=True)]
        else:
            order = chosen[torch.randperm(len(chosen), generator=self.generator)]
        for batch in order.to(self.pairs.device).split(self.batch_size):
            yield self.pairs[batch], self.labels[batch]

    def _chosen(self) -> Tensor:
        """Indices ``int64`` of the pairs that this epoch learns from, ascending."""
        if self.negatives == "all":
            return torch.arange(len(self.labels))
        regulators, is_edge = self.pairs[:, 0].cpu(), self.labels.cpu() > 0
        others = (~is_edge).nonzero().squeeze(1)
        others = others[torch.randperm(len(others), generator=self.generator)]
        others = others[regulators[others].argsort(stable=True)]  # of each regulator in turn, in random order
        n_edges = torch.bincount(regulators[is_edge], minlength=int(regulators.max()) + 1)
        sizes = torch.bincount(regulators[others], minlength=len(n_edges))
        place = torch.arange(len(others)) - (sizes.cumsum(0) - sizes)[regulators[others]]
        kept = others[place < n_edges[regulators[others]]]
        return torch.cat([is_edge.nonzero().squeeze(1), kept]).sort().values


@torch.no_grad()
def score_matrix(
    score_pairs: Callable[[Tensor], Tensor],
    regulators: np.ndarray,
    n_genes: int,
    *,
    device: torch.device | str,
    block: int = 8192,
) -> np.ndarray:
    """Every pair of a regulator and a gene, target by target, scored in blocks.

    Parameters
    ----------
    score_pairs
        Scores ``(B,)`` of pairs ``int64 (B, 2)``.
    regulators
        ``int64 (R,)``, gene indices.
    n_genes
        Number of genes G.
    device
        Where the pairs are put.
    block
        About as many pairs are scored at a time, and at least those of one target.

    Returns
    -------
    ``float32 (R, G)``.
    """
    rows = torch.from_numpy(np.array(regulators, dtype=np.int64)).to(device)
    matrix = np.empty((len(rows), n_genes), dtype=np.float32)
    step = max(1, block // len(rows))
    for start in range(0, n_genes, step):
        genes = torch.arange(start, min(start + step, n_genes), device=device)
        pairs = torch.stack([rows.repeat(len(genes)), genes.repeat_interleave(len(rows))], dim=1)
        scores = score_pairs(pairs).float().cpu().numpy()
        matrix[:, start : start + step] = scores.reshape(len(genes), len(rows)).T
    return matrix
