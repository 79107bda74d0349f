"""``tl.batch_agreement``: how far what was learnt in one batch is what was learnt in another."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import combinations, product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from scgrn_tl.core import ArgumentError, MissingKeyError, spawn_seeds
from scgrn_tl.core.agreement import (
    N_FOLDS,
    batch_accuracy,
    linear_cka,
    mean_cosine,
    nearest_genes,
    network_agreement,
    shared_neighbors,
)
from scgrn_tl.core.argument_types import typed_arguments
from scgrn_tl.core.slots import Slots, check_key, open_anndata, run_record, write_slots

from ._cell_groups import CellGroups
from ._cell_weighting import CellWeighting
from ._embedded_cells import open_cells
from ._group_embeddings import why_of_others
from ._stored_embedding import read_stored_embedding
from ._strata import Stratum, pool_strata

if TYPE_CHECKING:
    import os

    from anndata import AnnData
    from mudata import MuData

    from scgrn_tl.core import RNGLike

    from ._stored_embedding import StoredEmbedding

__all__ = ["batch_agreement"]

LOGGER = logging.getLogger(__name__)


@typed_arguments
def batch_agreement(
    adata: AnnData | MuData,
    *,
    batch_key: str,
    key: str = "scbert",
    grn_key: str = "grn",
    halves: bool = False,
    hidden: str | os.PathLike[str] | None = None,
    n_neighbors: int = 10,
    n_top: int = 500,
    max_cells: int = 2000,
    rng: RNGLike = 0,
    modality: str = "rna",
    key_added: str = "batch_agreement",
    copy: bool = False,
) -> AnnData | MuData | None:
    """How far the batches agree: their gene embeddings, their networks, and their cells' attention.

    Every two batches are compared. What agreement could be at best is seen between random halves of one batch, which
    differ by nothing but the cells drawn: see ``halves``.

    Parameters
    ----------
    adata
        An AnnData that ``scbert_embed(groupby=batch_key)`` was run on, and perhaps ``fit_grn(groupby=batch_key)``.
    batch_key
        Column of ``obs`` with batches; any other grouping of cells will do as well.
    key
        ``key_added`` of :func:`scbert_embed`.
    grn_key
        ``key_added`` of :func:`fit_grn`. Networks are left out, with a line in the log, where a batch has none.
    halves
        Also draw two halves from every batch, disjoint, random and as large as half of the smallest batch, pool each by
        itself, and compare them within and between batches. Between the halves of two batches agreement falls short of
        that within a batch by what the batches do, at the same number of cells.
    hidden
        The zarr store that ``scbert_embed(hidden_to=…)`` wrote, from which ``halves`` are pooled. Without it their
        cells are encoded again.
    n_neighbors
        Neighbours k of a gene that are compared.
    n_top
        Edges of the highest probability that are compared.
    max_cells
        Most cells from which batches are told apart, a random part of each batch where there are more.
    rng
        Seed or generator, of the halves, of ``max_cells`` and of the folds of cross-validation.
    modality
        Modality of a MuData.
    key_added
        Name under which results are written.
    copy
        Return a copy with the results instead of writing in place.

    Returns
    -------
    ``None``, or the copy. Sets ``uns[key_added]``:

    ``embeddings`` : DataFrame
        A row for every two batches; ``cells`` says whether all of their cells are compared (``"all"``) or halves
        (``"half"``, also of a batch with itself). ``n_cells_1``, ``n_cells_2`` and ``n_genes`` compared.
        ``cosine``: mean over genes of the cosine of their two vectors, once each batch's mean vector is taken away.
        ``cka``: linear centred kernel alignment, which asks for the same similarities between genes and not for the
        same coordinates (Kornblith et al. 2019). ``shared_neighbors``: share of a gene's k nearest genes that are the
        same, beside ``shared_neighbors_by_chance``. Between halves of two batches, means over their four comparisons.
    ``networks`` : DataFrame
        A row for every two batches, of the ``n_pairs`` that both networks score. ``spearman``: rank correlation of the
        probabilities; ``spearman_specificity``, where it is stored: of the log-odds beyond hub rates. ``jaccard``:
        overlap of the ``n_top`` edges, beside ``jaccard_by_chance``.
    ``cells`` : dict
        How well a cell's batch can be told from its attention sums: ``balanced_accuracy`` (mean of the
        ``fold_accuracies`` of a cross-validated logistic regression), ``chance``, ``n_cells``. Absent where attention
        is not stored or a batch has fewer than five cells.
    ``batches``, ``params``, ``version``
        The batches compared, the arguments, and the package's version.

    Raises
    ------
    ArgumentError
        If an argument cannot be used, there are fewer than two batches, batches share too few genes or pairs, or the
        embeddings were made for another column or for labels that have changed since.
    MissingKeyError
        If :func:`scbert_embed` was not run with ``groupby=batch_key``, or the column is not there.

    Examples
    --------
    >>> import scgrn_tl as sg
    >>> adata = sg.datasets.simulated(n_batches=2)
    >>> sg.tl.scbert_embed(adata, weights="fit", groupby="batch")  # doctest: +SKIP
    >>> sg.tl.batch_agreement(adata, batch_key="batch", halves=True)  # doctest: +SKIP
    >>> adata.uns["batch_agreement"]["embeddings"]  # doctest: +SKIP
    """
    data = adata
    adata = open_anndata(data, modality=modality, copy=copy)
    check_key("key_added", key_added)
    for name, count in (("n_neighbors", n_neighbors), ("n_top", n_top), ("max_cells", max_cells)):
        if not isinstance(count, (int, np.integer)) or count < 1:
            msg = f"{name} is a whole number of at least 1, not {count!r}."
            raise ArgumentError(msg, page="batches")
    if hidden is not None and not halves:
        msg = "hidden= is what halves are pooled from: pass halves=True with it."
        raise ArgumentError(msg, page="batches")
    batches = CellGroups.from_obs(adata, batch_key, "batch_key")
    if len(batches.names) < 2:
        msg = f"obs[{batch_key!r}] (batch_key=) has one batch, {batches.names[0]!r}; agreement is between two or more."
        raise ArgumentError(msg, page="batches")
    if key not in adata.uns:
        msg = (
            f"Did not find the embeddings of the batches. Run `sg.tl.scbert_embed(adata, groupby={batch_key!r}, "
            f"key_added={key!r}, …)` first."
        )
        raise MissingKeyError(msg, page="batches")
    embedding = read_stored_embedding(adata, key)
    of_batches = _stored_embeddings(adata, batches, key, batch_key)
    n_cells = {name: int((mask & embedding.pooled).sum()) for name, mask in batches.masks().items()}
    halves_seed, cells_seed, folds_seed = spawn_seeds(rng, 3)

    results: dict[str, Any] = {}
    tables = [_compare({name: [values] for name, values in of_batches.items()}, n_cells, n_neighbors, "all")]
    networks = _networks_table(adata, batches, grn_key, batch_key, n_top)
    if halves:
        of_halves, size = _embeddings_of_halves(adata, batches, embedding, key, hidden, halves_seed)
        tables.append(_compare(of_halves, dict.fromkeys(batches.names, size), n_neighbors, "half"))
    results["embeddings"] = pd.concat(tables, ignore_index=True)
    if networks is not None:
        results["networks"] = networks
    cells = _told_from_attention(adata, batches, embedding, key, max_cells, cells_seed, folds_seed)
    if cells is not None:
        results["cells"] = cells
    slots = Slots()
    slots.uns[key_added] = run_record(
        {
            "batch_key": batch_key,
            "key": key,
            "grn_key": grn_key,
            "halves": halves,
            "hidden": hidden,
            "n_neighbors": n_neighbors,
            "n_top": n_top,
            "max_cells": max_cells,
        },
        seed=rng if isinstance(rng, (int, np.integer)) else None,
        batches=batches.names,
        **results,
    )
    return write_slots(data, slots, modality=modality, copy=copy)


MIN_HALF = 5
"""Least cells of a half."""

# --- embeddings -------------------------------------------------------------------------------------------------------


def _stored_embeddings(adata: AnnData, batches: CellGroups, key: str, batch_key: str) -> dict[str, np.ndarray]:
    absent = [f"{key}_{name}" for name in batches.names if f"{key}_{name}" not in adata.varm]
    if absent:
        msg = (
            f"Did not find .varm of {len(absent)} of the {len(batches.names)} batches ({', '.join(absent[:3])}). Run "
            f"`sg.tl.scbert_embed(adata, groupby={batch_key!r}, key_added={key!r}, …)` first."
        )
        raise MissingKeyError(msg, page="batches")
    if (why := why_of_others(adata, key, batches, batch_key)) is not None:
        msg = (
            f"The embeddings varm[{f'{key}_<batch>'!r}] are not those of the batches in obs[{batch_key!r}] as it is "
            f"now. {why} Run `sg.tl.scbert_embed(adata, groupby={batch_key!r}, key_added={key!r}, …)` again."
        )
        raise ArgumentError(msg, page="batches")
    return {name: np.asarray(adata.varm[f"{key}_{name}"]) for name in batches.names}


@dataclass(frozen=True, eq=False)
class _Half:
    """A random part of a batch, as a name and as ``bool[N]``."""

    name: str
    cells: np.ndarray


def _draw_halves(batches: CellGroups, pooled: np.ndarray, seed: int) -> list[_Half]:
    """Two disjoint parts of every batch, all of the same size."""
    members = {name: np.flatnonzero(mask & pooled) for name, mask in batches.masks().items()}
    size = min(map(len, members.values())) // 2
    if size < MIN_HALF:
        smallest = min(members, key=lambda name: len(members[name]))
        msg = (
            f"Batch {smallest!r} has {len(members[smallest])} embedded cells, and halves of fewer than {MIN_HALF} say "
            "little: pass halves=False, or leave that batch out."
        )
        raise ArgumentError(msg, page="batches")
    generator = np.random.default_rng(seed)
    halves = []
    for name, rows in members.items():
        drawn = generator.choice(rows, 2 * size, replace=False)
        halves += [_Half(name, np.isin(np.arange(len(pooled)), part)) for part in np.split(drawn, 2)]
    return halves


def _embeddings_of_halves(
    adata: AnnData,
    batches: CellGroups,
    embedding: StoredEmbedding,
    key: str,
    hidden: str | os.PathLike[str] | None,
    seed: int,
) -> tuple[dict[str, list[np.ndarray]], int]:
    """``float64 (T, D)`` of both halves of every batch, pooled as the embedding was; and how many cells a half has."""
    halves = _draw_halves(batches, embedding.pooled, seed)
    rule = CellWeighting("mean" if str(embedding.record["params"]["pool"]) == "mean" else "attention")
    source = open_cells(adata, key, embedding, rule, hidden)
    strata = [Stratum.empty(half.name, half.cells, rule, len(embedding.genes), source.dim) for half in halves]
    pool_strata(strata, rule, source)
    here = adata.var_names.get_indexer(list(embedding.genes)) >= 0  # genes may have been left out since
    pooled: dict[str, list[np.ndarray]] = {name: [] for name in batches.names}
    for half, stratum in zip(halves, strata, strict=True):
        pooled[half.name].append(stratum.pool.result(np.float64)[here])
    return pooled, strata[0].pool.n_cells


def _compare(parts: dict[str, list[np.ndarray]], n_cells: dict[str, int], k: int, label: str) -> pd.DataFrame:
    """Every two batches by their ``parts``' embeddings; a batch of several parts also with itself."""
    known = np.logical_and.reduce([np.isfinite(part).all(axis=1) for own in parts.values() for part in own])
    n_genes = int(known.sum())
    if n_genes < k + 2:
        msg = f"The batches share {n_genes} embedded genes; n_neighbors={k} takes at least {k + 2}."
        raise ArgumentError(msg, page="batches")
    parts = {name: [part[known] for part in own] for name, own in parts.items()}
    nearest = {name: [nearest_genes(part, k) for part in own] for name, own in parts.items()}
    rows = []
    for one, other in [*((name, name) for name in parts if len(parts[name]) > 1), *combinations(parts, 2)]:
        pairs = [(0, 1)] if one == other else list(product(range(len(parts[one])), range(len(parts[other]))))
        rows.append(
            {
                "cells": label,
                "batch_1": one,
                "batch_2": other,
                "n_cells_1": n_cells[one],
                "n_cells_2": n_cells[other],
                "n_genes": n_genes,
                "cosine": np.mean([mean_cosine(parts[one][i], parts[other][j]) for i, j in pairs]),
                "cka": np.mean([linear_cka(parts[one][i], parts[other][j]) for i, j in pairs]),
                "shared_neighbors": np.mean([shared_neighbors(nearest[one][i], nearest[other][j]) for i, j in pairs]),
                "shared_neighbors_by_chance": k / (n_genes - 1),
            }
        )
    return pd.DataFrame(rows)


# --- networks ---------------------------------------------------------------------------------------------------------


def _networks_table(
    adata: AnnData, batches: CellGroups, grn_key: str, batch_key: str, n_top: int
) -> pd.DataFrame | None:
    keys = {name: f"{grn_key}_{name}" for name in batches.names}
    if absent := [key for key in keys.values() if key not in adata.varp]:
        LOGGER.info(
            "Networks are not compared: did not find .varp[%r]. `sg.tl.fit_grn(adata, prior, groupby=%r)` writes one "
            "for each batch.",
            absent[0],
            batch_key,
        )
        return None
    rows = []
    for one, other in combinations(batches.names, 2):
        row = {"batch_1": one, "batch_2": other} | network_agreement(*_two(adata, keys[one], keys[other]), n_top)
        specificities = [f"{keys[name]}_specificity" for name in (one, other)]
        if all(key in adata.varp for key in specificities):
            row["spearman_specificity"] = network_agreement(*_two(adata, *specificities), n_top)["spearman"]
        rows.append(row)
    return pd.DataFrame(rows)


def _two(adata: AnnData, one: str, other: str) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    return sparse.csr_matrix(adata.varp[one]), sparse.csr_matrix(adata.varp[other])


# --- cells ------------------------------------------------------------------------------------------------------------


def _told_from_attention(
    adata: AnnData,
    batches: CellGroups,
    embedding: StoredEmbedding,
    key: str,
    max_cells: int,
    cells_seed: int,
    folds_seed: int,
) -> dict[str, Any] | None:
    attention = adata.obsm.get(f"{key}_attention")
    if attention is None:
        LOGGER.info("Batches are not told from attention: did not find .obsm[%r].", f"{key}_attention")
        return None
    generator = np.random.default_rng(cells_seed)
    most = max(N_FOLDS, max_cells // len(batches.names))
    drawn = []
    for name, mask in batches.masks().items():
        rows = np.flatnonzero(mask & embedding.pooled)
        if len(rows) < N_FOLDS:
            LOGGER.info("Batches are not told from attention: %r has %d embedded cells.", name, len(rows))
            return None
        drawn.append(rows if len(rows) <= most else generator.choice(rows, most, replace=False))
    cells = np.sort(np.concatenate(drawn))
    accuracies = batch_accuracy(np.asarray(attention[cells]), batches.codes[cells], folds_seed)
    return {
        "balanced_accuracy": float(accuracies.mean()),
        "fold_accuracies": accuracies,
        "chance": 1 / len(batches.names),
        "n_cells": len(cells),
    }
