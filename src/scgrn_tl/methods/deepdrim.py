"""DeepDRIM: a convolutional network on the images of a gene pair and of the two genes' neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from scgrn_tl.core.errors import ArgumentError

from ._pair_images import check_image_training, pair_image_scores, task_images
from ._registry import method

if TYPE_CHECKING:
    from scgrn_tl.core.task import GRNScores, GRNTask
    from scgrn_tl.models.epochs import Selection

    from ._pair_images import ImageDtype

__all__ = ["deepdrim"]


def _check(*, n_neighbors: int = 10, batch_size: int | None = None, **training: Any) -> None:
    check_image_training(**training, batch_size=1 if batch_size is None else batch_size)
    if n_neighbors < 0:
        msg = f"n_neighbors is a whole number of at least 0, not {n_neighbors!r}."
        raise ArgumentError(msg)


@method(
    name="deepdrim",
    supervised=True,
    directed=True,
    stochastic=True,
    reference="Chen et al. 2021",
    check=_check,
)
def deepdrim(
    task: GRNTask,
    *,
    n_neighbors: int = 10,
    n_bins: int = 32,
    standardize: bool = True,
    dropout: float = 0.25,
    negatives: Literal["all", "balanced"] = "balanced",
    epochs: int = 200,
    batch_size: int | None = None,
    lr: float = 0.01,
    select: Selection = "auroc",
    patience: int = 3,
    dtype: ImageDtype = "float32",
) -> GRNScores:
    """Convolutional network on the images of two genes and of their neighbours (DeepDRIM).

    The published network passes 23 images a pair. Here every distinct image is passed once a batch, and a batch keeps
    the pairs of a target together: the scores are the same at a fraction of the cost, while training pairs of a batch
    that share a gene share the entries dropped from its images (see ``scgrn_tl.models.deepdrim.DeepDRIM``). For the
    same reason batches are of more than 32 pairs where there are many pairs to learn from. Other differences to the
    published training: the epoch is chosen on the split's validation pairs, and patience is 3 for the cost of an epoch
    (published: patience 10 on the accuracy of the last fifth of the pairs, which stand in the order of their
    regulators, and the last epoch is used); pixels are standardised; non-edges are drawn anew each epoch and not once.
    ``standardize=False, batch_size=32, patience=10`` is nearest to the published way.

    Parameters
    ----------
    task
        Expression, split and regulators are read.
    n_neighbors
        Genes of largest covariance, of the expression as it is, whose images with a gene are seen. A gene may be its
        own neighbour.
    n_bins
        Bins of an image's side.
    standardize
        Whether pixels are shifted and scaled to mean 0 and spread 1 over random pairs of genes.
    dropout
        Share of entries dropped after each block of convolutions in training; half before each dense layer in any case.
    negatives
        ``"balanced"``, as published: of each regulator as many non-edges as edges, so that nothing is learned of which
        regulators have many targets; or ``"all"`` non-edges, with which most of what is learned is just that.
    epochs
        Most passes over the training pairs.
    batch_size
        Pairs in a step; ``None`` for a 32nd of an epoch's, between 32 and 256. Smaller batches share less: with 30
        regulators, an epoch takes half as long again at 128 pairs as at 256.
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

    from scgrn_tl.models.deepdrim import DeepDRIM, covariance_neighbors

    if batch_size is None:
        train, _ = task.supervision()
        n_pairs = len(train) if negatives == "all" else 2 * int(train.labels.sum())
        batch_size = min(256, max(32, n_pairs // 32))
    images = task_images(task, n_bins=n_bins, standardize=standardize)
    neighbors = torch.from_numpy(covariance_neighbors(task.expression, n_neighbors))
    return pair_image_scores(
        task,
        lambda: DeepDRIM(images, neighbors, dropout=dropout, dtype=getattr(torch, dtype)),
        label="DeepDRIM",
        negatives=negatives,
        by_target=True,
        batch_size=batch_size,
        epochs=epochs,
        lr=lr,
        select=select,
        patience=patience,
    )
