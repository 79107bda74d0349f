"""The genes of other data as a fitted model reads them: matched by name, scaled and turned as its own were."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from scgrn_tl.core.embedding_source import EmbeddingSource
from scgrn_tl.core.errors import ArgumentError, GeneOverlapError, MissingKeyError, WeightsError
from scgrn_tl.core.gene_embedding import embedding_keys, join_embeddings, read_embedding
from scgrn_tl.core.genes import mismatch_hint, same_but_case
from scgrn_tl.core.network import PriorNetwork
from scgrn_tl.core.user_warning import warn_user

from .component_alignment import align_components
from .gene_kernel import GeneKernel
from .node_features import gene_profile
from .sctransnet import GeneInputs

if TYPE_CHECKING:
    from anndata import AnnData

    from scgrn_tl.core.task import GRNTask

    from .fitted_state import FittedState

__all__ = ["SharedGenes", "check_transferable", "message_network", "new_inputs", "read_new_embedding"]

LOGGER = logging.getLogger(__name__)

MIN_SHARED = 10
"""Fewest shared genes by which components are turned."""
_OTHER_SCALE = 2.0
"""Ratio of mean expression from which on a warning tells of another scale."""


@dataclass(frozen=True, eq=False)
class SharedGenes:
    """The genes of other data, and which of them a model was fitted to.

    Attributes
    ----------
    genes
        The G names.
    rows, own_rows
        ``int64 (S,)``, the shared ones, in the data and in the model.
    """

    genes: tuple[str, ...]
    rows: np.ndarray
    own_rows: np.ndarray

    @classmethod
    def match(cls, state: FittedState, genes: tuple[str, ...]) -> SharedGenes:
        """By name; warns of names that differ but in case.

        Raises
        ------
        GeneOverlapError
            If a model that reads expression shares too few.
        """
        found = pd.Index(state.genes).get_indexer(pd.Index(genes))
        rows = np.flatnonzero(found >= 0)
        if state.reads_expression and len(rows) < MIN_SHARED:
            hint = mismatch_hint(state.genes, genes, what="model's genes")
            msg = (
                f"{len(rows)} of the data's {len(genes):,} genes ({', '.join(map(repr, genes[:3]))}, …) are among the "
                f"model's {len(state.genes):,} ({', '.join(map(repr, state.genes[:3]))}, …); at least {MIN_SHARED} are "
                f"needed to tell how expression compares. {hint}".rstrip()
            )
            raise GeneOverlapError(msg, page="transfer")
        unseen = [gene for gene, place in zip(genes, found, strict=True) if place < 0]
        if cased := same_but_case(unseen, state.genes):
            one, other = next(iter(cased.items()))
            warn_user(
                f"{len(cased)} genes are not among the model's but for their case, such as {one!r} ({other!r}); they "
                "count as genes that it never saw. "
                "If both are of one organism, `sg.pp.resolve_genes(adata)` brings them together.",
                page="transfer",
            )
        return cls(genes, rows, found[rows].astype(np.int64))

    @property
    def seen(self) -> np.ndarray:
        """``bool (G,)``."""
        return np.isin(np.arange(len(self.genes)), self.rows)


def check_transferable(state: FittedState) -> None:
    """Raise where what was fitted cannot be read from other data."""
    if state.scales is None:
        msg = (
            "This model's file is of an older version, which did not keep how its inputs were standardised: it scores "
            "pairs of its own genes only (`model.score(pairs)`). For other data, fit and save it again."
        )
        raise WeightsError(msg, page="transfer")
    if state.reads_expression and state.config.gene_features == "expression":
        msg = (
            "gene_features='expression' reads each cell of the data that the model was fitted to, which other data do "
            "not have. Fit with gene_features='pca'."
        )
        raise ArgumentError(msg, page="transfer")
    if state.inputs.embedding is not None and state.scales.embedding is None:
        msg = (
            f"Each of the {len(state.members)} members was fitted jointly with an encoder of its own, and these are "
            "not kept. To transfer a joint fit, use `sg.tl.fit_grn(…, joint=True, n_models=1, joint_to=…, model_to=…)`."
        )
        raise ArgumentError(msg, page="transfer")


def read_new_embedding(state: FittedState, adata: AnnData, use_rep: Any) -> np.ndarray | None:
    """The gene embedding ``(G, D)`` that the model reads, as it stands in ``varm``; ``None`` if it reads none.

    Raises
    ------
    ArgumentError
        If it is another number of embeddings than the model was fitted with, or of other widths, or one of none.
    MissingKeyError
        If it is not there.
    WeightsError
        If another encoder made it.
    """
    scale = None if state.scales is None else state.scales.embedding
    if scale is None:
        if use_rep is not None:
            msg = f"The model was fitted without a gene embedding: use_rep={use_rep!r} has no use. Leave it out."
            raise ArgumentError(msg, page="transfer")
        return None
    fitted_with = [source.key for source in state.sources]
    keys = embedding_keys(use_rep) if use_rep is not None else tuple(key for key in fitted_with if key is not None)
    if len(keys) != len(scale.widths):
        names = ", ".join(map(repr, fitted_with)) or "no names known"
        msg = (
            f"The model was fitted with {len(scale.widths)} gene embeddings ({names}), not with {len(keys)}. Name as "
            "many keys of .varm in the same order (`use_rep=`)."
        )
        raise ArgumentError(msg, page="transfer")
    for key, source in zip(keys, state.sources, strict=True):
        if key not in adata.varm and source.encoder_sha256 is not None:
            msg = f"Did not find .varm[{key!r}]. {_embed_with(source, key)} Keys of .varm: {sorted(adata.varm)}."
            raise MissingKeyError(msg, page="transfer")
    parts = [read_embedding(adata, key) for key in keys]
    for key, part, width in zip(keys, parts, scale.widths, strict=True):
        if part.shape[1] != width:
            msg = (
                f".varm[{key!r}] is {part.shape[1]} wide, the model's embedding {width}: another encoder made it. "
                "Name the embedding that it was fitted with (`use_rep=`)."
            )
            raise ArgumentError(msg, page="transfer")
    for key, source in zip(keys, state.sources, strict=True):
        _check_encoder(EmbeddingSource.read(adata, key), source, key)
    return join_embeddings(parts).values


def _check_encoder(found: EmbeddingSource, fitted: EmbeddingSource, key: str) -> None:
    """Raise or warn where vectors of the two do not compare, as far as is known."""
    if fitted.encoder_sha256 is None:
        LOGGER.info("Which encoder made the model's embedding is not known; .varm[%r] is taken to be of the same.", key)
        return
    if found.encoder_sha256 is None:
        warn_user(
            f"The model was fitted with an embedding of the encoder {_named(fitted)}; what made .varm[{key!r}] is not "
            "recorded. Scores mean nothing if it was another. "
            f"{_embed_with(fitted, key)}",
            page="transfer",
        )
        return
    if found.encoder_sha256 != fitted.encoder_sha256:
        msg = (
            f".varm[{key!r}] was made by the encoder {_named(found)}, the model was fitted with one of "
            f"{_named(fitted)}: their vectors do not compare. {_embed_with(fitted, key)}"
        )
        raise WeightsError(msg, page="transfer")
    if None not in (found.pooled_by, fitted.pooled_by) and found.pooled_by != fitted.pooled_by:
        warn_user(
            f".varm[{key!r}] was pooled over cells by {found.pooled_by!r}, what the model was fitted with by "
            f"{fitted.pooled_by!r}. "
            "Pool alike: `sg.tl.attentive_pool(adata, weighting=…)`.",
            page="transfer",
        )


def _named(source: EmbeddingSource) -> str:
    return f"{source.encoder or 'without a name'!r} (SHA-256 {str(source.encoder_sha256)[:12]}…)"


def _embed_with(source: EmbeddingSource, key: str) -> str:
    weights = "'panglao'" if source.encoder == "panglao" else "…"
    added = "" if key == "scbert" else f", key_added={key!r}"
    which = "" if weights != "…" else f" with the weights of {_named(source)}"
    return f"Run `sg.tl.scbert_embed(adata, weights={weights}{added})`{which}."


def message_network(
    state: FittedState, genes: tuple[str, ...], prior: Any, adata: AnnData
) -> tuple[PriorNetwork, np.ndarray]:
    """The edges that carry messages among other genes: those trained on, by name, and those of ``prior``.

    Returns
    -------
    The network, and ``bool (E,)``, which edges the model was trained on.
    """
    own = state.prior.to_frame()
    own = own[own["source"].isin(genes) & own["target"].isin(genes)]
    frames = [own]
    if prior is not None:
        frames.append(PriorNetwork.from_any(prior, genes, adata=adata, min_edges=1, min_regulators=1).to_frame())
    frame = pd.concat([each for each in frames if len(each)] or [own])
    if not len(frame):
        empty = np.empty(0)
        return PriorNetwork(genes, np.empty((2, 0), dtype=np.int64), empty, empty), np.empty(0, dtype=bool)
    network = PriorNetwork.from_any(frame, genes, min_edges=1, min_regulators=1)
    index = pd.Index(genes)
    trained = np.column_stack([index.get_indexer(own["source"]), index.get_indexer(own["target"])]).astype(np.int64)
    return network, network.among(trained)


def new_inputs(
    state: FittedState, task: GRNTask, shared: SharedGenes, is_tf: np.ndarray
) -> tuple[GeneInputs, float | None]:
    """What the network reads of the genes of ``task``, on the model's device; and how well components agree.

    Genes that the model never saw have the terms and factors of genes that are expressed like them, or average ones
    where the model reads no expression; regulators that it never saw have average ones. In the graph those of
    ``is_tf``, ``bool (G,)``, are nodes of the type of regulators.
    """
    own, device = state.inputs, state.inputs.features.device
    features, agreement = np.zeros((task.n_genes, own.features.shape[1]), dtype=np.float32), None
    if state.reads_expression:
        features, agreement = _features(state, task, shared)
    embedding = None
    if task.embedding is not None and state.scales is not None and state.scales.embedding is not None:
        embedding = torch.from_numpy(state.scales.embedding.apply(task.embedding))
    inputs = GeneInputs(
        torch.from_numpy(features),
        embedding,
        node_type=torch.from_numpy(is_tf.astype(np.int64)),
        regulators=torch.from_numpy(task.regulators),
        **_pair_effects(state, task, shared, features),
    )
    return inputs.to(device), agreement


def _pair_effects(
    state: FittedState, task: GRNTask, shared: SharedGenes, features: np.ndarray
) -> dict[str, torch.Tensor]:
    """Terms and factors of the genes of ``task``: the model's own of those that it saw."""
    own = {name: value.cpu().numpy() for name, value in state.inputs.named_buffers()}
    place = {name: number for number, name in enumerate(state.regulators)}
    rows = np.array([place.get(task.genes[number], -1) for number in task.regulators.tolist()])
    seen = rows >= 0
    found = {
        "regulator_rate": np.where(seen, own["regulator_rate"][rows], 0),
        "target_rate": np.zeros(task.n_genes),
    }
    if "factors" in own:
        found["loadings"] = np.where(seen[:, None], own["loadings"][rows], 0)
        found["factors"] = np.zeros((task.n_genes, own["factors"].shape[1])) - own["factor_mean"]
    if "by_expression" in own:
        told = GeneKernel(own["features"]).predict(features, own["by_expression"])  # (1 + q, G)
        found["target_rate"] += told[0]
        if "factors" in own:
            found["factors"] += told[1:].T
    for name in found.keys() & {"target_rate", "factors"}:
        found[name][shared.rows] = own[name][shared.own_rows]
    return {name: torch.from_numpy(values.astype(np.float32)) for name, values in found.items()}


def _features(state: FittedState, task: GRNTask, shared: SharedGenes) -> tuple[np.ndarray, float]:
    """Node features ``float32 (G, F)``: loadings turned to the model's components, moments by the model's scale."""
    own = state.inputs.features.cpu().numpy()
    scale = None if state.scales is None else state.scales.moments
    if scale is None:
        msg = "the model does not keep how moments of expression were standardised."
        raise WeightsError(msg, page="transfer")
    reference = own[:, :-3]
    loadings, moments = gene_profile(task.expression, n_components=reference.shape[1], seed=state.seed or 0)
    aligned = align_components(loadings, reference, rows=shared.rows, reference_rows=shared.own_rows)
    mean_before = (own[shared.own_rows, -3] * scale.std[0] + scale.mean[0]).mean()
    mean_now = moments[shared.rows, 0].mean()
    if not 1 / _OTHER_SCALE <= mean_now / max(mean_before, 1e-12) <= _OTHER_SCALE:
        warn_user(
            f"Expression is on another scale than what the model was fitted to: over the {len(shared.rows):,} shared "
            f"genes its mean is {mean_now:.3g}, and was {mean_before:.3g}. Bring both to one, such as counts (which "
            "are normalised and logged on the way), or name another layer (`layer=`).",
            page="transfer",
        )
    return np.hstack([aligned.loadings, scale.apply(moments)]).astype(np.float32), aligned.agreement
