"""The genes an encoder knows, and how the genes of a dataset line up with them."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from .argument_types import typed_arguments
from .errors import ArgumentError, DuplicateGenesError, GeneOverlapError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import pandas as pd

__all__ = [
    "GeneAlignment",
    "GeneVocabulary",
    "case_remedy",
    "check_unique_genes",
    "identifier_kind",
    "matching_columns",
    "mismatch_hint",
    "resolving_call",
    "same_but_case",
]

_ENSEMBL = re.compile(r"^ENS[A-Z]*G\d{6,}(\.\d+)?$")
_MOUSE_LIKE = re.compile(r"^[A-Z][a-z0-9\-]*[a-z][a-z0-9\-]*$")


@typed_arguments
def check_unique_genes(names: Sequence[str]) -> None:
    """Do nothing unless a gene stands more than once in ``names``.

    Raises
    ------
    DuplicateGenesError
        Naming the genes that do, and the call that mends it.
    ArgumentError
        If ``names`` is no list of strings.
    """
    duplicated = [name for name, count in Counter(names).items() if count > 1]
    if duplicated:
        shown = ", ".join(map(repr, duplicated[:5])) + (", …" if len(duplicated) > 5 else "")
        msg = (
            f"{len(duplicated)} gene names stand more than once in var_names: {shown}. "
            "Run `adata.var_names_make_unique()` first, or add their counts up by "
            '`sg.pp.resolve_genes(adata, duplicates="sum")`.'
        )
        raise DuplicateGenesError(msg)


def identifier_kind(names: Iterable[str]) -> str:
    """Say in words which kind of gene identifiers ``names`` look like."""
    names = list(names)
    if not names:
        return "no names at all"
    share = len(names) / 2
    if sum(bool(_ENSEMBL.match(name)) for name in names) > share:
        mouse = sum(name.startswith("ENSMUSG") for name in names) > share
        return "Ensembl gene ids (mouse)" if mouse else "Ensembl gene ids"
    if sum(name.isdigit() for name in names) > share:
        return "integers (Entrez ids, or an index that was never named)"
    if sum(bool(_MOUSE_LIKE.match(name)) for name in names) > share:
        return "mouse gene symbols"
    return "gene symbols of another annotation or organism"


def resolving_call(names: Iterable[str]) -> str:
    """The call that gives human symbols to genes named like ``names``; empty where their kind does not tell it."""
    kind = identifier_kind(names)
    if kind in {"mouse gene symbols", "Ensembl gene ids (mouse)"}:
        return 'sg.pp.resolve_genes(adata, organism="mouse", to="human")'
    return "sg.pp.resolve_genes(adata)" if kind == "Ensembl gene ids" else ""


def same_but_case(names: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """Those of ``names`` that are not ``known`` but would be in another case, and what they are known as."""
    known = list(known)
    exact, folded = set(known), {name.casefold(): name for name in known}
    return {name: folded[name.casefold()] for name in names if name not in exact and name.casefold() in folded}


def mismatch_hint(names: Sequence[str], known: Sequence[str], *, what: str) -> str:
    """Why ``names`` may not be among ``known``, as a sentence or two; empty where nothing can be told.

    Parameters
    ----------
    names
        Names that did not match.
    known
        Names of the data's genes.
    what
        What ``names`` are, after "The".
    """
    if cased := same_but_case(names, known):
        one, other = next(iter(cased.items()))
        return f"{len(cased):,} of them differ only in case, such as {one!r} and {other!r}. {case_remedy(known)}"
    kinds = identifier_kind(names), identifier_kind(known)
    if kinds[0] == kinds[1]:
        return ""
    call = resolving_call(known)
    way = (
        f"bring the data's to symbols by `{call}`" if call else "bring both to one kind by `sg.pp.resolve_genes(adata)`"
    )
    return f"The {what} look like {kinds[0]}, the data's like {kinds[1]}: {way}."


def case_remedy(known: Iterable[str]) -> str:
    """What to do where names differ from the ``known`` ones of the data in case only."""
    if "mouse" in identifier_kind(known):
        return (
            'The data\'s look like mouse genes: take names of mouse, such as `sg.datasets.collectri("mouse")` and '
            '`sg.datasets.tf_names("mouse")`, or go to human orthologs by '
            '`sg.pp.resolve_genes(adata, organism="mouse", to="human")`.'
        )
    return "If both are of one organism, `sg.pp.resolve_names(names, vocabulary=adata.var_names)` brings them together."


def matching_columns(var: pd.DataFrame, known: Callable[[str], bool]) -> list[str]:
    """For each column of names in ``var`` of which half or more are ``known``, the call that makes them the names."""
    calls = []
    for column in var.columns:
        if var[column].dtype.kind in "OSUT" or str(var[column].dtype) in {"category", "string", "str"}:
            share = float(np.mean([known(str(value)) for value in var[column]]))
            if share >= 0.5:
                calls.append(
                    f"`adata.var[{column!r}]` matches {share:.0%}: run "
                    f"`adata.var_names = adata.var[{column!r}].astype(str); adata.var_names_make_unique()`"
                )
    return calls


def _remedy(names: Sequence[str], known: frozenset[str], var: pd.DataFrame | None) -> str:
    """Name the calls that would make ``names`` match: a column of ``var``, names resolved, or an own encoder."""
    remedies = [] if var is None else matching_columns(var, known.__contains__)
    if call := resolving_call(names):
        orthologs = " (upper case maps most mouse symbols to their human orthologs, not all)" if "mouse" in call else ""
        remedies.append(f"run `{call}`{orthologs}")
    if not remedies:
        remedies.append("set `adata.var_names` to gene symbols (HGNC), for instance by `sg.pp.resolve_genes(adata)`")
    remedies.append('or use `weights="fit"`, which trains an encoder on this AnnData\'s own genes')
    return "; ".join(remedies)


@dataclass(frozen=True, eq=False)
class GeneAlignment:
    """Where each gene of a vocabulary is found among a dataset's genes.

    Attributes
    ----------
    columns
        ``int64[T]``, the dataset's column of every matched gene, in vocabulary order.
    positions
        ``int64[T]``, the vocabulary's position of every matched gene, ascending.
    found
        The T matched names as they stand in the dataset.
    missing
        The dataset's genes that the vocabulary does not know.
    renamed
        Dataset name → vocabulary name, where the two differ (through ``aliases``).
    ambiguous
        Dataset genes left out because another gene of the dataset already has their vocabulary name.
    """

    columns: np.ndarray
    positions: np.ndarray
    found: tuple[str, ...]
    missing: tuple[str, ...]
    renamed: Mapping[str, str] = field(default_factory=dict)
    ambiguous: tuple[str, ...] = ()

    @property
    def n_genes(self) -> int:
        """Number of genes in the dataset."""
        return len(self.found) + len(self.missing) + len(self.ambiguous)

    @property
    def overlap(self) -> float:
        """Share of the dataset's genes that the vocabulary knows."""
        return len(self.found) / self.n_genes if self.n_genes else 0.0

    def report(self) -> str:
        """One line that says what matched and what did not."""
        parts = [f"{len(self.found)} of {self.n_genes} genes ({self.overlap:.0%}) are in the vocabulary"]
        if self.renamed:
            parts.append(f"{len(self.renamed)} by an alias")
        if self.ambiguous:
            parts.append(f"{len(self.ambiguous)} left out as ambiguous ({', '.join(self.ambiguous[:3])}, …)")
        if self.missing:
            shown = ", ".join(self.missing[:3]) + (", …" if len(self.missing) > 3 else "")
            parts.append(f"not known: {shown}")
        return "; ".join(parts)

    def __repr__(self) -> str:
        return f"GeneAlignment({self.report()})"


@dataclass(frozen=True)
class GeneVocabulary:
    """The genes an encoder knows, in the order of its gene vectors.

    Attributes
    ----------
    symbols
        Gene names, unique.
    """

    symbols: tuple[str, ...]

    def __init__(self, symbols: Iterable[str]) -> None:
        symbols = tuple(str(symbol) for symbol in symbols)
        check_unique_genes(symbols)
        object.__setattr__(self, "symbols", symbols)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the names joined by newlines. Two vocabularies are the same if and only if it is."""
        return hashlib.sha256("\n".join(self.symbols).encode()).hexdigest()

    @cached_property
    def index(self) -> dict[str, int]:
        """Name → position."""
        return {symbol: position for position, symbol in enumerate(self.symbols)}

    def __len__(self) -> int:
        return len(self.symbols)

    def __contains__(self, name: object) -> bool:
        return name in self.index

    def __repr__(self) -> str:
        return f"GeneVocabulary({len(self):,} genes, sha256 {self.sha256[:8]}…)"

    def align(
        self,
        names: Iterable[str],
        *,
        min_overlap: float = 0.0,
        aliases: Mapping[str, str] | None = None,
        var: pd.DataFrame | None = None,
    ) -> GeneAlignment:
        """Find the vocabulary's genes among ``names``.

        Parameters
        ----------
        names
            The dataset's genes, unique.
        min_overlap
            Least share of ``names`` that has to be found.
        aliases
            Dataset name → vocabulary name, tried for names that do not match as they stand.
        var
            The dataset's ``adata.var``; where the overlap is too small, the error names a column that matches better.

        Raises
        ------
        DuplicateGenesError
            If ``names`` are not unique.
        GeneOverlapError
            If less than ``min_overlap`` of them are found, or none.
        """
        if not 0 <= min_overlap <= 1:
            msg = f"min_overlap is a share between 0 and 1, not {min_overlap!r}."
            raise ArgumentError(msg)
        names = [str(name) for name in names]
        check_unique_genes(names)
        column_of: dict[int, int] = {}
        missing, ambiguous, renamed = [], [], {}
        unmatched = []
        for column, name in enumerate(names):
            position = self.index.get(name)
            if position is None:
                unmatched.append((column, name))
            else:
                column_of[position] = column
        for column, name in unmatched:
            alias = aliases.get(name) if aliases else None
            position = self.index.get(alias) if alias is not None else None
            if position is None:
                missing.append(name)
            elif position in column_of:
                ambiguous.append(name)
            else:
                column_of[position] = column
                renamed[name] = str(alias)
        positions = np.array(sorted(column_of), dtype=np.int64)
        columns = np.array([column_of[position] for position in positions], dtype=np.int64)
        alignment = GeneAlignment(
            columns=columns,
            positions=positions,
            found=tuple(names[column] for column in columns),
            missing=tuple(missing),
            renamed=renamed,
            ambiguous=tuple(ambiguous),
        )
        if not len(columns) or alignment.overlap < min_overlap:
            msg = (
                f"Only {alignment.report()}; at least {min_overlap:.0%} is asked for (`min_overlap`). "
                f"The names look like {identifier_kind(names)}. To mend it: "
                f"{_remedy(names, frozenset(self.index), var)}."
            )
            raise GeneOverlapError(msg)
        return alignment
