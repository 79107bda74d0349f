"""A table of edges in the forms that single tools take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "adjacencies",
    "base_grn",
    "decoupler_net",
    "gmt_lines",
    "ranked_edges",
    "regulons",
    "relations",
    "write_lines",
]

_RELATIONS = {1: "activates", -1: "represses", 0: "regulates"}
_ENDS = {1: "(+)", -1: "(-)", 0: ""}


def decoupler_net(edges: pd.DataFrame) -> pd.DataFrame:
    """``source, target, weight``."""
    return edges[["source", "target", "weight"]]


def adjacencies(edges: pd.DataFrame) -> pd.DataFrame:
    """``TF, target, importance``, as GRNBoost2 and GENIE3 give them to pySCENIC; importance has no sign of the edge."""
    importance = np.where(edges["sign"] < 0, -edges["weight"], edges["weight"])
    return pd.DataFrame({"TF": edges["source"], "target": edges["target"], "importance": importance})


def ranked_edges(edges: pd.DataFrame) -> pd.DataFrame:
    """``Gene1, Gene2, EdgeWeight``, by falling size of the weight, as BEELINE takes the first k."""
    ranked = pd.DataFrame({"Gene1": edges["source"], "Gene2": edges["target"], "EdgeWeight": edges["weight"]})
    return ranked.sort_values("EdgeWeight", key=np.abs, ascending=False, kind="stable", ignore_index=True)


def base_grn(edges: pd.DataFrame) -> pd.DataFrame:
    """CellOracle's base GRN: a row per target, a column per TF, 1 where there is an edge."""
    targets, tfs = (sorted(edges[name].unique()) for name in ("target", "source"))
    present = np.zeros((len(targets), len(tfs)), dtype=np.uint8)
    present[pd.Index(targets).get_indexer(edges["target"]), pd.Index(tfs).get_indexer(edges["source"])] = 1
    names = pd.DataFrame({"peak_id": targets, "gene_short_name": targets}, dtype=object)
    return pd.concat([names, pd.DataFrame(present, columns=pd.Index(tfs, dtype=object))], axis="columns")


def regulons(edges: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Name of a regulon → target → weight without sign; the sign stands in the name, as in ``"GATA1(+)"``."""
    found: dict[str, dict[str, float]] = {}
    table = adjacencies(edges)
    for tf, target, importance, sign in zip(*table.to_numpy(dtype=object).T, edges["sign"], strict=True):
        found.setdefault(f"{tf}{_ENDS[int(sign)]}", {})[target] = float(importance)
    return dict(sorted(found.items()))


def gmt_lines(edges: pd.DataFrame) -> list[str]:
    """A line per regulon: name, description (without blanks, at which decoupler splits) and targets, apart by tabs."""
    return ["\t".join([name, "scgrn_tl", *sorted(targets)]) for name, targets in regulons(edges).items()]


def relations(edges: pd.DataFrame) -> pd.DataFrame:
    """``source``, ``relation`` and ``target``, as Cytoscape's simple interaction format has them in a line."""
    relation = edges["sign"].astype(int).map(_RELATIONS)
    return pd.DataFrame({"source": edges["source"], "relation": relation, "target": edges["target"]})


def write_lines(lines: list[str], path: Path) -> None:
    """Write lines of text, each ended."""
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
