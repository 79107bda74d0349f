"""The scTransNet network: gene embedding and prior graph, joined and scored (Kommu et al. 2024, fig. 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from scgrn_tl.core.argument_types import argument_types, check_type
from scgrn_tl.core.errors import ArgumentError

from .link_scorer import Decoder, LinkChannels, LinkLogits, LinkScorer
from .node_features import GeneFeatures  # noqa: TC001  (annotations are read when a config is made)
from .prior_gnn import PriorGNN

if TYPE_CHECKING:
    from .pair_attention import PairGraph
    from .prior_graph import RelationalGraph

__all__ = ["GeneInputs", "ScTransNetConfig", "ScTransNetModule"]


@dataclass(frozen=True)
class ScTransNetConfig:
    """Everything about a fit that is chosen beforehand.

    Attributes
    ----------
    use_gnn
        Join the prior GNN's node states (``False``: Table 1's "w/o GNN"; what is left are the gene embedding, if one is
        given, and the pair effects).
    gene_features, n_components
        Node features; see :func:`~scgrn_tl.models.gene_features`.
    gnn_widths, gnn_heads
        Widths and attention heads of the GNN's layers.
    channel_hidden, channel_width
        Widths of the two scoring channels.
    decoder
        How the channels meet: ``"dot"``, ``"cosine"`` or ``"mlp"``.
    hub_terms
        Give every regulator and target a term of its own, shrunk by empirical Bayes, so that the channels' product says
        what is specific to a pair. ``False`` is the paper's bare product, without any pair effects.
    latent_factors
        With ``hub_terms``, how many latent factors of regulators that share targets; 0 for none. See
        :mod:`scgrn_tl.models.pair_effects`.
    expression_effects
        With ``hub_terms``, read a target's term and its factors from genes that are expressed alike too.
    dropout
        Share of entries dropped in training, in the graph layers and in the channels.
    epochs, lr, weight_decay
        Passes over all pairs, step width and decoupled weight decay of AdamW.
    hidden_edges
        Share of the training edges that each epoch hides from the graph; only hidden pairs are learned from, so the
        model never reads an answer off its own input. Without a GNN nothing is hidden.
    negatives
        ``"all"`` learns from every labelled non-edge, which keeps log-odds true to the data. ``"hard"`` is the paper's:
        per edge one non-edge of the same regulator, drawn anew each epoch.
    select
        The epoch kept is the best on validation pairs by ``"loss"`` (log-likelihood) or ``"auprc"``.
    patience
        Stop after as many epochs without a better one.
    n_models
        Networks fitted from different seeds; their logits are averaged and their spread is kept.
    joint_blocks, joint_cells, joint_lr
        Where the task has ``cells``: how many of the encoder's last blocks are trained along (the final norm always
        is), through how many cells in each step, and AdamW's step width for them, without weight decay.
    """

    use_gnn: bool = True
    gene_features: GeneFeatures = "pca"
    n_components: int = 32
    gnn_widths: tuple[int, ...] = (64, 32)
    gnn_heads: int = 4
    channel_hidden: int = 64
    channel_width: int = 32
    decoder: Decoder = "dot"
    hub_terms: bool = True
    latent_factors: int = 12
    expression_effects: bool = True
    dropout: float = 0.2
    epochs: int = 100
    lr: float = 3e-3
    weight_decay: float = 1e-3
    hidden_edges: float = 0.5
    negatives: Literal["all", "hard"] = "all"
    select: Literal["auprc", "loss"] = "loss"
    patience: int = 30
    n_models: int = 1
    joint_blocks: int = 1
    joint_cells: int = 16
    joint_lr: float = 1e-4

    def __post_init__(self) -> None:
        positive = (
            "n_components",
            "gnn_heads",
            "channel_hidden",
            "channel_width",
            "epochs",
            "patience",
            "n_models",
            "lr",
            "joint_blocks",
            "joint_cells",
            "joint_lr",
        )
        for name, annotation in argument_types(ScTransNetConfig.__init__).items():
            check_type(name, getattr(self, name), annotation)
        rules = [
            *((f"{name} > 0", getattr(self, name) > 0) for name in positive),
            ("lr and joint_lr finite", max(self.lr, self.joint_lr) < float("inf")),
            ("0 <= dropout < 1", 0 <= self.dropout < 1),
            ("0 < hidden_edges < 1", 0 < self.hidden_edges < 1),
            ("weight_decay >= 0", self.weight_decay >= 0),
            ("latent_factors >= 0", self.latent_factors >= 0),
            ("gnn_widths divisible by gnn_heads", all(width % self.gnn_heads == 0 for width in self.gnn_widths)),
            ("gnn_widths not empty", len(self.gnn_widths) > 0),
        ]
        broken = [rule for rule, holds in rules if not holds]
        if broken:
            msg = f"scTransNet's hyper-parameters have to satisfy: {'; '.join(broken)}. Got {self}."
            raise ArgumentError(msg)


class GeneInputs(nn.Module):
    """What is known of every gene before training; buffers, saved with the weights.

    Parameters
    ----------
    features
        ``(G, F)``, node features of the graph.
    embedding
        ``(G, D)`` gene embedding, standardised, a column telling which genes have one included; ``None`` without.
    node_type
        ``int64 (G,)``: 1 for regulators.
    regulators
        ``int64 (R,)``, gene indices of the regulators scored.
    regulator_rate, target_rate
        ``(R,)`` and ``(G,)``, hub terms; see :mod:`~scgrn_tl.models.pair_effects`.
    loadings, factors
        ``(R, q)`` and ``(G, q)``, latent factors: their product is part of every pair's score; ``None`` without.
    factor_mean, by_expression
        ``(q,)`` and ``(1 + q, G)``, how terms and factors of other genes are read from expression; ``None`` without.
    """

    def __init__(
        self,
        features: Tensor,
        embedding: Tensor | None,
        *,
        node_type: Tensor,
        regulators: Tensor,
        regulator_rate: Tensor,
        target_rate: Tensor,
        loadings: Tensor | None = None,
        factors: Tensor | None = None,
        factor_mean: Tensor | None = None,
        by_expression: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.features: Tensor
        self.embedding: Tensor | None
        self.node_type: Tensor
        self.regulators: Tensor
        self.regulator_rate: Tensor
        self.target_rate: Tensor
        self.loadings: Tensor | None
        self.factors: Tensor | None
        self.factor_mean: Tensor | None
        self.by_expression: Tensor | None
        self.register_buffer("features", features)
        self.register_buffer("embedding", embedding)
        self.register_buffer("node_type", node_type)
        self.register_buffer("regulators", regulators)
        self.register_buffer("regulator_rate", regulator_rate)
        self.register_buffer("target_rate", target_rate)
        self.register_buffer("loadings", loadings)
        self.register_buffer("factors", factors)
        self.register_buffer("factor_mean", factor_mean)
        self.register_buffer("by_expression", by_expression)

    def with_embedding(self, embedding: Tensor) -> GeneInputs:
        """The same with another gene embedding ``(G, D)``; all other tensors are shared."""
        others = {name: buffer for name, buffer in self.named_buffers() if name not in {"features", "embedding"}}
        return GeneInputs(self.features, embedding.to(self.features), **others)


class ScTransNetModule(nn.Module):
    """x_t = [Z_t ‖ v_t^M]; logit = b₀ + b^TF + b^tgt + L^TF·z^tgt + c^TF·c^tgt (scTransNet §3.4).

    The terms b and the latent factors L and z are fitted to the edges alone beforehand
    (:mod:`scgrn_tl.models.pair_effects`); trained is what they leave. With neither gene embedding nor graph there are
    no channels and nothing is trained: these terms are all there is.

    Parameters
    ----------
    n_features
        Width of the node features.
    embedding_width
        Width of the gene embedding; 0 without one.
    base
        b₀ at the start.
    config
        The rest.
    """

    def __init__(self, n_features: int, embedding_width: int, *, base: float, config: ScTransNetConfig) -> None:
        super().__init__()
        self.config = config
        self.gnn = (
            PriorGNN(n_features, widths=config.gnn_widths, heads=config.gnn_heads, dropout=config.dropout)
            if config.use_gnn
            else None
        )
        width = embedding_width + (config.gnn_widths[-1] if config.use_gnn else 0)
        self.scorer = (
            LinkScorer(
                width,
                hidden=config.channel_hidden,
                out=config.channel_width,
                decoder=config.decoder,
                dropout=config.dropout,
                centre=config.hub_terms,
            )
            if width
            else None
        )
        self.base = nn.Parameter(torch.tensor(float(base)))

    def forward(self, genes: GeneInputs, graph: RelationalGraph | PairGraph | None) -> LinkLogits:
        """Score and hub part ``(R, G)`` of every pair; their sum is the logit."""
        return self.logits(self.channels(genes, graph), genes, slice(0, len(genes.regulators)))

    def channels(
        self,
        genes: GeneInputs,
        graph: RelationalGraph | PairGraph | None,
        *,
        embedding: Tensor | None = None,
        around: tuple[GeneInputs, RelationalGraph | PairGraph | None] | None = None,
    ) -> LinkChannels:
        """What :meth:`logits` scores pairs from, of all genes.

        Parameters
        ----------
        genes, graph
            What is known of them, and the edges that carry messages.
        embedding
            In place of that of ``genes``.
        around
            Genes and graph by whose averages is centred, where those are others: the ones that the model was fitted to.
        """
        x = self.gene_vectors(genes, graph, embedding=embedding)
        centres = None if around is None else (self.gene_vectors(*around), around[0].regulators)
        if self.scorer is None:
            return LinkChannels(x[genes.regulators], x, None, None, None)
        return self.scorer.channels(x, genes.regulators, around=centres)

    def gene_vectors(
        self, genes: GeneInputs, graph: RelationalGraph | PairGraph | None, *, embedding: Tensor | None = None
    ) -> Tensor:
        """X of all genes, ``(G, width)``; with an ``embedding`` in place of that of ``genes``."""
        embedding = genes.embedding if embedding is None else embedding
        parts = [genes.features[:, :0]] if embedding is None else [embedding]
        if self.gnn is not None:
            if graph is None:
                msg = "A model with a GNN needs the graph. Pass it, or leave the GNN out: use_gnn=False."
                raise ArgumentError(msg)
            parts.append(self.gnn(genes.features, graph))
        return torch.cat(parts, dim=1)

    def logits(self, channels: LinkChannels, genes: GeneInputs, rows: slice) -> LinkLogits:
        """Score and hub part ``(n, G)`` of the pairs of some of the regulators, by place among them."""
        if self.scorer is None:
            score = channels.left[rows] @ channels.right.T  # (n, G), zeros: the channels have no width
            hub = torch.zeros_like(score)
        else:
            score, hub = self.scorer.logits(channels, rows)
        hub = hub + self.base + genes.regulator_rate[rows].unsqueeze(1) + genes.target_rate.unsqueeze(0)
        if genes.loadings is not None and genes.factors is not None:
            score = score + genes.loadings[rows] @ genes.factors.T
        return LinkLogits(score, hub)
