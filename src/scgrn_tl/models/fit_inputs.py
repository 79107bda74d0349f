"""A task as the network reads it: what is known of every gene, and the labelled pairs."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from scgrn_tl.core.errors import ArgumentError

from .ensemble_scores import graph_of
from .gene_kernel import GeneKernel
from .input_scales import InputScales
from .joined_embedding import EmbeddingScale
from .link_training import Supervision
from .node_features import MomentScale, gene_features, gene_profile
from .pair_effects import FACTOR_VARIANCES, PairEffects, clearly_better, fit_pair_effects, held_out_effects
from .sctransnet import GeneInputs

if TYPE_CHECKING:
    from scgrn_tl.core.network import PriorNetwork
    from scgrn_tl.core.split import LabeledPairs
    from scgrn_tl.core.task import GRNTask

    from .sctransnet import ScTransNetConfig

__all__ = ["FitInputs", "labelled_table", "make_fit_inputs"]

LOGGER = logging.getLogger(__name__)

HELD_OUT_FOLDS = 5
"""Parts of the training pairs, each left out once: by pair effects without it the factors' variance is chosen, and from
these the network starts."""
_FOLDS_SEED = 0


class FitInputs(NamedTuple):
    """What training starts from."""

    inputs: GeneInputs
    supervision: Supervision
    base: float
    """b₀ at the start."""
    scales: InputScales
    """How the inputs were standardised."""
    factor_variance: float | None
    """Variance of a gene's own latent factors, as it was chosen; ``None`` without any."""


def make_fit_inputs(task: GRNTask, config: ScTransNetConfig) -> FitInputs:
    """Features, embedding, pair effects and graph out of a task's training pairs; its validation pairs for the choice.

    Raises
    ------
    ArgumentError
        If the task has no prior, or nothing is left to learn from.
    """
    train, validation = task.supervision()
    if task.prior is None:
        msg = "scTransNet needs a prior network: give one (`prior=`)."
        raise ArgumentError(msg)
    has_network = config.use_gnn or task.embedding is not None
    if not has_network and not (config.hub_terms and (config.latent_factors or config.expression_effects)):
        msg = (
            "Without the GNN, a gene embedding, latent factors and expression effects nothing is left to learn from "
            "but hub rates, which method 'hub_floor' gives: set use_gnn, use_rep, or with hub_terms latent_factors or "
            "expression_effects."
        )
        raise ArgumentError(msg)
    device = torch.device(task.device)
    labels, mask = labelled_table(train, task.regulators, task.n_genes)
    node_type = np.zeros(task.n_genes, dtype=np.int64)
    node_type[task.regulators] = 1
    features, moments = _features(task, config)
    kernel = GeneKernel(features) if config.hub_terms and config.expression_effects else None
    effects, held_out, factor_variance = _pair_effects(labels, mask, kernel, config, has_network=has_network)
    embedding = scale = None
    if task.embedding is not None:
        scale = EmbeddingScale.fit(task.embedding, task.embedding_widths)
        embedding = torch.from_numpy(scale.apply(task.embedding))
    inputs = GeneInputs(
        torch.from_numpy(features),
        embedding,
        node_type=torch.from_numpy(node_type),
        regulators=torch.from_numpy(task.regulators),
        **effects.tensors(),
    ).to(device)
    supervision = _supervision(task, task.prior, inputs, labels, mask, validation, use_gnn=config.use_gnn)
    if held_out is not None:
        supervision = replace(supervision, held_out=torch.from_numpy(held_out).to(device))
    # encoders that are trained along move the embedding: it is standardised anew with every step
    scales = InputScales(None if task.cells is not None else scale, moments)
    return FitInputs(inputs, supervision, effects.base, scales, factor_variance)


def labelled_table(pairs: LabeledPairs, regulators: np.ndarray, n_genes: int) -> tuple[np.ndarray, np.ndarray]:
    """``bool (R, G)`` twice: true at edges, true at labelled pairs."""
    shape = (len(regulators), n_genes)
    labels, mask = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    rows = np.searchsorted(regulators, pairs.pairs[:, 0])
    mask[rows, pairs.pairs[:, 1]] = True
    labels[rows[pairs.labels], pairs.pairs[pairs.labels, 1]] = True
    return labels, mask


def _features(task: GRNTask, config: ScTransNetConfig) -> tuple[np.ndarray, MomentScale | None]:
    """Node features ``float32 (G, F)``, and how the moments among them were standardised."""
    if config.gene_features == "expression":
        return gene_features(task.expression, kind="expression", seed=task.seed), None
    profile, moments = gene_profile(task.expression, n_components=config.n_components, seed=task.seed)
    scale = MomentScale.fit(moments)
    return np.hstack([profile, scale.apply(moments)]).astype(np.float32), scale


def _pair_effects(
    labels: np.ndarray, mask: np.ndarray, kernel: GeneKernel | None, config: ScTransNetConfig, *, has_network: bool
) -> tuple[PairEffects, np.ndarray | None, float | None]:
    """Effects of the training pairs, what is to be added to them so that no pair counts its own label, and v.

    The variance v of the factors is the one whose effects tell pairs that they were fitted without. Which these are
    does not hang on the fit's seed, so that fits from several seeds are fits of one model.
    """
    if not config.hub_terms:
        return PairEffects.none(*labels.shape), None, None
    n_factors = config.latent_factors
    variances = FACTOR_VARIANCES if n_factors else FACTOR_VARIANCES[:1]
    if n_factors == 0 and (kernel is None or not has_network):
        # of hub rates a pair is one label of many; without factors nothing is chosen
        return fit_pair_effects(labels, mask, kernel=kernel, n_factors=0).centred(), None, None
    fold = np.random.default_rng(_FOLDS_SEED).integers(HELD_OUT_FOLDS, size=labels.shape)
    each = held_out_effects(labels, mask, fold, kernel=kernel, n_factors=n_factors, factor_variances=variances)
    chosen = clearly_better(each, labels, mask)
    variance = variances[chosen]
    effects = fit_pair_effects(labels, mask, kernel=kernel, n_factors=n_factors, factor_variance=variance).centred()
    LOGGER.info(
        "Pair effects of %s regulators and %s genes fitted%s%s.",
        f"{labels.shape[0]:,}",
        f"{labels.shape[1]:,}",
        f", {effects.loadings.shape[1]} latent factors of variance {variance:g}" if n_factors else "",
        "" if kernel is None else ", by expression too",
    )
    if not has_network:
        return effects, None, variance
    held_out = each[chosen] - effects.matrix()
    held_out[~mask] = 0
    return effects, held_out, variance if n_factors else None


def _supervision(
    task: GRNTask,
    prior: PriorNetwork,
    inputs: GeneInputs,
    labels: np.ndarray,
    mask: np.ndarray,
    validation: LabeledPairs,
    *,
    use_gnn: bool,
) -> Supervision:
    device = inputs.features.device
    rows = np.searchsorted(task.regulators, validation.pairs[:, 0])
    return Supervision(
        labels=torch.from_numpy(labels).to(device),
        mask=torch.from_numpy(mask).to(device),
        graph=graph_of(inputs, prior) if use_gnn else None,
        validation=torch.from_numpy(np.stack([rows, validation.pairs[:, 1]]).astype(np.int64)).to(device),
        validation_labels=validation.labels,
    )
