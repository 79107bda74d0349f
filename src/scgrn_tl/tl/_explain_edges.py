"""``tl.explain_edges``: what the score of an edge is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import logit

from scgrn_tl.core import ArgumentError
from scgrn_tl.core.argument_types import typed_arguments
from scgrn_tl.core.genes import mismatch_hint
from scgrn_tl.core.slots import Slots, check_key, open_anndata, run_record, write_slots
from scgrn_tl.core.user_warning import warn_user
from scgrn_tl.get import grn_df
from scgrn_tl.get._edge_pairs import pairs_of
from scgrn_tl.get._slots import n_renamed, stored_prior

from ._cell_groups import CellGroups
from ._fitted_embedding import fitted_embedding, network_params
from ._message_table import message_table
from ._weight_shares import weight_shares

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData
    from mudata import MuData

__all__ = ["explain_edges"]

_CERTAIN = 2.0**-24
"""Probabilities nearer to 0 or 1 than this are one of them in float32; their log-odds are those of this distance."""
_ALL = "all cells"
_NO_GROUP = "no group"


class _Part(NamedTuple):
    """A part of the explanation; where there is no ground for one, a ``str`` stands in its place that says why."""

    tables: dict[str, pd.DataFrame]
    genes: pd.DataFrame


@typed_arguments
def explain_edges(
    adata: AnnData | MuData,
    edges: pd.DataFrame | Iterable[tuple[str, str]] | tuple[str, str] | None = None,
    *,
    groupby: str | None = None,
    key: str = "grn",
    rep: str | None = "scbert",
    top_n: int = 10,
    n_cells: int = 10,
    n_messages: int = 10,
    modality: str = "rna",
    key_added: str = "edge_explanation",
    copy: bool = False,
) -> AnnData | MuData | None:
    r"""Say what the score of an edge is made of.

    1. **Cells.** The embedding of a gene t is a sum over cells n with weights
       :math:`w_{t,n} = a_{t,n} / \sum_{n'} a_{t,n'}` (Kommu et al. 2024, eq. 6). How much of that weight each group of
       cells has, beside its share of the cells; and over how many cells it is spread,
       :math:`1 / \sum_n w_{t,n}^2` (Kish 1965).
    2. **Messages.** Which edges of the prior the two genes attend to in the graph network (eq. 12), beside the
       attention that every message would get if all were alike.
    3. **Hubs.** How much of the log-odds is what the two genes' numbers of edges explain, and how much is specific to
       the pair.

    Attention is a weight inside the model, not a cause: a model may attend to what its output hardly depends on, and
    other weights may give the same output (Jain and Wallace 2019). What an edge of the prior does to a score,
    :meth:`scgrn_tl.models.ScTransNet.explain` finds out by leaving it out.

    Parameters
    ----------
    adata
        An AnnData that :func:`fit_grn` was run on, or a MuData whose ``modality`` is one.
    edges
        Pairs of regulator and target: one, a list, or a DataFrame with ``source`` and ``target``. ``None`` for the
        ``top_n`` of the highest score.
    groupby
        Column of ``obs`` with groups of cells, such as cell types; all cells are one group if ``None``. Cells without a
        value are the group ``"no group"``.
    key
        Where the network is stored; ``f"{key}_{group}"`` for the network of a group of cells. If that was fitted with
        an embedding of the group, weights are shares among its cells, and say nothing of what the network of all cells
        contributes (``group_pooling``).
    rep
        ``key_added`` of the :func:`scbert_embed` whose embedding the network was fitted with; after joint training, of
        the one that embedded with the trained encoder. ``None`` leaves cells out.
    top_n
        How many edges, if ``edges`` is ``None``.
    n_cells
        For each gene, how many of the cells of the largest weight are named.
    n_messages
        For each gene, how many of the messages of most attention are listed.
    modality
        Modality of a MuData.
    key_added
        Name under which the explanation is written.
    copy
        Return a copy with the results instead of writing in place.

    Returns
    -------
    ``None``, or the copy. Sets ``uns[key_added]``, a dict with

    ``edges`` : DataFrame
        One row per edge: ``source``, ``target``, ``probability``, ``logit`` (its log-odds), ``hub`` (their part that
        the hub rates of the two genes explain) and ``specificity`` (the rest; both NaN if the method does not tell them
        apart), ``sign``, ``in_prior``. Log-odds beyond ±16.6 cannot be told apart in float32 and are given as that.
    ``genes`` : DataFrame
        One row per gene of these edges: ``gene``, ``embedded``, ``effective_cells`` (0 if not embedded),
        ``n_messages`` (into it, that to itself included; 0 without a graph), ``self_attention``, and ``note``, which
        says what is missing and why.
    ``cells`` : DataFrame
        One row per embedded gene and group: ``gene``, ``group``, ``n_cells``, ``cell_share``, ``weight_share``,
        ``enrichment`` (``weight_share / cell_share``), ``effective_cells`` (within the group).
    ``top_cells`` : DataFrame
        ``gene``, ``rank``, ``cell``, ``group``, ``weight``.
    ``messages`` : DataFrame
        ``gene``, ``sender``, ``relation`` (read "sender relation gene": ``"activates"``, ``"represses"`` or
        ``"regulates"`` of a regulator of the gene; ``"activated by"`` and so on of its target, since messages run
        against edges too; ``"self"``), ``attention``, ``uniform`` (1 over the number of messages into the gene).
    ``absent`` : dict
        For parts that are left out, ``"cells"`` (with ``top_cells``), ``"messages"`` or ``"hubs"``: why. So are cells
        where the AnnData no longer holds the cells or the embedding that the network was fitted with.
    ``params``, ``version``
        The arguments, and the package's version.

    Raises
    ------
    MissingKeyError
        If there is no such network, column or modality.
    ArgumentError
        If an edge is not among those stored, an argument cannot be used, or there is nothing to explain the network
        with.

    Examples
    --------
    >>> import scgrn_tl as sg
    >>> sg.tl.explain_edges(adata, [("GATA1", "KLF1")], groupby="cell_type")  # doctest: +SKIP
    >>> adata.uns["edge_explanation"]["cells"]  # doctest: +SKIP
    >>> sg.pl.edge_explanation(adata, "GATA1", "KLF1")  # doctest: +SKIP
    """
    data = adata
    adata = open_anndata(data, modality=modality, copy=copy)
    check_key("key_added", key_added)
    if key_added in {key, rep}:
        msg = f"key_added={key_added!r} is where the network or the embedding is; choose another name."
        raise ArgumentError(msg, page="explain")
    for name, value in {"top_n": top_n, "n_cells": n_cells, "n_messages": n_messages}.items():
        if value < 1:
            msg = f"{name} is a whole number above 0, not {value!r}."
            raise ArgumentError(msg, page="explain")
    groups = None if groupby is None else CellGroups.from_obs(adata, groupby, "groupby")
    table = _edge_table(adata, edges, key, top_n)
    genes = list(dict.fromkeys([*table["source"], *table["target"]]))
    parts = {
        "cells": _explain_cells(adata, genes, key, rep, groups, n_cells),
        "messages": _explain_messages(adata, genes, key, n_messages),
        "hubs": _explain_hubs(table, key),
    }
    about = pd.DataFrame({"embedded": False, "effective_cells": 0.0, "n_messages": 0, "self_attention": 0.0}, genes)
    about["note"] = ""
    tables: dict[str, pd.DataFrame] = {}
    for part in parts.values():
        if isinstance(part, _Part):
            tables |= part.tables
            about[part.genes.columns] = part.genes
    absent = {name: part for name, part in parts.items() if isinstance(part, str)}
    if len(absent) == len(parts):
        msg = f"There is nothing to explain .varp[{key!r}] with. {' '.join(absent.values())}"
        raise ArgumentError(msg, page="explain")
    for name, reason in absent.items():
        if name != "cells" or rep is not None:  # else it was asked for
            warn_user(f"The explanation is without {name}. {reason}")
    slots = Slots()
    slots.uns[key_added] = run_record(
        {
            "groupby": groupby,
            "key": key,
            "rep": rep,
            "top_n": top_n if edges is None else None,
            "n_cells": n_cells,
            "n_messages": n_messages,
        },
        edges=table,
        genes=about.rename_axis("gene").reset_index(),
        **tables,
        absent=absent,
    )
    return write_slots(data, slots, modality=modality, copy=copy)


def _edge_table(adata: AnnData, edges: Any, key: str, top_n: int) -> pd.DataFrame:
    """Score, its two parts and what the prior says of every edge, in the order asked for."""
    if edges is None:
        table = grn_df(adata, key=key, min_probability=None, top_n=top_n)
        if not len(table):
            msg = f".varp[{key!r}] holds no edge. Run `sg.tl.fit_grn` again."
            raise ArgumentError(msg, page="explain")
    else:
        pairs = pd.DataFrame(pairs_of(edges), columns=["source", "target"])
        sources, targets = pairs["source"].unique(), pairs["target"].unique()
        _check_names(adata, sources, targets, key)
        regulators = sources if f"{key}_is_tf" in adata.var else None
        stored = grn_df(adata, key=key, tfs=regulators, targets=targets, min_probability=None)
        table = pairs.merge(stored, how="left", on=["source", "target"])
        if (missing := table["weight"].isna()).any():
            first = table[missing].iloc[0]
            msg = (
                f"The edge {first['source']} → {first['target']} is not stored in .varp[{key!r}]: it has not the score "
                "to be among the `max_edges` kept, or is a gene with itself. Fit with a higher max_edges=."
            )
            raise ArgumentError(msg, page="explain")
    log_odds = logit(table["probability"].to_numpy(dtype=np.float64).clip(_CERTAIN, 1 - _CERTAIN))
    specificity = table["specificity"].to_numpy(dtype=np.float64)
    return pd.DataFrame(
        {
            "source": table["source"].astype(object),
            "target": table["target"].astype(object),
            "probability": table["probability"].astype(np.float64),
            "logit": log_odds,
            "hub": log_odds - specificity,
            "specificity": specificity,
            "sign": table["sign"].astype(np.int8),
            "in_prior": table["in_prior"].astype(bool),
        }
    )


def _check_names(adata: AnnData, sources: np.ndarray, targets: np.ndarray, key: str) -> None:
    """Raise :class:`ArgumentError` unless edges are among genes, and go out of regulators."""
    if key not in adata.varp:
        return  # as `grn_df` says
    if len(unknown := pd.Index([*sources, *targets]).unique().difference(adata.var_names, sort=False)):
        msg = f"edges has names that are not among the {adata.n_vars:,} genes: {', '.join(map(repr, unknown[:10]))}."
        raise ArgumentError(f"{msg} {mismatch_hint(list(unknown), list(adata.var_names), what='names')}".rstrip())
    flag = f"{key}_is_tf"
    scored = adata.var_names[adata.var[flag].to_numpy(dtype=bool)] if flag in adata.var else pd.Index(sources)
    if len(unscored := pd.Index(sources).difference(scored, sort=False)):
        msg = (
            f"edges has sources that were not scored as regulators: {', '.join(map(repr, unscored[:10]))}. The "
            f"{len(scored):,} regulators of .varp[{key!r}] are var_names[var[{flag!r}]]; others are scored with "
            "`sg.tl.fit_grn(tf_names=…)`."
        )
        raise ArgumentError(msg, page="explain")


def _explain_hubs(table: pd.DataFrame, key: str) -> _Part | str:
    """Nothing to add to the table of edges, unless it does not tell hubs and specificity apart."""
    if table["specificity"].isna().all():
        return f"There is no .varp[{key + '_specificity'!r}]: the method does not tell hubs and specificity apart."
    return _Part({}, pd.DataFrame())


def _explain_cells(
    adata: AnnData, genes: list[str], key: str, rep: str | None, groups: CellGroups | None, n_cells: int
) -> _Part | str:
    """Shares of the pooling weights."""
    if rep is None:
        return "rep=None leaves cells out."
    embedding = fitted_embedding(adata, key, rep)
    if isinstance(embedding, str):
        return embedding
    slot, names_of = f"{embedding.key}_attention", f"uns[{embedding.key!r}]['genes']"
    attention = adata.obsm.get(slot)
    if attention is None:
        return f"There is no obsm[{slot!r}]: run `sg.tl.scbert_embed(adata, store_attention=True)`."
    if attention.shape[1] != len(embedding.stored.genes):
        msg = (
            f"obsm[{slot!r}] has {attention.shape[1]} columns, but {names_of} names {len(embedding.stored.genes)} "
            "genes. Run `sg.tl.scbert_embed` again."
        )
        raise ArgumentError(msg, page="explain")
    columns = pd.Index(embedding.stored.genes).get_indexer(genes)
    is_known = columns >= 0
    has_vector = np.isfinite(embedding.vectors[adata.var_names.get_indexer(genes)]).all(axis=1)
    if not is_known.any() and has_vector.any():
        return "Genes were renamed since the embedding was made: run `sg.tl.scbert_embed` again."
    if not is_known.any():
        return f"None of these genes is embedded ({names_of})."
    names = [_ALL] if groups is None else [*groups.labels, _NO_GROUP]
    codes = np.zeros(adata.n_obs, dtype=np.int64) if groups is None else groups.codes % len(names)  # −1 is the last
    known = [gene for gene, is_there in zip(genes, is_known, strict=True) if is_there]
    shares = weight_shares(
        attention,
        known,
        columns[is_known],
        pooled=embedding.pooled,
        codes=codes,
        n_groups=len(names),
        n_top=n_cells,
    )
    about = pd.DataFrame({"embedded": is_known, "effective_cells": 0.0}, index=genes)
    about.loc[known, "effective_cells"] = shares.effective_cells
    why = np.where(has_vector, "it was renamed since", "the encoder does not know it")
    about["note"] = [
        "" if is_there else f"Not embedded: {reason} ({names_of})."
        for is_there, reason in zip(is_known, why, strict=True)
    ]
    tables = {
        "cells": shares.by_group(names),
        "top_cells": shares.strongest(adata.obs_names, np.array(names, dtype=object)[codes]),
    }
    return _Part(tables, about)


def _explain_messages(adata: AnnData, genes: list[str], key: str, n_messages: int) -> _Part | str:
    """The messages that the genes attend to."""
    slot, prior = f"{key}_attention", stored_prior(adata, key)
    if slot in adata.varp and key not in adata.uns:
        return f"There is no .uns[{key!r}], which tells whose messages .varp[{slot!r}] weighs."
    if n_renamed(adata, key):
        return "Genes were renamed since the network was made: run `sg.tl.fit_grn` again."
    if slot not in adata.varp or prior is None or "trained_on" not in prior:
        method = network_params(adata, key).get("method")
        return (
            f"There is no .varp[{slot!r}] (method {method!r}): only `sg.tl.fit_grn` with "
            "method='sctransnet' and use_gnn=True has a graph that is attended to."
        )
    edges = prior[prior["trained_on"].to_numpy(dtype=bool)].astype({"source": object, "target": object})
    messages, about = message_table(genes, adata.varp[slot], adata.var_names, edges, n_messages=n_messages)
    return _Part({"messages": messages}, about)
