"""Which stored gene embeddings are those of the groups of cells at hand."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from scgrn_tl.core.user_warning import warn_user

if TYPE_CHECKING:
    from anndata import AnnData

    from ._cell_groups import CellGroups

__all__ = ["embeddings_of_groups", "group_record", "why_of_others"]

LOGGER = logging.getLogger(__name__)


def group_record(groups: CellGroups | None) -> dict[str, Any]:
    """What ``uns[key]`` keeps of the groups that embeddings were made for."""
    if groups is None:
        return {"groups": []}
    return {"groups": groups.names, "groups_sha256": groups.sha256(), "groups_n_obs": len(groups.codes)}


def why_of_others(adata: AnnData, key: str, groups: CellGroups, groupby: str) -> str | None:
    """Why ``varm[f"{key}_{group}"]`` are of other groups than ``groups``, as a sentence; ``None`` if they are not.

    ``uns[key]`` tells by which column they were made, and a hash which cell was in which group then (see
    :func:`group_record`). Where cells were taken out since, the hash says nothing, and groups have to have the names of
    then. What has no such record was put there by other means, and is taken for what its name says.
    """
    record = adata.uns.get(key)
    if not hasattr(record, "get") or "params" not in record:
        return None
    column = record["params"].get("groupby")
    if column is None:
        return f"varm[{key!r}] was made without groups."
    if str(column) != groupby:
        return f"varm[{key!r}] was made with the groups of obs[{str(column)!r}]."
    if "groups_sha256" not in record:
        return None
    if len(groups.codes) == int(record["groups_n_obs"]):
        is_other = str(record["groups_sha256"]) != groups.sha256()
    else:
        is_other = not set(groups.names) <= set(map(str, record["groups"]))
    return f"Labels in obs[{groupby!r}] have changed since varm[{key!r}] was made." if is_other else None


def embeddings_of_groups(
    adata: AnnData, groups: CellGroups, groupby: str, keys: tuple[str, ...]
) -> dict[str, tuple[str, ...]]:
    """Group name → the keys of its embeddings: its own where there are such, else those of all cells.

    Parameters
    ----------
    adata
        With embeddings in ``varm``.
    groups, groupby
        The groups, and their column.
    keys
        Embeddings of all cells.
    """
    chosen: dict[str, list[str]] = {name: [] for name in groups.names}
    for key in keys:
        stored = [name for name in groups.names if f"{key}_{name}" in adata.varm]
        if stored and (why := why_of_others(adata, key, groups, groupby)) is not None:
            verb = "attentive_pool" if "weighting" in adata.uns[key]["params"] else "scbert_embed"
            warn_user(
                f"varm[{f'{key}_{stored[0]}'!r}] is not used, nor any other embedding of a group: {why} All groups "
                f"take varm[{key!r}], of all cells. `sg.tl.{verb}(adata, groupby={groupby!r}, key_added={key!r})` "
                "makes embeddings of these groups."
            )
            stored = []
        for name, own in chosen.items():
            if name not in stored:
                LOGGER.info("Group %r takes .varm[%r], of all cells: it has no .varm[%r].", name, key, f"{key}_{name}")
            own.append(f"{key}_{name}" if name in stored else key)
    return {name: tuple(own) for name, own in chosen.items()}
