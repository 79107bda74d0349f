"""CNNC: a convolutional network on the joint histogram of two genes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ._pair_images import check_image_training, pair_image_scores, task_images
from ._registry import method

if TYPE_CHECKING:
    from scgrn_tl.core.task import GRNScores, GRNTask
    from scgrn_tl.models.epochs import Selection

    from ._pair_images import ImageDtype

__all__ = ["cnnc"]


@method(
    name="cnnc",
    supervised=True,
    directed=True,
    stochastic=True,
    reference="Yuan & Bar-Joseph 2019",
    check=check_image_training,
)
def cnnc(
    task: GRNTask,
    *,
    n_bins: int = 32,
    standardize: bool = True,
    dropout: float = 0.25,
    negatives: Literal["all", "balanced"] = "balanced",
    epochs: int = 100,
    batch_size: int = 32,
    lr: float = 0.01,
    select: Selection = "auroc",
    patience: int = 5,
    dtype: ImageDtype = "float32",
) -> GRNScores:
    """Convolutional network on the image of two genes' joint expression (CNNC).

    Where this differs from the published training on pairs with two labels, each for a reason: the epoch is chosen on
    the split's validation pairs (published: the last of 200, and the last fifth of the pairs, which stand in the order
    of their regulators, is set aside); batches are of 32 pairs at a step width of 0.01, since 1,024 pairs at 0.02 are a
    single step an epoch where 500 edges are known, and 0.02 at 32 pairs can diverge; dropout is 0.25, which the authors
    take for other tasks, since 0.5 takes twice the epochs to a lower validation AUROC (on mHSC-L); pixels are
    standardised, or training may never leave the loss of the base rate (on hHEP with all non-edges); non-edges are
    drawn anew each epoch and not once; counts are divided by the number of cells of the data, and not by that of the
    authors' atlas. ``standardize=False, dropout=0.5, batch_size=1024, lr=0.02, epochs=200, select="last"`` is
    nearest to the published way.

    Parameters
    ----------
    task
        Expression, split and regulators are read.
    n_bins
        Bins of an image's side.
    standardize
        Whether pixels are shifted and scaled to mean 0 and spread 1 over random pairs of genes.
    dropout
        Share of entries dropped after each block of convolutions in training; half before the output in any case.
    negatives
        ``"balanced"``, as published: of each regulator as many non-edges as edges, so that nothing is learned of which
        regulators have many targets; or ``"all"`` non-edges, with which most of what is learned is just that.
    epochs
        Most passes over the training pairs.
    batch_size
        Pairs in a step.
    lr
        First step width of descent with Nesterov's momentum of 0.9; at step t it is divided by 1 + 10⁻⁶ t.
    select, patience
        By what validation measure the epoch is chosen, and how many epochs without a better one end the training.
    dtype
        Of the convolutions. ``"bfloat16"`` takes a little over half the time on processors that compute in it, and
        may take longer on others.

    Returns
    -------
    Logits. ``model`` is the fitted network.

    Raises
    ------
    ExpressionError
        If expression is negative somewhere: images are of its logarithm.
    """
    import torch

    from scgrn_tl.models.image_cnn import CNNC

    images = task_images(task, n_bins=n_bins, standardize=standardize)
    return pair_image_scores(
        task,
        lambda: CNNC(images, dropout=dropout, dtype=getattr(torch, dtype)),
        label="CNNC",
        negatives=negatives,
        by_target=False,
        batch_size=batch_size,
        epochs=epochs,
        lr=lr,
        select=select,
        patience=patience,
    )
