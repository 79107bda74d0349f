"""The AnnData door: which AnnData is meant, and a GRN method's task made out of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from .argument_types import typed_arguments
from .errors import ArgumentError, GeneOverlapError, MissingKeyError
from .expression_places import usable_expression
from .genes import case_remedy, check_unique_genes, mismatch_hint, same_but_case
from .matrix import by_rows, expression_matrix, iter_cells, summarize_expression
from .sparse_expression import is_large_and_sparse, sparse_genes_by_cells
from .split import EdgeSplit
from .task import GRNTask
from .tokens import log_normalize, needs_normalization
from .user_warning import warn_user

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd
    from anndata import AnnData
    from mudata import MuData

    from .network import PriorNetwork

LOGGER = logging.getLogger(__name__)

SHORT_LIST = 100
"""Names that somebody may have typed; of a catalogue many are always missing."""

__all__ = ["gene_indices", "genes_by_cells", "make_task", "open_anndata", "read_pseudotime"]


@typed_arguments
def open_anndata(data: AnnData | MuData, *, modality: str = "rna") -> AnnData:
    """The AnnData to work on: ``data`` itself, or ``data.mod[modality]`` of a MuData.

    Raises
    ------
    MissingKeyError
        If the MuData has no such modality.
    ArgumentError
        If ``data`` is neither.
    """
    from anndata import AnnData

    adata = data
    if isinstance(getattr(data, "mod", None), Mapping):  # a DataFrame has a method of that name
        if modality not in data.mod:
            msg = f"The MuData has no modality {modality!r}. Name one with `modality=`; there are: {sorted(data.mod)}."
            raise MissingKeyError(msg)
        adata = data.mod[modality]
    if not isinstance(adata, AnnData):
        msg = f"An AnnData or MuData is expected, not {type(data).__name__}."
        raise ArgumentError(msg)
    return adata


@typed_arguments
def genes_by_cells(adata: AnnData, layer: str | None = None) -> np.ndarray:
    """Log-normalised expression of ``X`` or ``layer`` as ``float32 (G, N)``, checked; ``adata`` stays as it is.

    Whole numbers are counts and become ``log2(1 + 10⁴·count/total)``; other values are taken as they are.

    Raises
    ------
    ArgumentError
        If ``adata`` is no AnnData.
    MissingKeyError
        If the layer is not there.
    ExpressionError
        If a value is negative, NaN or infinite, or there is no expression.
    """
    return _dense_expression(adata, *_checked(adata, layer))


def _checked(adata: AnnData, layer: str | None) -> tuple[Any, np.ndarray | None]:
    """Expression (cells × genes) whose rows are cheap to read, checked, and each cell's total if it is of counts."""
    matrix = by_rows(expression_matrix(adata, layer))
    mend = partial(usable_expression, adata, besides=layer)
    summary = summarize_expression(matrix, adata.obs_names, adata.var_names, mend=mend)
    return matrix, summary.totals if needs_normalization("auto", summary) else None


def _dense_expression(adata: AnnData, matrix: Any, totals: np.ndarray | None) -> np.ndarray:
    if isinstance(matrix, np.ndarray) or sparse.issparse(matrix):
        dense = matrix.toarray() if sparse.issparse(matrix) else np.asarray(matrix)
        turned = np.array(dense.T, dtype=np.float32, order="C")
    else:
        turned = np.empty((adata.n_vars, adata.n_obs), dtype=np.float32)
        for rows, block in iter_cells(matrix):
            turned[:, rows] = block.T
    if totals is not None:
        turned = np.ascontiguousarray(log_normalize(turned.T, totals).T)
    return turned


def _task_expression(adata: AnnData, layer: str | None) -> np.ndarray | sparse.csc_array:
    """Expression as a task holds it: dense, or sparse where it is large and mostly zero."""
    matrix, totals = _checked(adata, layer)
    if is_large_and_sparse(matrix):
        LOGGER.info("Expression of %s cells is kept sparse.", f"{adata.n_obs:,}")
        return sparse_genes_by_cells(matrix, totals)
    return _dense_expression(adata, matrix, totals)


@typed_arguments
def gene_indices(names: Iterable[str], genes: Iterable[str], *, what: str = "genes") -> np.ndarray:
    """Ascending positions ``int64`` of those of ``names`` that are among ``genes``.

    Raises
    ------
    GeneOverlapError
        If none is; ``what`` says in the message what the names were.
    ArgumentError
        If there are no names, or a mask in their place.
    """
    given = [names] if isinstance(names, str) else list(names)
    if not given:
        msg = f"There are no {what}: the list of names is empty."
        raise ArgumentError(msg)
    if all(isinstance(name, (bool, np.bool_)) for name in given):
        msg = f"The {what} are names, not a mask: give `adata.var_names[mask]`."
        raise ArgumentError(msg)
    wanted = list(dict.fromkeys(map(str, given)))
    position = {str(gene): number for number, gene in enumerate(genes)}
    found = np.unique(np.array([position[name] for name in wanted if name in position], dtype=np.int64))
    if not len(found):
        msg = (
            f"None of the {len(wanted)} {what} ({_shorten(wanted)}) is among the data's {len(position)} genes "
            f"({_shorten(list(position))}). {mismatch_hint(wanted, list(position), what=what)}"
        )
        raise GeneOverlapError(msg.rstrip())
    missing = [name for name in wanted if name not in position]
    if cased := same_but_case(missing, position):
        shown = ", ".join(f"{name!r} ({gene!r})" for name, gene in list(cased.items())[:3])
        warn_user(f"{len(cased)} {what} are not among the genes but for their case: {shown}. {case_remedy(position)}")
    elif missing and len(wanted) <= SHORT_LIST:
        warn_user(
            f"{len(missing)} of {len(wanted)} {what} are not among the genes: {_shorten(missing)}. "
            "`sg.pp.resolve_names(names, vocabulary=adata.var_names)` finds what they go by."
        )
    LOGGER.info("%d of %d %s are among the genes.", len(found), len(wanted), what)
    return found


def _shorten(names: list[str], limit: int = 3) -> str:
    return ", ".join(map(repr, names[:limit])) + (", …" if len(names) > limit else "")


@typed_arguments
def read_pseudotime(adata: AnnData, columns: Sequence[str]) -> np.ndarray:
    """The ``columns`` of ``adata.obs`` as ``float64 (N, L)``, one a lineage; NaN where a value is not finite.

    Of an ordered categorical, its places in the order.

    Raises
    ------
    MissingKeyError
        If a column is not there.
    ArgumentError
        If no column is named, or one is neither of numbers nor ordered.
    """
    columns = [columns] if isinstance(columns, str) else list(columns)
    if not columns:
        msg = "columns names none: give at least one column of .obs with the cells' pseudotime."
        raise ArgumentError(msg)
    missing = [column for column in columns if column not in adata.obs]
    if missing:
        msg = (
            f"Did not find .obs[{missing[0]!r}], the cells' pseudotime. Run `sc.tl.diffmap` and `sc.tl.dpt` first, or "
            f"name another column by `pseudotime=`. Columns of .obs: {sorted(map(str, adata.obs))}."
        )
        raise MissingKeyError(msg)
    return np.column_stack([_times(adata.obs[column], str(column)) for column in columns])


def _times(column: pd.Series, name: str) -> np.ndarray:
    if getattr(column.dtype, "ordered", False):
        column = column.cat.codes.where(column.notna())
    try:
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError):
        msg = (
            f"Pseudotime is numbers or an ordered categorical; .obs[{name!r}] is neither. "
            "Give such a column, as `sc.tl.dpt` writes, or order the categories: `.cat.as_ordered()`."
        )
        raise ArgumentError(msg) from None
    return np.where(np.isfinite(values), values, np.nan)


@typed_arguments
def make_task(
    adata: AnnData,
    *,
    layer: str | None = None,
    prior: PriorNetwork | None = None,
    split: EdgeSplit | None = None,
    tf_names: Iterable[str] | None = None,
    embedding: np.ndarray | None = None,
    embedding_widths: tuple[int, ...] = (),
    seed: int = 0,
    device: str = "cpu",
    n_jobs: int | None = None,
    pseudotime: np.ndarray | None = None,
) -> GRNTask:
    """A GRN method's task out of an AnnData.

    Parameters
    ----------
    adata
        Cells × genes.
    layer
        Where expression is; ``X`` if ``None``.
    prior
        Known edges among ``adata.var_names``.
    split
        Training and validation pairs; its test part does not get into the task.
    tf_names
        Regulators to score, besides those of the prior and the split. Names that the data do not have are left out.
        Without names, prior and split, every gene is scored as a regulator.
    embedding, embedding_widths
        ``(G, D)``, see :func:`~scgrn_tl.core.read_embedding`, and the widths of its parts.
    seed, device, n_jobs, pseudotime
        Handed on; for the last see :func:`read_pseudotime`.

    Raises
    ------
    ArgumentError
        If an argument is of another kind than the signature says.
    MissingKeyError
        If the layer is not there.
    DuplicateGenesError, ExpressionError, GeneOverlapError, SplitError
        See the functions that check.
    """
    genes = tuple(map(str, adata.var_names))
    check_unique_genes(genes)
    regulators = [] if tf_names is None else [gene_indices(tf_names, genes, what="TF names")]
    if prior is not None:
        if prior.genes != genes:
            msg = "The prior network is over other genes than adata.var_names; read it with PriorNetwork.from_any."
            raise ArgumentError(msg)
        regulators.append(prior.regulators)
    if split is not None:
        if not isinstance(split, EdgeSplit):
            msg = f"split is an EdgeSplit, such as `sg.bm.split_edges` makes; not a {type(split).__name__}."
            raise ArgumentError(msg)
        split.check_genes(genes)
        regulators.append(split.regulators)
    return GRNTask(
        expression=_task_expression(adata, layer),
        genes=genes,
        regulators=np.unique(np.concatenate(regulators)) if regulators else np.arange(len(genes)),
        prior=prior,
        split=split,
        embedding=embedding,
        embedding_widths=embedding_widths,
        seed=seed,
        device=device,
        n_jobs=n_jobs,
        pseudotime=pseudotime,
    )
