"""DeepDRIM: the image of a gene pair, seen beside those of the two genes' neighbours (Chen et al. 2021)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from .image_cnn import BLOCK_IMAGES, EMBEDDING_WIDTH, ImageCNN, glorot

if TYPE_CHECKING:
    from .expression_images import ExpressionImages

__all__ = ["DeepDRIM", "covariance_neighbors"]

_BLOCK_PAIRS = 2**24
"""Covariances held at a time: 128 MiB."""


class DeepDRIM(nn.Module):
    """Whether gene a regulates gene b, told from 3 + 2 k images: theirs, and those with k neighbours of each.

    With trunk A for the image of the pair and trunk B for all others (:class:`~scgrn_tl.models.image_cnn.ImageCNN`)::

        x = [A(a,b) | B(a,a) B(a,j₁) … B(a,j_k) | B(b,b) B(i₁,b) … B(i_k,b)]     j, i: neighbours of a, of b
        h = dropout(ReLU(W dropout(x)))                                         (3 + 2k)·512 → 512
        logit = w · dropout(ReLU(V h)) + c                                      512 → 128 → 1

    W weighs each image's vector by itself and adds up. What the images that depend on a alone come to, and those that
    depend on b alone, is therefore computed once for a regulator and once for a target (the gene's *view*), out of
    distinct images, and only A(a,b) once a pair. That is the network of the paper but for rounding; in training there
    is one difference: pairs of a batch that share a gene share the entries dropped from its images.

    Parameters
    ----------
    images
        Makes the images.
    neighbors
        ``int64 (G, k)``, each gene's neighbours.
    dropout, head_dropout
        Share of entries dropped in training: after each block of both trunks, and before each dense layer.
    dtype
        Of the trunks' convolutions.
    """

    neighbors: Tensor

    def __init__(
        self,
        images: ExpressionImages,
        neighbors: Tensor,
        *,
        dropout: float = 0.25,
        head_dropout: float = 0.5,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.images = images
        self.register_buffer("neighbors", neighbors, persistent=False)
        n_images = 3 + 2 * neighbors.shape[1]
        self.pair_trunk = ImageCNN(n_bins=images.n_bins, dropout=dropout, dtype=dtype)
        self.neighbor_trunk = ImageCNN(n_bins=images.n_bins, dropout=dropout, dtype=dtype)
        self.joint = nn.Linear(n_images * EMBEDDING_WIDTH, 512)
        self.dropout = nn.Dropout(head_dropout)
        self.head = nn.Sequential(
            nn.ReLU(), self.dropout, nn.Linear(512, 128), nn.ReLU(), self.dropout, nn.Linear(128, 1)
        )
        glorot(self)

    def forward(self, pairs: Tensor) -> Tensor:
        """Logits ``(B,)`` of gene pairs ``int64 (B, 2)``."""
        regulators, row = pairs[:, 0].unique(return_inverse=True)
        targets, column = pairs[:, 1].unique(return_inverse=True)
        of_regulator, of_target = self.views(regulators, targets)
        blocks = zip(*(part.split(BLOCK_IMAGES) for part in (pairs, row, column)), strict=True)
        # Indexing by brackets would add up gradients in an order that changes from run to run.
        logits = [self._logits(p, of_regulator.index_select(0, r), of_target.index_select(0, c)) for p, r, c in blocks]
        return torch.cat(logits)

    def views(self, regulators: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """What regulators ``(R',)`` and targets ``(T',)`` add to the joint layer: ``(R', 512)``, ``(T', 512)``."""
        of_regulator, of_target = self._pairs_with_neighbors(regulators), self._pairs_with_neighbors(targets).flip(-1)
        n_genes = len(self.neighbors)
        first, second = torch.cat([of_regulator, of_target]).view(-1, 2).T
        codes, place = (first * n_genes + second).unique(return_inverse=True)
        distinct = torch.stack([codes // n_genes, codes % n_genes], dim=1)  # (U, 2)
        embedded = torch.cat([self.neighbor_trunk(self.images(block)) for block in distinct.split(BLOCK_IMAGES)])
        of_genes = embedded.index_select(0, place.view(-1)).view(
            len(regulators) + len(targets), -1
        )  # (R' + T', (1 + k)·512)
        _, regulator_weight, target_weight = self._joint_weights()
        seen = self.dropout(of_genes)
        return seen[: len(regulators)] @ regulator_weight.T, seen[len(regulators) :] @ target_weight.T

    def _logits(self, pairs: Tensor, of_regulator: Tensor, of_target: Tensor) -> Tensor:
        """Logits ``(B,)`` of pairs ``(B, 2)`` and the views ``(B, 512)`` of their genes."""
        of_pair = self.dropout(self.pair_trunk(self.images(pairs)))  # (B, 512)
        joint = of_pair @ self._joint_weights()[0].T + of_regulator + of_target + self.joint.bias
        logits: Tensor = self.head(joint)
        return logits.squeeze(1)

    def _joint_weights(self) -> tuple[Tensor, Tensor, Tensor]:
        """The joint layer's weights of the pair's image, of the regulator's images and of the target's."""
        width = (1 + self.neighbors.shape[1]) * EMBEDDING_WIDTH
        pair, regulator, target = self.joint.weight.split([EMBEDDING_WIDTH, width, width], dim=1)
        return pair, regulator, target

    def _pairs_with_neighbors(self, genes: Tensor) -> Tensor:
        """Each gene with itself, then with its neighbours: ``int64 (M, 1 + k, 2)``."""
        partners = torch.cat([genes[:, None], self.neighbors[genes]], dim=1)  # (M, 1 + k)
        return torch.stack([genes[:, None].expand_as(partners), partners], dim=-1)


def covariance_neighbors(expression: np.ndarray, n_neighbors: int) -> np.ndarray:
    """The genes of largest covariance with each gene.

    Parameters
    ----------
    expression
        ``(G, N)``, genes × cells.
    n_neighbors
        How many, k; all genes, where there are fewer.

    Returns
    -------
    ``int64 (G, k)``, by falling covariance (with its sign), equal ones by index. A gene is not kept from being its own
    neighbour: its variance often is its largest covariance. Blocks of genes are held against all genes.
    """
    n_genes = len(expression)
    n_neighbors = min(n_neighbors, n_genes)
    centered = expression - expression.mean(axis=1, keepdims=True, dtype=np.float64)  # (G, N)
    centered[expression.max(axis=1) == expression.min(axis=1)] = 0  # where a rounded mean would leave noise
    neighbors = np.empty((n_genes, n_neighbors), dtype=np.int64)
    step = max(1, _BLOCK_PAIRS // n_genes)
    for start in range(0, n_genes, step):
        covariance = centered[start : start + step] @ centered.T  # (block, G)
        nearest = np.argsort(-covariance, axis=1, kind="stable")
        neighbors[start : start + step] = nearest[:, :n_neighbors]
    return neighbors
