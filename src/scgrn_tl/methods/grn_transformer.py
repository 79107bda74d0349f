"""GRN-Transformer: attention between genes learned from expression alone, and a random forest on what it pays."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from scgrn_tl.core.errors import ArgumentError
from scgrn_tl.core.parallel import parallel_map
from scgrn_tl.core.task import GRNScores

from ._progress import progress
from ._registry import method

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from sklearn.ensemble import RandomForestClassifier

    from scgrn_tl.core.task import GRNTask

__all__ = ["credible_labels", "grn_transformer", "learn_attention"]

LOGGER = logging.getLogger(__name__)

N_CLEANING = 10
"""Forests whose agreement tells which labels to believe."""
BLOCK_PAIRS = 2**16
"""Pairs whose features are held at a time."""


def _check(
    *,
    steps: int = 1,
    lr: float = 1.0,
    weight_decay: float = 0.0,
    batch_size: int = 1,
    mask_share: float = 0.5,
    clip: float = 1.0,
    width: int = 64,
    depth: int = 1,
    heads: int = 4,
    max_cells: int = 1,
    max_genes: int = 1,
    n_trees: int = 1,
    **_: Any,
) -> None:
    rules = [
        ("steps >= 0", steps >= 0),
        ("lr > 0", lr > 0),
        ("weight_decay >= 0", weight_decay >= 0),
        ("batch_size >= 1", batch_size >= 1),
        ("0 < mask_share < 1", 0 < mask_share < 1),
        ("clip > 0", clip > 0),
        ("depth >= 1", depth >= 1),
        ("heads >= 1", heads >= 1),
        ("width a multiple of heads and of 2", width >= 2 and width % 2 == 0 and width % max(1, heads) == 0),
        ("max_cells >= 1", max_cells >= 1),
        ("max_genes >= 1", max_genes >= 1),
        ("n_trees >= 1", n_trees >= 1),
    ]
    if broken := [rule for rule, holds in rules if not holds]:
        msg = f"grn_transformer's parameters have to satisfy: {'; '.join(broken)}."
        raise ArgumentError(msg)


def learn_attention(
    task: GRNTask,
    *,
    steps: int = 200,
    lr: float = 1e-3,
    weight_decay: float = 0.01,
    batch_size: int = 16,
    mask_share: float = 0.15,
    clip: float = 1e-3,
    width: int = 64,
    depth: int = 5,
    heads: int = 4,
    use_pidc: bool = True,
    max_cells: int = 2048,
    max_genes: int = 3000,
) -> Mapping[str, np.ndarray]:
    """Train the axial transformer on expression and read off what it attends to; no label is known here.

    Parameters
    ----------
    task
        Expression, regulators, seed and device are read.
    steps, lr, weight_decay, batch_size, mask_share, clip, width, depth, heads, use_pidc, max_cells, max_genes
        See :func:`grn_transformer`.

    Returns
    -------
    ``"maps"`` and ``"corrected"``, ``float32[L * H, R, G]`` (see :func:`scgrn_tl.models.axial_training.pair_maps`);
    ``"regulators"``, ``int64[R]``, the genes of their rows; ``"loss"``, ``float64``, the mean
    of each pass over the cells.
    """
    import torch

    from scgrn_tl.models.axial_training import MaskedTraining, pair_maps, prior_maps, standardize
    from scgrn_tl.models.axial_transformer import AxialTransformer
    from scgrn_tl.models.seeding import seeded_rng
    from scgrn_tl.models.threads import threads_for

    if task.n_genes > max_genes:
        msg = (
            f"GRN-Transformer holds some hundred maps of genes × genes: {task.n_genes:,} genes, more than "
            f"max_genes={max_genes:,}, need about {task.n_genes**2 * 500 / 2**30:.2g} GiB. Keep the regulators and the "
            'highly variable genes, `adata[:, adata.var["highly_variable"] | adata.var_names.isin(regulators)]`, or '
            "raise max_genes."
        )
        raise ArgumentError(msg)
    if task.expression.shape[1] > max_cells:
        chosen = np.random.default_rng(task.seed).choice(task.expression.shape[1], max_cells, replace=False)
        task = replace(task, expression=np.ascontiguousarray(task.expression[:, np.sort(chosen)]), pseudotime=None)
        LOGGER.info("GRN-Transformer: a sample of %d cells stands for all.", max_cells)
    expression = task.expression
    device = torch.device(task.device)
    maps = torch.from_numpy(prior_maps(expression, _pidc(task) if use_pidc else None)).to(device)
    values = torch.from_numpy(standardize(expression)).to(device)
    present = torch.from_numpy(expression != 0).to(device)
    generator = torch.Generator().manual_seed(task.seed)
    with (
        seeded_rng(task.seed, task.device),
        threads_for(task.n_genes * min(batch_size, expression.shape[1]) * width),
        progress("GRN-Transformer", steps, unit="step") as on_step,
    ):
        model = AxialTransformer(width=width, depth=depth, heads=heads).to(device)
        training = MaskedTraining(steps, lr, weight_decay, batch_size, mask_share, clip, on_step)
        losses = training.fit(model, values, present, maps, generator=generator)
        features = pair_maps(model.gene_attentions(values, maps), task.regulators)
    return {**features, "regulators": task.regulators, "loss": np.array(losses, dtype=np.float64)}


@method(
    name="grn_transformer",
    supervised=True,
    directed=True,
    stochastic=True,
    reference="Shu et al. 2022",
    check=_check,
    prepare=learn_attention,
)
def grn_transformer(
    task: GRNTask,
    *,
    steps: int = 200,
    lr: float = 1e-3,
    weight_decay: float = 0.01,
    batch_size: int = 16,
    mask_share: float = 0.15,
    clip: float = 1e-3,
    width: int = 64,
    depth: int = 5,
    heads: int = 4,
    use_pidc: bool = True,
    max_cells: int = 2048,
    max_genes: int = 3000,
    n_trees: int = 100,
    clean_labels: bool = True,
) -> GRNScores:
    """Attention of a transformer that fills in masked expression, read by a random forest (GRN-Transformer).

    An axial transformer (:mod:`scgrn_tl.models.axial_transformer`) learns to fill in masked entries of the table of
    genes × cells, without any label. Its ``depth * heads`` maps of attention between genes, over all cells, are what a
    random forest then learns the training pairs from: for a regulator a and a gene b, what b pays of attention to a in
    each map, less the average product and bare.

    Where this differs from the published procedure, each for a reason: the transformer trains for 200 steps of 16 cells
    at a rate of 1e-3, and not for 1500 passes of 32 cells at 1e-4 (19,500 steps for 425 cells). Of three BEELINE data
    sets, the loss on cells held out is least after 100 to 220 such steps, a little below that of ridge regression, and
    rises from there while the loss on the cells trained on keeps falling. The forest learns from all training pairs of
    the split, where the authors' example draws as many non-edges as edges, of another network than it is tested on:
    weighting the two classes alike made no difference on validation pairs. What mixes the maps known beforehand is
    computed in a shorter form, which gives the same (:class:`scgrn_tl.models.axial_transformer.TiedGeneAttention`).

    Learning attention is what takes time, and grows with the square of the number of genes: on one core 6 minutes for
    948 genes, 3 for 560, whatever the number of cells. It is done once per expression and seed,
    whatever the labels. Ten forests for ``clean_labels`` take a minute for 19,000 training pairs.

    Parameters
    ----------
    task
        Expression and the training pairs are read. No choice is made on validation pairs.
    steps
        Steps of training. 0 leaves the transformer at its random start, whose attention tells genes apart all the
        same: on three BEELINE data sets that costs 0 to 0.04 of the validation AUROC.
    lr, weight_decay
        Step width and decoupled weight decay of AdamW; published 1e-4 and 0.01.
    batch_size
        Cells a step; published 32. Cells that fill no batch wait for the next pass.
    mask_share
        Entries masked in a step, drawn with replacement, as a share of all.
    clip
        Largest absolute entry of a gradient.
    width, depth, heads
        Width of the transformer, its layers, and heads of each attention.
    use_pidc
        Take PIDC for the fifth of the maps known beforehand, beside two correlations, covariance and precision;
        without it that map is 0.
    max_cells
        Where there are more cells, a sample of as many stands for all.
    max_genes
        Refuse more genes than that, rather than fill the memory.
    n_trees
        Trees of the forest.
    clean_labels
        Leave out training pairs that ten forests, asked about what they were trained on, contradict or disagree about
        (:func:`credible_labels`).

    Returns
    -------
    Probabilities, the forest's P(1). ``history["train_loss"]`` is the transformer's loss; ``details`` has the number of
    training pairs, and of those believed. ``model`` is the forest.

    Raises
    ------
    ArgumentError
        If there are more than ``max_genes`` genes, or ``task.prepared`` was made for other regulators.
    """
    prepared = task.prepared
    if prepared is None:
        msg = (
            "grn_transformer reads attention that is learned beforehand: run it by "
            '`methods.get("grn_transformer").run(task)`, which does so.'
        )
        raise ArgumentError(msg)
    train, _ = task.supervision()
    features = _PairFeatures(task, prepared)
    x, labels = features.of(train.pairs), train.labels
    kept = np.ones(len(labels), dtype=bool)
    if clean_labels:
        seeds = [(task.seed + number) % 2**32 for number in range(N_CLEANING)]
        forests = parallel_map(_in_sample, seeds, x, labels, n_trees, n_jobs=task.n_jobs, description="Label cleaning")
        kept = credible_labels(np.stack(list(forests)), labels)
        LOGGER.info("GRN-Transformer: %d of %d training labels are believed.", kept.sum(), len(kept))
    forest = _fitted_forest(task.seed % 2**32, x[kept], labels[kept], n_trees)
    return GRNScores(
        task.regulators,
        features.scored_by(forest),
        history={"train_loss": prepared["loss"].tolist()},
        details={"n_training_pairs": len(kept), "n_believed": int(kept.sum())},
        model=forest,
    )


def _pidc(task: GRNTask) -> NDArray[np.float32]:
    """PIDC of all genes, ``float32[G, G]``."""
    from ._registry import get

    return get("pidc").run(replace(task, regulators=np.arange(task.n_genes)), max_genes=task.n_genes).matrix


class _PairFeatures:
    """Corrected and bare attention of pairs, from the maps of the regulators' rows."""

    def __init__(self, task: GRNTask, prepared: Mapping[str, np.ndarray]) -> None:
        rows = np.full(task.n_genes, -1)
        rows[prepared["regulators"]] = np.arange(len(prepared["regulators"]))
        if (rows[task.regulators] < 0).any():
            msg = (
                "The attention maps were prepared for other regulators: prepare them for all that are to be scored. "
                'Run `sg.methods.get("grn_transformer").run(task)`, which does so.'
            )
            raise ArgumentError(msg)
        self.task, self.rows = task, rows
        self.maps = (prepared["corrected"], prepared["maps"])  # (L * H, R, G) each

    def of(self, pairs: NDArray[np.int64]) -> NDArray[np.float32]:
        """``float32 (P, 2 * L * H)`` of pairs ``int64 (P, 2)`` of gene indices."""
        return np.concatenate([maps[:, self.rows[pairs[:, 0]], pairs[:, 1]] for maps in self.maps]).T

    def scored_by(self, forest: RandomForestClassifier) -> NDArray[np.float32]:
        """``float32 (R, G)``, the forest's P(1) of every pair of a regulator and a gene."""
        regulators, n_genes = self.task.regulators, self.task.n_genes
        codes = np.arange(len(regulators) * n_genes)
        scores = np.empty(len(codes), dtype=np.float32)
        for start in range(0, len(codes), BLOCK_PAIRS):
            row, gene = np.divmod(codes[start : start + BLOCK_PAIRS], n_genes)
            pairs = np.stack([regulators[row], gene], axis=1)
            scores[start : start + BLOCK_PAIRS] = _probability(forest, self.of(pairs))
        return scores.reshape(len(regulators), n_genes)


def _fitted_forest(
    seed: int, x: NDArray[np.float32], labels: NDArray[np.bool_], n_trees: int
) -> RandomForestClassifier:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(n_trees, random_state=seed, n_jobs=1).fit(x, labels)


def _probability(forest: RandomForestClassifier, x: NDArray[np.float32]) -> NDArray[np.float64]:
    """P(1), which is 0 or 1 for all where the forest has seen one class only."""
    if len(forest.classes_) == 1:
        return np.full(len(x), float(forest.classes_[0]))
    return forest.predict_proba(x)[:, 1]


def _in_sample(seed: int, x: NDArray[np.float32], labels: NDArray[np.bool_], n_trees: int) -> NDArray[np.float64]:
    """P(1) of the training pairs themselves, by a forest that has seen them."""
    return _probability(_fitted_forest(seed, x, labels, n_trees), x)


def credible_labels(probabilities: NDArray[np.floating], labels: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which labels the forests, asked about what they were trained on, do not contradict.

    With m and s a pair's mean and standard deviation over the forests, and the mean ± 2 standard deviations of both
    over the pairs of one label as bounds, a pair is left out if its s is above its bound, or if its m is below the
    bound of the edges, above that of the non-edges.

    Parameters
    ----------
    probabilities
        ``(F, P)``, P(1) of each training pair by each forest.
    labels
        ``bool (P,)``.

    Returns
    -------
    ``bool (P,)``.
    """
    mean, spread = probabilities.mean(axis=0), probabilities.std(axis=0)
    credible = np.ones(len(labels), dtype=bool)
    for label in np.unique(labels):
        of_label = labels == label
        centre, margin = mean[of_label].mean(), 2 * mean[of_label].std()
        contradicted = mean < centre - margin if label else mean > centre + margin
        unsure = spread > spread[of_label].mean() + 2 * spread[of_label].std()
        credible &= ~(of_label & (contradicted | unsure))
    return credible
