"""Gene embeddings from a pretrained single-cell transformer."""

from __future__ import annotations

import hashlib
import logging
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from scgrn_tl.core import resolve_device, spawn_seeds
from scgrn_tl.core.argument_types import typed_arguments
from scgrn_tl.core.slots import Slots, open_anndata, run_record, write_slots

from ._attention_rows import AttentionInMemory, attention_rows, fits_in_memory
from ._cell_store import CellStore
from ._embed_arguments import check_arguments, check_batches, check_paths, choose_cells
from ._encode_cells import CellEncoder, default_batch_size, resolve_dtype
from ._encode_run import encode_cells
from ._encoder_source import load_encoder
from ._gene_pools import GenePools
from ._group_embeddings import group_record
from ._hidden_store import HiddenStore
from ._resume_folder import ResumeFolder
from ._token_stream import Expression, GeneSequence, TokenStream

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    import torch
    from anndata import AnnData
    from mudata import MuData

    from scgrn_tl.core import RNGLike
    from scgrn_tl.core.tokens import Normalize

    from ._cell_groups import CellGroups
    from ._encoder_source import EncoderSource

__all__ = ["scbert_embed"]

LOGGER = logging.getLogger(__name__)


@typed_arguments
def scbert_embed(
    adata: AnnData | MuData,
    *,
    weights: str | os.PathLike[str] = "panglao",
    layer: str | None = None,
    genes: Iterable[str] | Literal["vocabulary"] | None = None,
    normalize: Normalize = "auto",
    pool: Literal["attention", "mean"] = "attention",
    groupby: str | None = None,
    batch_key: str | None = None,
    n_cells: int | None = None,
    batch_size: int | None = None,
    device: str | None = None,
    dtype: str | torch.dtype | None = None,
    store_attention: bool = True,
    attention_to: str | os.PathLike[str] | None = None,
    hidden_to: str | os.PathLike[str] | None = None,
    resume_from: str | os.PathLike[str] | None = None,
    distributed: bool = True,
    min_overlap: float = 0.5,
    rng: RNGLike = 0,
    modality: str = "rna",
    key_added: str = "scbert",
    copy: bool = False,
) -> AnnData | MuData | None:
    r"""Embed genes with scBERT, pooled over cells by attention.

    Every cell's expression is binned into tokens and encoded (Yang et al. 2022), which gives a vector
    :math:`h_{t,n}` for each gene t in each cell n, and an attention sum :math:`a_{t,n}`: how much the cell's genes look
    at gene t, averaged over layers and heads. The gene's embedding is

    .. math:: Z_t = \sum_n \frac{a_{t,n}}{\sum_{n'} a_{t,n'}} h_{t,n}

    (Kommu et al. 2024, eq. 6). Expression is read twice, in blocks of cells: to check it, and to encode it. Memory does
    not grow with the number of cells, and the result depends neither on the batch size nor on the order of cells.

    Parameters
    ----------
    adata
        Cells × genes, counts or log2-normalised expression; in memory, or in a file: backed, lazily read
        (:func:`anndata.experimental.read_lazy`), of dask arrays, or a view of one of these. Of a matrix that is stored
        by columns (CSC), the rows are first written to temporary files.
    weights
        ``"panglao"``, the published scBERT checkpoint (human symbols; downloaded once). ``"fit"``, a small encoder that
        is trained on this AnnData's own genes first: any organism, any names, no download. Or a path: scBERT's
        ``.pth``, or a folder that :func:`scbert_pretrain` wrote.
    layer
        Layer with the expression; ``X`` by default.
    genes
        The sequence of T genes that is fed: ``None`` for all genes that the vocabulary knows, a list of genes, or
        ``"vocabulary"`` for everything the encoder knows, absent genes as zeros (scBERT's own way).
    normalize
        Whether values are counts, to be normalised to log2(1 + 10⁴·count/total). ``"auto"`` takes whole numbers for
        counts.
    pool
        ``"attention"`` (eq. 6) or ``"mean"``.
    groupby
        Column of ``obs``; also pools each of its groups by itself.
    batch_key
        Column of ``obs`` with batches that weigh the same for each gene, however many cells they have, in all that is
        pooled: :math:`Z_t` is then the mean of the batches' own, over the batches in which the gene has weight. Cells
        without a value are encoded but not pooled. Each batch takes T × D sums of memory, times one more than groups.
    n_cells
        Encode a random sample of so many cells (drawn with ``rng`` from those with counts).
    batch_size
        Cells in a batch; by default as many as fit a fixed share of memory.
    device
        Torch device; ``None`` for ``sg.settings.device``.
    dtype
        ``"float32"`` (default), ``"float64"``, or ``"bfloat16"``/``"float16"`` for mixed precision.
    store_attention
        Whether to write ``obsm``.
    attention_to
        Path of a zarr store that attention is written to as it comes; ``obsm`` then has a dask array that reads it, and
        that ``write_h5ad`` writes out. Without a path, attention is held in memory while it takes less than a quarter
        of what is available, and else goes to a folder in ``sg.settings.cache_dir`` that a warning names.
    hidden_to
        Path of a zarr store for all :math:`h_{t,n}` (N×T×D; float16 in half precision, else float32), from which
        :func:`attentive_pool` pools anew in seconds.
    resume_from
        A folder for the state of the run. If a run is killed or interrupted, the same call continues it, with the same
        result. The folder stays behind, for you to delete.
    distributed
        Under ``torchrun`` (or wherever :mod:`torch.distributed` is initialised), share the cells among the processes.
        Each calls this with the same data and arguments, encodes a stretch of the cells on its own device, and is given
        the whole result. ``False`` if each has data of its own. Without such a launcher it has no effect.
    min_overlap
        Least share of the AnnData's (or the listed) genes that the encoder has to know.
    rng
        Seed or generator, of ``n_cells`` and of ``weights="fit"``.
    modality
        Modality of a MuData.
    key_added
        Name under which results are written.
    copy
        Return a copy with the results instead of writing in place.

    Returns
    -------
    ``None``, or the copy. Sets:

    ``varm[key_added]`` : ``float32 (G, D)``
        Gene embeddings; NaN for genes that were not fed. ``(G, D)`` of each group in ``varm[f"{key_added}_{group}"]``,
        with ``/`` in a group's name replaced by ``_``.
    ``varm[f"{key_added}_mean"]`` : ``float32 (G, D)``
        The plain mean over the same cells.
    ``obsm[f"{key_added}_attention"]`` : ``float32 (N, T)``
        Attention of each cell's genes (a dask array where it is on disk), in the order of ``uns[key_added]["genes"]``.
        Rows sum to 1. The row of a cell without counts is uniform; the row of a cell that ``n_cells`` left out is zero.
    ``obs[f"{key_added}_pooled"]`` : ``bool``
        Whether the cell was encoded, and so counts in the embeddings.
    ``uns[key_added]``
        ``params``, ``genes`` (the T names), ``overlap``, ``weights`` (with their SHA-256), ``groups``, ``batches``,
        ``cells``, ``timing``, ``seed`` and ``version``. With ``groupby``, also ``groups_sha256`` and ``groups_n_obs``,
        by which :func:`fit_grn` knows whether cells still have the labels that they had.

    Raises
    ------
    ArgumentError, MissingKeyError
        If an argument cannot be used.
    DuplicateGenesError
        If ``var_names`` are not unique.
    ExpressionError
        If expression is negative, NaN or infinite, or no cell has any.
    GeneOverlapError
        If the encoder knows too few of the genes.
    WeightsUnavailableError, WeightsError
        If the weights cannot be had, or are damaged. Random weights are never used instead.
    ProcessError
        If another of the processes that share the run failed.

    Warns
    -----
    UserWarning
        If cells without counts are kept out of pooling.

    Examples
    --------
    >>> import scgrn_tl as sg
    >>> sg.tl.scbert_embed(adata, weights="fit")  # doctest: +SKIP
    >>> adata.varm["scbert"].shape  # doctest: +SKIP
    (948, 64)
    """
    from scgrn_tl.models.processes import processes_of_launcher

    data = adata
    adata = open_anndata(data, modality=modality, copy=copy)
    groups, batches = check_arguments(
        adata, weights, genes, pool, groupby, batch_key, n_cells, batch_size, min_overlap, key_added
    )
    dtype = resolve_dtype(dtype)
    genes = genes if genes is None or isinstance(genes, str) else [str(gene) for gene in genes]
    check_paths(store_attention=store_attention, attention_to=attention_to, hidden_to=hidden_to)
    sample_seed, fit_seed = spawn_seeds(rng, 2)

    with processes_of_launcher(distributed=distributed) as processes:
        device = processes.device(resolve_device(device))
        params = {
            "weights": str(weights),
            "layer": layer,
            "genes": genes if isinstance(genes, str) else "listed" if genes is not None else None,
            "normalize": normalize if isinstance(normalize, str) else bool(normalize),
            "pool": pool,
            "groupby": groupby,
            "batch_key": batch_key,
            "n_cells": n_cells,
            "batch_size": batch_size,
            "dtype": dtype,
            "store_attention": store_attention,
            "attention_to": None if attention_to is None else str(attention_to),
            "hidden_to": None if hidden_to is None else str(hidden_to),
            "min_overlap": min_overlap,
        }
        processes.check_same(
            params
            | {
                "cells": _digest(adata.obs_names),
                "genes of the AnnData": _digest(adata.var_names),
                "listed genes": genes,
                "groups": _groups_digest(groups),
                "batches": _groups_digest(batches),
                "rng": (sample_seed, fit_seed),
                "resume_from": None if resume_from is None else str(resume_from),
            },
            "Give all of them the same AnnData and arguments; or each its own, with distributed=False.",
        )
        expression = Expression.from_anndata(adata, layer, normalize, processes)
        source: EncoderSource = processes.once(
            lambda: load_encoder(weights, expression, adata.var_names, seed=fit_seed, device=device)
        )
        sequence = GeneSequence.select(adata, source.vocabulary, genes, min_overlap)
        LOGGER.info("%s.", sequence.overlap["report"])
        cells = choose_cells(expression.empty_cells, n_cells, sample_seed, warn=processes.is_first)
        check_batches(batches, cells, batch_key)
        stream = TokenStream(expression, sequence.columns)

        resume = None
        if resume_from is not None:
            part = np.array_split(cells, processes.size)[processes.rank]
            digests = processes.gather(stream.digest(part))
            described = {
                "expression": digests[0] if processes.size == 1 else _digest(digests),
                "genes": _digest(sequence.names),
                "weights": source.sha256,
                "cells": _digest([adata.n_obs, cells.tobytes()]),
                "groupby": _groups_digest(groups),
                "batch_key": _groups_digest(batches),
                "pool": pool,
                "dtype": dtype,
                "store_attention": str(store_attention),
                "attention_to": str(attention_to),
                "hidden_to": str(hidden_to),
            }

            def open_folder() -> ResumeFolder:
                return ResumeFolder(resume_from, described, rank=processes.rank, size=processes.size)

            resume = processes.first_then(open_folder, open_folder)
        n_before, earlier = (0, {}) if resume is None else resume.load()
        continued = any(processes.gather(n_before > 0))

        dim = source.model.config.dim
        encoder = CellEncoder(
            model=source.model.to(device=device, dtype=_model_dtype(dtype)).eval(),
            stream=stream,
            positions=sequence.positions,
            batch_size=batch_size or default_batch_size(source.model.config, len(sequence), device),
            device=device,
            dtype=dtype,
        )
        pools = GenePools(groups, pool, batches)
        pools.start(len(sequence), dim, device, earlier)
        with ExitStack() as stack:
            attention = hidden = None
            if store_attention:
                path = resume.folder / "attention.zarr" if attention_to is None and resume is not None else attention_to
                attention = stack.enter_context(
                    attention_rows(path, adata.obs_names, sequence.names, continued=continued, processes=processes)
                )
            if hidden_to is not None:
                half = np.float16 if dtype in {"float16", "bfloat16"} else np.float32
                hidden = HiddenStore.shared(
                    hidden_to,
                    adata.obs_names,
                    sequence.names,
                    dim,
                    dtype=half,
                    continued=continued,
                    processes=processes,
                )
            stores = [store for store in (attention, hidden) if isinstance(store, CellStore)]
            bounds = processes.bounds(cells, adata.n_obs, align=max([1, *(store.cells_per_chunk for store in stores)]))
            rows = slice(bounds[processes.rank], bounds[processes.rank + 1])
            own = cells[np.searchsorted(cells, rows.start) : np.searchsorted(cells, rows.stop)]

            began = time.monotonic()
            label = "Encoding" if processes.size == 1 else f"Encoding (process 1 of {processes.size})"
            encode_cells(encoder, own, n_before, pools, attention, hidden, resume, label=label)
            if attention is not None:
                empty = np.flatnonzero(expression.empty_cells[rows]) + rows.start
                attention.write(empty, np.full((len(empty), len(sequence)), 1 / len(sequence), dtype=np.float32))
            n_encoded = sum(processes.gather(len(own) - n_before))
            seconds = time.monotonic() - began
            results = pools.results(processes)
            if isinstance(attention, AttentionInMemory):
                processes.share(attention.array, bounds)
            for store in stores:
                processes.first_then(store.finish, lambda: None)

        slots = Slots(dropped=_earlier_results(adata, key_added))
        for name, pooled in results.items():
            slots.varm[f"{key_added}_{name}" if name else key_added] = sequence.scatter(pooled, adata.n_vars)
        if pool == "mean":
            slots.varm[f"{key_added}_mean"] = slots.varm[key_added].copy()
        slots.obs[f"{key_added}_pooled"] = np.isin(np.arange(adata.n_obs), cells)
        if attention is not None:
            values = attention.result()
            # a resumable run keeps attention on disk for its own sake
            read_in = (
                attention_to is None
                and resume is not None
                and fits_in_memory(adata.n_obs, len(sequence), processes.size)
            )
            slots.obsm[f"{key_added}_attention"] = np.asarray(values) if read_in else values
        slots.uns[key_added] = run_record(
            params | {"batch_size": encoder.batch_size, "device": device},
            seed=rng if isinstance(rng, (int, np.integer)) else None,
            genes=sequence.names,
            overlap=sequence.overlap,
            weights=source.record() | {"fit_seed": fit_seed},
            **group_record(groups),
            batches=[] if batches is None else batches.names,
            cells={"pooled": len(cells), "empty": int(expression.empty_cells.sum()), "n_vars": adata.n_vars},
            normalized=expression.normalize,
            processes=processes.size,
            timing={"seconds": seconds, "cells_per_second": n_encoded / seconds if n_encoded else 0.0},
        )
        return write_slots(data, slots, modality=modality, copy=copy)


def _model_dtype(dtype: str) -> torch.dtype:
    """The weights' type: that of the computation, or float32 under autocast."""
    import torch

    return torch.float64 if dtype == "float64" else torch.float32


def _earlier_results(adata: AnnData, key: str) -> set[tuple[str, str]]:
    """Slots that an earlier run under ``key`` wrote, and that this one may not write again."""
    stale = {("obsm", f"{key}_attention")}
    with suppress(KeyError, TypeError):
        stale |= {("varm", f"{key}_{group}") for group in adata.uns[key]["groups"]}
    return stale


def _groups_digest(groups: CellGroups | None) -> str:
    return "" if groups is None else _digest([*groups.names, groups.codes.tobytes()])


def _digest(values: Iterable[Any]) -> str:
    digest = hashlib.sha256()
    for value in values:
        digest.update(value if isinstance(value, bytes) else str(value).encode())
        digest.update(b"\n")
    return digest.hexdigest()
