"""What names are to become, as arguments say it: organisms, tables of names, and the vocabulary to reach."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from scgrn_tl import datasets
from scgrn_tl.core import ArgumentError, GeneVocabulary, PriorError, PriorNetwork
from scgrn_tl.core.genes import identifier_kind
from scgrn_tl.core.network import edge_columns
from scgrn_tl.datasets._registry import GENE_NAMES, ORTHOLOGS

from ._name_index import NameIndex, Targets, ortholog_map
from ._resolution import Resolver

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd

__all__ = ["Naming"]


@dataclass(frozen=True, eq=False)
class Naming:
    """How names are resolved, and what they were resolved with.

    Attributes
    ----------
    resolver
        Does it.
    organism, to
        Organism of the names, and of those they become.
    vocabulary
        Says in words which names are preferred.
    tables
        Table used → SHA-256.
    """

    resolver: Resolver
    organism: str
    to: str
    vocabulary: str
    tables: dict[str, str]

    def resolver_for(self, names: Iterable[str], recorded: Mapping[str, tuple[str, str]] | None = None) -> Resolver:
        """The resolver of just these names: of human genes called like mouse genes, the case is no accident."""
        fold_case = self.organism != "human" or "mouse" not in identifier_kind(names)
        return replace(self.resolver, fold_case=fold_case, recorded=recorded or {})

    @classmethod
    def read(cls, organism: str, to: str | None, vocabulary: Any, tables: Mapping[str, pd.DataFrame] | None) -> Naming:
        """Check the arguments, load the tables that they ask for, and build the index.

        Raises
        ------
        ArgumentError
            If an organism has no table, or the vocabulary is none.
        DownloadError
            If a table cannot be had.
        """
        given = tables or {}
        to = organism if to is None else to
        for name, value in (("organism", organism), ("to", to)):
            _check_organism(name, value, given)
        if isinstance(vocabulary, str) and vocabulary == "scbert" and to != "human":
            ways = f'`organism={organism!r}, to="human"`' if organism == "mouse" else '`to="human"`'
            msg = f"scBERT's vocabulary is of human genes: bring the names there with {ways}."
            raise ArgumentError(msg, page="gene-names")
        names, label = _read_vocabulary(vocabulary)
        used: dict[str, str] = {}
        indices = {name: NameIndex(_table(name, given, used)) for name in dict.fromkeys((organism, to))}
        orthologs = None
        if to != organism:
            orthologs = ortholog_map(_table("orthologs", given, used), organism, to, indices)
        targets = Targets(indices[to], names)
        return cls(Resolver(indices[organism], targets, orthologs), organism, to, label, used)


def _check_organism(argument: str, organism: object, given: Mapping[str, pd.DataFrame]) -> None:
    known = list(dict.fromkeys([*GENE_NAMES, *(name for name in given if name != "orthologs")]))
    if organism not in known:
        msg = (
            f"{argument} is one of {', '.join(map(repr, known))}; not {organism!r}. For another organism give its "
            f"names, in the columns of `sg.datasets.gene_names()`: `tables={{{organism!r}: names}}`."
        )
        raise ArgumentError(msg, page="gene-names")


def _table(name: str, given: Mapping[str, pd.DataFrame], used: dict[str, str]) -> pd.DataFrame:
    """The table called ``name``, as given or downloaded; its hash goes into ``used``."""
    if name in given:
        used[name] = hashlib.sha256(given[name].to_csv(index=False).encode()).hexdigest()
        return given[name]
    if name == "orthologs":
        used[name] = str(ORTHOLOGS.sha256)
        return datasets.gene_orthologs()
    used[name] = str(GENE_NAMES[name].sha256)
    return datasets.gene_names(name)  # type: ignore[arg-type]


def _read_vocabulary(vocabulary: Any) -> tuple[list[str] | None, str]:
    """Its names and what it is called; no names for approved symbols."""
    if vocabulary is None:
        return None, "approved symbols"
    if isinstance(vocabulary, str):
        if vocabulary != "scbert":
            msg = f"vocabulary is 'scbert', names of genes or a prior network; not {vocabulary!r}."
            raise ArgumentError(msg, page="gene-names")
        return list(datasets.scbert_vocabulary().symbols), "scbert"
    names = _names_in(vocabulary)
    if not names:
        msg = "The vocabulary has no names. Give a list of gene names, a prior network or 'scbert'."
        raise ArgumentError(msg, page="gene-names")
    return names, f"{len(names):,} names"


def _names_in(vocabulary: Any) -> list[str]:
    import pandas as pd

    if isinstance(vocabulary, GeneVocabulary):
        return list(vocabulary.symbols)
    if isinstance(vocabulary, PriorNetwork):
        return list(vocabulary.genes)
    if isinstance(vocabulary, pd.DataFrame):
        try:
            columns = edge_columns(vocabulary)
        except PriorError as error:
            msg = f"vocabulary is no prior network. {error} Or give a list of gene names, or 'scbert'."
            raise ArgumentError(msg, page="gene-names") from error
        ends = [vocabulary[column].dropna().astype(str) for column in columns]
        return list(dict.fromkeys(name for end in ends for name in end))
    return list(dict.fromkeys(map(str, vocabulary)))
