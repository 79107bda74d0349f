"""GNE: embeddings of a network's structure and of expression, trained to name neighbours (KC et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

__all__ = ["GNEModule", "NegativeSampler"]


@dataclass(eq=False)
class NegativeSampler:
    """Different genes drawn one after the other, and how often each gene is expected among them.

    Attributes
    ----------
    n_genes, n_drawn
        Genes to draw from, and how many different ones to draw.
    generator
        Of the draws, on the CPU.
    distribution
        ``"uniform"``, or ``"log_uniform"`` over the gene's index k: P(k) ∝ log((k + 2)/(k + 1)).
    """

    n_genes: int
    n_drawn: int
    generator: torch.Generator
    distribution: Literal["uniform", "log_uniform"] = "uniform"

    def __post_init__(self) -> None:
        index = torch.arange(self.n_genes, dtype=torch.float64)
        weights = torch.log((index + 2) / (index + 1)) if self.distribution == "log_uniform" else torch.ones_like(index)
        self.probability = weights / weights.sum()  # (G,)
        self.n_drawn = min(self.n_drawn, self.n_genes)

    def draw(self) -> tuple[Tensor, Tensor]:
        """Genes ``int64 (S,)`` and every gene's expected count ``float32 (G,)``, at the number of tries this took."""
        drawn: dict[int, None] = {}
        n_tries = 0
        while len(drawn) < self.n_drawn:
            tried = torch.multinomial(self.probability, 4 * self.n_drawn, replacement=True, generator=self.generator)
            for gene in tried.tolist():
                n_tries += 1
                drawn[gene] = None
                if len(drawn) == self.n_drawn:
                    break
        expected = -torch.expm1(n_tries * torch.log1p(-self.probability.clamp(max=1 - 1e-12)))
        return torch.tensor(list(drawn)), expected.float()


class GNEModule(nn.Module):
    """With ``u = E_in[i]/‖·‖`` and ``v = ELU(x_i W_a)/‖·‖``, ``h = tanh([u; λv] W_h)``.

    Trained so that softmax(E_out h(i) + b) names the neighbours of i; a gene's embedding is ``E_out[i] + h(i)``. No
    biases but b.

    Parameters
    ----------
    n_genes, n_features
        Number of genes, and width of a gene's expression profile x.
    width
        Width of u, of v and of h.
    expression_weight
        λ; 0 leaves the structure alone.
    dropout
        Share of [u; λv] dropped in training.
    """

    def __init__(
        self, n_genes: int, n_features: int, *, width: int = 128, expression_weight: float = 1.0, dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.expression_weight, self.dropout = expression_weight, dropout
        self.structure = nn.Parameter(torch.empty(n_genes, width).uniform_(-1, 1))
        self.attributes = nn.Parameter(torch.randn(n_features, width))
        self.hidden = nn.Parameter(torch.randn(2 * width, width))
        self.output = nn.Parameter(torch.randn(n_genes, width))
        self.output_bias = nn.Parameter(torch.zeros(n_genes))

    def represent(self, genes: Tensor, x: Tensor) -> Tensor:
        """``h (B, width)`` of genes ``int64 (B,)`` with profiles ``x (B, F)``."""
        u = nn.functional.normalize(self.structure.index_select(0, genes), dim=1)
        v = nn.functional.normalize(nn.functional.elu(x @ self.attributes), dim=1)
        joined = nn.functional.dropout(torch.cat([u, self.expression_weight * v], dim=1), self.dropout, self.training)
        return torch.tanh(joined @ self.hidden)

    def embed(self, x: Tensor) -> Tensor:
        """Embeddings ``(G, width)`` of all genes, of profiles ``(G, F)``."""
        return self.output + self.represent(torch.arange(len(x), device=x.device), x)

    def sampled_loss(self, h: Tensor, neighbours: Tensor, sampled: Tensor, expected: Tensor) -> Tensor:
        """Mean sampled-softmax loss: a neighbour against the sampled genes, logits less log(expected count).

        Parameters
        ----------
        h
            ``(B, width)``.
        neighbours
            ``int64 (B,)``, the gene to name.
        sampled
            ``int64 (S,)``, shared by the batch; where it is the neighbour itself it does not count.
        expected
            ``(G,)``, expected count of each gene among the sampled.
        """
        outputs, biases = self.output.index_select, self.output_bias.index_select
        true = (h * outputs(0, neighbours)).sum(1) + biases(0, neighbours) - expected[neighbours].log()  # (B,)
        others = h @ outputs(0, sampled).T + biases(0, sampled) - expected[sampled].log()  # (B, S)
        others = others.masked_fill(neighbours[:, None] == sampled, -torch.inf)
        logits = torch.cat([true[:, None], others], dim=1)
        return nn.functional.cross_entropy(logits, torch.zeros(len(h), dtype=torch.int64, device=h.device))
