"""``pp.select_genes``: the genes worth a network, by BEELINE's rule."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from scgrn_tl.core import ArgumentError, MissingKeyError, check_unique_genes, gene_indices, read_pseudotime
from scgrn_tl.core.argument_types import typed_arguments
from scgrn_tl.core.slots import Slots, check_key, open_anndata, run_record, write_slots
from scgrn_tl.core.user_warning import warn_user

from ._columns import replace_contents, update_mudata, with_columns
from ._varying_genes import group_basis, measure_variation, spline_basis

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd
    from anndata import AnnData
    from mudata import MuData

__all__ = ["select_genes"]

LOGGER = logging.getLogger(__name__)

LEFT_OUT = 0.1
"""Share of cells without pseudotime from which on a warning says so."""


@typed_arguments
def select_genes(
    adata: AnnData | MuData,
    *,
    n_top: int = 500,
    tf_names: Iterable[str] | None = None,
    pseudotime: str | Sequence[str] | None = None,
    groupby: str | None = None,
    p_values: str | Sequence[float] | np.ndarray | pd.Series | None = None,
    variances: str | Sequence[float] | np.ndarray | pd.Series | None = None,
    alpha: float = 0.01,
    n_knots: int = 4,
    layer: str | None = None,
    subset: bool = False,
    modality: str = "rna",
    key_added: str = "selected",
    copy: bool = False,
) -> AnnData | MuData | None:
    """Select all significantly varying TFs and, beside them, the most varying genes (Pratapa et al. 2020, Methods).

    Of the G genes with a p-value, those with ``p < alpha / G`` vary significantly (Bonferroni). All TFs among them are
    selected, and of the other genes the ``n_top`` of largest variance, or all where there are fewer. Equal variances
    are ordered by p-value, equal p-values by column. This is what BEELINE's ``generateExpInputs.py`` does.

    BEELINE takes p-values of a generalised additive model over pseudotime; give those by ``p_values=`` (of its
    ``GeneOrdering.csv``, the columns ``VGAMpValue`` and ``Variance``). With ``pseudotime=`` they are computed here: an
    F-test of a cubic regression spline against a constant, on log-normalised expression. With several lineages, the
    smallest p-value counts, times their number. With ``groupby=``, an F-test between groups of cells (one-way analysis
    of variance); where the groups are clusters of the same expression, it finds too much. With none of these,
    significance is not asked for: all TFs that vary at all are selected, and the most varying genes, as BEELINE does
    with ``--pVal 0``.

    Parameters
    ----------
    adata
        Cells × genes. A MuData's ``modality`` is used.
    n_top
        Genes to select beside the TFs.
    tf_names
        Transcription factors, such as ``sg.datasets.tf_names("human")``. Without them, no gene is treated as one.
    pseudotime
        Column of ``obs``, or one for each lineage, in which cells outside of the lineage are NaN. Numbers, or an
        ordered categorical.
    groupby
        Column of ``obs`` with groups of cells.
    p_values
        Column of ``var``, or a value per gene. NaN for genes that were not tested; they are not selected, and not
        counted by Bonferroni.
    variances
        Column of ``var``, or a value per gene; by default computed.
    alpha
        Level, before Bonferroni.
    n_knots
        Knots of the spline, at quantiles of pseudotime; it has ``n_knots + 1`` coefficients beside the constant.
    layer
        Where expression is; ``X`` if ``None``. Whole numbers are taken as counts and normalised.
    subset
        Whether to keep the selected genes only.
    modality
        Which part of a MuData to use.
    key_added
        Where results go.
    copy
        Return a copy in place of writing into ``adata``.

    Returns
    -------
    ``None``, or with ``copy=True`` a new AnnData (MuData). Written are

    - ``var["selected"]``: bool
    - ``var["selected_variance"]``: float64
    - ``var["selected_pvalue"]``: float64, before Bonferroni; not there if significance was not asked for
    - ``var["selected_is_tf"]``: bool; not there without ``tf_names``
    - ``uns["selected"]``: ``params``; ``n_tested``, ``cutoff`` (``alpha / n_tested``), ``n_significant``, ``n_tfs``,
      ``n_others``; ``n_cells``, the cells of each lineage

    Raises
    ------
    ArgumentError
        If an argument is out of range, more than one of ``p_values``, ``pseudotime`` and ``groupby`` is given, or
        nothing is selected.
    MissingKeyError
        If a column or the layer is not there.
    ExpressionError, DuplicateGenesError, GeneOverlapError
        If expression cannot be used, genes are not unique, or none of the TFs is among them.

    Examples
    --------
    >>> adata = sg.datasets.simulated(rng=0)
    >>> adata.obs["time"] = adata.obs["state"].cat.as_ordered()
    >>> sg.pp.select_genes(adata, n_top=50, tf_names=adata.var_names[adata.var["is_tf"]], pseudotime="time")
    """
    _check_arguments(
        n_top, alpha, n_knots, {"p_values": p_values, "pseudotime": pseudotime, "groupby": groupby}, key_added
    )
    data = open_anndata(adata, modality=modality, copy=copy)
    if subset and data.isbacked:
        msg = "subset=True changes the columns, which a backed AnnData cannot: use `.to_memory()`."
        raise ArgumentError(msg)
    genes = tuple(map(str, data.var_names))
    check_unique_genes(genes)
    is_tf = np.zeros(len(genes), dtype=bool)
    if tf_names is not None:
        is_tf[gene_indices(tf_names, genes, what="TF names")] = True
    variance = None if variances is None else _read_values(data, variances, "variances")
    pvalue = None if p_values is None else _read_values(data, p_values, "p_values")
    if pvalue is not None and ((pvalue < 0) | (pvalue > 1)).any():
        msg = "p_values lie between 0 and 1. Give values as they are, and no logarithms of them."
        raise ArgumentError(msg)

    bases, how = _bases(data, pseudotime, groupby, n_knots)
    _warn_of_cells_left_out(bases)
    if bases or variance is None:
        measured = measure_variation(data, layer, bases)
        variance = measured.variance if variance is None else variance
        pvalue = measured.p_values if bases else pvalue
    selected, counts = _select(variance, pvalue, is_tf, n_top, alpha)
    if not selected.any():
        msg = (
            f"No gene varies significantly: none of {counts['n_tested']:,} has a p-value below {counts['cutoff']:.3g} "
            "(`alpha` over the number of genes tested). Raise `alpha`, or test along another pseudotime."
            if pvalue is not None
            else "No gene varies. Name a layer that holds expression of several cells (`layer=`)."
        )
        raise ArgumentError(msg)

    slots = Slots(var={key_added: selected, f"{key_added}_variance": variance})
    for suffix, values in (("pvalue", pvalue), ("is_tf", None if tf_names is None else is_tf)):
        if values is None:
            slots.dropped.add(("var", f"{key_added}_{suffix}"))
        else:
            slots.var[f"{key_added}_{suffix}"] = values
    params: dict[str, Any] = {
        "n_top": n_top,
        "alpha": alpha,
        "test": how if pvalue is not None else "none",
        "layer": layer,
    }
    params |= {"n_knots": n_knots} if pseudotime is not None else {}
    params["pseudotime"] = [pseudotime] if isinstance(pseudotime, str) else pseudotime
    params["groupby"] = groupby
    cells = [int(np.isfinite(basis).all(axis=1).sum()) for basis in bases]
    slots.uns[key_added] = run_record(params, **counts, **({"n_cells": cells} if cells else {}))
    LOGGER.info(
        "Selected %d TFs and %d other genes; %s.",
        counts["n_tfs"],
        counts["n_others"],
        f"{counts['n_significant']} of {counts['n_tested']} vary significantly (p < {counts['cutoff']:.3g}, {how})"
        if pvalue is not None
        else "without pseudotime, groups or p-values, significance was not asked for",
    )
    return _write(adata, slots, np.flatnonzero(selected) if subset else None, modality, copy=copy)


def _check_arguments(n_top: int, alpha: float, n_knots: int, tests: dict[str, Any], key_added: str) -> None:
    if n_top < 0:
        msg = f"n_top is a number of genes, 0 or more; not {n_top!r}."
        raise ArgumentError(msg)
    if not 0 < alpha <= 1:
        msg = f"alpha lies between 0 and 1, not {alpha!r}."
        raise ArgumentError(msg)
    if n_knots < 2:
        msg = f"n_knots is 2 or more, not {n_knots!r}."
        raise ArgumentError(msg)
    given = [name for name, value in tests.items() if value is not None]
    if len(given) > 1:
        msg = f"p-values come from one place: give only one of {', '.join(given)}."
        raise ArgumentError(msg)
    if tests["pseudotime"] is not None and not len(tests["pseudotime"]):
        msg = "pseudotime names a column of .obs, or several; the list is empty. Name one, or leave pseudotime=None."
        raise ArgumentError(msg)
    check_key("key_added", key_added)


def _read_values(adata: AnnData, values: str | Sequence[float] | np.ndarray | pd.Series, name: str) -> np.ndarray:
    """A value per gene ``float64 (G,)``, out of a column of ``var``, a Series by gene, or an array."""
    import pandas as pd

    if isinstance(values, str):
        if values not in adata.var:
            msg = (
                f"Did not find .var[{values!r}] ({name}). Columns of .var: {sorted(map(str, adata.var))}. "
                "Name one of them, or give a value per gene."
            )
            raise MissingKeyError(msg)
        values = adata.var[values]
    elif isinstance(values, pd.Series):
        if not values.index.is_unique:
            msg = f"{name} name a gene more than once. Drop such rows: `values[~values.index.duplicated()]`."
            raise ArgumentError(msg)
        values = values.reindex(adata.var_names)
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        msg = f"{name} are numbers, one per gene. Give a list, an array, a Series by gene or a column of .var."
        raise ArgumentError(msg) from None
    if array.shape != (adata.n_vars,):
        msg = f"{name} have the shape {array.shape}; there are {adata.n_vars} genes."
        raise ArgumentError(msg)
    if not np.isfinite(array).any():
        msg = f"None of the genes has a value in {name}. Give another column or array, with numbers for these genes."
        raise ArgumentError(msg)
    return array


def _bases(
    adata: AnnData, pseudotime: str | Sequence[str] | None, groupby: str | None, n_knots: int
) -> tuple[list[np.ndarray], Literal["spline", "groups", "given"]]:
    """What expression is regressed on, and what the test is called."""
    if pseudotime is not None:
        times = read_pseudotime(adata, [pseudotime] if isinstance(pseudotime, str) else list(pseudotime))
        return [spline_basis(lineage, n_knots) for lineage in times.T], "spline"
    if groupby is not None:
        if groupby not in adata.obs:
            msg = (
                f"Did not find .obs[{groupby!r}]. Columns of .obs: {sorted(map(str, adata.obs))}. "
                "Name one of them by `groupby=`."
            )
            raise MissingKeyError(msg)
        codes = adata.obs[groupby].astype("category").cat.remove_unused_categories().cat.codes
        return [group_basis(codes.to_numpy(dtype=np.int64))], "groups"
    return [], "given"


def _warn_of_cells_left_out(bases: Sequence[np.ndarray]) -> None:
    if not bases:
        return
    inside = np.any([np.isfinite(basis).all(axis=1) for basis in bases], axis=0)
    if inside.mean() < 1 - LEFT_OUT:
        warn_user(
            f"{(~inside).sum():,} of {len(inside):,} cells have no pseudotime or group and are left out of the test. "
            "Diffusion pseudotime is infinite in cells that the neighbour graph does not connect with the root. "
            "Connect them by a larger `n_neighbors=` of `sc.pp.neighbors`."
        )


def _select(
    variance: np.ndarray, pvalue: np.ndarray | None, is_tf: np.ndarray, n_top: int, alpha: float
) -> tuple[np.ndarray, dict[str, Any]]:
    """BEELINE's rule: ``bool[G]``, and what it counted."""
    if pvalue is None:
        candidates, counts = variance > 0, {}
        pvalue = np.zeros(len(variance))
    else:
        n_tested = int(np.isfinite(pvalue).sum())
        cutoff = alpha / n_tested if n_tested else 0.0
        candidates = pvalue < cutoff  # NaN is not
        counts = {"n_tested": n_tested, "cutoff": cutoff, "n_significant": int(candidates.sum())}
    selected = candidates & is_tf
    others = np.flatnonzero(candidates & ~is_tf)
    order = np.lexsort((others, pvalue[others], -np.nan_to_num(variance[others], nan=-np.inf)))
    selected[others[order[:n_top]]] = True
    n_tfs = int((selected & is_tf).sum())
    return selected, {**counts, "n_tfs": n_tfs, "n_others": int(selected.sum()) - n_tfs}


def _write(
    adata: AnnData | MuData, slots: Slots, kept: np.ndarray | None, modality: str, *, copy: bool
) -> AnnData | MuData | None:
    if kept is None:
        return write_slots(adata, slots, modality=modality, copy=copy)
    data = adata.copy() if copy else adata
    whole = open_anndata(data, modality=modality)
    fresh = with_columns(whole, kept)
    write_slots(fresh, replace(slots, var={key: values[kept] for key, values in slots.var.items()}))
    replace_contents(whole, fresh)
    if data is not whole:
        update_mudata(data)
    return data if copy else None
