"""Genes selected by BEELINE's rule: the rule itself, the tests behind it, what is written and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse, stats

import scgrn_tl as sg
from scgrn_tl.core import ArgumentError, DuplicateGenesError, ExpressionError, GeneOverlapError, MissingKeyError
from scgrn_tl.pp._varying_genes import measure_variation, spline_basis

FULL = Path(os.environ.get("SCGRN_TL_BEELINE_FULL", Path(os.environ.get("SCGRN_TL_MIRROR", "")) / "beeline" / "full"))


def beeline_rule(table: pd.DataFrame, tfs: set[str], n: int, alpha: float) -> set[str]:
    """generateExpInputs.py with -c -t, step by step, on a table of genes (rows), p-values and variances."""
    table = table.sort_values(table.columns[0], kind="stable")
    cutoff = alpha / float(len(table.index))
    table = table[table[table.columns[0]] < cutoff]
    variable_tfs = set(table.index) & tfs
    others = table.drop(labels=sorted(variable_tfs))
    if n > len(others):
        return set(others.index) | variable_tfs
    others = others.sort_values(table.columns[1], ascending=False, kind="stable")
    return set(others.iloc[:n].index) | variable_tfs


def with_table(table: pd.DataFrame) -> ad.AnnData:
    return ad.AnnData(np.ones((2, len(table)), dtype=np.float32), var=table.copy())


def chosen(adata: ad.AnnData, key: str = "selected") -> list[str]:
    return adata.var_names[adata.var[key]].tolist()


# -------------------------------------------------------------------------------------------------------- the rule

TABLE = pd.DataFrame(
    {
        #        TF1    TF2   TF3    A     B     C     D     E
        "p": [1e-9, 0.00124, 0.2, 1e-5, 1e-4, 1e-3, 1e-3, 0.00125],  # 0.01 / 8 = 0.00125 itself does not pass
        "variance": [0.1, 0.2, 9.0, 1.0, 3.0, 2.0, 3.0, 8.0],
    },
    index=["TF1", "TF2", "TF3", "A", "B", "C", "D", "E"],
)


@pytest.mark.parametrize(
    ("n_top", "expected"),
    [
        (0, ["TF1", "TF2"]),
        (1, ["TF1", "TF2", "B"]),  # B before D: as variable, and surer
        (2, ["TF1", "TF2", "B", "D"]),
        (3, ["TF1", "TF2", "B", "C", "D"]),
        (4, ["TF1", "TF2", "A", "B", "C", "D"]),
        (99, ["TF1", "TF2", "A", "B", "C", "D"]),
    ],
)
def test_the_rule_on_a_table_made_by_hand(n_top, expected):
    adata = with_table(TABLE)
    tfs = ["TF1", "TF2", "TF3", "TF4", *(f"N{i}" for i in range(100))]  # as a catalogue, not all of them here
    sg.pp.select_genes(adata, n_top=n_top, tf_names=tfs, p_values="p", variances="variance")
    assert chosen(adata) == expected
    record = adata.uns["selected"]
    assert record["n_tested"] == 8
    assert record["cutoff"] == 0.01 / 8
    assert (record["n_significant"], record["n_tfs"], record["n_others"]) == (6, 2, len(expected) - 2)
    assert adata.var["selected_is_tf"].sum() == 3
    np.testing.assert_array_equal(adata.var["selected_pvalue"], TABLE["p"])


@given(
    st.lists(
        st.tuples(st.sampled_from([1e-9, 1e-4, 1e-3, 5e-3, 0.5]), st.sampled_from([0.5, 1.0, 2.0]), st.booleans()),
        min_size=1,
        max_size=14,
    ),
    st.integers(1, 8),
)
def test_the_rule_is_that_of_beeline(rows, n_top):
    table = pd.DataFrame(
        [row[:2] for row in rows], columns=["p", "variance"], index=[f"G{i}" for i in range(len(rows))]
    )
    tfs = {f"G{i}" for i, row in enumerate(rows) if row[2]}
    expected = beeline_rule(table, tfs, n_top, 0.05)
    adata = with_table(table)
    arguments = {"n_top": n_top, "alpha": 0.05, "tf_names": tfs or None, "variances": table["variance"].to_numpy()}
    if not expected:
        with pytest.raises(ArgumentError, match="No gene varies significantly"):
            sg.pp.select_genes(adata, p_values=table["p"].to_numpy(), **arguments)
        return
    sg.pp.select_genes(adata, p_values=table["p"].to_numpy(), **arguments)
    assert set(chosen(adata)) == expected


def test_values_by_gene_and_genes_that_were_not_tested():
    table = TABLE.iloc[::-1]
    adata = with_table(TABLE[[]])
    extra = pd.concat([table, pd.DataFrame({"p": [1e-9], "variance": [99]}, index=["elsewhere"])])
    sg.pp.select_genes(adata, n_top=9, p_values=extra["p"].drop("A"), variances=extra["variance"])
    assert chosen(adata) == ["TF1", "TF2", "B", "C", "D", "E"]  # without A, there are 7 tests
    assert adata.uns["selected"]["n_tested"] == 7
    assert np.isnan(adata.var.loc["A", "selected_pvalue"])
    assert "selected_is_tf" not in adata.var


# ------------------------------------------------------------------------------------------------------- the tests


def expression(n_cells: int = 60, n_genes: int = 5, seed: int = 0) -> tuple[np.ndarray, np.random.Generator]:
    rng = np.random.default_rng(seed)
    return rng.gamma(2.0, size=(n_cells, n_genes)) + 0.1, rng


def with_cells(values: np.ndarray, **obs) -> ad.AnnData:
    return ad.AnnData(values, obs=pd.DataFrame(obs, index=[f"c{i}" for i in range(len(obs[min(obs)]))]))


def by_least_squares(values: np.ndarray, regressors: np.ndarray) -> np.ndarray:
    """p-values of the F-test of all coefficients but the constant, gene by gene."""
    design = np.column_stack([np.ones(len(values)), regressors])
    rank = np.linalg.matrix_rank(design)
    found = []
    for gene in values.T:
        residual = gene - design @ np.linalg.lstsq(design, gene, rcond=None)[0]
        full, null = (residual**2).sum(), ((gene - gene.mean()) ** 2).sum()
        ratio = ((null - full) / (rank - 1)) / (full / (len(gene) - rank))
        found.append(stats.f.sf(ratio, rank - 1, len(gene) - rank))
    return np.array(found)


@pytest.mark.parametrize("kind", ["dense", "csr", "csc"])
def test_the_f_test_is_that_of_least_squares(kind):
    values, rng = expression()
    times = np.sort(rng.random(60))
    values[:, 1] += 2 * np.sin(6 * times) + 2
    values[:, 4] = 2.5
    convert = {"dense": np.asarray, "csr": sparse.csr_matrix, "csc": sparse.csc_matrix}[kind]
    adata = with_cells(convert(values), time=times)
    # natural cubic regression by another route: powers, and cubes cut off at the inner knots, span the same splines
    knots = np.quantile(times, [1 / 3, 2 / 3])
    powers = np.column_stack([times, times**2, times**3, *(np.maximum(times - knot, 0) ** 3 for knot in knots)])
    measured = measure_variation(adata, None, [spline_basis(times, 4)])
    np.testing.assert_allclose(measured.p_values[:4], by_least_squares(values, powers)[:4], rtol=1e-6)
    np.testing.assert_allclose(measured.variance, values.var(axis=0, ddof=1), rtol=1e-9, atol=1e-12)
    assert np.isnan(measured.p_values[4])  # a gene that does not vary
    assert measured.p_values[1] < 1e-4


def test_groups_are_an_analysis_of_variance():
    values, rng = expression()
    groups = rng.permutation(["a"] * 10 + ["b"] * 20 + ["c"] * 30)
    values[groups == "b", 2] += 2
    adata = with_cells(values, group=pd.Categorical(groups, ["a", "b", "c", "unused"]))
    sg.pp.select_genes(adata, groupby="group")
    expected = stats.f_oneway(*(values[groups == group] for group in "abc")).pvalue
    np.testing.assert_allclose(adata.var["selected_pvalue"], expected, rtol=1e-8)
    assert chosen(adata) == ["2"]
    assert adata.uns["selected"]["params"]["test"] == "groups"


def test_several_lineages_each_with_its_cells():
    values, _ = expression()
    times = np.full((60, 2), np.nan)
    times[:30, 0], times[20:, 1] = np.linspace(0, 1, 30), np.linspace(0, 1, 40)
    values[20:, 3] += 9 * times[20:, 1]
    adata = with_cells(values, first=times[:, 0], second=times[:, 1])
    sg.pp.select_genes(adata, pseudotime=["first", "second"])
    each = [
        by_least_squares(values[cells], spline_basis(times[cells, column], 4))
        for column, cells in enumerate((slice(0, 30), slice(20, 60)))
    ]
    np.testing.assert_allclose(adata.var["selected_pvalue"], np.minimum(2 * np.minimum(*each), 1), rtol=1e-6)
    assert chosen(adata) == ["3"]
    assert adata.uns["selected"]["params"]["pseudotime"].tolist() == ["first", "second"]
    assert adata.uns["selected"]["n_cells"].tolist() == [30, 40]


def test_cells_without_pseudotime_are_told_of():
    values, _ = expression()
    times = np.where(np.arange(60) < 40, np.arange(60.0), np.inf)  # as of cells that are not connected with the root
    values[:40, 1] += times[:40] / 4
    adata = with_cells(values, dpt=times)
    with pytest.warns(UserWarning, match="20 of 60 cells have no pseudotime or group and are left out"):
        sg.pp.select_genes(adata, pseudotime="dpt")
    assert adata.uns["selected"]["n_cells"].tolist() == [40]
    assert chosen(adata) == ["1"]


def test_counts_are_normalised_first_and_stay_as_they_are():
    counts = np.random.default_rng(0).poisson(3, size=(50, 6))
    adata = ad.AnnData(sparse.csr_matrix(counts, dtype=np.float32), layers={"counts": counts})
    logs = np.log2(1 + 1e4 * counts / counts.sum(axis=1, keepdims=True))
    for layer in (None, "counts"):
        sg.pp.select_genes(adata, layer=layer, n_top=2)
        np.testing.assert_allclose(adata.var["selected_variance"], logs.var(axis=0, ddof=1), rtol=1e-5)
    np.testing.assert_array_equal(adata.X.toarray(), counts)


def test_few_time_points_are_taken_as_they_are():
    """Four times span four means: the spline's other coefficients are of no effect."""
    values, rng = expression()
    times = rng.permutation(np.repeat([1.0, 2.0, 4.0, 8.0], 15))
    values[:, 0] += times
    adata = with_cells(values, time=times)
    sg.pp.select_genes(adata, pseudotime="time", alpha=1)
    expected = stats.f_oneway(*(values[times == time] for time in np.unique(times))).pvalue
    np.testing.assert_allclose(adata.var["selected_pvalue"], expected, rtol=1e-6)


def test_p_values_are_uniform_without_dynamics_and_small_with_them():
    still = sg.datasets.simulated(400, 240, 20, n_states=1, strength=0.0, cell_effect=0.0, rng=3)
    still.obs["time"] = np.random.default_rng(1).random(400)
    sg.pp.select_genes(still, pseudotime="time", alpha=1, n_top=10)
    assert stats.kstest(still.var["selected_pvalue"], "uniform").pvalue > 0.01

    moving = sg.datasets.simulated(400, 60, 12, n_states=4, state_effect=1.0, rng=3)
    moving.obs["time"] = moving.obs["state"].cat.as_ordered()
    sg.pp.select_genes(
        moving, pseudotime="time", n_top=10, tf_names=moving.var_names[moving.var["is_tf"]], layer="counts"
    )
    assert moving.var.loc[moving.var["is_master"], "selected_pvalue"].max() < 1e-6
    record = moving.uns["selected"]
    assert record["n_others"] == 10
    assert moving.var.loc[moving.var["is_master"], "selected"].all()


# ----------------------------------------------------------------------------------------- what is written, where


def test_without_a_test_all_tfs_that_vary_and_the_most_varying_genes():
    values = np.array([[1.5, 0.5, 1, 2, 9], [1.5, 0, 2, 6, 0]])
    adata = ad.AnnData(values, var=pd.DataFrame({"old_pvalue": 1.0}, index=["TF0", "TF1", "A", "B", "C"]))
    adata.var["selected_pvalue"] = 0.5  # of an earlier run
    sg.pp.select_genes(adata, n_top=2, tf_names=["TF0", "TF1"])
    assert chosen(adata) == ["TF1", "B", "C"]
    assert "selected_pvalue" not in adata.var
    assert "n_tested" not in adata.uns["selected"]
    assert adata.uns["selected"]["params"]["test"] == "none"


@pytest.mark.parametrize("kind", ["in place", "copy", "view", "backed", "mudata"])
def test_subsets_and_files(kind, tmp_path):
    adata = with_table(TABLE)
    adata.layers["counts"] = adata.X.copy()
    adata.raw = adata
    arguments = {"n_top": 1, "tf_names": ["TF1", "TF2"], "p_values": "p", "variances": "variance", "subset": True}
    expected = ["TF1", "TF2", "B"]
    if kind == "backed":
        adata.write_h5ad(tmp_path / "file.h5ad")
        adata = ad.read_h5ad(tmp_path / "file.h5ad", backed="r")
        with pytest.raises(ArgumentError, match="to_memory"):
            sg.pp.select_genes(adata, **arguments)
        sg.pp.select_genes(adata, **(arguments | {"subset": False}))
        assert chosen(adata) == expected
        adata.file.close()
        return
    if kind == "mudata":
        mdata = md.MuData({"rna": adata, "x": ad.AnnData(np.ones((2, 1), dtype=np.float32))})
        sg.pp.select_genes(mdata, **arguments)
        assert mdata.var_names.tolist() == [*expected, "0"]
        found = mdata["rna"]
    elif kind == "copy":
        found = sg.pp.select_genes(adata, copy=True, **arguments)
        assert adata.n_vars == 8
        assert "selected" not in adata.var
    else:
        found = adata[:, ::-1] if kind == "view" else adata
        expected = expected[::-1] if kind == "view" else expected
        assert sg.pp.select_genes(found, **arguments) is None
    assert found.var_names.tolist() == expected
    assert found.raw.n_vars == 8
    found.write_h5ad(tmp_path / "file.h5ad")
    back = ad.read_h5ad(tmp_path / "file.h5ad")
    assert back.var["selected"].dtype == bool
    assert back.uns["selected"]["params"]["n_top"] == 1
    assert back.uns["selected"]["n_tested"] == 8


# ------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_top": -1}, ArgumentError, "n_top is a number of genes"),
        ({"n_top": 2.5}, ArgumentError, "n_top is a whole number"),
        ({"alpha": 0}, ArgumentError, "alpha lies between"),
        ({"n_knots": 1}, ArgumentError, "n_knots is 2 or more"),
        ({"p_values": "p", "pseudotime": "time"}, ArgumentError, "only one of p_values, pseudotime"),
        ({"p_values": "q"}, MissingKeyError, r"\.var\['q'\] \(p_values\)"),
        ({"p_values": [0.1]}, ArgumentError, r"shape \(1,\); there are 8 genes"),
        ({"p_values": [2.0] * 8}, ArgumentError, "between 0 and 1"),
        ({"p_values": ["a"] * 8}, ArgumentError, "p_values are numbers"),
        ({"variances": [np.nan] * 8}, ArgumentError, "None of the genes has a value in variances"),
        ({"p_values": [0.5] * 8}, ArgumentError, "No gene varies significantly: none of 8"),
        ({"pseudotime": []}, ArgumentError, "the list is empty"),
        ({"pseudotime": "dpt"}, MissingKeyError, r"\.obs\['dpt'\]"),
        ({"pseudotime": "time"}, ArgumentError, "F-test of 1 coefficients needs more than the 2 cells"),
        ({"pseudotime": "same"}, ArgumentError, "fewer than two different values"),
        ({"groupby": "same"}, ArgumentError, "one group of cells"),
        ({"groupby": "type"}, MissingKeyError, r"\.obs\['type'\]"),
        ({"tf_names": ["tf9"]}, GeneOverlapError, "None of the 1 TF names"),
        ({"layer": "counts"}, MissingKeyError, "layers"),
        ({}, ArgumentError, "No gene varies"),
        ({"key_added": ""}, ArgumentError, "key_added is a name"),
    ],
)
def test_bad_arguments(arguments, error, message):
    adata = with_table(TABLE)
    adata.obs["time"], adata.obs["same"] = [0.0, 1.0], [1, 1]
    with pytest.raises(error, match=message):
        sg.pp.select_genes(adata, **arguments)
    assert adata.var.columns.tolist() == ["p", "variance"]
    assert not len(adata.uns)


def test_bad_expression_and_names():
    adata = with_table(TABLE)
    adata.X[1, 2] = -1
    adata.layers["log"] = np.abs(adata.X)
    with pytest.raises(ExpressionError, match=r"negative value .* pass `layer='log'`"):
        sg.pp.select_genes(adata)
    adata.var_names = ["A", "A", *adata.var_names[2:]]
    with pytest.raises(DuplicateGenesError, match=r'sg\.pp\.resolve_genes\(adata, duplicates="sum"\)'):
        sg.pp.select_genes(adata)


# -------------------------------------------------------------------------------------------------- published panels


@pytest.mark.internet
@pytest.mark.parametrize("cell_type", ["hESC", "hHEP", "mDC", "mESC", "mHSC-E", "mHSC-GM", "mHSC-L"])
def test_the_published_panel(cell_type):
    """Of the full genome, the genes of the BEELINE panel that GENELink and scTransNet use."""
    folder = next(
        (FULL / name for name in (cell_type, cell_type.replace("HEP", "Hep")) if (FULL / name).is_dir()), None
    )
    if folder is None:
        pytest.skip(f"no full-genome data of {cell_type} in {FULL}")
    order = pd.read_csv(folder / "GeneOrdering.csv", index_col=0)
    genes = pd.read_csv(folder / "ExpressionData.csv", index_col=0, usecols=[0]).index
    order = order[order.index.isin(genes)]
    adata = with_table(order.rename(columns=dict(zip(order.columns, ["p", "variance"], strict=False))))
    panel = sg.datasets.beeline(cell_type)
    tfs = panel.var_names[panel.var["is_tf"]]
    n_others = int((~panel.var["is_tf"]).sum())
    sg.pp.select_genes(adata, n_top=n_others, tf_names=tfs, p_values="p", variances="variance")
    assert set(chosen(adata)) == set(panel.var_names)
