"""Scores of pairs given by name, as a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .errors import ArgumentError, MissingKeyError
from .network import edge_columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .calibration import PlattScaling
    from .task import GRNScores

__all__ = ["read_pairs", "scored_pairs"]


def read_pairs(pairs: Any) -> list[tuple[str, str]]:
    """(regulator, target) names of a table of edges, or of an iterable of pairs.

    Raises
    ------
    PriorError
        If a table has no columns of regulators and targets.
    ArgumentError
        If anything in an iterable is no pair of names.
    """
    if isinstance(pairs, pd.DataFrame):
        source, target = edge_columns(pairs)
        return list(zip(pairs[source].astype(str), pairs[target].astype(str), strict=True))
    is_list = isinstance(pairs, Iterable) and not isinstance(pairs, (str, bytes, Mapping))
    listed = list(pairs) if is_list else []
    if not is_list or not all(isinstance(pair, (tuple, list, np.ndarray)) and len(pair) == 2 for pair in listed):
        msg = (
            "pairs are (regulator, target) names, such as [('GATA1', 'KLF1')], or a table of 'source' and 'target'; "
            f"not {str(pairs)[:60]!r}."
        )
        raise ArgumentError(msg)
    return [(str(source), str(target)) for source, target in listed]


def scored_pairs(
    scores: GRNScores,
    genes: Sequence[str],
    calibration: PlattScaling,
    *,
    pairs: Sequence[tuple[str, str]] | None,
    seen_sources: np.ndarray,
    seen_targets: np.ndarray,
) -> pd.DataFrame:
    """A row for each pair.

    Parameters
    ----------
    scores
        Logits of all pairs of a regulator and a gene.
    genes
        The G gene names.
    calibration
        Logit → probability.
    pairs
        Names, in the order of the rows; ``None`` for every scored pair but self pairs, the likeliest first.
    seen_sources, seen_targets
        ``bool[R]`` and ``bool[G]``, what goes into the columns of these names.

    Raises
    ------
    MissingKeyError
        If a name is unknown.
    """
    names = np.asarray(genes, dtype=object)
    if pairs is None:
        scored = np.ones(scores.matrix.shape, dtype=bool)
        scored[np.arange(len(scores.regulators)), scores.regulators] = False
        rows, columns = np.nonzero(scored)
        order = np.argsort(-scores.matrix[rows, columns], kind="stable")
        rows, columns = rows[order], columns[order]
    else:
        of_source, of_target = pd.Index(names[scores.regulators]), pd.Index(names)
        rows = of_source.get_indexer(pd.Index([source for source, _ in pairs], dtype=object))
        columns = of_target.get_indexer(pd.Index([target for _, target in pairs], dtype=object))
        if unknown := sorted({name for pair, *at in zip(pairs, rows, columns, strict=True)
                              for name, place in zip(pair, at, strict=True) if place < 0}):  # fmt: skip
            msg = (
                f"Not among the data's {len(genes):,} genes: {', '.join(map(repr, unknown[:10]))}. Names are those of "
                "`adata.var_names`."
            )
            raise MissingKeyError(msg)
    logit = scores.matrix[rows, columns]
    table = {
        "source": names[scores.regulators[rows]],
        "target": names[columns],
        "probability": calibration(logit),
        "log_odds": (calibration.slope * logit.astype(np.float64) + calibration.intercept).astype(np.float32),
    }
    slope = np.float32(calibration.slope)
    if scores.hub is not None:
        table["specificity"] = slope * (logit - scores.hub[rows, columns])
    if scores.std is not None:
        table["std"] = slope * scores.std[rows, columns]
    return pd.DataFrame(table | {"seen_source": seen_sources[rows], "seen_target": seen_targets[columns]})
