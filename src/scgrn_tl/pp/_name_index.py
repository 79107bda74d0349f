"""Which gene a name means: the table of names, looked up under fixed rules."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from scgrn_tl.core import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd

__all__ = ["RULES", "Hit", "NameIndex", "Targets", "ortholog_map"]

KINDS = ("symbol", "ensembl", "previous", "alias")
RULES = (
    "vocabulary",
    "symbol",
    "ensembl",
    "previous",
    "symbol_case",
    "alias",
    "previous_case",
    "alias_case",
    "dots",
    "excel",
    "elimination",
    "recorded",
    "suffix",
)
"""By what a name was understood, the surest first."""

_ENSEMBL_ID = re.compile(r"^(ENS[A-Z]*G\d{6,})(\.\d+)?(_PAR_Y)?$")
_DATE = re.compile(r"^(?:0?(?P<day>\d{1,2})-(?P<month>Mar|Sep|Dec)|(?P<month_>Mar|Sep|Dec)-0?(?P<day_>\d{1,2}))$", re.I)
_ISO_DATE = re.compile(r"^\d{4}-(?P<month>03|09|12)-(?P<day>\d\d)(?: 00:00:00)?$")
_STEMS = {
    "mar": ("March", "Marc"),
    "sep": ("Sept",),
    "dec": ("Dec",),
    "03": ("March", "Marc"),
    "09": ("Sept",),
    "12": ("Dec",),
}


class Hit(NamedTuple):
    """The genes that a name may mean, and the rule by which it was found."""

    genes: tuple[str, ...]
    rule: str


class NameIndex:
    """The names of an organism's genes, looked up under :data:`RULES`.

    Of the rules from ``"symbol"`` to ``"excel"``, the first that knows a name decides. An approved symbol in another
    case comes before an alias: upper-case mouse symbols are often the alias of another gene as well.

    Parameters
    ----------
    table
        ``name``, ``kind``, ``gene``, ``symbol``, as :func:`scgrn_tl.datasets.gene_names` gives it.

    Raises
    ------
    ArgumentError
        If a column is missing, or there is a kind besides ``symbol``, ``ensembl``, ``previous`` and ``alias``.
    """

    def __init__(self, table: pd.DataFrame) -> None:
        _check_table(table)
        self.symbol_of: dict[str, str] = dict(zip(table["gene"], table["symbol"], strict=True))
        self._exact: dict[str, Hit] = {}
        self._folded: dict[str, Hit] = {}
        for kind in KINDS:
            rows = table[table["kind"] == kind]
            _add(self._exact, rows["name"], rows["gene"], kind)
            if kind != "ensembl":
                _add(self._folded, rows["name"].str.casefold(), rows["gene"], f"{kind}_case")

    def find(self, name: str, *, fold_case: bool = True) -> Hit | None:
        """The genes that ``name`` may mean; ``None`` for a name that no rule knows.

        An Ensembl id counts without its version; without ``fold_case`` the rules ``…_case`` are left out. Of names that
        are unknown so far, R may have put a dot for a dash (rule ``"dots"``), and a date may be any of the symbols that
        a spreadsheet turns into it (rule ``"excel"``).
        """
        name = name.strip()
        if ensembl := _ENSEMBL_ID.match(name):
            name = ensembl.group(1)
        hits = [self._exact.get(name), self._folded.get(name.casefold()) if fold_case else None]
        if known := [hit for hit in hits if hit is not None]:
            return min(known, key=lambda hit: RULES.index(hit.rule))
        if "." in name and (hit := self._exact.get(name.replace(".", "-"))) is not None:
            return Hit(hit.genes, "dots")
        dated = [hit for symbol in _symbols_of_date(name) if (hit := self._folded.get(symbol.casefold()))]
        genes = tuple(dict.fromkeys(gene for hit in dated for gene in hit.genes))
        return Hit(genes, "excel") if genes else None

    def gene(self, identifier: str, symbol: str) -> str | None:
        """The one gene with this id (its own, or Ensembl's) or, if there is none, this symbol."""
        if identifier in self.symbol_of:
            return identifier
        for name, kind in ((identifier, "ensembl"), (symbol, "symbol")):
            hit = self._exact.get(name)
            if hit is not None and hit.rule == kind and len(hit.genes) == 1:
                return hit.genes[0]
        return None


def _check_table(table: pd.DataFrame) -> None:
    missing = [column for column in ("name", "kind", "gene", "symbol") if column not in getattr(table, "columns", ())]
    if missing:
        msg = f"A table of gene names has the columns name, kind, gene and symbol; {', '.join(missing)} not found."
        raise ArgumentError(msg)
    if unknown := sorted(set(table["kind"]) - set(KINDS)):
        msg = f"kind is one of {', '.join(KINDS)} in a table of gene names, not {unknown[0]!r}."
        raise ArgumentError(msg)


def _add(hits: dict[str, Hit], names: Iterable[str], genes: Iterable[str], kind: str) -> None:
    """Enter ``names`` of a kind, but for those that are known as another kind already."""
    for name, gene in zip(names, genes, strict=True):
        known = hits.get(name)
        if known is None:
            hits[name] = Hit((gene,), kind)
        elif known.rule == kind and gene not in known.genes:
            hits[name] = Hit((*known.genes, gene), kind)


def _symbols_of_date(name: str) -> list[str]:
    """Symbols that a spreadsheet shows as the date ``name``: ``1-Mar`` was MARCH1, or MARC1."""
    match = _DATE.match(name) or _ISO_DATE.match(name)
    if match is None:
        return []
    parts = {key.rstrip("_"): value for key, value in match.groupdict().items() if value}
    return [f"{stem}{int(parts['day'])}" for stem in _STEMS[parts["month"].lower()]]


class Targets:
    """The names that genes are to have: those of a vocabulary, and the approved symbol of a gene outside of it.

    Each name of the vocabulary is looked up like one of the data; where it means one gene, it is that gene's name. Of
    two names of one gene, the one found by the surer rule is taken, and among equals the first.

    Parameters
    ----------
    index
        Names of the genes.
    vocabulary
        Names to prefer; ``None`` for approved symbols.
    """

    def __init__(self, index: NameIndex, vocabulary: Iterable[str] | None = None) -> None:
        self.index = index
        self.vocabulary = None if vocabulary is None else frozenset(vocabulary)
        best: dict[str, tuple[int, str]] = {}
        for name in () if vocabulary is None else dict.fromkeys(vocabulary):
            hit = index.find(name)
            if hit is not None and len(hit.genes) == 1:
                entry = (RULES.index(hit.rule), name)
                gene = hit.genes[0]
                if gene not in best or entry[0] < best[gene][0]:
                    best[gene] = entry
        self._name_of = {gene: name for gene, (_, name) in best.items()}

    def name_of(self, gene: str) -> str:
        """The name that ``gene`` is to have."""
        return self._name_of.get(gene, self.index.symbol_of[gene])

    def __contains__(self, name: object) -> bool:
        return self.vocabulary is not None and name in self.vocabulary


def ortholog_map(table: pd.DataFrame, organism: str, to: str, indices: Mapping[str, NameIndex]) -> dict[str, str]:
    """Gene of ``organism`` → its one-to-one ortholog in ``to``.

    Of several sources, a later one speaks only of genes that those before it have not paired.

    Raises
    ------
    ArgumentError
        If the table does not have a column of ids for both, and ``kind``.
    """
    missing = [column for column in (organism, to, "kind") if column not in getattr(table, "columns", ())]
    if missing:
        msg = f"A table of orthologs has the columns {organism}, {to} and kind; {', '.join(missing)} not found."
        raise ArgumentError(msg)
    table = table[table["kind"] == "one2one"]
    pairs: dict[str, str] = {}
    for _, rows in table.groupby("source", sort=False) if "source" in table else [("", table)]:
        paired = set(pairs.values())
        found = zip(*(_genes(rows, name, indices[name]) for name in (organism, to)), strict=True)
        new = [(gene, other) for gene, other in found if gene and other and gene not in pairs and other not in paired]
        pairs |= _one_to_one(new)
    return pairs


def _genes(rows: pd.DataFrame, organism: str, index: NameIndex) -> list[str | None]:
    symbols = rows[f"{organism}_symbol"] if f"{organism}_symbol" in rows else rows[organism]
    return [index.gene(*ids) for ids in zip(rows[organism], symbols, strict=True)]


def _one_to_one(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Those of ``pairs`` whose both ends are in no other."""
    pairs = list(dict.fromkeys(pairs))
    first, second = (Counter(ends) for ends in zip(*pairs, strict=True)) if pairs else (Counter(), Counter())
    return {gene: other for gene, other in pairs if first[gene] == 1 and second[other] == 1}
