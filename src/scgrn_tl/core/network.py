"""The prior network: known TF→target edges among a dataset's genes."""

from __future__ import annotations

import hashlib
import logging
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from .errors import PriorError
from .genes import check_unique_genes, mismatch_hint, same_but_case
from .user_warning import warn_user

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData

__all__ = ["MIN_EDGES", "MIN_REGULATORS", "PriorNetwork", "edge_columns"]

LOGGER = logging.getLogger(__name__)

MIN_EDGES = 10
MIN_REGULATORS = 2

# In each pair the first match wins; compared in lower case.
_SOURCE_NAMES = ("source", "tf", "gene1", "regulator")
_TARGET_NAMES = ("target", "gene2", "gene")
_SIGN_NAMES = ("sign", "mor", "mode", "effect")
_WEIGHT_NAMES = ("weight", "score", "importance")
_SIGN_WORDS = {
    "activation": 1, "activates": 1, "activator": 1, "stimulation": 1, "positive": 1, "+": 1,
    "repression": -1, "represses": -1, "repressor": -1, "inhibition": -1, "negative": -1, "-": -1,
}  # fmt: skip


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
    """

    genes: tuple[str, ...]
    edge_index: np.ndarray
    sign: np.ndarray
    weight: np.ndarray
    report: Mapping[str, int] = field(default_factory=dict)

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
        """Hash of the edges by gene name, independent of their order."""
        lines = sorted(
            f"{self.genes[s]}\t{self.genes[t]}\t{sign}"
            for s, t, sign in zip(*self.edge_index.tolist(), self.sign.tolist(), strict=True)
        )
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def to_frame(self) -> pd.DataFrame:
        """The edges as a DataFrame ``source, target, weight, sign``."""
        names = np.asarray(self.genes, dtype=object)
        return pd.DataFrame(
            {
                "source": names[self.edge_index[0]],
                "target": names[self.edge_index[1]],
                "weight": self.weight,
                "sign": self.sign,
            }
        )

    def restrict_to(self, pairs: np.ndarray) -> PriorNetwork:
        """Only those edges that stand in ``pairs`` (``int64[P, 2]``); a pair that is no edge is added with sign 0."""
        n_genes = len(self.genes)
        pairs = np.unique(np.asarray(pairs, dtype=np.int64).reshape(-1, 2), axis=0)
        own = self.edge_index[0] * n_genes + self.edge_index[1]
        order = np.argsort(own)
        wanted = pairs[:, 0] * n_genes + pairs[:, 1]
        sign = np.zeros(len(wanted), dtype=np.int8)
        weight = np.ones(len(wanted), dtype=np.float32)
        if len(own):
            at = order[np.minimum(np.searchsorted(own, wanted, sorter=order), len(own) - 1)]
            known = own[at] == wanted
            sign[known], weight[known] = self.sign[at[known]], self.weight[at[known]]
        return PriorNetwork(self.genes, pairs.T, sign, weight, self.report)

    def among(self, pairs: np.ndarray) -> np.ndarray:
        """``bool[E]``: which edges stand in ``pairs`` (``int64[P, 2]``)."""
        n_genes = len(self.genes)
        own, wanted = self.edge_index[0] * n_genes + self.edge_index[1], pairs[:, 0] * n_genes + pairs[:, 1]
        return np.isin(own, wanted)

    def describe(self) -> str:
        """One line: edges kept, and what was dropped and why."""
        dropped = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in self.report.items() if count)
        kept = f"{self.n_edges:,} edges of {len(self.regulators):,} regulators over {len(self.genes):,} genes"
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
            A DataFrame with a source and a target column (``source,target``, ``TF,target``, ``Gene1,Gene2`` or
            ``regulator,gene``, in any case) and optionally ``weight`` and ``sign``/``mor``/``mode``; a
            :class:`networkx.DiGraph`; a path of a csv or tsv file; a G×G array or sparse matrix whose row regulates its
            column; the key of such a matrix in ``adata.varp``; or a :class:`PriorNetwork`.
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

        Raises
        ------
        PriorError
            If it cannot be read, or fewer than ``min_edges`` edges or ``min_regulators`` regulators are left.
        """
        genes = tuple(str(gene) for gene in genes)
        check_unique_genes(genes)
        if isinstance(prior, cls):
            network = prior if prior.genes == genes else cls._from_frame(prior.to_frame(), genes)
        elif isinstance(prior, pd.DataFrame):
            network = cls._from_frame(prior, genes)
        elif isinstance(prior, str) and adata is not None and prior in adata.varp:
            network = cls._from_matrix(adata.varp[prior], genes)
        elif isinstance(prior, (str, Path)):
            network = cls._from_frame(_read_table(Path(prior).expanduser(), adata), genes)
        elif isinstance(prior, np.ndarray) or sparse.issparse(prior):
            network = cls._from_matrix(prior, genes)
        elif hasattr(prior, "edges") and hasattr(prior, "is_directed"):
            network = cls._from_graph(prior, genes)
        else:
            msg = (
                f"A prior of type {type(prior).__name__} cannot be read. Give a DataFrame with the columns "
                "'source' and 'target', a networkx.DiGraph, a csv or tsv file, a genes × genes matrix or a varp key."
            )
            raise PriorError(msg)
        network._check_enough(min_edges=min_edges, min_regulators=min_regulators)
        LOGGER.info("Prior network: %s.", network.describe())
        return network

    @classmethod
    def _from_graph(cls, graph: Any, genes: tuple[str, ...]) -> PriorNetwork:
        if not graph.is_directed():
            msg = "The prior is an undirected graph; who regulates whom is not told. Give a networkx.DiGraph."
            raise PriorError(msg)
        rows = [{**attributes, "source": s, "target": t} for s, t, attributes in graph.edges(data=True)]
        return cls._from_frame(pd.DataFrame(rows, columns=None if rows else ["source", "target"]), genes)

    @classmethod
    def _from_matrix(cls, matrix: Any, genes: tuple[str, ...]) -> PriorNetwork:
        coo = sparse.coo_array(matrix)
        if coo.shape != (len(genes), len(genes)):
            msg = f"A prior matrix is genes × genes, here {len(genes)} × {len(genes)}; got {coo.shape}."
            raise PriorError(msg)
        names = np.asarray(genes, dtype=object)
        kept = coo.data != 0
        frame = pd.DataFrame(
            {"source": names[coo.row[kept]], "target": names[coo.col[kept]], "weight": coo.data[kept].astype(float)}
        )
        return cls._from_frame(frame, genes)

    @classmethod
    def _from_frame(cls, frame: pd.DataFrame, genes: tuple[str, ...]) -> PriorNetwork:
        if frame.columns.has_duplicates:
            repeated = sorted(map(str, frame.columns[frame.columns.duplicated()]))
            msg = f"The prior has columns of the same name: {repeated}."
            raise PriorError(msg)
        columns = _by_lower_name(frame)
        source_column, target_column = edge_columns(frame)
        index = pd.Index(genes)
        named = frame[[source_column, target_column]].notna().all(axis=1).to_numpy()
        source = np.where(named, index.get_indexer(_texts(frame[source_column])), -1)
        target = np.where(named, index.get_indexer(_texts(frame[target_column])), -1)
        weight, sign = _weights_and_signs(frame, columns)
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
        unknown = [frame[column][named & (at < 0)] for column, at in ((source_column, source), (target_column, target))]
        if usable.any() and (cased := same_but_case(pd.unique(_texts(pd.concat(unknown))), genes)):
            one, other = next(iter(cased.items()))
            warn_user(
                f"{len(cased)} names of the prior are not among the genes but for their case, such as {one!r} "
                f"({other!r}); their edges are left out."
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
            network._check_enough(_texts(frame[source_column]).tolist())
        return network

    def _check_enough(
        self, given_sources: Sequence[str] = (), *, min_edges: int = MIN_EDGES, min_regulators: int = MIN_REGULATORS
    ) -> None:
        n_regulators = len(self.regulators)
        if self.n_edges >= min_edges and n_regulators >= min_regulators:
            return
        kinds = ""
        if given_sources:
            hint = mismatch_hint(given_sources, self.genes, what="prior's names")
            kinds = (
                f" The prior has regulators such as {given_sources[0]!r}, the data {self.genes[0]!r}. {hint}".rstrip()
            )
        msg = (
            f"Of the prior {self.describe()} are left; at least {min_edges} edges and {min_regulators} regulators "
            f"among the data's genes are needed.{kinds} `sg.datasets.collectri()` has edges of human, mouse and rat."
        )
        raise PriorError(msg)


def edge_columns(frame: pd.DataFrame) -> tuple[Any, Any]:
    """The columns of a table of edges that name regulators and targets.

    Raises
    ------
    PriorError
        If there are none.
    """
    columns = _by_lower_name(frame)
    source = next((columns[name] for name in _SOURCE_NAMES if name in columns), None)
    target = next((columns[name] for name in _TARGET_NAMES if name in columns), None)
    if source is None or target is None:
        msg = (
            f"The table of edges has the columns {list(map(str, frame.columns))}; it needs one of source, TF, Gene1 or "
            "regulator, and one of target, Gene2 or gene. Rename them, for instance "
            "`table.rename(columns={'from': 'source', 'to': 'target'})`."
        )
        raise PriorError(msg)
    return source, target


def _by_lower_name(frame: pd.DataFrame) -> dict[str, Any]:
    return {str(column).lower(): column for column in reversed(frame.columns)}


def _texts(column: pd.Series) -> np.ndarray:
    """Every value as text, whatever it is: ``astype(str)`` reads bytes as UTF-8, which they need not be."""
    return np.array([str(value) for value in column], dtype=object)


def _read_table(path: Path, adata: AnnData | None) -> pd.DataFrame:
    if not path.is_file():
        keys = "" if adata is None else f" Keys of adata.varp: {sorted(adata.varp)}."
        msg = f"{str(path)!r} is neither a file nor a key of adata.varp.{keys}"
        raise PriorError(msg)
    separator = "\t" if {".tsv", ".txt"} & set(path.suffixes) else ","
    try:
        return pd.read_csv(path, sep=separator, comment="#")
    except (
        pd.errors.ParserError,
        pd.errors.EmptyDataError,
        UnicodeDecodeError,
        OSError,
        EOFError,
        zlib.error,
    ) as error:
        msg = f"{str(path)!r} cannot be read as a table of edges: {error}"
        raise PriorError(msg) from error


def _weights_and_signs(frame: pd.DataFrame, columns: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Positive weight ``float32[E]`` and sign ``int8[E]`` of every row of a table of edges."""
    weight = np.ones(len(frame), dtype=np.float32)
    sign = np.zeros(len(frame), dtype=np.int8)
    weight_column = next((columns[name] for name in _WEIGHT_NAMES if name in columns), None)
    if weight_column is not None:
        values = pd.to_numeric(frame[weight_column], errors="coerce").to_numpy(dtype=np.float64)
        with np.errstate(over="ignore"):
            weight = np.abs(values).astype(np.float32)
        if n_bad := int((~np.isfinite(weight)).sum()):
            msg = f"Column {weight_column!r} of the prior holds {n_bad} values that are no number, or too large a one."
            raise PriorError(msg)
        if (values < 0).any():
            sign = np.sign(values).astype(np.int8)
    sign_column = next((columns[name] for name in _SIGN_NAMES if name in columns), None)
    if sign_column is not None:
        numbers = pd.to_numeric(frame[sign_column], errors="coerce").astype(float)
        words = pd.Series(_texts(frame[sign_column]), frame.index).str.strip().str.lower().map(_SIGN_WORDS)
        sign = np.sign(numbers.fillna(words).fillna(0)).to_numpy(dtype=np.int8)
    return weight, sign
