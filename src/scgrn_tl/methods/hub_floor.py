"""The hub floor: what the edge counts of the two genes say, without expression and without a model."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from scgrn_tl.core.errors import ArgumentError, SplitError
from scgrn_tl.core.task import GRNScores

from ._registry import method

if TYPE_CHECKING:
    from scgrn_tl.core.split import LabeledPairs
    from scgrn_tl.core.task import GRNTask

__all__ = ["HubForm", "gene_rates", "hub_floor", "hub_scores"]

LOGGER = logging.getLogger(__name__)

HubForm = Literal["logit", "degree"]


@method(
    name="hub_floor",
    role="floor",
    supervised=True,
    directed=True,
    stochastic=False,
    reads_sparse=True,
    reference="this package",
)
def hub_floor(task: GRNTask, *, form: Literal["auto"] | HubForm = "auto") -> GRNScores:
    """Hub rates of the two genes among the training pairs.

    Every test regulator and nearly every test gene of the usual benchmark split also stands in training, so this table
    is the least that a model has to beat.

    Parameters
    ----------
    task
        Only the split and the regulators are read.
    form
        ``"logit"``: logit of the regulator's training positive rate plus logit of the gene's, each rate shrunk by one
        pseudo-observation of the base rate. ``"degree"``: log(1 + training out-degree of the regulator) + log(1 +
        training in-degree of the gene). ``"auto"``: the form with the higher AUROC on the validation pairs (average
        precision is at the mercy of the few edges there); ``"logit"`` if the two are equal or validation has not both
        classes, and ``"degree"`` if training has not both, for which rates say nothing.

    Returns
    -------
    Scores whose ``hub`` is all of ``matrix``, with ``details["form"]`` the form used and, where validation chose it,
    ``details["validation_auroc"]`` the AUROC of both. A gene without training pairs has the base rate, or
    degree 0.

    Raises
    ------
    ArgumentError
        If ``form`` is unknown.
    SplitError
        If the task has no training pairs, or ``form="logit"`` and they are all of one class.
    """
    if form not in ("auto", *get_args(HubForm)):
        msg = f"form is one of 'auto', {', '.join(map(repr, get_args(HubForm)))}, not {form!r}."
        raise ArgumentError(msg)
    train, validation = task.supervision()
    auroc: dict[str, float] = {}
    chosen: HubForm
    if form != "auto":
        chosen = form
    elif train.labels.all() or not train.labels.any():
        chosen = "degree"
    elif validation.labels.all() or not validation.labels.any():
        chosen = "logit"
    else:
        auroc = {name: _validation_auroc(task, name) for name in get_args(HubForm)}
        chosen = "degree" if auroc["degree"] > auroc["logit"] else "logit"
        LOGGER.info("Hub floor: form %r (validation AUROC %s).", chosen, auroc)
    matrix = hub_scores(train, task.regulators, task.n_genes, form=chosen)
    details = {"form": chosen, "validation_auroc": auroc} if auroc else {"form": chosen}
    return GRNScores(task.regulators, matrix, hub=matrix, details=details)


def hub_scores(train: LabeledPairs, regulators: np.ndarray, n_genes: int, *, form: HubForm) -> np.ndarray:
    """One form of the hub floor, out of training pairs alone.

    Parameters
    ----------
    train
        The training pairs.
    regulators
        ``int64[R]``, gene indices of the regulators to score.
    n_genes
        Number of genes G.
    form
        See :func:`hub_floor`.

    Returns
    -------
    ``float32[R, G]``.

    Raises
    ------
    SplitError
        If ``form="logit"`` and the training pairs are all of one class, for which a logit is infinite.
    """
    of_regulator, of_gene = gene_rates(train, n_genes, form=form)
    return np.add.outer(of_regulator[regulators], of_gene).astype(np.float32)


def gene_rates(train: LabeledPairs, n_genes: int, *, form: HubForm) -> tuple[np.ndarray, np.ndarray]:
    """Every gene's rate as a regulator and as a target, ``float64 (G,)`` each; parameters as :func:`hub_scores`."""
    n_edges = [np.bincount(train.positives[:, side], minlength=n_genes) for side in (0, 1)]
    if form == "degree":
        return np.log1p(n_edges[0]), np.log1p(n_edges[1])
    base = train.prevalence
    if not 0 < base < 1:
        msg = (
            f"The {len(train):,} training pairs are all of one class: hub rates need edges and non-edges. Make the "
            "split anew: `sg.bm.split_edges(prior)`."
        )
        raise SplitError(msg)
    n_pairs = [np.bincount(train.pairs[:, side], minlength=n_genes) for side in (0, 1)]
    rates = [(edges + base) / (pairs + 1) for edges, pairs in zip(n_edges, n_pairs, strict=True)]
    return np.log(rates[0]) - np.log1p(-rates[0]), np.log(rates[1]) - np.log1p(-rates[1])


def _validation_auroc(task: GRNTask, form: HubForm) -> float:
    from sklearn.metrics import roc_auc_score

    train, validation = task.supervision()
    scores = GRNScores(task.regulators, hub_scores(train, task.regulators, task.n_genes, form=form))
    return float(roc_auc_score(validation.labels, scores.at(validation.pairs)))
