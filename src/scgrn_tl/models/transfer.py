"""A fitted scTransNet on other data: the network that it sees in these cells, of genes it may never have seen."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scgrn_tl.core.door import gene_indices, make_task, open_anndata
from scgrn_tl.core.errors import GeneOverlapError
from scgrn_tl.core.genes import check_unique_genes
from scgrn_tl.core.scored_pairs import read_pairs, scored_pairs
from scgrn_tl.core.task import GRNScores
from scgrn_tl.core.user_warning import warn_user

from .edge_effects import mean_attention
from .ensemble_scores import ensemble_logits, graph_of
from .threads import threads_for
from .transfer_inputs import SharedGenes, check_transferable, message_network, new_inputs, read_new_embedding

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd
    from anndata import AnnData
    from mudata import MuData

    from scgrn_tl.core.calibration import PlattScaling
    from scgrn_tl.core.network import PriorNetwork
    from scgrn_tl.core.task import GRNTask

    from .fitted_state import FittedState

__all__ = ["TransferredNetwork", "transfer"]

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class TransferredNetwork:
    """What a fitted model says of other data.

    Attributes
    ----------
    genes
        The data's G genes.
    scores
        Logits of every pair of one of R regulators and a gene, their hub part, and over members their spread.
    calibration
        Logit → probability, of the pairs that the model was fitted with.
    calibrated_on
        What it was fitted on: ``"validation"``, or ``"nothing"`` for logits as they are.
    messages
        The edges that carried messages.
    trained_on
        ``bool[E]``, which of them the model was trained on; the others are of the prior that was given.
    seen_regulators
        ``bool[R]``: the model was fitted with this gene as a regulator.
    seen_genes
        ``bool[G]``: the model was fitted with this gene.
    agreement
        Correlation of shared genes' loadings on principal components with those of the model's data, each gene placed
        by the others; ``None`` of a model that reads no expression.
    """

    genes: tuple[str, ...]
    scores: GRNScores
    calibration: PlattScaling
    calibrated_on: str
    messages: PriorNetwork
    trained_on: np.ndarray
    seen_regulators: np.ndarray
    seen_genes: np.ndarray
    agreement: float | None

    def table(self, pairs: Any = None) -> pd.DataFrame:
        """Scores of pairs; see :meth:`scgrn_tl.models.ScTransNet.score`."""
        return scored_pairs(
            self.scores,
            self.genes,
            self.calibration,
            pairs=None if pairs is None else read_pairs(pairs),
            seen_sources=self.seen_regulators,
            seen_targets=self.seen_genes,
        )

    def report(self) -> dict[str, Any]:
        """Counts of what was found by name, and the agreement."""
        counts = {
            "n_genes": len(self.genes),
            "n_genes_seen": int(self.seen_genes.sum()),
            "n_regulators": len(self.seen_regulators),
            "n_regulators_seen": int(self.seen_regulators.sum()),
            "n_edges_trained_on": int(self.trained_on.sum()),
            "n_edges_given": int((~self.trained_on).sum()),
        }
        return counts | ({} if self.agreement is None else {"agreement": self.agreement})

    def __repr__(self) -> str:
        found = self.report()
        return (
            f"TransferredNetwork({found['n_regulators']:,} regulators, {found['n_regulators_seen']:,} of them seen in "
            f"training × {found['n_genes']:,} genes, {found['n_genes_seen']:,} of them seen; {len(self.trained_on):,} "
            "edges carry messages)"
        )


def transfer(
    state: FittedState,
    adata: AnnData | MuData,
    *,
    use_rep: str | Iterable[str] | None = None,
    layer: str | None = None,
    prior: Any = None,
    tf_names: Iterable[str] | None = None,
    modality: str = "rna",
    pairs: Sequence[tuple[str, str]] | None = None,
) -> TransferredNetwork:
    """Score the genes of other data; parameters as of :meth:`scgrn_tl.models.ScTransNet.transfer`.

    Regulators of ``pairs`` are scored too.
    """
    check_transferable(state)
    data = open_anndata(adata, modality=modality)
    genes = tuple(map(str, data.var_names))
    check_unique_genes(genes)
    shared = SharedGenes.match(state, genes)
    present = set(genes)
    further = [] if tf_names is None else [genes[place] for place in gene_indices(tf_names, genes, what="TF names")]
    embedding = read_new_embedding(state, data, use_rep)
    messages, trained_on = message_network(state, genes, prior, data)
    fitted = set(state.regulators)
    tfs = {*further, *(genes[place] for place in messages.regulators), *(fitted & present)}
    names = tfs | {source for source, _ in pairs or [] if source in present}
    if not names:
        msg = (
            f"None of the model's {len(fitted):,} regulators is among the data's genes. Name regulators to score "
            "(`tf_names=`), such as `sg.datasets.tf_names('human')`."
        )
        raise GeneOverlapError(msg, page="transfer")
    if state.config.use_gnn and not messages.n_edges:
        warn_user(
            "None of the edges that the model was trained on is among the data's genes: no gene hears of any other. "
            "Give known edges (`prior=`).",
            page="transfer",
        )
    task = make_task(data, layer=layer, tf_names=sorted(names), embedding=embedding, seed=state.seed or 0)
    # a pair that is asked about makes no regulator of a gene: another pair's score would depend on it
    is_tf = np.array([gene in tfs for gene in genes])
    with threads_for(task.n_genes * max(*state.config.gnn_widths, len(task.regulators))):
        scores, agreement = _score(state, task, shared, messages, is_tf)
    found = TransferredNetwork(
        genes=genes,
        scores=scores,
        calibration=state.summary.calibration,
        calibrated_on=state.summary.fitted_on,
        messages=messages,
        trained_on=trained_on,
        seen_regulators=np.array([genes[place] in fitted for place in task.regulators]),
        seen_genes=shared.seen,
        agreement=agreement,
    )
    LOGGER.info("%r.", found)
    return found


@torch.no_grad()
def _score(
    state: FittedState, task: GRNTask, shared: SharedGenes, messages: PriorNetwork, is_tf: np.ndarray
) -> tuple[GRNScores, float | None]:
    """Logits and attention. Averages that a score is centred by stay those of the model's own genes."""
    inputs, agreement = new_inputs(state, task, shared, is_tf)
    use_gnn = state.config.use_gnn
    graph = graph_of(inputs, messages) if use_gnn else None
    own_graph = graph_of(state.inputs, state.prior) if use_gnn else None
    modules = [member.module for member in state.members]
    channels = [member.module.channels(inputs, graph, around=(member.inputs, own_graph)) for member in state.members]
    logits = ensemble_logits(modules, channels, inputs)
    attention = mean_attention(modules, inputs, messages, graph) if use_gnn else None
    scores = GRNScores(
        task.regulators, logits.matrix, hub=logits.hub, std=logits.std, is_logit=True, attention=attention
    )
    return scores, agreement
