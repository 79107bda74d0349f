"""The AnnData door: which AnnData is meant, and a GRN method's task made out of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from .errors import ArgumentError, GeneOverlapError, MissingKeyError
from .genes import check_unique_genes, identifier_kind
from .matrix import expression_matrix, iter_cells, summarize_expression
from .task import GRNTask
from .tokens import log_normalize, needs_normalization

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anndata import AnnData
    from mudata import MuData

    from .network import PriorNetwork
    from .split import EdgeSplit

LOGGER = logging.getLogger(__name__)

__all__ = ["gene_indices", "genes_by_cells", "make_task", "open_anndata", "read_embedding"]


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


def genes_by_cells(adata: AnnData, layer: str | None = None) -> np.ndarray:
    """Log-normalised expression of ``X`` or ``layer`` as ``float32 (G, N)``, checked; ``adata`` stays as it is.

    Whole numbers are counts and become ``log2(1 + 10⁴·count/total)``; other values are taken as they are.

    Raises
    ------
    ExpressionError
        If a value is negative, NaN or infinite, or there is no expression.
    """
    matrix = expression_matrix(adata, layer)
    summary = summarize_expression(matrix, adata.obs_names, adata.var_names)
    if isinstance(matrix, np.ndarray) or sparse.issparse(matrix):
        dense = matrix.toarray() if sparse.issparse(matrix) else np.asarray(matrix)
        turned = np.array(dense.T, dtype=np.float32, order="C")
    else:
        turned = np.empty((adata.n_vars, adata.n_obs), dtype=np.float32)
        for rows, block in iter_cells(matrix):
            turned[:, rows] = block.T
    if needs_normalization("auto", summary):
        turned = np.ascontiguousarray(log_normalize(turned.T, summary.totals).T)
    return turned


def gene_indices(names: Iterable[str], genes: Iterable[str], *, what: str = "genes") -> np.ndarray:
    """Ascending positions ``int64`` of those of ``names`` that are among ``genes``.

    Raises
    ------
    GeneOverlapError
        If none is; ``what`` says in the message what the names were.
    """
    names = [names] if isinstance(names, str) else [str(name) for name in names]
    position = {gene: number for number, gene in enumerate(genes)}
    found = np.unique(np.array([position[name] for name in names if name in position], dtype=np.int64))
    if not len(found):
        shown = ", ".join(map(repr, names[:3]))
        msg = (
            f"None of the {len(names)} {what} ({shown}, …) is among the data's {len(position)} genes "
            f"({', '.join(map(repr, list(position)[:3]))}, …). The {what} look like {identifier_kind(names)}, the "
            f"data's like {identifier_kind(position)}."
        )
        raise GeneOverlapError(msg)
    LOGGER.info("%d of %d %s are among the genes.", len(found), len(set(names)), what)
    return found


def read_embedding(adata: AnnData, key: str) -> np.ndarray:
    """``adata.varm[key]`` as ``float32 (G, D)``; a gene without a vector has a row of NaN.

    Raises
    ------
    MissingKeyError
        If it is not there.
    """
    if key not in adata.varm:
        msg = f"Did not find .varm[{key!r}]. Run `sg.tl.scbert_embed` first. Keys of .varm: {sorted(adata.varm)}."
        raise MissingKeyError(msg)
    values: Any = adata.varm[key]
    values = values.toarray() if sparse.issparse(values) else np.asarray(values)
    return np.ascontiguousarray(values, dtype=np.float32)


def read_pseudotime(adata: AnnData, columns: Sequence[str]) -> np.ndarray:
    """The ``columns`` of ``adata.obs`` as ``float64 (N, L)``, one a lineage; NaN where a value is not finite.

    Raises
    ------
    MissingKeyError
        If a column is not there.
    ArgumentError
        If a column is not of numbers.
    """
    missing = [column for column in columns if column not in adata.obs]
    if missing:
        msg = (
            f"Did not find .obs[{missing[0]!r}], the cells' pseudotime. Run `sc.tl.diffmap` and `sc.tl.dpt` first, or "
            f"name another column by `pseudotime=`. Columns of .obs: {sorted(map(str, adata.obs))}."
        )
        raise MissingKeyError(msg)
    try:
        values = np.column_stack([adata.obs[column].to_numpy(dtype=np.float64) for column in columns])
    except (TypeError, ValueError) as error:
        msg = f"Pseudotime is numbers, but .obs[{list(columns)}] are not: {error}"
        raise ArgumentError(msg) from error
    return np.where(np.isfinite(values), values, np.nan)


def make_task(
    adata: AnnData,
    *,
    layer: str | None = None,
    prior: PriorNetwork | None = None,
    split: EdgeSplit | None = None,
    tf_names: Iterable[str] | None = None,
    embedding: np.ndarray | None = None,
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
    embedding
        ``(G, D)``, see :func:`read_embedding`.
    seed, device, n_jobs, pseudotime
        Handed on; for the last see :func:`read_pseudotime`.

    Raises
    ------
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
        split.check_genes(genes)
        regulators.append(split.regulators)
    return GRNTask(
        expression=genes_by_cells(adata, layer),
        genes=genes,
        regulators=np.unique(np.concatenate(regulators)) if regulators else np.arange(len(genes)),
        prior=prior,
        split=split,
        embedding=embedding,
        seed=seed,
        device=device,
        n_jobs=n_jobs,
        pseudotime=pseudotime,
    )
