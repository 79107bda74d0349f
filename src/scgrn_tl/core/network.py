"""The prior network: known TF→target edges among a dataset's genes."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .errors import PriorError
from .genes import case_remedy, check_unique_genes, mismatch_hint, same_but_case
from .prior_columns import as_text, edge_columns, weights_and_signs
from .prior_files import read_prior_file
from .prior_forms import edge_table
from .prior_merge import PriorSources, merge_edges, named_priors
from .user_warning import warn_user

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData

__all__ = ["MIN_EDGES", "MIN_REGULATORS", "PriorNetwork", "edge_columns"]

LOGGER = logging.getLogger(__name__)

MIN_EDGES = 10
MIN_REGULATORS = 2


@dataclass(frozen=True, eq=False)
class PriorNetwork:
    """A directed gene regulatory network over a fixed list of genes.

    Attributes
    ----------
    genes
        The G gene names that ``edge_index`` counts over.
    edge_index
        ``int64[2, E]``: gene index of each edge's regulator (row 0) and target (row 1); unique, without self loops.
    sign
        ``int8[E]``: 1 activates, −1 represses, 0 not known.
    weight
        ``float32[E]``, positive; 1 where the source gave none.
    report
        What alignment with the genes dropped: name → count.
    sources
        Where several priors were put together, which edge stands in which of them; else ``None``.
    """

    genes: tuple[str, ...]
    edge_index: np.ndarray
    sign: np.ndarray
    weight: np.ndarray
    report: Mapping[str, int] = field(default_factory=dict)
    sources: PriorSources | None = None

    def __post_init__(self) -> None:
        edge_index = np.ascontiguousarray(self.edge_index, dtype=np.int64).reshape(2, -1)
        sign = np.ascontiguousarray(self.sign, dtype=np.int8)
        weight = np.ascontiguousarray(self.weight, dtype=np.float32)
        n_edges = edge_index.shape[1]
        if sign.shape != (n_edges,) or weight.shape != (n_edges,):
            msg = f"{n_edges} edges, but {sign.shape} signs and {weight.shape} weights."
            raise PriorError(msg)
        if n_edges and (edge_index.min() < 0 or edge_index.max() >= len(self.genes)):
            msg = f"edge_index points outside the {len(self.genes)} genes."
            raise PriorError(msg)
        for name, value in (("edge_index", edge_index), ("sign", sign), ("weight", weight)):
            object.__setattr__(self, name, value)

    # ---------------------------------------------------------------- what it holds

    @property
    def regulators(self) -> np.ndarray:
        """``int64[R]``, sorted gene indices of the genes with at least one target."""
        return np.unique(self.edge_index[0])

    @property
    def n_edges(self) -> int:
        """Number of edges E."""
        return self.edge_index.shape[1]

    @property
    def pairs(self) -> np.ndarray:
        """``int64[E, 2]``, the edges as (regulator, target) rows."""
        return self.edge_index.T

    def sha256(self) -> str:
        """Hash of the edges by gene name and of their signs, whatever their order and sources."""
        lines = sorted(
            f"{self.genes[s]}\t{self.genes[t]}\t{sign}"
            for s, t, sign in zip(*self.edge_index.tolist(), self.sign.tolist(), strict=True)
        )
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def to_frame(self) -> pd.DataFrame:
        """The edges as a DataFrame ``source, target, weight, sign``, and ``sources`` where several were given."""
        names = np.asarray(self.genes, dtype=object)
        frame = pd.DataFrame(
            {
                "source": names[self.edge_index[0]],
                "target": names[self.edge_index[1]],
                "weight": self.weight,
                "sign": self.sign,
            }
        )
        return frame if self.sources is None else frame.assign(sources=self.sources.labels())

    def restrict_to(self, pairs: np.ndarray) -> PriorNetwork:
        """Only those edges that stand in ``pairs`` (``int64[P, 2]``); a pair that is no edge is added with sign 0."""
        pairs = np.unique(np.asarray(pairs, dtype=np.int64).reshape(-1, 2), axis=0)
        at = self._find(pairs)
        known = at >= 0
        sign = np.zeros(len(pairs), dtype=np.int8)
        weight = np.ones(len(pairs), dtype=np.float32)
        sign[known], weight[known] = self.sign[at[known]], self.weight[at[known]]
        sources = None if self.sources is None else self.sources.at(at)
        return PriorNetwork(self.genes, pairs.T, sign, weight, self.report, sources)

    def _find(self, pairs: np.ndarray) -> np.ndarray:
        """``int64[P]``: which edge each of ``pairs`` (``int64[P, 2]``) is; −1 for a pair that is none."""
        n_genes = len(self.genes)
        own = pd.Index(self.edge_index[0] * n_genes + self.edge_index[1])
        return own.get_indexer(pairs[:, 0] * n_genes + pairs[:, 1])

    def among(self, pairs: np.ndarray) -> np.ndarray:
        """``bool[E]``: which edges stand in ``pairs`` (``int64[P, 2]``)."""
        n_genes = len(self.genes)
        own, wanted = self.edge_index[0] * n_genes + self.edge_index[1], pairs[:, 0] * n_genes + pairs[:, 1]
        return np.isin(own, wanted)

    def describe(self) -> str:
        """One line: edges kept, and what was dropped and why."""
        dropped = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in self.report.items() if count)
        kept = f"{self.n_edges:,} edges of {len(self.regulators):,} regulators over {len(self.genes):,} genes"
        if self.sources is not None:
            counts = zip(self.sources.names, self.sources.holds.sum(axis=0), strict=True)
            kept += f" out of {', '.join(f'{name} ({count:,})' for name, count in counts)}"
        return f"{kept} (of what was given: {dropped})" if dropped else kept

    def __repr__(self) -> str:
        return f"PriorNetwork({self.describe()})"

    # ---------------------------------------------------------------- where it comes from

    @classmethod
    def from_any(
        cls,
        prior: Any,
        genes: Sequence[str],
        *,
        adata: AnnData | None = None,
        min_edges: int = MIN_EDGES,
        min_regulators: int = MIN_REGULATORS,
    ) -> PriorNetwork:
        """Read a prior network from any of its usual forms, aligned with ``genes``.

        Parameters
        ----------
        prior
            - A DataFrame with a source and a target column (``source,target``, ``TF,target``, ``Gene1,Gene2``,
              ``regulator,gene`` or ``regulatoryGene,targetGene``, in any case) and optionally a weight (``weight``,
              ``importance``, ``score``, ``EdgeWeight``) and a sign (``sign``, ``mor``, ``mode``, ``effect``, ``Type``);
              CellOracle's base GRN; the table of ``pyscenic ctx``; a table of numbers with regulators for rows and
              genes for columns, or of ranks as cisTarget has them (see :func:`scgrn_tl.io.read_rankings`).
            - A :class:`networkx.DiGraph`; a dict of regulators and their targets, or of targets and their weights;
              pySCENIC's regulons. A name such as ``"GATA1(-)"`` has a sign.
            - A G×G array or sparse matrix whose row regulates its column, or the key of one in ``adata.varp``.
            - A file with any of these: csv, tsv, gmt, sif, json, graphml, parquet or feather, compressed or not, told
              by its content.
            - Several of all these, in a list or in a dict of names: see below.
            - A :class:`PriorNetwork`.
        genes
            The dataset's genes, unique.
        adata
            Where a ``varp`` key is looked up.
        min_edges, min_regulators
            How much has to be left; fewer will do where the network is only looked at, not learned from.

        Returns
        -------
        The network, without duplicates, self loops and edges of unknown genes, all of them counted in ``report`` and
        logged. Of an edge given with both signs the sign is dropped (0), the edge stays. A ``weight`` column is read as
        a sign too if some weight is negative (as in decoupler's networks).

        Of several priors, all edges that stand in any of them, with the largest weight that one gives; a sign on which
        two disagree is dropped and counted. ``sources`` and the column ``sources`` of :meth:`to_frame` tell which
        edge stands in which. In a list they are called by their ``varp`` key, file, ``DataFrame.attrs["name"]`` or
        place (``"prior_1"``).

        Raises
        ------
        PriorError
            If it cannot be read, or fewer than ``min_edges`` edges or ``min_regulators`` regulators are left.

        Warns
        -----
        UserWarning
            If names are not among the genes but for their case, or one of several priors has no edge among the genes.
        """
        genes = tuple(str(gene) for gene in genes)
        check_unique_genes(genes)
        several = named_priors(prior, adata)
        if several is None:
            network = cls._from_one(prior, genes, adata)
        elif len(several) == 1:
            network = cls._from_one(next(iter(several.values())), genes, adata)
        else:
            network = cls._from_several(several, genes, adata)
        network._check_enough(min_edges=min_edges, min_regulators=min_regulators)
        LOGGER.info("Prior network: %s.", network.describe())
        return network

    @classmethod
    def _from_one(
        cls, prior: Any, genes: tuple[str, ...], adata: AnnData | None, *, name: str | None = None
    ) -> PriorNetwork:
        """One prior; with a ``name``, one of several: it may have no edge among the genes, and is then warned of."""
        if isinstance(prior, cls):
            return prior if prior.genes == genes else prior._over(genes, name)
        if isinstance(prior, str) and adata is not None and prior in adata.varp:
            prior = adata.varp[prior]
        elif isinstance(prior, (str, Path)):
            prior = read_prior_file(_existing(Path(prior).expanduser(), adata), genes)
        return cls._from_frame(edge_table(prior, genes), genes, name=name)

    @classmethod
    def _from_several(cls, priors: Mapping[str, Any], genes: tuple[str, ...], adata: AnnData | None) -> PriorNetwork:
        merged = merge_edges({name: cls._from_one(prior, genes, adata, name=name) for name, prior in priors.items()})
        return cls(genes, merged.edge_index, merged.sign, merged.weight, merged.report, merged.sources)

    def _over(self, genes: tuple[str, ...], name: str | None) -> PriorNetwork:
        """The same edges over other genes."""
        network = self._from_frame(self.to_frame(), genes, name=name)
        if self.sources is None:
            return network
        at_own = pd.Index(self.genes).get_indexer(genes)
        return replace(network, sources=self.sources.at(self._find(at_own[network.pairs])))

    @classmethod
    def _from_frame(cls, frame: pd.DataFrame, genes: tuple[str, ...], *, name: str | None = None) -> PriorNetwork:
        source_column, target_column = edge_columns(frame)
        index = pd.Index(genes)
        named = frame[[source_column, target_column]].notna().all(axis=1).to_numpy()
        source = np.where(named, index.get_indexer(as_text(frame[source_column])), -1)
        target = np.where(named, index.get_indexer(as_text(frame[target_column])), -1)
        weight, sign = weights_and_signs(frame)
        known = (source >= 0) & (target >= 0)
        loops = known & (source == target)
        usable = known & ~loops
        report = {
            "edges_given": len(frame),
            "unnamed": int((~named).sum()),
            "unknown_regulator": int((named & (source < 0)).sum()),
            "unknown_target": int((named & (target < 0)).sum()),
            "self_loops": int(loops.sum()),
        }
        places = ((source_column, source), (target_column, target))
        unknown = np.concatenate([as_text(frame[column][named & (at < 0)]) for column, at in places])
        if usable.any() and (cased := same_but_case(pd.unique(unknown), genes)):
            one, other = next(iter(cased.items()))
            warn_user(
                f"{len(cased)} names of the prior are not among the genes but for their case, such as {one!r} "
                f"({other!r}); their edges are left out. {case_remedy(genes)}"
            )
        edges = pd.DataFrame(
            {"source": source[usable], "target": target[usable], "weight": weight[usable], "sign": sign[usable]}
        )
        edges["low"] = edges["high"] = edges["sign"]
        merged = edges.groupby(["source", "target"], sort=True, as_index=False).agg(
            weight=("weight", "max"), low=("low", "min"), high=("high", "max")
        )
        conflicting = (merged["low"] < 0) & (merged["high"] > 0)
        # A known sign beats an unknown one; two that contradict each other leave it unknown.
        merged["sign"] = np.where(conflicting, 0, np.where(merged["high"] > 0, 1, merged["low"]))
        report["duplicates"] = len(edges) - len(merged)
        report["conflicting_signs"] = int(conflicting.sum())
        network = cls(
            genes,
            merged[["source", "target"]].to_numpy(dtype=np.int64).T,
            merged["sign"].to_numpy(),
            merged["weight"].to_numpy(),
            report,
        )
        if not network.n_edges and len(frame):
            why = network._why_none(as_text(frame[source_column]).tolist())
            if name is None:
                network._check_enough(why)
            else:
                warn_user(f"No edge of the prior {name!r} is among the genes: {network.describe()}.{why}")
        return network

    def _check_enough(self, why: str = "", *, min_edges: int = MIN_EDGES, min_regulators: int = MIN_REGULATORS) -> None:
        if self.n_edges >= min_edges and len(self.regulators) >= min_regulators:
            return
        msg = (
            f"Of the prior {self.describe()} are left; at least {min_edges} edges and {min_regulators} regulators "
            f"among the data's genes are needed.{why} `sg.datasets.collectri()` has edges of human, mouse and rat."
        )
        raise PriorError(msg)

    def _why_none(self, given_sources: Sequence[str]) -> str:
        """How the names of the prior and of the data differ, as a sentence or two."""
        hint = mismatch_hint(given_sources, self.genes, what="prior's names")
        return f" The prior has regulators such as {given_sources[0]!r}, the data {self.genes[0]!r}. {hint}".rstrip()


def _existing(path: Path, adata: AnnData | None) -> Path:
    if not path.is_file():
        keys = "" if adata is None else f" Keys of adata.varp: {sorted(adata.varp)}."
        msg = f"{str(path)!r} is neither a file nor a key of adata.varp.{keys} Check the path."
        raise PriorError(msg)
    return path
