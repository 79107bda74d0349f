"""Training of the methods that tell an edge from images of expression, and their scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

from scgrn_tl.core.errors import ArgumentError
from scgrn_tl.core.task import GRNScores

from ._progress import progress

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from scgrn_tl.core.task import GRNTask
    from scgrn_tl.models.epochs import Selection
    from scgrn_tl.models.expression_images import ExpressionImages

__all__ = ["IMAGE_DTYPES", "ImageDtype", "check_image_training", "pair_image_scores", "task_images"]

ImageDtype = Literal["float32", "bfloat16"]

IMAGE_DTYPES = get_args(ImageDtype)

BLOCK_PAIRS = 2**16
"""Pairs scored at a time; what is computed of a regulator is computed once for as many."""


def check_image_training(
    *, n_bins: int = 32, standardize: bool = True, negatives: str = "balanced", dtype: str = "float32", **training: Any
) -> None:
    """Raise :class:`ArgumentError` where a setting of images, pairs or training makes no sense.

    Parameters
    ----------
    n_bins, standardize, negatives, dtype, **training
        As the methods have them.
    """
    from scgrn_tl.models.epochs import check_training
    from scgrn_tl.models.expression_images import check_bins

    check_bins(n_bins)
    check_training(**training)
    if negatives not in {"all", "balanced"}:
        msg = f"negatives is 'all' or 'balanced', not {negatives!r}."
        raise ArgumentError(msg)
    if dtype not in IMAGE_DTYPES:
        msg = f"dtype is {' or '.join(map(repr, IMAGE_DTYPES))}, not {dtype!r}."
        raise ArgumentError(msg)


def task_images(task: GRNTask, *, n_bins: int, standardize: bool) -> ExpressionImages:
    """Images of the task's expression, on its device, standardised over pairs that its seed draws if asked for."""
    import torch

    from scgrn_tl.models.expression_images import ExpressionImages

    images = ExpressionImages.of(task.expression, n_bins=n_bins, device=task.device)
    return images.standardized(torch.Generator().manual_seed(task.seed)) if standardize else images


def pair_image_scores(
    task: GRNTask,
    build: Callable[[], torch.nn.Module],
    *,
    label: str,
    negatives: Literal["all", "balanced"],
    by_target: bool,
    batch_size: int,
    epochs: int,
    lr: float,
    select: Selection,
    patience: int,
) -> GRNScores:
    """Train on labelled pairs, and score every pair.

    Parameters
    ----------
    task
        Its split and regulators are read.
    build
        Makes the module, from pairs ``int64 (B, 2)`` to logits ``(B,)``.
    label
        Of the progress bar.
    negatives, by_target
        See :class:`~scgrn_tl.models.pair_sampling.PairSampler`.
    batch_size, epochs, lr
        Pairs in a batch, most epochs, first step width.
    select, patience
        See :class:`~scgrn_tl.models.epochs.EpochLoop`.

    Returns
    -------
    Logits. ``model`` is the module.
    """
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    from scgrn_tl.models.epochs import EpochLoop, descend
    from scgrn_tl.models.image_cnn import decaying_sgd
    from scgrn_tl.models.pair_sampling import PairSampler, pair_tensors, score_matrix
    from scgrn_tl.models.seeding import seeded_rng

    train, validation = task.supervision()
    device = torch.device(task.device)
    pairs, labels = pair_tensors(train, device)
    validation_pairs, _ = pair_tensors(validation, device)
    draws = torch.Generator().manual_seed(task.seed)
    batches = PairSampler(pairs, labels, batch_size, draws, negatives=negatives, by_target=by_target)
    with seeded_rng(task.seed, task.device), progress(label, epochs) as on_epoch:
        module = build().to(device)
        optimizer, schedule = decaying_sgd(module.parameters(), lr)
        loop = EpochLoop(
            module,
            train_epoch=lambda: descend(
                batches,
                lambda pairs, labels: binary_cross_entropy_with_logits(module(pairs), labels),
                optimizer,
                after_step=schedule.step,
            ),
            predict=lambda: module(validation_pairs),
            validation_labels=validation.labels,
            epochs=epochs,
            patience=patience,
            select=select,
            on_epoch=on_epoch,
        )
        loop.run()
    return GRNScores(
        task.regulators,
        score_matrix(module, task.regulators, task.n_genes, device=device, block=BLOCK_PAIRS),
        is_logit=True,
        history=loop.history,
        details={"best_epoch": loop.best_epoch},
        model=module,
    )
