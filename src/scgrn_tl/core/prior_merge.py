"""Several priors as one: how each is called, and which edge stands in which of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .errors import PriorError
from .prior_columns import has_edge_columns
from .prior_files import name_of_file
from .prior_forms import are_regulons, is_regulon_dict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from .network import PriorNetwork

__all__ = ["SEPARATOR", "MergedEdges", "PriorSources", "merge_edges", "named_priors"]

SEPARATOR = ";"
"""Between the names of the sources of an edge."""


@dataclass(frozen=True, eq=False)
class PriorSources:
    """Where the edges of a prior come from that was put together from several.

    Attributes
    ----------
    names
        The S sources, in the order they were given in.
    holds
        ``bool[E, S]``: which edge stands in which source.
    report
        A row per source: its name (``source``), what was given and dropped as in a network's ``report``, the
        ``edges`` it has among the genes, how many of them are ``shared`` with another source, and its ``sha256``.
    """

    names: tuple[str, ...]
    holds: np.ndarray
    report: pd.DataFrame

    def labels(self) -> np.ndarray:
        """``object[E]``, the names of each edge's sources, such as ``"chip;collectri"``."""
        codes = self.holds @ (1 << np.arange(len(self.names), dtype=object))  # whole numbers without bound
        words = {
            code: SEPARATOR.join(name for at, name in enumerate(self.names) if code >> at & 1)
            for code in set(codes.tolist())
        }
        return np.array([words[code] for code in codes.tolist()], dtype=object)

    def at(self, edges: np.ndarray) -> PriorSources:
        """The same for other edges: ``int64`` indices of these, −1 for an edge that stands in no source."""
        holds = np.zeros((len(edges), len(self.names)), dtype=bool)
        holds[edges >= 0] = self.holds[edges[edges >= 0]]
        return PriorSources(self.names, holds, self.report)


@dataclass(frozen=True, eq=False)
class MergedEdges:
    """The union of the edges of several networks over the same genes."""

    edge_index: np.ndarray
    sign: np.ndarray
    weight: np.ndarray
    report: dict[str, int]
    sources: PriorSources


def named_priors(prior: Any, adata: AnnData | None) -> dict[str, Any] | None:
    """Several priors by name; ``None`` for a single one.

    Raises
    ------
    PriorError
        If there is none among them, or a name cannot be used.
    """
    if isinstance(prior, Mapping):
        if prior and (has_edge_columns(prior) or is_regulon_dict(prior)):
            return None
        named = {str(name): member for name, member in prior.items()}
        if len(named) < len(prior):
            msg = (
                f"Two priors have the same name as text, of {list(prior)}: no one could tell their edges apart. "
                "Rename one."
            )
            raise PriorError(msg)
    elif isinstance(prior, (list, tuple)) and not are_regulons(prior):
        named = dict(zip(_names_in_list(prior, adata), prior, strict=True))
    else:
        return None
    if not named:
        msg = f"The prior is an empty {type(prior).__name__}: give at least one network."
        raise PriorError(msg)
    if unusable := [name for name in named if not name or SEPARATOR in name]:
        msg = f"A prior cannot be called {unusable[0]!r}: {SEPARATOR!r} stands between the names of several. Rename it."
        raise PriorError(msg)
    return named


def _names_in_list(priors: Sequence[Any], adata: AnnData | None) -> list[str]:
    """A name for each, no two the same: its own, or its place; of a name that is taken, with its place."""
    own = [_name_of(prior, adata) for prior in priors]
    names: list[str] = []
    for number, name in enumerate(own, start=1):
        chosen = name or f"prior_{number}"
        while chosen in names or (chosen != name and chosen in own):
            chosen += f"_{number}"
        names.append(chosen)
    return names


def _name_of(prior: Any, adata: AnnData | None) -> str:
    """What a prior is called: a key of ``varp``, a file, a table or graph with a name; empty where nothing tells."""
    if isinstance(prior, str) and adata is not None and prior in adata.varp:
        name = prior
    elif isinstance(prior, (str, Path)):
        name = name_of_file(Path(prior))
    elif isinstance(prior, pd.DataFrame):
        name = prior.attrs.get("name", "")
    else:
        name = getattr(prior, "name", "")  # of graphs
    return name.replace(SEPARATOR, "_") if isinstance(name, str) else ""


def merge_edges(networks: Mapping[str, PriorNetwork]) -> MergedEdges:
    """The edges that stand in any of these networks, with the largest weight that one of them gives.

    A sign that is known in one network and not in another is kept; where two contradict each other it is dropped (0).
    """
    members = list(networks.values())
    n_genes = len(members[0].genes)
    codes = [member.edge_index[0] * n_genes + member.edge_index[1] for member in members]
    union, inverse = np.unique(np.concatenate(codes), return_inverse=True)
    weight = np.zeros(len(union), dtype=np.float32)
    np.maximum.at(weight, inverse, np.concatenate([member.weight for member in members]))
    signs = np.concatenate([member.sign for member in members])
    positive, negative = (np.zeros(len(union), dtype=bool) for _ in range(2))
    positive[inverse[signs > 0]] = True
    negative[inverse[signs < 0]] = True
    holds = np.zeros((len(union), len(members)), dtype=bool)
    holds[inverse, np.repeat(np.arange(len(members)), [len(code) for code in codes])] = True
    shared = holds.sum(axis=1) > 1
    conflicting = positive & negative
    rows: list[dict[str, Any]] = [
        {
            "source": name,
            **member.report,
            "edges": member.n_edges,
            "shared": int((shared & holds[:, at]).sum()),
            "sha256": member.sha256(),
        }
        for at, (name, member) in enumerate(networks.items())
    ]
    report: dict[str, int] = {}
    for member in members:
        for name, count in member.report.items():
            report[name] = report.get(name, 0) + int(count)
    report["shared_edges"] = int(shared.sum())
    report["conflicting_between_sources"] = int(conflicting.sum())
    return MergedEdges(
        edge_index=np.stack([union // n_genes, union % n_genes]),
        sign=positive.astype(np.int8) - negative.astype(np.int8),
        weight=weight,
        report=report,
        sources=PriorSources(tuple(networks), holds, _table(rows)),
    )


def _table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The rows as a table; a count that a source does not have is 0."""
    table = pd.DataFrame(rows)
    counts = [name for name in table.columns if name not in {"source", "sha256"}]
    return table.assign(**{name: table[name].fillna(0).astype(np.int64) for name in counts})
