"""Division of a network's pairs into training, validation and test, by what the test is to answer."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from .argument_types import typed_arguments
from .errors import ArgumentError, SplitError
from .random import generator_of
from .split import EdgeSplit, LabeledPairs, SplitKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .network import PriorNetwork
    from .random import RNGLike

__all__ = ["split_edges"]

LOGGER = logging.getLogger(__name__)

_NONE, _TRAIN, _VALIDATION, _TEST = -1, 0, 1, 2


@typed_arguments
def split_edges(
    prior: PriorNetwork,
    *,
    kind: Literal["random", "tf", "target", "both"] = "random",
    regulators: Sequence[str] | np.ndarray | None = None,
    fold: int = 0,
    n_folds: int = 5,
    validation_fraction: float = 0.1,
    test_fraction: float = 1 / 3,
    hold_out_reverse: bool = True,
    rng: RNGLike = 0,
) -> EdgeSplit:
    """Divide every (scored TF, gene) pair but self pairs into training, validation and test.

    Parameters
    ----------
    prior
        The known edges. Every other pair is a negative.
    kind
        ``"random"``: each TF's positives are divided, and its negatives in the same proportions, so that every part has
        the density of the universe (scTransNet eq. 14). A TF with a single target has it in training; one with two has
        one in training and one in test. ``"tf"``: whole TFs are held out. ``"target"``: whole target genes are held
        out. ``"both"``: test are held-out TFs × held-out genes and training the other TFs × the other genes; the mixed
        pairs are in no part.
    regulators
        TFs to score, as gene names or gene indices; those with a known edge if ``None``.
    fold, n_folds
        Which of how many folds is the test part, for all kinds but ``"random"``. Folds have as equal numbers of edges
        as whole TFs or genes allow (:class:`sklearn.model_selection.GroupKFold`); the seed decides between equally good
        choices, so vary ``fold`` for other test parts.
    validation_fraction
        Share of the training pairs that validates. It is grouped as the test part is: one, drawn, of
        ``round(1 / validation_fraction)`` folds of the training TFs (``"tf"``), of the training genes (``"target"``),
        or of each (``"both"``, so that its pairs are about the square of the fraction). For these kinds it is at most
        a half.
    test_fraction
        Share of each TF's pairs in test, for ``"random"``; 0 for no test part.
    hold_out_reverse
        Keep the pair (b, a) out of training where (a, b) is in validation or test and b is scored too: a model that
        reads the graph in both directions would see the answer. ``"random"`` puts (b, a) into the same part, the other
        kinds into no part. It depends on the pairs alone and not on their labels, or what is missing from training
        would tell them.
    rng
        Seed of everything random.

    Returns
    -------
    The split, its pairs in ascending order. How many single-target TFs and reverse pairs there were is logged.

    Raises
    ------
    ArgumentError
        If an argument is out of range, a regulator is not among the genes, or ``kind="given"``.
    SplitError
        If there are too few TFs or genes for the folds asked for, or no group of them makes a validation part with
        positives and negatives.
    """
    _check_arguments(kind, fold, n_folds, validation_fraction, test_fraction)
    rows = _regulator_indices(prior, regulators)
    labels = _label_matrix(prior, rows)  # (R, G)
    generator = generator_of(rng)
    if kind == "random":
        parts = _split_random(labels, rows, test_fraction, validation_fraction, hold_out_reverse, generator)
    else:
        parts = _split_grouped(labels, rows, kind, fold, n_folds, validation_fraction, generator)
        if hold_out_reverse:
            _drop_reverse(parts, rows)
    train, validation, test = (_collect(parts == part, labels, rows) for part in (_TRAIN, _VALIDATION, _TEST))
    split = EdgeSplit(train, validation, test, kind, prior.genes)
    LOGGER.info("%r", split)
    return split


# -------------------------------------------------------------------- arguments and universe


def _check_arguments(kind: str, fold: int, n_folds: int, validation_fraction: float, test_fraction: float) -> None:
    kinds = [name for name in get_args(SplitKind) if name != "given"]
    if not isinstance(kind, str) or kind not in [*kinds, "given"]:
        msg = f"kind is one of {', '.join(map(repr, kinds))}, not {kind!r}."
        raise ArgumentError(msg)
    if kind == "given":
        msg = "Published splits are read, not made: use `sg.datasets.beeline_split(cell_type, n_genes, sample)`."
        raise ArgumentError(msg)
    if not 0 <= validation_fraction < 1:
        msg = f"validation_fraction is a share of the training pairs, from 0 to below 1; not {validation_fraction!r}."
        raise ArgumentError(msg)
    if kind != "random" and validation_fraction > 0.5:
        msg = f"kind={kind!r} holds out at most half of the groups to validate on, not {validation_fraction!r} of them."
        raise ArgumentError(msg)
    if not 0 <= test_fraction < 1:
        msg = f"test_fraction is a share from 0 to below 1, not {test_fraction!r}."
        raise ArgumentError(msg)
    if kind == "random" and fold != 0:
        msg = f"A random split has no folds (fold={fold}): change `rng` for another one."
        raise ArgumentError(msg)
    if kind != "random" and not (n_folds >= 2 and 0 <= fold < n_folds):
        msg = f"fold counts from 0 to n_folds − 1, and there are at least 2 folds; got fold={fold}, n_folds={n_folds}."
        raise ArgumentError(msg)


def _regulator_indices(prior: PriorNetwork, regulators: Any) -> np.ndarray:
    """Ascending gene indices of the regulators to score, ``int64[R]``."""
    if regulators is None:
        return prior.regulators
    given = np.asarray(regulators)
    if given.ndim != 1 or not len(given):
        msg = "regulators is a list of gene names or gene indices, at least one. Give `prior.regulators`, for one."
        raise ArgumentError(msg)
    if given.dtype.kind in "iu":
        unknown = given[(given < 0) | (given >= len(prior.genes))].tolist()
    else:
        position = {gene: index for index, gene in enumerate(prior.genes)}
        unknown = [name for name in given.tolist() if name not in position]
        given = np.array([position.get(name, -1) for name in given.tolist()], dtype=np.int64)
    if len(unknown):
        msg = (
            f"{len(unknown)} regulators are not among the prior's {len(prior.genes):,} genes, such as {unknown[0]!r}. "
            "Give names of `prior.genes`."
        )
        raise ArgumentError(msg)
    return np.unique(given).astype(np.int64)


def _label_matrix(prior: PriorNetwork, rows: np.ndarray) -> np.ndarray:
    """Which pairs are edges, ``bool[R, G]``."""
    labels = np.zeros((len(rows), len(prior.genes)), dtype=bool)
    scored = np.isin(prior.edge_index[0], rows)
    sources, targets = prior.edge_index[:, scored]
    labels[np.searchsorted(rows, sources), targets] = True
    labels[np.arange(len(rows)), rows] = False
    if not labels.any():
        msg = "None of the regulators to score has a known target: there is nothing to divide."
        raise SplitError(msg)
    if not scored.all():
        LOGGER.info("%d edges of regulators that are not scored are in no part.", int((~scored).sum()))
    return labels


def _collect(chosen: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> LabeledPairs:
    regulator, gene = np.nonzero(chosen)
    return LabeledPairs(np.column_stack([rows[regulator], gene]), labels[regulator, gene])


# -------------------------------------------------------------------- each TF's pairs divided


def _split_random(
    labels: np.ndarray,
    rows: np.ndarray,
    test_fraction: float,
    validation_fraction: float,
    hold_out_reverse: bool,  # noqa: FBT001
    generator: np.random.Generator,
) -> np.ndarray:
    """Part of every pair, ``int8[R, G]``."""
    n_regulators = len(rows)
    candidates = np.ones_like(labels)
    candidates[np.arange(n_regulators), rows] = False
    single = labels.sum(axis=1) == 1
    stays = labels & single[:, None]  # the only target of its TF
    follows = np.zeros_like(labels)
    if hold_out_reverse:
        follower = _followers(labels[:, rows], generator)
        follows[:, rows] = follower
        # A pair whose reverse has to stay in training stays as well.
        stays[:, rows] |= stays[:, rows].T & follower.T
    parts = np.full(labels.shape, _NONE, dtype=np.int8)
    for of_class in (labels, candidates & ~labels):
        _divide(parts, of_class & ~follows, stays, test_fraction, validation_fraction, generator)
    among = parts[:, rows]
    parts[:, rows] = np.where(follows[:, rows], among.T, among)
    LOGGER.info(
        "Random split: %d TFs with a single target have it in training; %d pairs follow their reverse.",
        int(single.sum()),
        int(follows.sum()),
    )
    return parts


def _followers(labels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Of the pairs among TFs, which go where their reverse goes: ``bool[R, R]``, one of each two.

    All pairs among TFs go with their reverse, whatever their labels: were it edges alone, a pair's absence from
    training would tell that its reverse is an edge. Which of the two leads decides only whose share it counts towards:
    an edge leads its non-edge; of two edges the one of the TF with fewer of them, since it has the least choice; else
    it is drawn.
    """
    rank = generator.permutation(len(labels))
    n_edges = labels.sum(axis=1)
    order = np.empty(len(labels), dtype=np.int64)
    order[np.lexsort((rank, n_edges))] = np.arange(len(labels))  # a lower number leads
    alike = labels == labels.T
    follower: np.ndarray = (labels.T & ~labels) | (alike & (order[:, None] > order[None, :]))
    return follower


def _divide(
    parts: np.ndarray,
    chosen: np.ndarray,
    stays: np.ndarray,
    test_fraction: float,
    validation_fraction: float,
    generator: np.random.Generator,
) -> None:
    """Divide the chosen pairs of every TF, and write their part into ``parts``."""
    n_pairs = chosen.sum(axis=1)
    n_fixed = (chosen & stays).sum(axis=1)
    n_test = _shares(n_pairs, test_fraction)
    if test_fraction > 0:
        n_test = np.clip(n_test, np.minimum(1, n_pairs - 1), n_pairs - 1).clip(min=0)  # some of two or more, never all
    n_test = np.minimum(n_test, n_pairs - n_fixed)
    left = n_pairs - n_test
    n_validation = np.minimum(_shares(left, validation_fraction), np.clip(left - np.maximum(n_fixed, 1), 0, None))
    for row in range(len(parts)):
        free = generator.permutation(np.flatnonzero(chosen[row] & ~stays[row]))
        test, validation = n_test[row], n_test[row] + n_validation[row]
        parts[row, chosen[row]] = _TRAIN
        parts[row, free[:test]] = _TEST
        parts[row, free[test:validation]] = _VALIDATION


def _shares(counts: np.ndarray, fraction: float) -> np.ndarray:
    """``fraction`` of each count, rounded up or down so that the rounded shares add up to that of the total."""
    return np.diff(np.rint(np.cumsum(counts * fraction)), prepend=0).astype(np.int64)


# -------------------------------------------------------------------- whole TFs or genes held out


def _split_grouped(
    labels: np.ndarray,
    rows: np.ndarray,
    kind: str,
    fold: int,
    n_folds: int,
    validation_fraction: float,
    generator: np.random.Generator,
) -> np.ndarray:
    """Part of every pair, ``int8[R, G]``, where part is decided by TF, by gene, or by both."""
    by_tf, by_gene = kind in ("tf", "both"), kind in ("target", "both")
    test_tfs, test_genes = np.zeros(labels.shape[0], dtype=bool), np.zeros(labels.shape[1], dtype=bool)
    if by_tf:
        test_tfs = _folds(labels.sum(axis=1), n_folds, "TFs", generator) == fold
    if by_gene:
        test_genes = _folds(labels.sum(axis=0), n_folds, "genes", generator) == fold
    in_universe = np.ones_like(labels)
    in_universe[np.arange(len(rows)), rows] = False
    train = ~test_tfs[:, None] & ~test_genes[None, :] & in_universe
    validation = np.zeros_like(train)
    if validation_fraction > 0:
        validation, train = _hold_out_validation(labels, train, kind, validation_fraction, generator)
    parts = np.full(labels.shape, _NONE, dtype=np.int8)
    parts[train] = _TRAIN
    parts[validation] = _VALIDATION
    parts[_block(test_tfs, test_genes, kind) & in_universe] = _TEST
    return parts


def _block(tfs: np.ndarray, genes: np.ndarray, kind: str) -> np.ndarray:
    """Pairs held out with these TFs and genes, ``bool[R, G]``."""
    if kind == "tf":
        return np.broadcast_to(tfs[:, None], (len(tfs), len(genes)))
    if kind == "target":
        return np.broadcast_to(genes[None, :], (len(tfs), len(genes)))
    return np.logical_and.outer(tfs, genes)


def _hold_out_validation(
    labels: np.ndarray, train: np.ndarray, kind: str, fraction: float, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Validation and what is left of training, ``bool[R, G]`` each: one group drawn among those with both classes."""
    in_train = labels & train
    tfs, genes = np.flatnonzero(train.any(axis=1)), np.flatnonzero(train.any(axis=0))
    n_groups = round(1 / fraction)
    of_tf = np.full(len(labels), _NONE)
    of_gene = np.full(labels.shape[1], _NONE)
    if kind in ("tf", "both"):
        of_tf[tfs] = _folds(in_train[tfs].sum(axis=1), min(n_groups, len(tfs)), "training TFs", generator)
    if kind in ("target", "both"):
        counts = in_train[:, genes].sum(axis=0)
        of_gene[genes] = _folds(counts, min(n_groups, len(genes)), "training genes", generator)
    for group in generator.permutation(n_groups):
        held_tfs, held_genes = of_tf == group, of_gene == group
        validation = _block(held_tfs, held_genes, kind) & train
        if 0 < labels[validation].sum() < validation.sum():
            return validation, train & ~held_tfs[:, None] & ~held_genes[None, :]
    msg = (
        f"No group of {fraction:.0%} of the training part has both edges and non-edges to validate on. Give a larger "
        "`validation_fraction`, or 0 for none."
    )
    raise SplitError(msg)


def _folds(n_edges: np.ndarray, n_folds: int, what: str, generator: np.random.Generator) -> np.ndarray:
    """Fold of each group, ``int64``; folds have as equal numbers of edges and groups as whole groups allow."""
    from sklearn.model_selection import GroupKFold

    n_groups = len(n_edges)
    if n_folds < 2 or n_groups < n_folds:
        msg = f"{n_groups} {what} cannot make {max(n_folds, 2)} folds. Ask for fewer, or use kind='random'."
        raise SplitError(msg)
    # A group counts once beside its edges, so that groups without any are dealt out too. The relabelling draws between
    # groups of equal size, which GroupKFold takes in the order of their labels.
    relabelled = generator.permutation(n_groups)
    samples = np.repeat(relabelled, n_edges + 1)
    fold_of = np.empty(n_groups, dtype=np.int64)
    for number, (_, held) in enumerate(GroupKFold(n_folds).split(samples, groups=samples)):
        fold_of[samples[held]] = number
    return fold_of[relabelled]


def _drop_reverse(parts: np.ndarray, rows: np.ndarray) -> None:
    """Take out of training, in place, the reverse of every pair in validation or test."""
    among = parts[:, rows]  # (R, R)
    exposed = (among == _TRAIN) & (among > _TRAIN).T
    parts[:, rows] = np.where(exposed, _NONE, among)
    LOGGER.info("%d training pairs are the reverse of a held-out pair, and are in no part.", int(exposed.sum()))
