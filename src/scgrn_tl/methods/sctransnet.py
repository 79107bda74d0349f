"""scTransNet: gene embedding and attention over the prior network, joined and scored in two channels."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from ._progress import progress
from ._registry import method

if TYPE_CHECKING:
    from scgrn_tl.core.task import GRNScores, GRNTask

__all__ = ["check_sctransnet", "sctransnet"]


def check_sctransnet(**params: Any) -> None:
    """Raise on hyper-parameters that make no sense."""
    from scgrn_tl.models import ScTransNet

    ScTransNet(**params)


@method(
    name="sctransnet",
    supervised=True,
    directed=True,
    stochastic=True,
    reads_sparse=True,
    uses_embedding=True,
    reference="Kommu et al. 2024",
    check=check_sctransnet,
)
def sctransnet(
    task: GRNTask,
    *,
    use_gnn: bool = True,
    gene_features: Literal["pca", "expression"] = "pca",
    n_components: int = 32,
    gnn_widths: tuple[int, ...] = (64, 32),
    gnn_heads: int = 4,
    channel_hidden: int = 64,
    channel_width: int = 32,
    decoder: Literal["dot", "cosine", "mlp"] = "dot",
    hub_terms: bool = True,
    latent_factors: int = 12,
    expression_effects: bool = True,
    dropout: float = 0.2,
    epochs: int = 100,
    lr: float = 3e-3,
    weight_decay: float = 1e-3,
    hidden_edges: float = 0.5,
    negatives: Literal["all", "hard"] = "all",
    select: Literal["auprc", "loss"] = "loss",
    patience: int = 30,
    n_models: int = 1,
    joint_blocks: int = 1,
    joint_cells: int = 16,
    joint_lr: float = 1e-4,
) -> GRNScores:
    """Gene embedding and prior graph, joined and scored (scTransNet).

    Where this differs from the paper, each for a reason: pairs are learned from that the graph does not show
    (``hidden_edges``), or the model reads the answer off its input; every non-edge is learned from, all in one batch
    (``negatives="all"``), so that log-odds stay true to the data; hub rates are terms of their own (``hub_terms``), so
    that a pair's score says what is specific to it; latent factors and what genes that are expressed alike tell of a
    target are fitted beforehand (``latent_factors``, ``expression_effects``; :mod:`scgrn_tl.models.pair_effects`), and
    the network learns what they leave of pairs they were fitted without; node features are the leading components of
    expression and its moments rather than all cells (``gene_features="pca"``), which does not depend on the number of
    cells; Adam's weight decay is decoupled (AdamW); the epoch is chosen on validation pairs, never on test, by their
    likelihood (``select="loss"``), since the average precision of few edges is noisy and calibration wants the
    likelihood.

    Parameters
    ----------
    task
        With a prior and a split; ``task.embedding`` may be ``None``.
    use_gnn
        ``False`` leaves the graph out (the paper's "w/o GNN").
    gene_features, n_components
        Node features of the graph: see :func:`scgrn_tl.models.gene_features`.
    gnn_widths, gnn_heads
        Widths and attention heads of the graph layers.
    channel_hidden, channel_width
        Widths of the TF and the target channel.
    decoder
        How the channels meet.
    hub_terms
        Give every regulator and target a term of its own. ``False`` is the paper's bare product, without any of the
        effects that are fitted to the edges beforehand.
    latent_factors
        With ``hub_terms``, how many latent factors of regulators that share targets; 0 for none.
    expression_effects
        With ``hub_terms``, read a target's term and factors from genes that are expressed alike too.
    dropout
        Share of entries dropped in training.
    epochs, lr, weight_decay
        Passes over all pairs, step width and decoupled weight decay of AdamW.
    hidden_edges
        Share of training edges hidden from the graph and learned from in each epoch.
    negatives
        ``"all"`` labelled non-edges, or the paper's ``"hard"``: as many as edges, of the same regulator.
    select
        Criterion on validation pairs by which the epoch is chosen.
    patience
        Stop after as many epochs without a better one.
    n_models
        Networks fitted from different seeds, their logits averaged.
    joint_blocks, joint_cells, joint_lr
        Where ``task.cells`` has the encoder's cells: how many of its last blocks are trained along, through how many
        cells in each step, and AdamW's step width for them.

    Returns
    -------
    Logits, their hub part, with ``n_models > 1`` their spread, with ``use_gnn`` the attention. ``model`` is the fitted
    :class:`scgrn_tl.models.ScTransNet`.
    """
    from scgrn_tl.models import ScTransNet

    model = ScTransNet(
        use_gnn=use_gnn,
        gene_features=gene_features,
        n_components=n_components,
        gnn_widths=tuple(gnn_widths),
        gnn_heads=gnn_heads,
        channel_hidden=channel_hidden,
        channel_width=channel_width,
        decoder=decoder,
        hub_terms=hub_terms,
        latent_factors=latent_factors,
        expression_effects=expression_effects,
        dropout=dropout,
        epochs=epochs,
        lr=lr,
        weight_decay=weight_decay,
        hidden_edges=hidden_edges,
        negatives=negatives,
        select=select,
        patience=patience,
        n_models=n_models,
        joint_blocks=joint_blocks,
        joint_cells=joint_cells,
        joint_lr=joint_lr,
    )
    with progress("scTransNet", epochs * n_models) as on_epoch:
        model.fit(task, on_epoch=on_epoch)
    return replace(model.scores(), attention=model.attention())
