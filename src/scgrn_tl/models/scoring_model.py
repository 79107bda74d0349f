"""What a fitted scTransNet says: of its own genes, and of those of other data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch

from scgrn_tl.core.argument_types import typed_arguments
from scgrn_tl.core.errors import ArgumentError, MissingKeyError
from scgrn_tl.core.scored_pairs import read_pairs
from scgrn_tl.core.task import GRNScores

from .edge_effects import edge_effects, mean_attention
from .ensemble_scores import ensemble_logits, graph_of
from .fit_summary import FitSummary
from .fitted_state import FittedState, present_versions
from .joined_embedding import EmbeddingScale
from .threads import threads_for
from .transfer import TransferredNetwork, transfer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd
    from anndata import AnnData
    from mudata import MuData
    from scipy import sparse

    from scgrn_tl.core.calibration import PlattScaling
    from scgrn_tl.core.embedding_source import EmbeddingSource
    from scgrn_tl.core.network import PriorNetwork
    from scgrn_tl.core.task import GRNTask

    from .edge_effects import EdgeEffect
    from .ensemble_member import Member
    from .input_scales import InputScales
    from .scbert import ScBERT
    from .sctransnet import GeneInputs, ScTransNetConfig

__all__ = ["ScoringModel"]


class ScoringModel:
    """A fitted model, to ask for scores; :class:`~scgrn_tl.models.ScTransNet` is what fits it.

    Parameters
    ----------
    config
        Hyper-parameters.
    """

    def __init__(self, config: ScTransNetConfig) -> None:
        self.config = config
        self.genes: tuple[str, ...] = ()
        self.prior: PriorNetwork | None = None
        self.seed: int | None = None
        self.sources: tuple[EmbeddingSource, ...] = ()
        self._inputs: GeneInputs | None = None
        self._members: list[Member] = []
        self._labels: GRNTask | None = None
        self._scales: InputScales | None = None
        self._summary: FitSummary | None = None
        self._data: dict[str, Any] = {}
        self._description = ""
        self._versions: dict[str, str] = {}

    def _fitted(self) -> tuple[GeneInputs, PriorNetwork]:
        if self._inputs is None or self.prior is None:
            msg = "This model is not fitted. Call `.fit()` or load one with `ScTransNet.load(folder)`."
            raise ArgumentError(msg)
        return self._inputs, self.prior

    def _state(self) -> FittedState:
        inputs, prior = self._fitted()
        return FittedState(
            config=self.config,
            genes=self.genes,
            prior=prior,
            seed=self.seed,
            inputs=inputs,
            members=self._members,
            scales=self._scales,
            sources=self.sources,
            summary=self._summarized(),
            data=self._data,
            description=self._description,
            versions=self._versions or present_versions(),
        )

    @property
    def regulators(self) -> tuple[str, ...]:
        """Names of the genes scored as regulators."""
        inputs, _ = self._fitted()
        return tuple(self.genes[number] for number in inputs.regulators.tolist())

    # ---------------------------------------------------------------- scoring its own genes

    def scores(self) -> GRNScores:
        """Logit of every pair of a regulator and a gene, all training edges carrying messages."""
        inputs, prior = self._fitted()
        graph = graph_of(inputs, prior) if self.config.use_gnn else None
        several = len(self._members) > 1
        modules = [member.module for member in self._members]
        n_values = len(self.genes) * max(*self.config.gnn_widths, len(inputs.regulators))
        with torch.no_grad(), threads_for(n_values):
            channels = [member.module.channels(member.inputs, graph) for member in self._members]
            logits = ensemble_logits(modules, channels, inputs)
        return GRNScores(
            regulators=inputs.regulators.cpu().numpy(),
            matrix=logits.matrix,
            hub=logits.hub,
            std=logits.std,
            is_logit=True,
            history={
                (f"{name}_{number}" if several else name): values
                for number, member in enumerate(self._members)
                for name, values in member.history.items()
            },
            details={"best_epoch": [member.best_epoch for member in self._members]},
            model=self,
        )

    def attention(self) -> sparse.csr_matrix | None:
        """Attention of the graph network (eq. 12), ``(G, G)`` as in ``varp["grn_attention"]``; ``None`` without one."""
        inputs, prior = self._fitted()
        modules = [member.module for member in self._members]
        return mean_attention(modules, inputs, prior, graph_of(inputs, prior)) if self.config.use_gnn else None

    @typed_arguments
    def explain(self, regulator: str, target: str, *, n_messages: int = 10) -> list[EdgeEffect]:
        """What the logit of a pair owes to single edges of the prior: each is left out of the graph in turn.

        Nothing is fitted anew. Tried are the edges of the ``n_messages`` messages that the ``regulator`` attends to
        most, as many of the ``target``, and the pair's own. One :class:`~scgrn_tl.models.EdgeEffect` for each, the
        largest change first. Logits are those of :meth:`score`, which raises the same error on unknown names: before
        calibration.

        Raises
        ------
        ArgumentError
            If the model is not fitted or has no graph, or ``n_messages`` is below 1.
        MissingKeyError
            If a name is unknown.
        """
        row, column = self._places([(str(regulator), str(target))])
        pair, modules = (int(row[0]), int(column[0])), [member.module for member in self._members]
        return edge_effects(modules, *self._fitted(), pair=pair, n_messages=n_messages, graph_of=graph_of)

    def _places(self, pairs: list[tuple[str, str]]) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns ``int64 (P,)`` of the scores where pairs of names stand."""
        gene = {name: number for number, name in enumerate(self.genes)}
        row = {name: position for position, name in enumerate(self.regulators)}
        unknown = sorted({t for _, t in pairs if t not in gene} | {s for s, _ in pairs if s not in row})
        if unknown:
            msg = (
                f"Not among the model's {len(row)} regulators and {len(gene)} genes: {', '.join(unknown[:10])}. For "
                "genes of another dataset, give that too: `model.score(adata, pairs)`."
            )
            raise MissingKeyError(msg)
        return np.array([row[s] for s, _ in pairs], dtype=int), np.array([gene[t] for _, t in pairs], dtype=int)

    @property
    def calibration(self) -> PlattScaling:
        """Logit → probability, fitted to the validation pairs: that of :func:`scgrn_tl.tl.fit_grn`."""
        return self._summarized().calibration

    def _summarized(self) -> FitSummary:
        self._fitted()
        if self._summary is None:
            self._summary = FitSummary() if self._labels is None else FitSummary.judge(self.scores(), self._labels)
        return self._summary

    # ---------------------------------------------------------------- scoring other data

    @overload
    def score(self, data: Iterable[tuple[str, str]]) -> np.ndarray: ...

    @overload
    def score(self, data: AnnData | MuData, pairs: Any = None, **reading: Any) -> pd.DataFrame: ...

    def score(self, data: Any, pairs: Any = None, **reading: Any) -> np.ndarray | pd.DataFrame:
        """Score pairs of the model's own genes, or of another dataset's.

        Parameters
        ----------
        data
            An AnnData or MuData to score the genes of; or pairs of the model's own genes, as (regulator, target) names.
        pairs
            With an AnnData: pairs of its genes, or a table of edges (``source``, ``target``); ``None`` for all pairs of
            a regulator and a gene. A gene named as the regulator of a pair is scored as one, whether or not the model
            ever saw it.
        **reading
            With an AnnData: ``use_rep``, ``layer``, ``prior``, ``tf_names`` and ``modality`` of :meth:`transfer`.

        Returns
        -------
        For pairs of its own genes, logits ``float32[P]``, before calibration. For an AnnData, a row for each pair, in
        the order given, or without ``pairs`` the likeliest first:

        ``source``, ``target`` : str
            Regulator and target.
        ``probability`` : float32
            By the calibration of the model's own data.
        ``log_odds`` : float32
            Of that probability.
        ``specificity`` : float32
            The part of them that the two genes' hub rates do not explain; of models with ``hub_terms``.
        ``std`` : float32
            Their spread over the members, of an ensemble.
        ``seen_source``, ``seen_target`` : bool
            Whether the model was fitted with this gene as a regulator, and with that gene.

        Raises
        ------
        ArgumentError
            If ``pairs`` are no pairs, or the model is not fitted.
        MissingKeyError
            If a name is not among the genes, or of the model's own not among the regulators scored.
        ScgrnError
            See :meth:`transfer`.
        """
        if hasattr(data, "var_names") or isinstance(getattr(data, "mod", None), Mapping):
            listed = None if pairs is None else read_pairs(pairs)
            return transfer(self._state(), data, pairs=listed, **reading).table(listed)
        if pairs is not None or reading:
            msg = "Other arguments go with an AnnData: `model.score(adata, pairs)`. Of its own genes: `score(pairs)`."
            raise ArgumentError(msg)
        rows, columns = self._places(read_pairs(data))
        matrix: np.ndarray = self.scores().matrix[rows, columns]
        return matrix

    @typed_arguments
    def transfer(
        self,
        adata: AnnData | MuData,
        *,
        use_rep: str | Iterable[str] | None = None,
        layer: str | None = None,
        prior: Any = None,
        tf_names: Iterable[str] | None = None,
        modality: str = "rna",
    ) -> TransferredNetwork:
        """The network of another dataset's genes as this model sees it; nothing is fitted.

        Genes are matched by name. Those that the model never saw are scored too, from their expression, their embedding
        and the known edges they have; they have average hub rates. Scores are centred by the averages over the model's
        own genes, so that a pair's score does not depend on which others are asked for.

        Parameters
        ----------
        adata
            Cells × genes; nothing is written into it. See :func:`scgrn_tl.tl.transfer_grn` for a network in its slots.
        use_rep
            Keys of the gene embeddings in ``varm``, made by the encoders of those that the model was fitted with and in
            their order; ``None`` for the same keys.
        layer
            Layer of the expression, on the scale of what the model was fitted to; ``X`` if ``None``.
        prior
            Further edges to carry messages, in any form that :meth:`scgrn_tl.core.PriorNetwork.from_any` reads; those
            that the model was trained on carry them in any case, as far as both genes are there.
        tf_names
            Further regulators to score, besides the model's own and those of ``prior``.
        modality
            Which modality, if ``adata`` is a MuData.

        Raises
        ------
        ArgumentError
            If an argument cannot be used, the model is not fitted or cannot be transferred
            (``gene_features="expression"``, encoders that were not kept), or the embeddings are not as many or as wide
            as its own.
        DuplicateGenesError, ExpressionError
            If ``var_names`` are not unique, or expression is negative, NaN or infinite anywhere.
        GeneOverlapError
            If fewer than 10 genes are the model's, or none of its regulators and no other is named.
        MissingKeyError
            If a layer, modality or embedding is not there.
        PriorError
            If no edge of ``prior`` is among the genes.
        WeightsError
            If another encoder made the embedding, or the model's file is too old to tell how its inputs were scaled.

        Warns
        -----
        UserWarning
            If names differ but in case, expression is on another scale, the embedding's encoder is not recorded, or no
            edge is left to carry messages.
        """
        return transfer(
            self._state(), adata, use_rep=use_rep, layer=layer, prior=prior, tf_names=tf_names, modality=modality
        )

    # ---------------------------------------------------------------- encoders trained along

    @property
    def encoders(self) -> tuple[ScBERT, ...]:
        """The encoder trained along with each member; none if the embedding was given, or the model was loaded."""
        return tuple(member.encoder for member in self._members if member.encoder is not None)

    @typed_arguments
    def use_embeddings(self, embeddings: Sequence[np.ndarray]) -> None:
        """Score with other gene embeddings from now on, such as those of all cells by :attr:`encoders`.

        The calibration is fitted anew, unless the model was loaded.

        Parameters
        ----------
        embeddings
            ``(G, D)`` for each member, NaN where a gene has none; of the width that was fitted.

        Raises
        ------
        ArgumentError
            If there are not as many as members, or they are of another shape.
        """
        inputs, _ = self._fitted()
        scales = [EmbeddingScale.fit(values) for values in embeddings]
        standard = [torch.from_numpy(scale.apply(values)) for scale, values in zip(scales, embeddings, strict=True)]
        shape = None if inputs.embedding is None else inputs.embedding.shape
        if len(standard) != len(self._members) or any(values.shape != shape for values in standard):
            found = [tuple(values.shape) for values in standard]
            msg = (
                f"One embedding for each of {len(self._members)} members, {shape} when standardised, not {found}. "
                "Give them in the order of the members."
            )
            raise ArgumentError(msg)
        self._members = [
            replace(member, inputs=member.inputs.with_embedding(values))
            for member, values in zip(self._members, standard, strict=True)
        ]
        self._inputs = self._members[0].inputs
        if self._scales is not None:
            self._scales = replace(self._scales, embedding=scales[0] if len(scales) == 1 else None)
        if self._labels is not None:
            self._summary = None
