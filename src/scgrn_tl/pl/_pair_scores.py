"""Scores at labelled pairs: of a network stored in an AnnData, or of the files that a benchmark left."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
from scipy import sparse

from scgrn_tl.core import ArgumentError, EdgeSplit, MissingKeyError
from scgrn_tl.get._slots import read_network

if TYPE_CHECKING:
    from anndata import AnnData

    from scgrn_tl.core import LabeledPairs

__all__ = ["ScoredPairs", "labeled_part", "read_predictions", "stored_scores"]


@dataclass(frozen=True, eq=False)
class ScoredPairs:
    """Labels and scores of the same pairs.

    Attributes
    ----------
    labels
        ``bool[P]``.
    scores
        ``float64[P]``, the higher the likelier.
    is_stored
        ``bool[P]``: pairs that the network has a value for. Others have the score 0, or, where ``max_edges`` cut the
        network, the least score there is.
    """

    labels: np.ndarray
    scores: np.ndarray
    is_stored: np.ndarray


def labeled_part(split: EdgeSplit, part: str, adata: AnnData) -> LabeledPairs:
    """One part of a split that was made for these genes.

    Raises
    ------
    ArgumentError
        If ``split`` is no split, there is no such part, or it has no pairs.
    SplitError
        If the split is over other genes.
    """
    if not isinstance(split, EdgeSplit):
        msg = f"split is an EdgeSplit, as of `sg.bm.split_edges`, where a network is drawn; got {type(split).__name__}."
        raise ArgumentError(msg)
    if part not in ("train", "validation", "test"):
        msg = f"part is 'train', 'validation' or 'test', not {part!r}."
        raise ArgumentError(msg)
    split.check_genes(tuple(map(str, adata.var_names)))
    pairs: LabeledPairs = getattr(split, part)
    if not len(pairs):
        msg = f"There are no pairs to draw: the split's {part} part is empty."
        raise ArgumentError(msg)
    return pairs


def stored_scores(adata: AnnData, key: str, pairs: LabeledPairs) -> ScoredPairs:
    """What the network ``varp[key]`` says of these pairs.

    Raises
    ------
    MissingKeyError
        If there is no such network.
    ArgumentError
        If a pair's regulator was not scored, or a score is NaN or infinite.
    """
    network = read_network(adata, key)
    rows, columns = pairs.pairs.T
    unscored = np.unique(rows[~network.is_regulator[rows]])
    if len(unscored):
        names = ", ".join(map(repr, network.genes[unscored][:5]))
        msg = (
            f"{len(unscored)} regulators of the split were not scored in .varp[{key!r}]: {names}"
            f"{', …' if len(unscored) > 5 else ''}. Fit it with this split, or name them by `tf_names=`."
        )
        raise ArgumentError(msg)
    scores = np.asarray(network.matrix[rows, columns], dtype=np.float64).ravel()
    if not np.isfinite(scores).all():
        msg = (
            f".varp[{key!r}] has NaN or infinite scores among these {len(scores):,} pairs: they cannot be ranked. "
            "Run the method again."
        )
        raise ArgumentError(msg)
    is_stored = np.ones(len(scores), dtype=bool)
    if sparse.issparse(adata.varp[key]):  # of a dense matrix every value was written, zeros too
        matrix = network.matrix
        places = sparse.csr_matrix((np.ones_like(matrix.data), matrix.indices, matrix.indptr), shape=matrix.shape)
        is_stored = np.asarray(places[rows, columns]).ravel() > 0
        if _is_cut(adata, key, matrix.nnz):  # then what is not stored ranks below what is, also where that is negative
            scores[~is_stored] = min(0.0, float(matrix.data.min(initial=0.0)))
    return ScoredPairs(pairs.labels, scores, is_stored)


def _is_cut(adata: AnnData, key: str, n_stored: int) -> bool:
    """Whether as many edges are stored as there were to be at most."""
    record = adata.uns.get(key)
    params: Any = record.get("params") if hasattr(record, "get") else None
    most = params.get("max_edges") if hasattr(params, "get") else None
    return most is not None and n_stored >= int(most)


def read_predictions(path: str, run: str) -> ScoredPairs:
    """Labels and scores that a benchmark wrote to a file.

    Parameters
    ----------
    path
        An ``.npz`` with ``labels`` and ``scores``.
    run
        Which run it is of, for messages.

    Raises
    ------
    MissingKeyError
        If no file was written, or it is not there any more, or lacks an array.
    ArgumentError
        If it cannot be read, or labels and scores do not match.
    """
    if not path or not Path(path).is_file():
        where = f"the file {path!r} is not there" if path else "no file of predictions was written"
        msg = f"{run}: {where}. Run `sg.bm.run` so that it keeps predictions, where they can be found again."
        raise MissingKeyError(msg)
    try:
        with Path(path).open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("labels", "scores")}
    except KeyError as error:
        msg = f"{run}: {path!r} has no array {error}; 'labels' and 'scores' are expected. Run `sg.bm.run` again."
        raise MissingKeyError(msg) from error
    except (ValueError, OSError, EOFError, BadZipFile) as error:
        msg = f"{run}: {path!r} cannot be read as an .npz file of predictions ({error}). Run `sg.bm.run` again."
        raise ArgumentError(msg) from error
    labels, scores = arrays["labels"].astype(bool), arrays["scores"].astype(np.float64)
    if labels.ndim != 1 or labels.shape != scores.shape or not np.isfinite(scores).all():
        msg = (
            f"{run}: {path!r} has labels of shape {labels.shape} and scores of shape {scores.shape}; a label and a "
            "finite score for each pair are expected. Run `sg.bm.run` again."
        )
        raise ArgumentError(msg)
    return ScoredPairs(labels, scores, np.ones(len(labels), dtype=bool))
