"""GNNLink: two graph convolutions and an inner product (Mao et al. 2023)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["GNNLinkModule", "normalized_adjacency"]

_SLOPE = 0.2


def normalized_adjacency(edge_index: Tensor, n_genes: int) -> Tensor:
    """``D^−½ (A + 2I) D^−½``, sparse ``(G, G)``: A has a 1 in row i, column j where i regulates j; D the row sums.

    So a regulator gathers its targets, and any other gene only itself.
    """
    loops = torch.arange(n_genes, device=edge_index.device)
    index = torch.cat([edge_index, torch.stack([loops, loops])], dim=1)
    value = torch.cat([torch.ones(edge_index.shape[1]), torch.full((n_genes,), 2.0)]).to(edge_index.device)
    degree = torch.zeros(n_genes, device=edge_index.device).index_add(0, index[0], value)
    value = value * (degree[index[0]] * degree[index[1]]).rsqrt()
    return torch.sparse_coo_tensor(index, value, (n_genes, n_genes), check_invariants=False).coalesce()


class GNNLinkModule(nn.Module):
    """``H = LeakyReLU(Â X W₁)``, ``Z = LeakyReLU(Â H W₂)``, score of (a, b) ``ReLU(Z_a · Z_b)``; no biases.

    Parameters
    ----------
    n_features
        Width of the node features.
    hidden, out
        Widths of H and Z.
    """

    def __init__(self, n_features: int, *, hidden: int = 128, out: int = 64) -> None:
        super().__init__()
        self.first = nn.Linear(n_features, hidden, bias=False)
        self.second = nn.Linear(hidden, out, bias=False)
        for layer in (self.first, self.second):
            nn.init.xavier_uniform_(layer.weight)

    def embed(self, x: Tensor, adjacency: Tensor) -> Tensor:
        """Z ``(G, out)`` of node features ``(G, F)``."""
        hidden = nn.functional.leaky_relu(torch.sparse.mm(adjacency, self.first(x)), _SLOPE)
        return nn.functional.leaky_relu(torch.sparse.mm(adjacency, self.second(hidden)), _SLOPE)

    @staticmethod
    def decode(z: Tensor, pairs: Tensor) -> Tensor:
        """Scores ``(B,)`` of pairs ``int64 (B, 2)``."""
        # z[…] would add up gradients in an order that changes from run to run on several threads.
        return nn.functional.relu((z.index_select(0, pairs[:, 0]) * z.index_select(0, pairs[:, 1])).sum(1))
