"""``tl.differential_grn``: which edges are of another strength in one group of cells than in another."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from scgrn_tl.core import ArgumentError, check_unique_genes, make_task, parallel_map, spawn_seeds
from scgrn_tl.core.argument_types import typed_arguments
from scgrn_tl.core.coefficient_contrast import contrast_coefficients, permutation_pvalues, permute_within
from scgrn_tl.core.parallel import check_n_jobs
from scgrn_tl.core.slots import Slots, check_key, open_anndata, run_record, write_slots
from scgrn_tl.core.user_warning import warn_user

from ._cell_groups import CellGroups
from ._compared_cells import choose_groups, compared_cells
from ._compared_edges import CELLS_PER_REGULATOR, candidate_edges, keep_likeliest, log_odds

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd
    from anndata import AnnData
    from mudata import MuData

    from scgrn_tl.core import RNGLike
    from scgrn_tl.core.coefficient_contrast import Contrast

    from ._compared_cells import ComparedCells

__all__ = ["differential_grn"]

LOGGER = logging.getLogger(__name__)

_RIDGE = 1e-3
"""Of regressors of variance 1: what keeps two regulators that go together from having no coefficients at all."""


@typed_arguments
def differential_grn(
    adata: AnnData | MuData,
    *,
    groupby: str,
    group: str | None = None,
    reference: str | None = None,
    edges: Any = None,
    key: str = "grn",
    min_probability: float = 0.5,
    strata: str | Iterable[str] | None = None,
    layer: str | None = None,
    min_difference: float = 0.05,
    max_regulators: int = 30,
    min_cells: int = 10,
    n_permutations: int = 500,
    n_jobs: int | None = None,
    rng: RNGLike = 0,
    modality: str = "rna",
    key_added: str = "differential_grn",
    copy: bool = False,
) -> AnnData | MuData | None:
    r"""Which edges are stronger or weaker in one group of cells than in another.

    The probabilities of two groups' networks share their prior, and their difference has no null distribution. Compared
    is what the cells show: each target's expression is regressed on all its candidate regulators, in each group by
    itself (as CellOracle does; Kamimoto et al. 2023), and

    .. math:: T_{rj} = \frac{\hat\beta^{A}_{rj} - \hat\beta^{B}_{rj}}{\sqrt{v^{A}_{rj} + v^{B}_{rj}}}

    with variances that hold where the noise differs between cells and groups (HC3). Labels are then permuted within
    strata; being studentised, T has the same null distribution also where groups differ in everything but the
    coefficient (Janssen 1997; Chung and Romano 2013; DiCiccio and Romano 2017). :doc:`/groups` says when to trust it.

    Parameters
    ----------
    adata
        Annotated data, cells × genes, with log-normalised expression or counts; or a MuData with ``modality``.
    groupby
        Column of ``obs``.
    group, reference
        Two of its values; ``reference="rest"`` stands for all other cells, and is what ``None`` means beside a
        ``group``. Of a column of two values, neither has to be given: the second is compared with the first.
    edges
        Which edges to compare: pairs ``(source, target)`` or one such pair, a DataFrame ``source``, ``target``, or
        anything else that :meth:`scgrn_tl.core.PriorNetwork.from_any` reads. ``None`` for the edges of the stored
        networks.
    key, min_probability
        These are the edges of at least this probability in ``varp[key]``, ``varp[f"{key}_{group}"]`` or
        ``varp[f"{key}_{reference}"]``, as :func:`fit_grn` with ``groupby`` writes them.
    strata
        Column of ``obs``, or several, such as batch and cell state: labels are permuted, and expression is centred,
        within their combinations. Cells of a combination that only one of the groups has are left out.
    layer
        Layer of the expression; ``X`` if ``None``. Whole numbers are counts, and normalised and logged on the way.
    min_difference
        Differences up to this are taken for none (McCarthy and Smyth 2009), in standard deviations of the target per
        standard deviation of the regulator. At 0 the null hypothesis is equality, which with many cells fails for
        edges that are merely near a rewired one.
    max_regulators
        Of a target, so many of the likeliest regulators are compared, and no more than one for 5 cells.
    min_cells
        Cells of each group that a gene has to be found in; edges of other genes are not tested.
    n_permutations
        How often labels are permuted, at least 20. P-values come from the permutations of all edges together, so that
        small ones do not need many.
    n_jobs
        Processes (``-1``: one a core); :attr:`scgrn_tl.settings.n_jobs` if ``None``. The result does not depend on it.
    rng
        Seed or generator of the permutations.
    modality
        Which modality, if ``adata`` is a MuData.
    key_added
        Under which key results are stored.
    copy
        Write into a copy and return it.

    Returns
    -------
    ``None``, or the copy with ``copy=True``. Sets ``adata.uns[key_added]``, a dict of ``params``, ``version``,
    ``report``, and ``table``, a DataFrame with a row per edge, the most significant first:

    ``source``, ``target`` : str
        Regulator and regulated gene.
    ``strength``, ``strength_reference`` : float64
        Coefficient in the group and in the reference, in standard deviations of the target per standard deviation of
        the regulator, both those within strata and groups.
    ``difference`` : float64
        ``strength - strength_reference``.
    ``statistic`` : float64
        T, centred and scaled by its permutations; standard normal, about, where there is no difference.
    ``pvalue``, ``qvalue`` : float64
        Two-sided, and after Benjamini and Hochberg (1995).
    ``probability``, ``probability_reference`` : float64
        Of the groups' own networks; NaN where there is none.
    ``log_odds_difference`` : float64
        What the networks make of it; not what is tested.

    An edge that was not tested has NaN from ``strength`` to ``qvalue``. ``report`` counts ``edges_given``,
    ``edges_tested``, and why the others were not: ``edges_of_unknown_genes`` (these are not in the table),
    ``edges_of_rare_genes`` (``min_cells``), ``edges_beyond_max_regulators``; and ``cells_left_out`` for their stratum.

    Raises
    ------
    ArgumentError
        If an argument cannot be used, too few cells are left, or no edge can be tested.
    DuplicateGenesError
        If ``var_names`` are not unique.
    ExpressionError
        If expression is negative, NaN or infinite anywhere.
    MissingKeyError
        If a column, layer or network is not there.
    PriorError
        If ``edges`` cannot be read, or none is between genes of the data.

    Warns
    -----
    UserWarning
        If cells are left out, edges are not tested, or the networks have fewer than 10 edges to compare.

    Examples
    --------
    >>> import scgrn_tl as sg
    >>> adata = sg.datasets.simulated(n_conditions=2)
    >>> edges = adata.uns["ground_truth"]
    >>> sg.tl.differential_grn(adata, groupby="condition", strata="state", edges=edges)
    >>> adata.uns["differential_grn"]["table"].query("qvalue < 0.1")  # doctest: +SKIP
    """
    data = open_anndata(adata, modality=modality, copy=copy)
    _check(min_probability, min_difference, max_regulators, min_cells, n_permutations)
    check_key("key_added", key_added)
    check_n_jobs(n_jobs)
    check_unique_genes(tuple(map(str, data.var_names)))
    columns = [] if strata is None else [strata] if isinstance(strata, str) else list(strata)
    groups = CellGroups.from_obs(data, groupby, "groupby", most=None)
    group, reference = choose_groups(groups, group, reference, groupby=groupby)
    cells = compared_cells(data, groups, group, reference, columns, min_cells=min_cells)
    candidates = candidate_edges(
        data, edges, key=key, group=group, reference=reference, min_probability=min_probability
    )
    found = candidates.edges
    genes = np.unique(found[["source", "target"]])
    expression = _expression(data, layer, cells.cells, genes)  # (n, g)
    standard, testable = _standardized(expression, cells, min_cells)
    between = _between(found, genes[testable])
    table = keep_likeliest(between, _most_regulators(cells, max_regulators))
    report = {
        "edges_given": len(found) + candidates.n_unknown,
        "edges_tested": len(table),
        "edges_of_unknown_genes": candidates.n_unknown,
        "edges_of_rare_genes": len(found) - len(between),
        "edges_beyond_max_regulators": len(between) - len(table),
        "cells_left_out": cells.n_left_out,
    }
    (seed,) = spawn_seeds(rng, 1)
    marks = permute_within(cells.in_group, cells.strata, n_permutations, np.random.default_rng(seed))
    results = _contrasts(table, genes, standard, marks, cells, n_jobs)
    table = _with_results(found, table, results, min_difference)
    names = np.asarray(data.var_names, dtype=object)
    table["source"], table["target"] = names[table["source"]], names[table["target"]]
    n_significant = int((table["qvalue"] < 0.05).sum())
    LOGGER.info("Of %s edges tested, %s differ (q < 0.05).", f"{table['pvalue'].count():,}", f"{n_significant:,}")
    params = {
        "groupby": groupby,
        "group": groups.shown(group),
        "reference": groups.shown(reference),
        "n_cells": int(cells.in_group.sum()),
        "n_cells_reference": int((~cells.in_group).sum()),
        "strata": columns or None,
        "key": key if edges is None else None,
        "min_probability": min_probability if edges is None else None,
        "layer": layer,
        "min_difference": min_difference,
        "max_regulators": max_regulators,
        "min_cells": min_cells,
        "n_permutations": n_permutations,
        "rng": rng if isinstance(rng, (int, np.integer)) else None,
    }
    slots = Slots(uns={key_added: run_record(params, report=report, table=table)})
    return write_slots(adata, slots, modality=modality, copy=copy)


def _check(
    min_probability: float, min_difference: float, max_regulators: int, min_cells: int, n_permutations: int
) -> None:
    if not 0 <= min_probability <= 1:
        msg = f"min_probability={min_probability!r} is not between 0 and 1."
        raise ArgumentError(msg)
    if not 0 <= min_difference < np.inf:
        msg = f"min_difference={min_difference!r} is not a number of at least 0."
        raise ArgumentError(msg)
    for name, value, least in (
        ("max_regulators", max_regulators, 1),
        ("min_cells", min_cells, 3),
        ("n_permutations", n_permutations, 20),
    ):
        if value < least:
            msg = f"{name} is a whole number of at least {least}, not {value!r}."
            raise ArgumentError(msg)


def _expression(adata: AnnData, layer: str | None, cells: np.ndarray, genes: np.ndarray) -> np.ndarray:
    """Log-normalised expression ``float64[n, g]`` of some cells and genes, normalised by all genes of a cell."""
    chosen = make_task(adata, layer=layer).expression[genes][:, cells]
    dense = chosen.toarray() if sparse.issparse(chosen) else chosen
    return np.ascontiguousarray(dense.T, dtype=np.float64)


def _standardized(expression: np.ndarray, cells: ComparedCells, min_cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Expression centred within groups and strata and scaled over all cells, and ``bool[g]``, what can be compared."""
    detected = expression > 0
    testable = np.minimum(detected[cells.in_group].sum(0), detected[~cells.in_group].sum(0)) >= min_cells
    centred = expression.copy()
    for number in range(int(cells.centring.max()) + 1):
        rows = cells.centring == number
        centred[rows] -= centred[rows].mean(axis=0)
    for side in (cells.in_group, ~cells.in_group):
        testable &= centred[side].std(axis=0) > 1e-6
    return centred / np.where(testable, centred.std(axis=0), 1.0), testable


def _between(edges: pd.DataFrame, testable: np.ndarray) -> pd.DataFrame:
    """The edges between testable genes; warns of others."""
    between = edges[edges["source"].isin(testable) & edges["target"].isin(testable)]
    if not len(between):
        msg = (
            f"None of the {len(edges):,} edges can be tested: their genes are found in too few cells. Lower min_cells."
        )
        raise ArgumentError(msg)
    if len(between) < len(edges):
        warn_user(
            f"{len(edges) - len(between):,} of {len(edges):,} edges are not tested: a gene is in too few cells "
            "of a group (min_cells=), or does not vary."
        )
    return between


def _most_regulators(cells: ComparedCells, max_regulators: int) -> int:
    """Of a target, as many as the smaller of both groups has cells for."""
    fewest = min(int(cells.in_group.sum()), int((~cells.in_group).sum()))
    return max(1, min(max_regulators, fewest // CELLS_PER_REGULATOR))


def _contrasts(
    edges: pd.DataFrame,
    genes: np.ndarray,
    standard: np.ndarray,
    marks: np.ndarray,
    cells: ComparedCells,
    n_jobs: int | None,
) -> list[Contrast]:
    """A contrast for each target, in the order of ``edges``."""
    columns = np.searchsorted(genes, edges[["source", "target"]].to_numpy())
    starts = np.flatnonzero(np.diff(columns[:, 1], prepend=-1))
    targets = [
        (int(columns[start, 1]), tuple(columns[start:end, 0].tolist()))
        for start, end in zip(starts, [*starts[1:], len(columns)], strict=True)
    ]
    own_leverage = 1.0 / np.bincount(cells.centring)[cells.centring]
    return list(
        parallel_map(_contrast, targets, standard, marks, own_leverage, n_jobs=n_jobs, description="Differential edges")
    )


def _contrast(
    target: tuple[int, tuple[int, ...]], standard: np.ndarray, marks: np.ndarray, own_leverage: np.ndarray
) -> Contrast:
    gene, regulators = target
    return contrast_coefficients(
        standard[:, list(regulators)], standard[:, gene], marks, own_leverage=own_leverage, ridge=_RIDGE
    )


def _with_results(
    edges: pd.DataFrame, tested: pd.DataFrame, results: list[Contrast], min_difference: float
) -> pd.DataFrame:
    """The table that is stored: all edges, those that were tested with what came out."""
    from scipy.stats import false_discovery_control

    strength, other = np.concatenate([result.coefficients for result in results], axis=1)
    errors = np.concatenate([result.errors for result in results])
    statistics = np.concatenate([result.statistics for result in results], axis=1)
    statistic, pvalue = permutation_pvalues(statistics, min_difference / errors)
    tested = tested[["source", "target"]].assign(
        strength=strength,
        strength_reference=other,
        difference=strength - other,
        statistic=statistic,
        pvalue=pvalue,
        qvalue=false_discovery_control(pvalue),
    )
    networks = edges[["source", "target", "probability", "probability_reference"]]
    table = networks.merge(tested, on=["source", "target"], how="left")
    table["log_odds_difference"] = log_odds(table["probability"]) - log_odds(table["probability_reference"])
    size = table["statistic"].abs()
    order = np.lexsort((table["target"], table["source"], -size.fillna(0), table["pvalue"].fillna(2)))
    columns = ["source", "target", *tested.columns[2:], "probability", "probability_reference", "log_odds_difference"]
    return table[columns].iloc[order].reset_index(drop=True)
