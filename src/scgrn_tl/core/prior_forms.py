"""Known edges in the forms that programs hold them in, brought to one: a table with an edge per row."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from .errors import PriorError
from .prior_columns import edge_columns, has_edge_columns, regulator_and_sign
from .prior_rankings import TOP_N, is_ranking, named_rows, ranking_edges

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["ACCEPTED", "are_regulons", "edge_table", "is_regulon_dict"]

ACCEPTED = (
    "Give a DataFrame with the columns 'source' and 'target' (or as decoupler, TRRUST, BEELINE, pySCENIC, GENIE3 and "
    "CellOracle name them), a networkx.DiGraph, a dict of regulators and their targets, a file of one of these (csv, "
    "tsv, gmt, sif, json, graphml, parquet, feather), a genes × genes matrix, a varp key, or several of them in a list "
    "or a dict of names."
)

_TARGETS = "TargetGenes"
# numpy 2 writes its numbers as calls
_NUMPY_NUMBER = re.compile(r"np\.(?:float|int)\d+\(([^()]*)\)")


def edge_table(prior: Any, genes: Sequence[str]) -> pd.DataFrame:
    """The edges of ``prior`` with columns that :func:`edge_columns` finds, and weights and signs where it has them.

    Parameters
    ----------
    prior
        A DataFrame, graph, matrix or dict, or regulons of pySCENIC.
    genes
        The data's genes: what rows and columns of a matrix stand for.

    Raises
    ------
    PriorError
        If the form is unknown, or contradicts itself or the genes.
    """
    if isinstance(prior, pd.DataFrame):
        return _of_frame(prior, genes)
    if isinstance(prior, np.ndarray) or sparse.issparse(prior):
        return _of_matrix(prior, genes)
    if hasattr(prior, "edges") and hasattr(prior, "is_directed"):
        return _of_graph(prior, genes)
    if isinstance(prior, Mapping) and has_edge_columns(prior):
        return _of_columns(prior)
    if is_regulon_dict(prior):
        return _of_regulons(prior.items())
    if are_regulons(prior):
        return _of_regulons((regulon.name, regulon.gene2weight) for regulon in prior)
    msg = f"A prior of type {type(prior).__name__} cannot be read. {ACCEPTED}"
    raise PriorError(msg)


def is_regulon_dict(prior: Any) -> bool:
    """Whether a dict goes from regulators to their targets: names, or names with weights."""
    return isinstance(prior, Mapping) and bool(prior) and all(map(_are_targets, prior.values()))


def are_regulons(prior: Any) -> bool:
    """Whether these are regulons or gene signatures as ctxcore (pySCENIC) has them."""
    return (
        isinstance(prior, (list, tuple))
        and bool(prior)
        and all(hasattr(regulon, "gene2weight") and hasattr(regulon, "name") for regulon in prior)
    )


def _are_targets(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(weight, (int, float, np.number)) for weight in value.values())
    if isinstance(value, np.ndarray):
        return value.ndim == 1 and value.dtype.kind in "OUST"
    if isinstance(value, (pd.Index, pd.Series)):
        return True
    return isinstance(value, (list, tuple, set, frozenset)) and all(isinstance(name, str) for name in value)


def _of_frame(frame: pd.DataFrame, genes: Sequence[str]) -> pd.DataFrame:
    names = [str(name[-1] if isinstance(name, tuple) else name) for name in frame.columns]
    if _TARGETS in names:
        return _of_enriched_motifs(frame.set_axis(names, axis="columns"))
    if frame.columns.has_duplicates:
        msg = (
            f"The prior has columns of the same name: {sorted(map(str, frame.columns[frame.columns.duplicated()]))}. "
            "Drop one: `table.loc[:, ~table.columns.duplicated()]`."
        )
        raise PriorError(msg)
    if "gene_short_name" in names:
        return _of_base_grn(frame)
    rows = None if has_edge_columns(frame.columns) else named_rows(frame)
    if rows is not None and not set(genes).isdisjoint(map(str, rows.columns)):
        return _of_ranking(rows, genes) if is_ranking(rows) else _of_named_matrix(rows)
    edge_columns(frame)  # raises where there are none
    return frame


def _of_columns(columns: Mapping[str, Any]) -> pd.DataFrame:
    try:
        return pd.DataFrame(dict(columns))
    except ValueError as error:
        msg = f"The prior has columns that make no table: {error}"
        raise PriorError(msg) from error


def _of_graph(graph: Any, genes: Sequence[str]) -> pd.DataFrame:
    if not graph.is_directed():
        msg = "The prior is an undirected graph; who regulates whom is not told. Give a networkx.DiGraph."
        raise PriorError(msg)
    name_of = _names_of_nodes(graph, genes)
    rows = [
        {**attributes, "source": name_of.get(s, s), "target": name_of.get(t, t)}
        for s, t, attributes in graph.edges(data=True)
    ]
    return pd.DataFrame(rows, columns=None if rows else ["source", "target"])


def _names_of_nodes(graph: Any, genes: Sequence[str]) -> dict[Any, str]:
    """Node → name where nodes are numbered and their names are attributes, as in Cytoscape's files; else empty."""
    known = set(genes)
    if any(str(node) in known for node in graph):
        return {}
    for attribute in ("name", "shared name", "label"):
        names = {node: str(values[attribute]) for node, values in graph.nodes(data=True) if attribute in values}
        if not known.isdisjoint(names.values()):
            return names
    return {}


def _of_matrix(matrix: Any, genes: Sequence[str]) -> pd.DataFrame:
    coo = sparse.coo_array(matrix)
    if coo.shape != (len(genes), len(genes)):
        msg = f"A prior matrix is genes × genes, here {len(genes)} × {len(genes)}; got {coo.shape}."
        raise PriorError(msg)
    names = np.asarray(genes, dtype=object)
    kept = coo.data != 0
    return pd.DataFrame(
        {"source": names[coo.row[kept]], "target": names[coo.col[kept]], "weight": coo.data[kept].astype(float)}
    )


def _of_named_matrix(rows: pd.DataFrame) -> pd.DataFrame:
    """A regulator per row, a target per column; what is not 0 is an edge."""
    values = rows.to_numpy(dtype=float)
    source, target = np.nonzero(values)
    return pd.DataFrame(
        {
            "source": rows.index.astype(str).to_numpy(dtype=object)[source],
            "target": rows.columns.astype(str).to_numpy(dtype=object)[target],
            "weight": values[source, target],
        }
    )


def _of_ranking(rows: pd.DataFrame, genes: Sequence[str]) -> pd.DataFrame:
    named = rows[rows.index.astype(str).isin(set(genes))]
    if not len(named):
        msg = (
            f"The prior ranks genes for rows such as {str(rows.index[0])!r}, none of which is a gene of the data. If "
            "they are motifs, say whose: `sg.io.read_rankings(path, motif_to_tf=…)`."
        )
        raise PriorError(msg)
    return ranking_edges(named, top_n=TOP_N)


def _of_base_grn(frame: pd.DataFrame) -> pd.DataFrame:
    """CellOracle's base GRN: a row per peak and target gene, a column per TF, 1 where the TF's motif is in the peak."""
    unused = {"gene_short_name", "peak_id", "index"}
    tfs = [name for name in frame.columns if str(name) not in unused and not str(name).startswith("Unnamed:")]
    if other := [name for name in tfs if not pd.api.types.is_numeric_dtype(frame[name])]:
        msg = (
            f"A base GRN has peak_id, gene_short_name and columns of 0 and 1 for TFs; of its columns {other[:5]} hold "
            "something else. "
            "Drop or convert those."
        )
        raise PriorError(msg)
    targets = frame["gene_short_name"].to_numpy(dtype=object)
    of_tf = [targets[np.flatnonzero(frame[tf].to_numpy())] for tf in tfs]
    source = np.repeat(np.asarray(tfs, dtype=object), [len(genes) for genes in of_tf])
    edges = pd.DataFrame({"source": source, "target": np.concatenate([*of_tf, targets[:0]])})
    return edges.drop_duplicates(ignore_index=True)  # a gene has many peaks


def _of_regulons(regulons: Iterable[tuple[Any, Any]]) -> pd.DataFrame:
    rows = []
    for name, targets in regulons:
        tf, sign = regulator_and_sign(str(name))
        rows += [(tf, str(target), float(weight), sign) for target, weight in _weighted(targets).items()]
    table = _signed_table(rows)
    if (table["weight"] < 0).any():  # then they are signs, of regulons whose name has none
        table["sign"] = table["sign"].where(table["sign"] != 0, np.sign(table["weight"])).astype(int)
    return table


def _weighted(targets: Any) -> Mapping[Any, Any]:
    """Target → weight, 1 where none is given."""
    if isinstance(targets, pd.Series) and pd.api.types.is_numeric_dtype(targets):
        return targets.to_dict()
    return targets if isinstance(targets, Mapping) else dict.fromkeys(targets, 1.0)


def _of_enriched_motifs(frame: pd.DataFrame) -> pd.DataFrame:
    """What ``pyscenic ctx`` gives: a row per TF and motif, with a list of targets and their weights."""
    frame = frame.reset_index() if "TF" in frame.index.names else frame
    if "TF" not in frame.columns:
        msg = f"The prior has a column {_TARGETS!r} as of `pyscenic ctx`, but neither a column nor an index 'TF'."
        raise PriorError(msg)
    contexts = frame["Context"].astype(str) if "Context" in frame.columns else [""] * len(frame)
    rows = []
    for tf, context, targets in zip(frame["TF"].astype(str), contexts, frame[_TARGETS], strict=True):
        # as pySCENIC has it: activating, unless the co-expression module is a repressing one
        sign = -1 if "repressing" in context else 1
        rows += [(tf, str(target), float(weight), sign) for target, weight in _listed(targets)]
    return _signed_table(rows)


def _listed(targets: Any) -> list[tuple[str, float]]:
    """Targets and weights, out of the text of a list or the list itself."""
    try:
        if isinstance(targets, str):
            targets = ast.literal_eval(_NUMPY_NUMBER.sub(r"\1", targets))
        return [(str(target), float(weight)) for target, weight in targets]
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        msg = f"The prior's {_TARGETS} are lists of (gene, weight); cannot read {str(targets)[:60]!r}."
        raise PriorError(msg) from error


def _signed_table(rows: list[tuple[str, str, float, int]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["source", "target", "weight", "sign"])
