"""Training an encoder of one's own, from scratch."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Literal

from scgrn_tl.core import ArgumentError, check_unique_genes, resolve_device, spawn_seeds
from scgrn_tl.core.argument_types import typed_arguments
from scgrn_tl.core.slots import check_key, open_anndata

from ._cell_groups import CellGroups
from ._encoder_training import EncoderShape, EncoderTraining
from ._fit_encoder import check_encoder_folder, fit_encoder, write_training_record
from ._token_stream import Expression

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable
    from pathlib import Path

    from anndata import AnnData
    from mudata import MuData

    from scgrn_tl.core import RNGLike
    from scgrn_tl.core.tokens import Normalize

__all__ = ["scbert_pretrain"]


@typed_arguments
def scbert_pretrain(
    adata: AnnData | MuData,
    *,
    weights_dir: str | os.PathLike[str] | None = None,
    layer: str | None = None,
    batch_key: str | None = None,
    genes: Iterable[str] | None = None,
    gene_init: Literal["svd", "skipgram", "random"] = "svd",
    dim: int = EncoderShape.dim,
    depth: int = EncoderShape.depth,
    heads: int = EncoderShape.heads,
    dim_head: int = EncoderShape.dim_head,
    max_epochs: int | None = EncoderTraining.max_epochs,
    batch_size: int = EncoderTraining.batch_size,
    learning_rate: float = EncoderTraining.learning_rate,
    patience: int = EncoderTraining.patience,
    validation_fraction: float = EncoderTraining.validation_fraction,
    max_genes: int = EncoderTraining.max_genes,
    max_cells: int = EncoderTraining.max_cells,
    normalize: Normalize = "auto",
    device: str | None = None,
    rng: RNGLike = 0,
    modality: str = "rna",
    key_added: str = "scbert_training",
) -> Path:
    """Train a small scBERT on this AnnData's own genes, from scratch.

    The encoder learns to predict hidden expression bins from a cell's other genes (Yang et al. 2022): 15 % of each
    cell's expressed genes are chosen, most of them masked, and the cross-entropy of their bins is minimised with Adam.
    Gene vectors start from the genes' co-expression, in place of gene2vec. Any organism and any gene names will do. The
    weights with the best loss on held-out cells are kept.

    This is :class:`scgrn_tl.models.ScBERTModel` on a sample of the cells; that class has all that models of scvi-tools
    have (loggers, checkpoints, …).

    Parameters
    ----------
    adata
        Cells × genes, counts or log2-normalised expression.
    weights_dir
        Folder for the weights, new, empty, or of an earlier encoder, which is replaced. ``None`` takes a folder in
        ``sg.settings.cache_dir``, named by a hash over expression, genes, parameters and seed, and trains only if it is
        not there yet.
    layer
        Layer with the expression; ``X`` by default.
    batch_key
        Column of ``obs`` with batches. Each gets a vector that is added to the encoder's input in training, so that the
        encoder need not tell batches apart by itself; their mean goes into the saved encoder. Cells without a value are
        left out.
    genes
        The encoder's vocabulary; ``var_names`` by default. Genes that the AnnData does not have are learned nothing
        about, and can be used where another one has them.
    gene_init
        Gene vectors from a truncated SVD of the genes' correlations (``"svd"``), from skip-grams over co-expressed
        pairs (``"skipgram"``, as gene2vec; Du et al. 2019), or at random (``"random"``).
    dim, depth, heads, dim_head
        Width of the encoder, number of layers, of heads, and their width.
    max_epochs
        Passes over the cells; ``None`` for as many as see about 1.5 million genes of cells, 2 at least and 30 at most.
    batch_size, learning_rate
        Of Adam. The learning rate rises over the first tenth of the steps and falls to zero along a cosine.
    patience
        Epochs without a better validation loss after which training stops.
    validation_fraction
        Share of the cells held out.
    max_genes
        Most genes in a training step, a random part where there are more.
    max_cells
        Most cells trained on, a random part where there are more.
    normalize
        As in :func:`scbert_embed`.
    device
        Torch device; ``None`` for ``sg.settings.device``.
    rng
        Seed or generator of everything random. On a CPU the same seed and number of threads give the same bits.
    modality
        Modality of a MuData.
    key_added
        Name under which the record is written.

    Returns
    -------
    The weights folder, for ``scbert_embed(weights=…)`` and every other ``weights=``. Sets:

    ``uns[key_added]``
        ``params``, ``weights_dir``, ``history`` (``train_loss``, ``validation_loss`` and ``validation_accuracy`` per
        epoch), ``best_epoch``, ``validation_accuracy`` (share of hidden bins predicted in held-out cells),
        ``baseline_accuracy`` (the same of always naming the gene's most common bin), ``n_cells``, ``n_genes``,
        ``n_batches``, ``seed`` and ``version``.

    Raises
    ------
    ArgumentError
        If an argument cannot be used, or ``weights_dir`` holds other files.
    DuplicateGenesError
        If ``var_names`` or ``genes`` are not unique.
    ExpressionError
        If expression is negative, NaN or infinite, or fewer than two cells have any.
    GeneOverlapError
        If less than half of ``var_names`` are among ``genes``.
    MissingKeyError
        If a layer, modality or column is not there.

    Examples
    --------
    >>> import scgrn_tl as sg
    >>> folder = sg.tl.scbert_pretrain(adata, dim=128, depth=4)  # doctest: +SKIP
    >>> sg.tl.scbert_embed(adata, weights=folder)  # doctest: +SKIP
    """
    data = adata
    adata = open_anndata(data, modality=modality)
    check_key("key_added", key_added)
    shape = EncoderShape(gene_init=gene_init, dim=dim, depth=depth, heads=heads, dim_head=dim_head)
    training = EncoderTraining(
        max_epochs=max_epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        patience=patience,
        validation_fraction=validation_fraction,
        max_genes=max_genes,
        max_cells=max_cells,
    )
    if weights_dir is not None:
        check_encoder_folder(weights_dir)
    vocabulary = None if genes is None else _vocabulary(genes)
    device = resolve_device(device)
    check_unique_genes([str(name) for name in adata.var_names])
    batches = None if batch_key is None else CellGroups.from_obs(adata, batch_key, "batch_key", most=None)
    # the seed that `scbert_embed(weights="fit")` takes from the same rng, so that both share a folder in the cache
    _, seed = spawn_seeds(rng, 2)
    expression = Expression.from_anndata(adata, layer, normalize)
    folder, record = fit_encoder(
        expression,
        adata.var_names,
        shape,
        training,
        seed=seed,
        device=device,
        vocabulary=vocabulary,
        batches=batches,
        folder=weights_dir,
    )
    params = asdict(shape) | asdict(training) | {"layer": layer, "batch_key": batch_key, "device": device}
    write_training_record(data, key_added, params, normalize, rng, folder, record, modality=modality)
    return folder


def _vocabulary(genes: Iterable[str]) -> list[str]:
    names = [genes] if isinstance(genes, str) else list(map(str, genes))
    if len(names) < 2:
        msg = f"genes is a list of gene names, the encoder's vocabulary; not {genes!r}."
        raise ArgumentError(msg)
    check_unique_genes(names)
    return names
