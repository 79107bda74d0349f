"""Fine-tuning a pretrained encoder on one's own cells."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from scgrn_tl.core import ArgumentError, check_unique_genes, resolve_device, spawn_seeds
from scgrn_tl.core.argument_types import typed_arguments
from scgrn_tl.core.slots import check_key, open_anndata

from ._cell_groups import CellGroups
from ._encoder_source import check_weights, load_encoder
from ._encoder_training import EncoderTraining
from ._fit_encoder import check_encoder_folder, fit_encoder, write_training_record
from ._token_stream import Expression

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from anndata import AnnData
    from mudata import MuData

    from scgrn_tl.core import RNGLike
    from scgrn_tl.core.tokens import Normalize

__all__ = ["scbert_finetune"]


@typed_arguments
def scbert_finetune(
    adata: AnnData | MuData,
    *,
    weights: str | os.PathLike[str] = "panglao",
    weights_dir: str | os.PathLike[str] | None = None,
    layer: str | None = None,
    batch_key: str | None = None,
    train_blocks: int | None = 2,
    max_epochs: int | None = EncoderTraining.max_epochs,
    batch_size: int = EncoderTraining.batch_size,
    learning_rate: float = 1e-4,
    patience: int = EncoderTraining.patience,
    validation_fraction: float = EncoderTraining.validation_fraction,
    max_genes: int = EncoderTraining.max_genes,
    max_cells: int = EncoderTraining.max_cells,
    normalize: Normalize = "auto",
    min_overlap: float = 0.5,
    device: str | None = None,
    rng: RNGLike = 0,
    modality: str = "rna",
    key_added: str = "scbert_training",
) -> Path:
    """Fine-tune a pretrained scBERT on this AnnData's cells.

    Training goes on as it was pretrained, by predicting hidden expression bins (Yang et al. 2022), on the genes that
    the encoder knows. Only the last blocks learn by default, with the final norm, the prediction head and, with
    ``batch_key``, a vector of each batch. scTransNet (Kommu et al. 2024) fine-tunes scBERT to mitigate batch effects.

    Parameters
    ----------
    adata
        Cells × genes, counts or log2-normalised expression.
    weights
        What to start from: ``"panglao"``, the published scBERT checkpoint (human symbols; downloaded once), or a path:
        scBERT's ``.pth``, or a folder that this function or :func:`scbert_pretrain` wrote.
    weights_dir
        Folder for the tuned weights, new, empty, or of an earlier encoder, which is replaced. ``None`` takes a folder
        in ``sg.settings.cache_dir``, named by a hash over all that decides the result, and trains only if it is not
        there yet.
    layer
        Layer with the expression; ``X`` by default.
    batch_key
        Column of ``obs`` with batches. Each gets a vector, at first zero, that is added to the encoder's input in
        training; their mean goes into the saved encoder. Cells without a value are left out.
    train_blocks
        How many of the last blocks learn; ``None`` for the whole encoder, gene vectors included.
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
    min_overlap
        Least share of the AnnData's genes that the encoder has to know.
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
        As :func:`scbert_pretrain`, and ``weights`` (what it started from, with its SHA-256).

    Raises
    ------
    ArgumentError
        If an argument cannot be used, or ``weights_dir`` holds other files.
    DuplicateGenesError
        If ``var_names`` are not unique.
    ExpressionError
        If expression is negative, NaN or infinite, or fewer than two cells have any.
    GeneOverlapError
        If the encoder knows too few of the genes.
    MissingKeyError
        If a layer, modality or column is not there.
    WeightsUnavailableError, WeightsError
        If the weights cannot be had, or are damaged.

    Examples
    --------
    >>> import scgrn_tl as sg
    >>> folder = sg.tl.scbert_finetune(adata, batch_key="donor")  # doctest: +SKIP
    >>> sg.tl.scbert_embed(adata, weights=folder, batch_key="donor")  # doctest: +SKIP
    """
    data = adata
    adata = open_anndata(data, modality=modality)
    check_key("key_added", key_added)
    if weights == "fit":
        msg = "weights='fit' is an encoder of this very data: there is nothing to tune. Use `sg.tl.scbert_pretrain`."
        raise ArgumentError(msg)
    check_weights(weights)
    training = EncoderTraining(
        max_epochs=max_epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        patience=patience,
        validation_fraction=validation_fraction,
        max_genes=max_genes,
        max_cells=max_cells,
        train_blocks=train_blocks,
    )
    if not 0 <= min_overlap <= 1:
        msg = f"min_overlap is a share between 0 and 1, not {min_overlap!r}."
        raise ArgumentError(msg)
    if weights_dir is not None:
        check_encoder_folder(weights_dir)
    device = resolve_device(device)
    check_unique_genes([str(name) for name in adata.var_names])
    batches = None if batch_key is None else CellGroups.from_obs(adata, batch_key, "batch_key", most=None)
    _, seed = spawn_seeds(rng, 2)
    expression = Expression.from_anndata(adata, layer, normalize)
    source = load_encoder(weights, expression, adata.var_names, seed=seed, device=device)
    depth = source.model.config.depth
    if train_blocks is not None and train_blocks > depth:
        msg = f"train_blocks={train_blocks}, but the encoder has {depth}: give 0…{depth}, or None for all of it."
        raise ArgumentError(msg)
    # before anything long: whether the encoder knows the genes
    source.vocabulary.align([str(name) for name in adata.var_names], min_overlap=min_overlap, var=adata.var)
    folder, record = fit_encoder(
        expression,
        adata.var_names,
        source,
        training,
        seed=seed,
        device=device,
        batches=batches,
        min_overlap=min_overlap,
        folder=weights_dir,
    )
    params = asdict(training) | {"layer": layer, "batch_key": batch_key, "min_overlap": min_overlap, "device": device}
    record = record | {"weights": source.record()}
    write_training_record(data, key_added, params, normalize, rng, folder, record, modality=modality)
    return folder
