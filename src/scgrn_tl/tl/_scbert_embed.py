"""Gene embeddings from a pretrained single-cell transformer."""

from __future__ import annotations

import hashlib
import logging
import time
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from scgrn_tl.core import ArgumentError, ExpressionError, WeightsError, check_unique_genes, resolve_device, spawn_seeds

from ._cell_groups import CellGroups
from ._encode_cells import CellEncoder, default_batch_size, resolve_dtype
from ._encoder_source import check_weights, load_encoder
from ._hidden_store import HiddenStore, check_replaceable
from ._resume_folder import ResumeFolder
from ._slots import Slots, check_key, open_anndata, run_record, write_slots
from ._token_stream import Expression, GeneSequence, TokenStream, check_listed_genes

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    import torch
    from anndata import AnnData
    from mudata import MuData

    from scgrn_tl.core import RNGLike
    from scgrn_tl.core.tokens import Normalize
    from scgrn_tl.models.pooling import GenePool
    from scgrn_tl.models.scbert import Encoding

__all__ = ["scbert_embed"]

LOGGER = logging.getLogger(__name__)

ATTENTION_IN_MEMORY = 2**32
"""Bytes of attention from which a resumable run leaves it in its folder, mapped, rather than reading it in."""


def scbert_embed(
    adata: AnnData | MuData,
    *,
    weights: str | os.PathLike[str] = "panglao",
    layer: str | None = None,
    genes: Iterable[str] | Literal["vocabulary"] | None = None,
    normalize: Normalize = "auto",
    pool: Literal["attention", "mean"] = "attention",
    groupby: str | None = None,
    n_cells: int | None = None,
    batch_size: int | None = None,
    device: str | None = None,
    dtype: str | torch.dtype | None = None,
    store_attention: bool = True,
    hidden_to: str | os.PathLike[str] | None = None,
    resume_from: str | os.PathLike[str] | None = None,
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

    (Kommu et al. 2024, eq. 6). Cells stream through in one pass; the result depends neither on the batch size nor on
    the order of cells.

    Parameters
    ----------
    adata
        Cells × genes, counts or log2-normalised expression; backed by a file if need be.
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
    n_cells
        Encode a random sample of so many cells (drawn with ``rng`` from those with counts).
    batch_size
        Cells in a batch; by default as many as fit a fixed share of memory.
    device
        Torch device; ``None`` for ``sg.settings.device``.
    dtype
        ``"float32"`` (default), ``"float64"``, or ``"bfloat16"``/``"float16"`` for mixed precision.
    store_attention
        Whether to write ``obsm``. Turn it off where N×T is too large.
    hidden_to
        Path of a zarr store for all :math:`h_{t,n}` (N×T×D; float16 in half precision, else float32), from which
        :func:`attentive_pool` pools anew in seconds.
    resume_from
        A folder for the state of the run. If a run is killed, the same call continues it, with the same result. The
        folder stays behind, for you to delete.
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
        Attention of each cell's genes, in the order of ``uns[key_added]["genes"]``. Rows sum to 1. The row of a cell
        without counts is uniform; the row of a cell that ``n_cells`` left out is zero.
    ``obs[f"{key_added}_pooled"]`` : ``bool``
        Whether the cell was encoded, and so counts in the embeddings.
    ``uns[key_added]``
        ``params``, ``genes`` (the T names), ``overlap``, ``weights`` (with their SHA-256), ``groups``, ``cells``,
        ``timing``, ``seed`` and ``version``.

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
    data = adata
    adata = open_anndata(data, modality=modality, copy=copy)
    groups = _check_arguments(adata, weights, genes, pool, groupby, n_cells, batch_size, min_overlap, key_added)
    device, dtype = resolve_device(device), resolve_dtype(dtype)
    genes = genes if genes is None or isinstance(genes, str) else [str(gene) for gene in genes]
    if hidden_to is not None:
        check_replaceable(hidden_to)
    sample_seed, fit_seed = spawn_seeds(rng, 2)

    expression = Expression.from_anndata(adata, layer, normalize)
    source = load_encoder(weights, expression, adata.var_names, seed=fit_seed, device=device)
    sequence = GeneSequence.select(adata, source.vocabulary, genes, min_overlap)
    LOGGER.info("%s.", sequence.overlap["report"])
    cells = _choose_cells(expression.empty_cells, n_cells, sample_seed)
    stream = TokenStream(expression, sequence.columns)
    shape = (adata.n_obs, len(sequence))
    dim = source.model.config.dim

    resume = None
    if resume_from is not None:
        resume = ResumeFolder(
            resume_from,
            {
                "expression": stream.digest(cells),
                "genes": _digest(sequence.names),
                "weights": source.sha256,
                "cells": _digest([adata.n_obs, *cells.tolist()]),
                "groupby": "" if groups is None else _digest([*groups.names, *groups.codes.tolist()]),
                "pool": pool,
                "dtype": dtype,
                "store_attention": str(store_attention),
                "hidden_to": str(hidden_to),
            },
        )
    n_done, pools = (0, {}) if resume is None else resume.load()
    members = {"": None, "mean": None, **({} if groups is None else groups.masks())}
    pools = pools or _new_pools(members, pool, len(sequence), dim, device)
    attention: np.ndarray | None = None
    if store_attention:
        attention = np.zeros(shape, dtype=np.float32) if resume is None else resume.attention(shape)
    store = None
    if hidden_to is not None:
        store = HiddenStore.create(
            hidden_to,
            [str(name) for name in adata.obs_names],
            sequence.names,
            dim,
            half=dtype in {"float16", "bfloat16"},
            resume=n_done > 0,
        )

    encoder = CellEncoder(
        model=source.model.to(device=device, dtype=_model_dtype(dtype)).eval(),
        stream=stream,
        positions=sequence.positions,
        batch_size=batch_size or default_batch_size(source.model.config, len(sequence), device),
        device=device,
        dtype=dtype,
    )
    held = len(pools) * len(sequence) * dim * 8 + (0 if attention is None else attention.nbytes)
    began, n_before = time.monotonic(), n_done
    for rows, encoding in encoder.run(cells[n_done:], n_before=n_done, held_bytes=held):
        _check_finite(encoding, dtype)
        _add(pools, members, pool, rows, encoding)
        if attention is not None:
            attention[rows] = encoding.attention.float().cpu().numpy()
        if store is not None:
            store.write(rows, encoding.hidden.float().cpu().numpy())
        n_done += len(rows)
        if resume is not None:
            resume.save(n_done, pools, attention, final=n_done == len(cells))
    seconds = time.monotonic() - began
    if store is not None:
        store.finish()

    slots = Slots(dropped=_earlier_results(adata, key_added))
    for name, gene_pool in pools.items():
        slot = f"{key_added}_{name}" if name else key_added
        slots.varm[slot] = sequence.scatter(gene_pool.result(), adata.n_vars)
    if pool == "mean":
        slots.varm[f"{key_added}_mean"] = slots.varm[key_added].copy()
    pooled = np.zeros(adata.n_obs, dtype=bool)
    pooled[cells] = True
    slots.obs[f"{key_added}_pooled"] = pooled
    if attention is not None:
        attention[expression.empty_cells] = 1 / len(sequence)
        read_in = resume is not None and attention.nbytes <= ATTENTION_IN_MEMORY
        slots.obsm[f"{key_added}_attention"] = np.array(attention) if read_in else np.asarray(attention)
    n_encoded = len(cells) - n_before
    slots.uns[key_added] = run_record(
        {
            "weights": str(weights),
            "layer": layer,
            "genes": genes if isinstance(genes, str) else "listed" if genes is not None else None,
            "normalize": normalize if isinstance(normalize, str) else bool(normalize),
            "pool": pool,
            "groupby": groupby,
            "n_cells": n_cells,
            "batch_size": encoder.batch_size,
            "device": device,
            "dtype": dtype,
            "store_attention": store_attention,
            "hidden_to": hidden_to,
            "min_overlap": min_overlap,
        },
        seed=rng if isinstance(rng, (int, np.integer)) else None,
        genes=sequence.names,
        overlap=sequence.overlap,
        weights=source.record() | {"fit_seed": fit_seed},
        groups=[] if groups is None else groups.names,
        cells={"pooled": len(cells), "empty": int(expression.empty_cells.sum()), "n_vars": adata.n_vars},
        normalized=expression.normalize,
        timing={"seconds": seconds, "cells_per_second": n_encoded / seconds if n_encoded else 0.0},
    )
    return write_slots(data, slots, modality=modality, copy=copy)


def _check_arguments(
    adata: AnnData,
    weights: str | os.PathLike[str],
    genes: Iterable[str] | str | None,
    pool: str,
    groupby: str | None,
    n_cells: int | None,
    batch_size: int | None,
    min_overlap: float,
    key_added: str,
) -> CellGroups | None:
    """Raise before anything long begins; return the groups of cells."""
    check_key("key_added", key_added)
    check_weights(weights)
    if pool not in {"attention", "mean"}:
        msg = f"pool is 'attention' or 'mean', not {pool!r}."
        raise ArgumentError(msg)
    for name, number in (("n_cells", n_cells), ("batch_size", batch_size)):
        if number is not None and (not isinstance(number, (int, np.integer)) or number < 1):
            msg = f"{name} is a whole number of at least 1, or None; not {number!r}."
            raise ArgumentError(msg)
    if not 0 <= min_overlap <= 1:
        msg = f"min_overlap is a share between 0 and 1, not {min_overlap!r}."
        raise ArgumentError(msg)
    check_unique_genes([str(name) for name in adata.var_names])
    check_listed_genes(adata, genes)
    if groupby is None:
        return None
    groups = CellGroups.from_obs(adata, groupby, "groupby")
    if "mean" in groups.names:
        msg = f"A group of obs[{groupby!r}] is called 'mean', the name of the plain average; rename it."
        raise ArgumentError(msg)
    return groups


def _choose_cells(empty: np.ndarray, n_cells: int | None, seed: int) -> np.ndarray:
    """Ascending row numbers of the cells to encode; warns of those without counts."""
    cells = np.flatnonzero(~empty)
    if not len(cells):
        msg = "Every cell is empty: there is no expression to embed."
        raise ExpressionError(msg)
    if empty.any():
        warnings.warn(
            f"{int(empty.sum()):,} of {len(empty):,} cells have no counts; they are kept out of pooling, and their "
            "attention is uniform. `scanpy.pp.filter_cells(adata, min_counts=1)` drops such cells.",
            UserWarning,
            stacklevel=3,
        )
    if n_cells is None or n_cells >= len(cells):
        return cells
    return np.sort(np.random.default_rng(seed).choice(cells, n_cells, replace=False))


def _model_dtype(dtype: str) -> torch.dtype:
    """The weights' type: that of the computation, or float32 under autocast."""
    import torch

    return torch.float64 if dtype == "float64" else torch.float32


def _new_pools(
    members: dict[str, np.ndarray | None], pool: str, n_genes: int, dim: int, device: str
) -> dict[str, GenePool]:
    """A pool for all cells (``""``), for their plain mean unless that is the same, and for each group."""
    from scgrn_tl.models.pooling import GenePool

    # MPS has no float64
    where = device if device.startswith("cuda") else "cpu"
    return {name: GenePool(n_genes, dim, device=where) for name in members if not (pool == "mean" and name == "mean")}


def _add(
    pools: dict[str, GenePool],
    members: dict[str, np.ndarray | None],
    pool: str,
    rows: np.ndarray,
    encoding: Encoding,
) -> None:
    """Add a batch to every pool that it has cells for."""
    import torch

    for name, gene_pool in pools.items():
        hidden, attention = encoding.hidden, encoding.attention
        member = members[name]
        if member is not None:
            inside = np.flatnonzero(member[rows])
            if not len(inside):
                continue
            chosen = torch.from_numpy(inside).to(hidden.device)
            hidden, attention = hidden[chosen], attention[chosen]
        gene_pool.update(hidden, None if "mean" in {name, pool} else attention)


def _check_finite(encoding: Encoding, dtype: str) -> None:
    if not (encoding.hidden.isfinite().all() and encoding.attention.isfinite().all()):
        msg = "The encoder gives NaN or infinite values: " + (
            "the weights are damaged."
            if dtype in {"float32", "float64"}
            else f"use dtype='float32' instead of {dtype!r}."
        )
        raise WeightsError(msg)


def _earlier_results(adata: AnnData, key: str) -> set[tuple[str, str]]:
    """Slots that an earlier run under ``key`` wrote, and that this one may not write again."""
    stale = {("obsm", f"{key}_attention")}
    with suppress(KeyError, TypeError):
        stale |= {("varm", f"{key}_{group}") for group in adata.uns[key]["groups"]}
    return stale


def _digest(values: Iterable[Any]) -> str:
    return hashlib.sha256("\n".join(map(str, values)).encode()).hexdigest()
