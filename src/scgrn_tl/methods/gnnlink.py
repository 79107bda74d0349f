"""GNNLink: graph convolutions over the known edges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from scgrn_tl.core.task import GRNScores

from ._progress import progress
from ._registry import method

if TYPE_CHECKING:
    from scgrn_tl.core.task import GRNTask

__all__ = ["gnnlink"]


def _check(**training: Any) -> None:
    from scgrn_tl.core.errors import ArgumentError
    from scgrn_tl.models.epochs import check_training

    check_training(**training)
    if training.get("select") == "loss":
        msg = "gnnlink's scores are no logits: select is 'auroc', 'auprc' or 'last', not 'loss'."
        raise ArgumentError(msg)


@method(
    name="gnnlink",
    supervised=True,
    directed=False,
    stochastic=True,
    reads_sparse=True,
    reference="Mao et al. 2023",
    check=_check,
)
def gnnlink(
    task: GRNTask,
    *,
    epochs: int = 100,
    lr: float = 1e-3,
    select: Literal["auroc", "auprc", "last"] = "auroc",
    patience: int = 100,
) -> GRNScores:
    """Two graph convolutions over the known edges and an inner product (GNNLink).

    Where this differs from the published procedure: the epoch is chosen on validation pairs, since the last of 100 has
    overfitted on sparse networks (``select="last"`` for it), and the loss is computed of the training pairs, the only
    ones that count in it, and not over a genes × genes matrix. Above 2,048 cells, expression is reduced to 512
    components.

    Parameters
    ----------
    task
        Expression and split are read. A regulator gathers from its targets in training.
    epochs
        Most steps; each is over all training pairs.
    lr
        Adam's step width.
    select, patience
        By what validation measure the epoch is chosen, and how many epochs without a better one end the training.

    Returns
    -------
    ``ReLU(Z_a · Z_b)``: symmetric, not negative, with ties at 0.
    """
    import torch

    from scgrn_tl.models.epochs import EpochLoop, descend
    from scgrn_tl.models.gnnlink import GNNLinkModule, normalized_adjacency
    from scgrn_tl.models.node_features import gene_features
    from scgrn_tl.models.pair_sampling import pair_tensors, score_matrix
    from scgrn_tl.models.seeding import seeded_rng
    from scgrn_tl.models.threads import threads_for

    train, validation = task.supervision()
    device = torch.device(task.device)
    x = torch.from_numpy(gene_features(task.expression, kind="expression", seed=task.seed)).to(device)  # (G, N)
    x = torch.nn.functional.normalize(x, dim=1, eps=1e-6)
    adjacency = normalized_adjacency(torch.from_numpy(train.positives.T.copy()).to(device), task.n_genes)
    pairs, labels = pair_tensors(train, device)
    validation_pairs, _ = pair_tensors(validation, device)
    with seeded_rng(task.seed, task.device), threads_for(x.numel()), progress("GNNLink", epochs) as on_epoch:
        module = GNNLinkModule(x.shape[1]).to(device)
        optimizer = torch.optim.Adam(module.parameters(), lr=lr)

        def loss_of(pairs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            errors = module.decode(module.embed(x, adjacency), pairs) - labels
            # the published loss averages over all genes × genes entries, of which those without a label are zero
            return (errors.square().sum() / task.n_genes**2).clamp(min=1e-24).sqrt()

        loop = EpochLoop(
            module,
            train_epoch=lambda: descend([(pairs, labels)], loss_of, optimizer),
            predict=lambda: module.decode(module.embed(x, adjacency), validation_pairs),
            validation_labels=validation.labels,
            epochs=epochs,
            patience=patience,
            select=select,
            is_logit=False,
            on_epoch=on_epoch,
        )
        loop.run()
        with torch.no_grad():
            z = module.embed(x, adjacency)
        matrix = score_matrix(lambda pairs: module.decode(z, pairs), task.regulators, task.n_genes, device=device)
    return GRNScores(
        task.regulators, matrix, history=loop.history, details={"best_epoch": loop.best_epoch}, model=module
    )
