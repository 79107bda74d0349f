"""``pp.resolve_genes``: the genes of an AnnData under the names that the rest of the package knows."""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from scgrn_tl.core import ArgumentError, DuplicateGenesError, GeneOverlapError
from scgrn_tl.core.argument_types import typed_arguments
from scgrn_tl.core.genes import identifier_kind, matching_columns, resolving_call
from scgrn_tl.core.slots import Slots, check_key, open_anndata, run_record, write_slots

from ._columns import check_summable, replace_contents, update_mudata, with_columns
from ._naming import Naming
from ._resolution import STATUSES, Resolution, settle

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd
    from anndata import AnnData
    from mudata import MuData

    from scgrn_tl.core import GeneVocabulary, PriorNetwork

__all__ = ["resolve_genes"]

LOGGER = logging.getLogger(__name__)

Duplicates = Literal["keep", "sum", "drop"]

_COLUMNS = ("original", "resolved", "status", "rule", "id")


@typed_arguments
def resolve_genes(
    adata: AnnData | MuData,
    *,
    organism: str = "human",
    to: str | None = None,
    vocabulary: str | GeneVocabulary | PriorNetwork | pd.DataFrame | Iterable[str] | None = None,
    duplicates: Duplicates = "keep",
    min_overlap: float = 0.5,
    tables: Mapping[str, pd.DataFrame] | None = None,
    modality: str = "rna",
    key_added: str = "gene_names",
    copy: bool = False,
) -> AnnData | MuData | None:
    """Rename genes to the symbols that encoders, priors and TF lists know them by, and report on every one.

    A name is looked up by these rules, of which the first that knows it decides:

    1. ``vocabulary``: it is in the ``vocabulary``, and stays.
    2. ``symbol``: it is an approved symbol.
    3. ``ensembl``: it is an Ensembl gene id; a version (``.12``) does not matter.
    4. ``previous``: it was a symbol before (``CTGF`` is ``CCN2``).
    5. ``symbol_case``: it is an approved symbol in another case (``C1ORF43``).
    6. ``alias``: it is an alias (``p53`` is ``TP53``).
    7. ``previous_case``, ``alias_case``: the same in another case. Neither these nor ``symbol_case`` are used for names
       that look like mouse symbols when ``organism="human"``: upper case is not orthology.
    8. ``dots``: it is a symbol in which R has put dots for dashes (``HLA.DRB5``).
    9. ``excel``: it is what a spreadsheet makes of a symbol (``1-Sep`` is ``SEPTIN1``).

    A name that the deciding rule finds for several genes is *ambiguous*. It stays as it is, unless all of these genes
    but one are in the data as other columns, which leaves that one (rule ``elimination``); being in the vocabulary is
    no argument. A name that no rule knows stays too; where it is another name with ``-1`` or ``.1`` after it, it is a
    *duplicate* of that one (rule ``suffix``).

    Of several columns that mean the same gene, the one that has its name already keeps it, else the one found by the
    surest rule; the others are *duplicates*.

    Parameters
    ----------
    adata
        Cells × genes; ``var_names`` are looked up. A MuData's ``modality`` is used.
    organism
        Whose genes these are: ``"human"``, ``"mouse"``, or a key of ``tables``.
    to
        Organism to go to through one-to-one orthologs (:func:`scgrn_tl.datasets.gene_orthologs`), for instance
        ``organism="mouse", to="human"``. Genes without one get their own approved symbol. By default ``organism``.
    vocabulary
        Names to prefer. ``"scbert"`` for those of :func:`scgrn_tl.datasets.scbert_vocabulary`, some of which are
        previous symbols by now; a :class:`~scgrn_tl.core.GeneVocabulary`; a prior network, as a table
        or a :class:`~scgrn_tl.core.PriorNetwork`; or any names. A gene gets the name by which the vocabulary knows it,
        and one outside of the vocabulary its approved symbol. ``None`` for approved symbols throughout.
    duplicates
        ``"keep"`` leaves duplicates as columns under the names they have; ``"sum"`` adds their counts to the column
        that has the name, in ``X`` and all layers, which have to be counts; ``"drop"`` takes them out. Columns of
        exactly the same name can be summed or dropped (the first one stays), not kept.
    min_overlap
        Least share of the columns whose gene has to be known.
    tables
        Tables in place of the downloaded ones: organism → names with the columns of
        :func:`scgrn_tl.datasets.gene_names`; ``"orthologs"`` → pairs with the columns of
        :func:`scgrn_tl.datasets.gene_orthologs`, named after the organisms.
    modality
        Which part of a MuData to use.
    key_added
        Where the report goes.
    copy
        Return a copy in place of writing into ``adata``.

    Returns
    -------
    ``None``, or with ``copy=True`` a new AnnData (MuData). Written are

    - ``var_names``; ``raw`` stays as it is. With ``duplicates="sum"`` or ``"drop"``, there are fewer columns
    - ``var["gene_names_original"]`` (str): the name before; after a second run still the first one
    - ``var["gene_names_resolved"]`` (str): the name now
    - ``var["gene_names_status"]`` (categorical): ``"unchanged"``, ``"renamed"``, ``"duplicate"``, ``"ambiguous"``,
      ``"no_ortholog"`` or ``"unknown"``
    - ``var["gene_names_rule"]`` (categorical): the rule; ``""`` for an unknown name
    - ``var["gene_names_id"]`` (str): HGNC or MGI id; ``""`` where it is not known
    - ``uns["gene_names"]``: ``params``; ``n_genes`` given; ``counts``, columns of each status, which add up to it;
      ``rules``, columns of each rule; ``in_vocabulary``, the columns that have a name of the vocabulary
      (``before`` and ``after``); ``ambiguous``, a table of names and the genes they may mean; ``duplicates``, a table
      of names and whose they would have been; ``tables``, the SHA-256 of what was used

    A second run renames nothing.

    Raises
    ------
    ArgumentError
        If an argument is none of the above, or duplicates of values other than counts are to be summed.
    DuplicateGenesError
        If columns have exactly the same name, and duplicates are to be kept.
    GeneOverlapError
        If fewer than ``min_overlap`` of the genes are known, or none, or none is in the vocabulary. It says what the
        names look like and what to try.
    DownloadError
        If a table cannot be had.

    Examples
    --------
    >>> sg.pp.resolve_genes(adata, vocabulary="scbert")  # doctest: +SKIP
    >>> sg.pp.resolve_genes(mouse, organism="mouse", to="human")  # doctest: +SKIP
    >>> adata.var.query("gene_names_status == 'renamed'")  # doctest: +SKIP
    """
    _check_arguments(min_overlap, key_added)
    data = open_anndata(adata, modality=modality, copy=copy)
    names = [str(name) for name in data.var_names]
    _check_columns(data, names, duplicates)
    naming = Naming.read(organism, to, vocabulary, tables)
    resolver = naming.resolver_for(names, _recorded(data, naming, key_added))
    found = settle(dict.fromkeys(names), resolver)
    rows = [found[name] for name in names]
    _check_overlap(data, names, rows, naming, min_overlap)

    params = {
        "organism": naming.organism,
        "to": naming.to,
        "vocabulary": naming.vocabulary,
        "duplicates": duplicates,
        "min_overlap": min_overlap,
    }
    record = run_record(params, tables=naming.tables, **_report(names, rows, resolver.targets.vocabulary))
    LOGGER.info(_summary(record))
    return _write(adata, data, rows, record, modality, key_added, copy=copy)


def _check_arguments(min_overlap: float, key_added: str) -> None:
    if not 0 <= min_overlap <= 1:
        msg = f"min_overlap is a share between 0 and 1, not {min_overlap!r}."
        raise ArgumentError(msg, page="gene-names")
    check_key("key_added", key_added)


def _check_columns(adata: AnnData, names: Sequence[str], duplicates: str) -> None:
    if not names:
        msg = "The AnnData has no genes. Look at what filtered them out: `adata.shape` before each step."
        raise ArgumentError(msg, page="gene-names")
    if duplicates == "keep":
        if len(set(names)) < len(names):
            twice = [name for name, count in Counter(names).items() if count > 1]
            msg = (
                f"{len(twice)} gene names stand more than once in var_names, such as {twice[0]!r}, and cannot all be "
                'kept. Add their counts up with `duplicates="sum"`, or run `adata.var_names_make_unique()` first.'
            )
            raise DuplicateGenesError(msg)
        return
    if adata.isbacked:
        msg = f"duplicates={duplicates!r} changes the columns, which a backed AnnData cannot: use `.to_memory()`."
        raise ArgumentError(msg, page="gene-names")
    if duplicates == "sum":
        check_summable(adata)


def _recorded(adata: AnnData, naming: Naming, key: str) -> dict[str, tuple[str, str]]:
    """What an earlier run between the same two organisms found, for the columns that still have the names it gave."""
    if naming.to == naming.organism or not _has_record(adata, key):
        return {}
    record = adata.uns.get(key)
    params = record.get("params", {}) if isinstance(record, Mapping) else {}
    if (params.get("organism"), params.get("to")) != (naming.organism, naming.to):
        return {}
    columns = (adata.var_names.astype(str), *(adata.var[f"{key}_{part}"].astype(str) for part in _COLUMNS[1:]))
    return {name: (gene, status) for name, resolved, status, _, gene in zip(*columns, strict=True) if name == resolved}


def _has_record(adata: AnnData, key: str) -> bool:
    return all(f"{key}_{part}" in adata.var for part in _COLUMNS)


def _check_overlap(
    adata: AnnData, names: Sequence[str], rows: Sequence[Resolution], naming: Naming, min_overlap: float
) -> None:
    known = sum(each.status != "unknown" for each in rows)
    vocabulary = naming.resolver.targets.vocabulary
    if known >= min_overlap * len(rows) and known:
        if vocabulary is None or any(each.resolved in vocabulary for each in rows):
            return
        what = f"None of {len(rows):,} genes is in the vocabulary ({naming.vocabulary}), by any of its names."
    else:
        what = (
            f"{known:,} of {len(rows):,} names ({known / len(rows):.0%}) are known as names of {naming.organism} "
            f"genes; at least {min_overlap:.0%} is asked for (`min_overlap`)."
        )
    kind = identifier_kind(names)
    remedies = matching_columns(adata.var, lambda name: naming.resolver.resolve(name).status != "unknown")
    call = resolving_call(names)
    if call and naming.organism != ("mouse" if "mouse" in call else "human"):
        remedies.append(f"run `{call}`")
    if not remedies:
        remedies.append("check `organism=`, or give the names that an annotation of your own has, by `tables=`")
    msg = (
        f"{what} The names ({', '.join(map(repr, names[:3]))}, …) look like {kind}. To mend it: {'; '.join(remedies)}."
    )
    raise GeneOverlapError(msg)


def _report(names: Sequence[str], rows: Sequence[Resolution], vocabulary: frozenset[str] | None) -> dict[str, Any]:
    import pandas as pd

    statuses, rules = Counter(each.status for each in rows), Counter(each.rule for each in rows if each.rule)
    ambiguous = {each.name: each for each in rows if each.status == "ambiguous"}
    duplicate = {each.name: each for each in rows if each.status == "duplicate"}
    known = {} if vocabulary is None else {
        "before": sum(name in vocabulary for name in names),
        "after": sum(each.resolved in vocabulary for each in rows),
        "names": len(vocabulary),
    }  # fmt: skip
    return {
        "n_genes": len(rows),
        "counts": {status: statuses[status] for status in STATUSES},
        "rules": dict(rules.most_common()),
        "in_vocabulary": known,
        "ambiguous": pd.DataFrame(
            {"name": list(ambiguous), "candidates": [" ".join(each.candidates) for each in ambiguous.values()]},
            dtype=object,
        ),
        "duplicates": pd.DataFrame(
            {"name": list(duplicate), "of": [each.of for each in duplicate.values()]}, dtype=object
        ),
    }


def _summary(record: Mapping[str, Any]) -> str:
    params = record["params"]
    counts = ", ".join(f"{count:,} {status}" for status, count in record["counts"].items() if count)
    line = f"Of {record['n_genes']:,} gene names ({params['organism']} to {params['to']}) {counts}"
    if known := record["in_vocabulary"]:
        line += f"; {known['after']:,} are in the vocabulary ({params['vocabulary']}), {known['before']:,} were before"
    return f"{line}."


def _write(
    data: AnnData | MuData,
    adata: AnnData,
    rows: Sequence[Resolution],
    record: dict[str, Any],
    modality: str,
    key: str,
    *,
    copy: bool,
) -> AnnData | MuData | None:
    """Names, columns of ``var`` and the report, all of them or none."""
    into = _places(rows) if record["params"]["duplicates"] != "keep" else np.arange(len(rows))
    kept = np.unique(into)
    staying = [rows[place] for place in kept.tolist()]
    slots = Slots(var=_var_columns(adata, staying, kept, key), uns={key: record})
    if copy:
        data = data.copy()
        adata = open_anndata(data, modality=modality)
    names = [each.resolved for each in staying]
    if len(kept) < len(rows):
        fresh = with_columns(adata, kept, into if record["params"]["duplicates"] == "sum" else None)
        write_slots(fresh, slots)
        if data is adata:
            fresh.var_names = names
            replace_contents(adata, fresh)
        else:  # a MuData follows fewer columns, and new names, but not both at once
            replace_contents(adata, fresh)
            update_mudata(data)
            adata.var_names = names
    else:
        _rename(adata, names, slots)
    if data is not adata:
        update_mudata(data)
    return data if copy else None


def _places(rows: Sequence[Resolution]) -> np.ndarray:
    """``int64[G]``, the column that each column goes into: its own, unless it is a duplicate or repeats a name."""
    first: dict[str, int] = {}
    for place, each in enumerate(rows):
        first.setdefault(each.name, place)
    into = np.empty(len(rows), dtype=np.int64)
    for place, each in enumerate(rows):
        holder = each
        while holder.holder:
            holder = rows[first[holder.holder]]
        into[place] = first[holder.name]
    return into


def _var_columns(adata: AnnData, rows: Sequence[Resolution], kept: np.ndarray, key: str) -> dict[str, Any]:
    import pandas as pd

    original = [each.name for each in rows]
    if _has_record(adata, key):
        before = adata.var.iloc[kept]
        earlier = zip(before[f"{key}_original"].astype(str), before[f"{key}_resolved"].astype(str), strict=True)
        original = [
            first if resolved == name else name for name, (first, resolved) in zip(original, earlier, strict=True)
        ]
    values = {
        "original": np.array(original, dtype=object),
        "resolved": np.array([each.resolved for each in rows], dtype=object),
        "status": pd.Categorical([each.status for each in rows]),
        "rule": pd.Categorical([each.rule for each in rows]),
        "id": np.array([each.gene for each in rows], dtype=object),
    }
    return {f"{key}_{part}": values[part] for part in _COLUMNS}


def _rename(adata: AnnData, names: Sequence[str], slots: Slots) -> None:
    from anndata import ImplicitModificationWarning

    before = adata.var_names.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImplicitModificationWarning)
        try:
            adata.var_names = names
            write_slots(adata, slots)
        except BaseException:
            adata.var_names = before
            raise
