"""Pooling gene embeddings over cells anew, with other weights, groups or batches."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from scgrn_tl.core import (
    ArgumentError,
    MissingKeyError,
    check_unique_genes,
)

from ._cell_groups import CellGroups
from ._cell_weighting import CellWeighting
from ._encoded_again import READ_BYTES, EmbeddingRecord, EncodedCells, read_attention, read_embedding_record
from ._hidden_store import HiddenStore
from ._slots import Slots, check_key, open_anndata, run_record, write_slots

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    import torch
    from anndata import AnnData
    from mudata import MuData

    from scgrn_tl.models.pooling import GenePool

    from ._cell_weighting import Ranking

__all__ = ["attentive_pool"]

LOGGER = logging.getLogger(__name__)


def attentive_pool(
    adata: AnnData | MuData,
    *,
    weighting: Literal["attention", "mean", "softmax", "top_k"] = "attention",
    temperature: float = 1.0,
    top_k: int | None = None,
    groupby: str | None = None,
    batch_key: str | None = None,
    hidden: str | os.PathLike[str] | None = None,
    key: str = "scbert",
    key_added: str | None = None,
    modality: str = "rna",
    copy: bool = False,
) -> AnnData | MuData | None:
    r"""Pool gene embeddings over cells anew.

    .. math:: Z_t = \frac{1}{|B|} \sum_{b ∈ B} \frac{\sum_{n ∈ b} w_{t,n} h_{t,n}}{\sum_{n ∈ b} w_{t,n}}

    with hidden states :math:`h`, and weights :math:`w` made from the attention sums :math:`a_{t,n}` that
    :func:`scbert_embed` stored. Without ``batch_key`` all cells are one batch, and ``weighting="attention"`` is eq. 6
    of Kommu et al. 2024.

    Parameters
    ----------
    adata
        An AnnData that :func:`scbert_embed` was run on. It may have been subset to some of the cells since.
    weighting
        ``"attention"`` weighs a cell by :math:`a_{t,n}`; ``"mean"`` weighs all alike; ``"softmax"`` by
        :math:`\exp(a_{t,n} / τ)`; ``"top_k"`` by :math:`a_{t,n}` in the k cells where it is largest and not at all
        elsewhere. With ``groupby`` or ``batch_key`` each group and each batch has its own k cells.
    temperature
        τ of ``"softmax"``. Attention sums to 1 over a cell's T genes, so differences between cells are of the order of
        1/T, and so is a temperature that tells them apart.
    top_k
        k of ``"top_k"``.
    groupby
        Column of ``obs``; also pools each of its groups by itself.
    batch_key
        Column of ``obs`` with batches that get equal total weight for each gene, however many cells they have. Cells
        without a value are left out.
    hidden
        The zarr store that ``scbert_embed(hidden_to=…)`` wrote. Without it, cells are encoded again in a stream, with
        the weights and settings that ``uns[key]`` names; twice, if ``weighting`` is ``"softmax"`` or ``"top_k"`` and
        attention was not stored.
    key
        ``key_added`` of :func:`scbert_embed`.
    key_added
        Name under which results are written; ``f"{key}_pool_{weighting}"`` by default.
    modality
        Modality of a MuData.
    copy
        Return a copy with the results instead of writing in place.

    Returns
    -------
    ``None``, or the copy. Sets:

    ``varm[key_added]`` : ``float32 (G, D)``
        Gene embeddings; NaN where a gene was not embedded. With ``groupby``, also ``varm[f"{key_added}_{group}"]``.
    ``uns[key_added]``
        ``params``, ``groups``, ``batches``, ``n_cells`` and ``version``.

    Raises
    ------
    ArgumentError
        If an argument cannot be used, or ``hidden`` is of other data.
    MissingKeyError
        If :func:`scbert_embed` was not run, or a column is not there.
    DuplicateGenesError
        If ``var_names`` are not unique.
    WeightsUnavailableError, WeightsError
        If cells are to be encoded again and the weights are gone or are not those of before.

    Examples
    --------
    >>> import scgrn_tl as sg
    >>> sg.tl.scbert_embed(adata, weights="fit", hidden_to="hidden.zarr")  # doctest: +SKIP
    >>> sg.tl.attentive_pool(adata, weighting="top_k", top_k=50, hidden="hidden.zarr")  # doctest: +SKIP
    """
    data = adata
    adata = open_anndata(data, modality=modality, copy=copy)
    rule = CellWeighting(weighting, temperature, top_k)
    if key_added is None:
        key_added = f"{key}_pool_{weighting}"
    check_key("key_added", key_added)
    if key_added in {key, f"{key}_mean"}:
        msg = f"key_added={key_added!r} is where scbert_embed's own results are, which this needs; choose another name."
        raise ArgumentError(msg)
    check_unique_genes([str(name) for name in adata.var_names])
    embedding = read_embedding_record(adata, key)
    groups = None if groupby is None else CellGroups.from_obs(adata, groupby, "groupby")
    batches = None if batch_key is None else CellGroups.from_obs(adata, batch_key, "batch_key")
    attention = adata.obsm.get(f"{key}_attention")
    if attention is not None and attention.shape[1] != len(embedding.genes):
        msg = (
            f"obsm[{key + '_attention'!r}] has {attention.shape[1]} columns, but uns[{key!r}]['genes'] names "
            f"{len(embedding.genes)} genes. Run `sg.tl.scbert_embed` again."
        )
        raise ArgumentError(msg)

    source: _StoredCells | EncodedCells
    if hidden is not None:
        if attention is None and weighting != "mean":
            msg = (
                f"Did not find obsm[{key + '_attention'!r}], which weighting={weighting!r} needs. Run "
                "`sg.tl.scbert_embed(adata, store_attention=True, …)`, use weighting='mean', or leave out `hidden=`."
            )
            raise MissingKeyError(msg)
        source = _StoredCells.open(adata, hidden, embedding, attention)
    else:
        source = EncodedCells.open(adata, embedding, attention, otherwise="pass `hidden=`")

    strata = _stratify(groups, batches, embedding.pooled, rule, len(embedding.genes), source.dim)
    if rule.ranks:
        for rows, values in source.attention(embedding.cells):
            for stratum in strata:
                if (inside := stratum.cells[rows]).any():
                    stratum.ranking.update(values[inside])
    for rows, states, values in source.hidden(embedding.cells):
        _pool(strata, rule, rows, states, values)

    slots = Slots(dropped=_earlier_results(adata, key_added))
    where = adata.var_names.get_indexer(list(embedding.genes))
    for group in dict.fromkeys(stratum.group for stratum in strata):
        pooled = _mean_of_batches([stratum.pool for stratum in strata if stratum.group == group])
        values = np.full((adata.n_vars, source.dim), np.nan, dtype=np.float32)
        values[where[where >= 0]] = pooled[where >= 0]
        slots.varm[key_added if group is None else f"{key_added}_{group}"] = values
    slots.uns[key_added] = run_record(
        {
            "weighting": weighting,
            "temperature": float(temperature) if weighting == "softmax" else None,
            "top_k": top_k,
            "groupby": groupby,
            "batch_key": batch_key,
            "hidden": hidden,
            "key": key,
        },
        groups=[] if groups is None else groups.names,
        batches=[] if batches is None else batches.names,
        n_cells=len(embedding.cells),
        seed=None,
    )
    return write_slots(data, slots, modality=modality, copy=copy)


@dataclass(frozen=True, eq=False)
class _StoredCells:
    """Hidden states from a zarr store, attention from ``obsm``."""

    store: HiddenStore
    rows_in_store: np.ndarray
    stored_attention: np.ndarray | None

    @classmethod
    def open(
        cls, adata: AnnData, path: str | os.PathLike[str], embedding: EmbeddingRecord, attention: np.ndarray | None
    ) -> _StoredCells:
        store = HiddenStore.open(path)
        if (genes := store.names("genes")) != embedding.genes:
            msg = (
                f"hidden={str(path)!r} holds {len(genes)} genes that are not the {len(embedding.genes)} of this "
                "embedding: it is of another run."
            )
            raise ArgumentError(msg)
        return cls(store, store.rows_of([str(name) for name in adata.obs_names]), attention)

    @property
    def dim(self) -> int:
        return int(self.store.array.shape[2])

    def attention(self, cells: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return read_attention(self.stored_attention, cells)

    def hidden(self, cells: np.ndarray) -> Iterator[tuple[np.ndarray, torch.Tensor, np.ndarray]]:
        import torch
        from tqdm.auto import tqdm

        from scgrn_tl._settings import settings

        n_genes = int(self.store.array.shape[1])
        step = max(1, READ_BYTES // (n_genes * self.dim * 4))
        # ascending rows of the store read each of its chunks once
        order = np.argsort(self.rows_in_store[cells])
        cells = cells[order]
        with tqdm(total=len(cells), desc="Pooling", unit="cell", delay=2, disable=not settings.progress) as bar:
            for place, states in self.store.batches(self.rows_in_store[cells], step):
                rows = cells[place]
                if not np.isfinite(states).all():
                    msg = f"{self.store.path} lacks hidden states of cells that were pooled: it is of another run."
                    raise ArgumentError(msg)
                attention = self.stored_attention
                values = np.ones((len(rows), n_genes)) if attention is None else np.asarray(attention[rows])
                yield rows, torch.from_numpy(states), values
                bar.update(len(rows))


@dataclass(frozen=True, eq=False)
class _Stratum:
    """Cells that are pooled together: those of one group (``None``: all) in one batch."""

    group: str | None
    cells: np.ndarray
    pool: GenePool
    ranking: Ranking


def _stratify(
    groups: CellGroups | None,
    batches: CellGroups | None,
    pooled: np.ndarray,
    rule: CellWeighting,
    n_genes: int,
    dim: int,
) -> list[_Stratum]:
    """A stratum for each group in each batch that has cells of it. A group without encoded cells gets an empty one."""
    from scgrn_tl.models.pooling import GenePool

    members: dict[str | None, np.ndarray] = {None: pooled}
    if groups is not None:
        members |= {name: mask & pooled for name, mask in groups.masks().items()}
    in_batch = [np.ones_like(pooled)] if batches is None else list(batches.masks().values())
    strata = []
    for group, member in members.items():
        parts = [member & batch for batch in in_batch]
        parts = [part for part in parts if part.any()] or [np.zeros_like(pooled)]
        strata += [_Stratum(group, part, GenePool(n_genes, dim), rule.ranking(n_genes)) for part in parts]
    return strata


def _pool(
    strata: list[_Stratum], rule: CellWeighting, rows: np.ndarray, states: torch.Tensor, attention: np.ndarray
) -> None:
    """Add a batch of cells to the strata that they are in."""
    import torch

    for stratum in strata:
        inside = np.flatnonzero(stratum.cells[rows])
        if len(inside):
            weights = rule.weights(attention[inside], stratum.ranking)
            stratum.pool.update(states[torch.from_numpy(inside)], torch.from_numpy(weights))


def _mean_of_batches(pools: list[GenePool]) -> np.ndarray:
    """``float64 (T, D)``, the mean of the batches' embeddings, over those where the gene has any weight."""
    pooled = np.stack([pool.result(np.float64) for pool in pools])
    known = ~np.isnan(pooled)
    count = known.sum(axis=0)
    total = np.where(known, pooled, 0.0).sum(axis=0)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _earlier_results(adata: AnnData, key: str) -> set[tuple[str, str]]:
    record = adata.uns.get(key)
    if not isinstance(record, dict):
        return set()
    return {("varm", f"{key}_{group}") for group in record.get("groups", [])}
