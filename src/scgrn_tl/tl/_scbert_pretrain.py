"""Training an encoder of one's own."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Literal

import numpy as np

from scgrn_tl.core import check_unique_genes, resolve_device, spawn_seeds

from ._fit_encoder import EncoderTraining, check_encoder_folder, fit_encoder
from ._slots import Slots, check_key, open_anndata, run_record, write_slots
from ._token_stream import Expression

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from anndata import AnnData
    from mudata import MuData

    from scgrn_tl.core import RNGLike
    from scgrn_tl.core.tokens import Normalize

__all__ = ["scbert_pretrain"]


def scbert_pretrain(
    adata: AnnData | MuData,
    *,
    weights_dir: str | os.PathLike[str] | None = None,
    layer: str | None = None,
    gene_init: Literal["svd", "random"] = "svd",
    dim: int = EncoderTraining.dim,
    depth: int = EncoderTraining.depth,
    heads: int = EncoderTraining.heads,
    dim_head: int = EncoderTraining.dim_head,
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
    gene_init
        Gene vectors from a truncated SVD of the genes' correlations (``"svd"``) or at random (``"random"``).
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
    The weights folder, for ``scbert_embed(weights=…)``. Sets:

    ``uns[key_added]``
        ``params``, ``weights_dir``, ``history`` (``train_loss``, ``validation_loss`` and ``validation_accuracy`` per
        epoch), ``best_epoch``, ``validation_accuracy`` (share of hidden bins predicted in held-out cells),
        ``baseline_accuracy`` (the same of always naming the most common bin), ``n_cells``, ``n_genes``, ``seed`` and
        ``version``.

    Raises
    ------
    ArgumentError
        If an argument cannot be used, or ``weights_dir`` holds other files.
    DuplicateGenesError
        If ``var_names`` are not unique.
    ExpressionError
        If expression is negative, NaN or infinite, or fewer than two cells have any.

    Examples
    --------
    >>> import scgrn_tl as sg
    >>> folder = sg.tl.scbert_pretrain(adata, dim=128, depth=4)  # doctest: +SKIP
    >>> sg.tl.scbert_embed(adata, weights=folder)  # doctest: +SKIP
    """
    data = adata
    adata = open_anndata(data, modality=modality)
    check_key("key_added", key_added)
    training = EncoderTraining(
        gene_init=gene_init,
        dim=dim,
        depth=depth,
        heads=heads,
        dim_head=dim_head,
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
    device = resolve_device(device)
    check_unique_genes([str(name) for name in adata.var_names])
    # the seed that `scbert_embed(weights="fit")` takes from the same rng, so that both share a folder in the cache
    _, seed = spawn_seeds(rng, 2)
    expression = Expression.from_anndata(adata, layer, normalize)
    folder, record = fit_encoder(expression, adata.var_names, training, seed=seed, device=device, folder=weights_dir)

    slots = Slots()
    slots.uns[key_added] = run_record(
        asdict(training)
        | {
            "layer": layer,
            "normalize": normalize if isinstance(normalize, str) else bool(normalize),
            "device": device,
        },
        seed=rng if isinstance(rng, (int, np.integer)) else None,
        weights_dir=folder,
        **record,
    )
    write_slots(data, slots, modality=modality)
    return folder
