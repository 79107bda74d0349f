r"""The axial transformer of GRN-Transformer: attention between genes and, in turn, between cells.

A batch is a table of G genes by B cells with a vector of width D in each entry. Attention along one axis is *tied*
over the other: all cells share one map between genes, and all genes share one map between cells. With d = D / H the
width of a head, head h of a gene attention has

.. math::

    A_h = \operatorname{softmax}_j\Big(\frac{1}{\sqrt{d B}} \sum_{r=1}^{B} q_{h i r} \cdot k_{h j r} + l_h N_{ij}\Big),
    \qquad A_{h i i} = 0,

where r runs over cells, i is the gene that attends, j the gene attended to, and :math:`N` is a mixture of M maps
between genes that are known beforehand (:class:`TiedGeneAttention`). Cell attention is the same without :math:`N`,
r running over genes.

Sums over r come in any number of parts: training takes one part, a batch; the maps of all cells are summed up block of
cells by block (:meth:`AxialTransformer.gene_attentions`), which gives what one part would have given.

Shapes: G genes, B cells, D width, H heads, d head width, M maps, L layers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["AxialLayer", "AxialTransformer", "MixedMaps", "TiedAttention", "TiedGeneAttention"]

ROW_BLOCK = 64
"""Rows of the G × G maps mixed at a time: M blocks of as many rows of a thousand genes stay in a CPU's cache."""


class MixedMaps(torch.autograd.Function):
    r"""Softmax mixture of maps, with a sharpness of its own for each entry.

    .. math:: N_{ij} = \sum_m P_{mij} w_{mij}, \qquad w_{mij} ∝ e^{t_{ij} P_{mij}}.

    Its derivative by :math:`t` is the variance :math:`\sum_m w_{mij} (P_{mij} - N_{ij})^2`. Keeping that one matrix for
    the backward pass spares the several of size M × G × G that autograd would keep.
    """

    @staticmethod
    def forward(ctx: Any, sharpness: Tensor, maps: Tensor) -> Tensor:
        """``(G, G)`` of the sharpness t ``(G, G)`` and the maps P ``(M, G, G)``, which get no gradient."""
        mixed, variance = torch.empty_like(sharpness), torch.empty_like(sharpness)
        for rows in _blocks(len(sharpness), ROW_BLOCK):
            part = maps[:, rows]  # (M, rows, G)
            weights = (sharpness[rows] * part).softmax(dim=0)
            mixed[rows] = (weights * part).sum(dim=0)
            variance[rows] = weights.mul_((part - mixed[rows]).square_()).sum(dim=0)
        ctx.save_for_backward(variance)
        return mixed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """Gradient by the sharpness."""
        (variance,) = ctx.saved_tensors
        return grad * variance, None


class TiedAttention(nn.Module):
    """Multi-head attention along the first axis of ``(S, T, D)``, one map for all of the second.

    Parameters
    ----------
    width
        D, a multiple of ``heads``.
    heads
        H.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)

    def logits(self, x: Tensor, n_tied: int) -> Tensor:
        """What ``x`` adds to the logits ``(H, S, S)``.

        Parameters
        ----------
        x
            ``(S, T, D)``, all entries of the second axis or some.
        n_tied
            How many there are of them in all.
        """
        query, key = self._query_and_key(x, n_tied)
        return self._by_head(query) @ self._by_head(key).mT

    def mix(self, attention: Tensor, x: Tensor) -> Tensor:
        """What ``x`` ``(S, T, D)`` adds to the residual stream under this attention, ``(S, T, D)``."""
        mixed = attention @ self._by_head(self.value(x))  # (H, S, T * d)
        mixed = mixed.unflatten(2, (x.shape[1], -1))  # (H, S, T, d)
        return self.output(mixed.permute(1, 2, 0, 3).flatten(2))

    def _by_head(self, x: Tensor) -> Tensor:
        """``(S, T, D)`` as ``(H, S, T * d)``, so that one product of matrices sums over T and d."""
        return x.unflatten(2, (self.heads, -1)).permute(2, 0, 1, 3).flatten(2)

    def _query_and_key(self, x: Tensor, n_tied: int) -> tuple[Tensor, Tensor]:
        head_width = self.query.out_features // self.heads
        return self.query(x) * (head_width * n_tied) ** -0.5, self.key(x)


class TiedGeneAttention(TiedAttention):
    r"""Attention between genes, tied over cells and biased by a mixture of maps known beforehand.

    The mixture is :math:`N_{ij} = \sum_m P_{mij} \operatorname{softmax}_m ⟨u_{ij}, w_{mij}⟩` with

    .. math::

        u_{ij} = \frac{1}{H} \sum_h \Big(W \sum_r \frac{q_{hir} ∘ k_{hjr}}{\sqrt{d B}} + b\Big) \in ℝ^8, \qquad
        w_{mij} = a P_{mij} + a_0.

    :math:`⟨u_{ij}, a_0⟩` is the same for all m and drops out of the softmax, and what is left is
    :math:`t_{ij} P_{mij}` with a single number :math:`t_{ij} = ⟨u_{ij}, a⟩`, linear in the products of query and key.
    So neither :math:`u` nor :math:`w`, of 8 and of 8 M values a pair, is ever made: :math:`t` is one more product of
    matrices, with queries weighted by :math:`W^\top a / H`.

    Parameters
    ----------
    width, heads
        See :class:`TiedAttention`.
    match_width
        Width of u and w.
    """

    def __init__(self, width: int, heads: int, match_width: int = 8) -> None:
        super().__init__(width, heads)
        self.pair_match = nn.Linear(width // heads, match_width)  # W, b
        self.map_match = nn.Linear(1, match_width, bias=False)  # a
        self.map_strength = nn.Parameter(torch.randn(heads))  # l

    def logits(self, x: Tensor, n_tied: int) -> Tensor:
        """As in :class:`TiedAttention`, and last what ``x`` adds to t, ``(H + 1, G, G)``."""
        query, key = self._query_and_key(x, n_tied)  # (G, B, D)
        weight = (self.map_match.weight[:, 0] @ self.pair_match.weight / self.heads).repeat(self.heads)  # (D,)
        sharpness = (query * weight).flatten(1) @ key.flatten(1).T  # (G, G)
        return torch.cat([self._by_head(query) @ self._by_head(key).mT, sharpness[None]])

    def attention(self, logits: Tensor, maps: Tensor) -> Tensor:
        """Attention ``(H, G, G)`` out of the sum of all that :meth:`logits` gave, and of maps ``(M, G, G)``."""
        sharpness = logits[-1] + self.map_match.weight[:, 0] @ self.pair_match.bias
        mixed = MixedMaps.apply(sharpness, maps)  # type: ignore[no-untyped-call]
        biased = torch.addcmul(logits[:-1], self.map_strength[:, None, None], mixed)
        itself = torch.eye(biased.shape[-1], dtype=torch.bool, device=biased.device)
        return biased.masked_fill_(itself, -1e9).softmax(dim=-1)


class AxialLayer(nn.Module):
    """Gene attention, cell attention and a feed-forward block, each on what a layer norm gives, each added to the rest.

    Parameters
    ----------
    width, heads
        See :class:`TiedAttention`.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.gene_norm = nn.LayerNorm(width)
        self.genes = TiedGeneAttention(width, heads)
        self.cell_norm = nn.LayerNorm(width)
        self.cells = TiedAttention(width, heads)
        self.feed_norm = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, x: Tensor, maps: Tensor) -> Tensor:
        """``(G, B, D)`` after the layer, of ``x`` ``(G, B, D)`` and maps ``(M, G, G)``."""
        y = self.gene_norm(x)
        x = x + self.genes.mix(self.genes.attention(self.genes.logits(y, y.shape[1]), maps), y)
        y = self.cell_norm(x).transpose(0, 1)  # (B, G, D)
        x = x + self.cells.mix(self.cells.logits(y, y.shape[1]).softmax(dim=-1), y).transpose(0, 1)
        return x + self.feed_forward(self.feed_norm(x))

    def gene_attention(self, x: Tensor, maps: Tensor, block: int) -> Tensor:
        """The attention between genes ``(H, G, G)``, summed up by blocks of so many cells."""
        n_cells = x.shape[1]
        parts = (self.genes.logits(self.gene_norm(x[:, cells]), n_cells) for cells in _blocks(n_cells, block))
        return self.genes.attention(_total(parts), maps)

    def advance(self, x: Tensor, gene_attention: Tensor, block: int) -> None:
        """Do as :meth:`forward`, in ``x`` itself and by blocks of about as many entries as ``block`` cells have."""
        n_genes, n_cells = x.shape[:2]
        for cells in _blocks(n_cells, block):
            x[:, cells] += self.genes.mix(gene_attention, self.gene_norm(x[:, cells]))
        slabs = list(_blocks(n_genes, max(1, block * n_genes // n_cells)))
        parts = (self.cells.logits(self.cell_norm(x[genes]).transpose(0, 1), n_genes) for genes in slabs)
        cell_attention = _total(parts).softmax(dim=-1)  # (H, B, B)
        for genes in slabs:
            y = self.cell_norm(x[genes]).transpose(0, 1)  # (B, genes, D)
            x[genes] += self.cells.mix(cell_attention, y).transpose(0, 1)
            x[genes] += self.feed_forward(self.feed_norm(x[genes]))


class AxialTransformer(nn.Module):
    r"""Fills in masked entries of a table of expression from the other genes and cells.

    An entry enters as :math:`[\text{Linear}(\text{ReLU}(\text{Linear}(v))) ‖ \text{Linear}([v = 0])]`, half of the
    width each: the value, and whether it is missing. L layers follow between two layer norms, and
    Linear–GELU–LayerNorm–Linear reads the value off.

    Parameters
    ----------
    width
        D, even and a multiple of ``heads``.
    depth
        L.
    heads
        H, of each attention.
    """

    def __init__(self, width: int = 64, depth: int = 5, heads: int = 4) -> None:
        super().__init__()
        self.value = nn.Sequential(nn.Linear(1, width), nn.ReLU(), nn.Linear(width, width // 2))
        self.missing = nn.Linear(1, width // 2)
        self.first_norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(AxialLayer(width, heads) for _ in range(depth))
        self.head = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width), nn.Linear(width, 1)
        )

    def embed(self, values: Tensor) -> Tensor:
        """``(G, B, D)``, what enters the layers, of standardised values ``(G, B)`` with 0 for what is missing."""
        entries = values[..., None]
        return self.first_norm(torch.cat([self.value(entries), self.missing((entries == 0).to(entries))], dim=-1))

    def forward(self, values: Tensor, maps: Tensor, wanted: Tensor) -> Tensor:
        """Predicted values of some entries.

        Parameters
        ----------
        values
            ``(G, B)``, standardised expression with 0 for what is missing.
        maps
            ``(M, G, G)``, what is known between genes: row attends, column is attended to.
        wanted
            ``bool (G, B)``, the entries to predict.

        Returns
        -------
        ``(wanted.sum(),)``, in the order of ``wanted.nonzero()``.
        """
        x = self.embed(values)
        for layer in self.layers:
            x = layer(x, maps)
        return self.head(x[wanted])[:, 0]

    @torch.no_grad()
    def gene_attentions(self, values: Tensor, maps: Tensor, block: int = 32) -> Iterator[Tensor]:
        """The attention between genes over all cells, layer after layer.

        Parameters
        ----------
        values, maps
            See :meth:`forward`.
        block
            Cells computed on at a time. Held for all cells are only the vectors that enter a layer, ``(G, B, D)``.

        Yields
        ------
        ``(H, G, G)``: row attends, column is attended to.
        """
        x = torch.cat([self.embed(values[:, cells]) for cells in _blocks(values.shape[1], block)], dim=1)
        layers = cast("list[AxialLayer]", list(self.layers))
        for layer in layers:
            attention = layer.gene_attention(x, maps, block)
            yield attention
            if layer is not layers[-1]:  # nobody reads what leaves the last layer
                layer.advance(x, attention, block)


def _blocks(length: int, size: int) -> Iterator[slice]:
    """Slices of at most ``size`` that cover ``length``."""
    for start in range(0, length, size):
        yield slice(start, min(start + size, length))


def _total(parts: Iterator[Tensor]) -> Tensor:
    """Sum, with two of the parts held at a time."""
    total = next(parts)
    for part in parts:
        total += part
    return total
