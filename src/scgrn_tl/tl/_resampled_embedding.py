"""Gene embeddings of bootstrap replicates: re-pooled over the cells that each replicate drew."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scgrn_tl._settings import settings
from scgrn_tl.core import ArgumentError, WeightsError, WeightsUnavailableError, read_embedding
from scgrn_tl.core.gene_embedding import JoinedEmbedding, join_embeddings, same_vectors
from scgrn_tl.core.user_warning import warn_user

from ._cell_groups import CellGroups, by_batch
from ._cell_weighting import CellWeighting
from ._embedded_cells import open_cells
from ._stored_embedding import StoredEmbedding, read_stored_embedding

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from anndata import AnnData

    from ._embedded_cells import EmbeddedCells

__all__ = ["ResampledEmbedding"]

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ResampledEmbedding:
    """What replaces the gene embedding of a fit in each replicate.

    Attributes
    ----------
    parts
        For each embedding that was fitted with ``float32 (K, G, D)``, or ``(G, D)`` where it cannot be pooled anew and
        stays the same in all replicates.
    held
        Of those that stay: the key, and why.
    """

    parts: tuple[np.ndarray, ...]
    held: dict[str, str]

    @classmethod
    def pool(
        cls,
        adata: AnnData,
        keys: Sequence[str],
        counts: np.ndarray,
        *,
        hidden: str | os.PathLike[str] | None,
        device: str,
    ) -> ResampledEmbedding:
        """Pool the embeddings ``keys`` of ``varm`` over cells that count ``counts`` ``(K, N)`` times.

        Warns of embeddings that stay as they are.

        Parameters
        ----------
        adata
            Cells × genes.
        keys
            Of ``varm``.
        counts
            How often each replicate drew each cell.
        hidden
            Store of hidden states; cells are encoded again without.
        device
            What they are encoded on.

        Raises
        ------
        ArgumentError
            If an embedding is not what pooling all cells gives, or ``hidden`` is of other data.
        """
        parts, held = [], {}
        for key in keys:
            part = _pool_anew(adata, key, counts, hidden, device)
            if isinstance(part, str):
                held[key] = part
                warn_user(f"varm[{key!r}] is the same in every resample, in which only expression varies: {part}")
            parts.append(read_embedding(adata, key) if isinstance(part, str) else part)
        return cls(tuple(parts), held)

    def of(self, replicate: int) -> JoinedEmbedding:
        """The embedding of one replicate, as a task takes it."""
        return join_embeddings([np.array(part[replicate] if part.ndim == 3 else part) for part in self.parts])


def _pool_anew(
    adata: AnnData, key: str, counts: np.ndarray, hidden: str | os.PathLike[str] | None, device: str
) -> np.ndarray | str:
    """``float32 (K, G, D)``, or why it cannot be had."""
    found = _record_of(adata, key)
    if found is None:
        return f"no encoder of it is known (`sg.tl.scbert_embed(adata, key_added={key!r})` would leave one)."
    name, rule = found
    stored = read_stored_embedding(adata, name)
    try:
        with settings.override(device=device):
            source = open_cells(adata, name, stored, rule, hidden)
    except (WeightsUnavailableError, WeightsError) as error:
        return str(error)
    _check_all_there(stored, key)
    with_all = np.vstack([np.ones_like(counts[:1]), counts])
    pooled = _pool(adata, stored, rule, source, with_all)  # (1 + K, T, D)
    here = adata.var_names.get_indexer(list(stored.genes))
    values = np.full((len(pooled), adata.n_vars, pooled.shape[2]), np.nan, dtype=np.float32)
    values[:, here[here >= 0]] = pooled[:, here >= 0]
    _check_same(values[0], read_embedding(adata, key), key)
    return values[1:]


def _record_of(adata: AnnData, key: str) -> tuple[str, CellWeighting] | None:
    """The record of the encoder behind ``varm[key]``, and how its cells were weighed."""
    for name, is_mean in ((key, False), (key.removesuffix("_mean"), True)):
        record = adata.uns.get(name)
        if hasattr(record, "get") and {"genes", "weights", "params"} <= set(record) and f"{name}_pooled" in adata.obs:
            of_mean = is_mean or str(record["params"].get("pool", "attention")) == "mean"
            return name, CellWeighting("mean" if of_mean else "attention")
    return None


def _pool(
    adata: AnnData, stored: StoredEmbedding, rule: CellWeighting, source: EmbeddedCells, counts: np.ndarray
) -> np.ndarray:
    """``float32 (K, T, D)``, each cell being read once."""
    import torch

    from scgrn_tl.models.replicate_pool import ReplicatePool, mean_of_replicates

    batch_key = stored.record["params"].get("batch_key")
    batches = None if batch_key is None else CellGroups.from_obs(adata, str(batch_key), "batch_key", most=None)
    members = list(by_batch(stored.pooled, batches).values())
    LOGGER.info(
        "Pooling %d replicates of %d genes%s: %.2f GB of sums.",
        len(counts),
        len(stored.genes),
        f" in each of {len(members)} batches" if len(members) > 1 else "",
        8e-9 * len(members) * len(counts) * len(stored.genes) * source.dim,
    )
    pools = [ReplicatePool(len(counts), len(stored.genes), source.dim) for _ in members]
    for rows, states, values in source.hidden(np.flatnonzero(np.logical_or.reduce(members))):
        weights = torch.from_numpy(rule.weights(values, rule.ranking(len(stored.genes))))
        for member, pool in zip(members, pools, strict=True):
            inside = np.flatnonzero(member[rows])
            if len(inside):
                chosen = torch.from_numpy(inside)
                pool.update(states[chosen], weights[chosen], counts[:, rows[inside]])
    return mean_of_replicates(pools)


def _check_all_there(stored: StoredEmbedding, key: str) -> None:
    """A part of the cells makes another embedding than all of them did."""
    n_pooled = stored.record.get("cells", {}).get("pooled", len(stored.cells))
    if len(stored.cells) != n_pooled:
        msg = (
            f"varm[{key!r}] was pooled over {n_pooled:,} cells, of which {len(stored.cells):,} are here: it cannot be "
            "resampled over these. Run `sg.tl.scbert_embed` and `sg.tl.fit_grn` on the cells at hand, or "
            "`sg.tl.fit_grn` with use_rep=None."
        )
        raise ArgumentError(msg)


def _check_same(pooled: np.ndarray, stored: np.ndarray, key: str) -> None:
    if same_vectors(pooled, stored):
        return
    msg = (
        f"varm[{key!r}] is not what its encoder makes of the cells as they are: expression, batches or the embedding "
        "were changed since. Run `sg.tl.scbert_embed` and `sg.tl.fit_grn` again."
    )
    raise ArgumentError(msg)
