"""From names to names: what each of a dataset's names becomes, and how those that want the same name settle it."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ._name_index import RULES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ._name_index import NameIndex, Targets

__all__ = ["STATUSES", "Resolution", "Resolver", "settle"]

STATUSES = ("unchanged", "renamed", "duplicate", "ambiguous", "no_ortholog", "unknown")

_SUFFIX = re.compile(r"^(.+)[-.]\d+$")


@dataclass(frozen=True)
class Resolution:
    """What becomes of one name.

    Attributes
    ----------
    name
        As it was given.
    resolved
        As it is to be.
    status
        ``"unchanged"``: it is the name to have. ``"renamed"``: it becomes ``resolved``. ``"duplicate"``: its gene's
        name is that of another column, ``of``. ``"ambiguous"``: it may mean any of ``candidates``. ``"no_ortholog"``:
        its gene has no one-to-one ortholog. ``"unknown"``: no rule knows it.
    rule
        By what it was understood, one of ``RULES``; empty for an unknown name.
    gene
        Id of its gene; empty where that is not known.
    candidates
        Ids of the genes that an ambiguous name may mean.
    of
        The name that a duplicate would have had.
    holder
        Which of the given names has the duplicate's gene; empty where the name, but not the gene, is taken.
    """

    name: str
    resolved: str
    status: str
    rule: str = ""
    gene: str = ""
    candidates: tuple[str, ...] = ()
    of: str = ""
    holder: str = ""

    @property
    def claim(self) -> tuple[bool, int, str]:
        """Among names that want the same one, the least has it: one that has it already, then the surest rule."""
        return self.resolved != self.name, RULES.index(self.rule), self.name


@dataclass(frozen=True)
class Resolver:
    """How a name of one organism becomes a name to have.

    Attributes
    ----------
    source
        The organism's names.
    targets
        The names to have.
    orthologs
        Gene → gene of the organism of ``targets``; ``None`` where that is the same organism.
    fold_case
        Whether names match in another case.
    recorded
        Name → ``(gene, status)`` of an earlier run between two organisms, whose names are the other organism's now.
    """

    source: NameIndex
    targets: Targets
    orthologs: Mapping[str, str] | None = None
    fold_case: bool = True
    recorded: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def resolve(self, name: str) -> Resolution:
        """What becomes of ``name``, looked at alone."""
        if name in self.recorded:
            return self._again(name)
        hit = self.source.find(name, fold_case=self.fold_case)
        if self.orthologs is None and name in self.targets:
            gene = hit.genes[0] if hit is not None and len(hit.genes) == 1 else ""
            return Resolution(name, name, "unchanged", "vocabulary", gene)
        if hit is None:
            return Resolution(name, name, "unknown")
        if len(hit.genes) > 1:
            return Resolution(name, name, "ambiguous", hit.rule, candidates=hit.genes)
        return self.of_gene(name, hit.genes[0], hit.rule)

    def of_gene(self, name: str, gene: str, rule: str) -> Resolution:
        """What becomes of ``name``, which means ``gene`` of the source organism."""
        if self.orthologs is None:
            return self._named(name, gene, rule)
        if gene not in self.orthologs:
            return Resolution(name, self.source.symbol_of[gene], "no_ortholog", rule, gene)
        return self._named(name, self.orthologs[gene], rule)

    def _named(self, name: str, gene: str, rule: str) -> Resolution:
        resolved = self.targets.name_of(gene)
        return Resolution(name, resolved, "unchanged" if resolved == name else "renamed", rule, gene)

    def _again(self, name: str) -> Resolution:
        gene, status = self.recorded[name]
        if status in {"unchanged", "renamed"} and gene in self.targets.index.symbol_of:
            return self._named(name, gene, "recorded")
        return Resolution(name, name, status, "recorded", gene)


def settle(names: Iterable[str], resolver: Resolver) -> dict[str, Resolution]:
    """What becomes of each of a dataset's names, no two of which may become the same.

    The columns of a dataset are different genes. So an ambiguous name means the one of its candidates that no other
    column is, if there is exactly one; and of names that mean the same gene one has its name, the others are
    duplicates.
    The order of the names does not matter.
    """
    found = {name: resolver.resolve(name) for name in names}
    _eliminate(found, resolver)
    _find_suffixes(found)
    _find_duplicates(found)
    _keep_unique(found)
    return found


def _eliminate(found: dict[str, Resolution], resolver: Resolver) -> None:
    back = {ortholog: gene for gene, ortholog in (resolver.orthologs or {}).items()}
    taken = {back.get(each.gene, each.gene) for each in found.values() if each.gene}
    while True:
        left = {name: set(each.candidates) - taken for name, each in found.items() if each.status == "ambiguous"}
        last = {name: next(iter(genes)) for name, genes in left.items() if len(genes) == 1}
        wanted = Counter(last.values())
        clear = {name: gene for name, gene in last.items() if wanted[gene] == 1}
        if not clear:
            return
        for name, gene in clear.items():
            found[name] = resolver.of_gene(name, gene, "elimination")
        taken |= set(clear.values())


def _find_suffixes(found: dict[str, Resolution]) -> None:
    """``TP53-1`` and ``TP53.1`` beside ``TP53`` are what ``make_unique`` made of a second ``TP53``."""
    holders = {each.resolved: each for each in found.values() if each.gene} | {
        name: each for name, each in found.items() if each.gene
    }
    for name, each in found.items():
        if each.status == "unknown" and (match := _SUFFIX.match(name)) and (holder := holders.get(match.group(1))):
            found[name] = Resolution(
                name, name, "duplicate", "suffix", holder.gene, of=holder.resolved, holder=holder.name
            )


def _find_duplicates(found: dict[str, Resolution]) -> None:
    claims: dict[str, list[Resolution]] = {}
    for each in found.values():
        if each.status in {"unchanged", "renamed", "no_ortholog"} and each.rule:
            claims.setdefault(each.resolved, []).append(each)
    for resolved, rivals in claims.items():
        holder, *losers = sorted(rivals, key=lambda each: each.claim)
        for loser in losers:
            found[loser.name] = replace(loser, resolved=loser.name, status="duplicate", of=resolved, holder=holder.name)


def _keep_unique(found: dict[str, Resolution]) -> None:
    """Names that would fall on one that stays, such as that of a duplicate, stay as well."""
    while True:
        counts = Counter(each.resolved for each in found.values())
        fallen = [each for each in found.values() if counts[each.resolved] > 1 and each.resolved != each.name]
        if not fallen:
            return
        for each in fallen:
            found[each.name] = replace(each, resolved=each.name, status="duplicate", of=each.resolved)
