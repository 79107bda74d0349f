"""The simulator: against hand-solved cases, an independent ODE solver, and for the signal that it must hold."""

from __future__ import annotations

import time

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, sparse
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import scgrn_tl as sg
from scgrn_tl.core.errors import ArgumentError
from scgrn_tl.datasets._kinetics import Kinetics

simulated = sg.datasets.simulated


@pytest.fixture(scope="module")
def adata():
    return simulated()


def edge_auroc(adata) -> float:
    """AUROC of |Pearson r| over the pairs (TF, gene) for the true edges."""
    n_tfs = int(adata.var["is_tf"].sum())
    correlation = np.abs(np.corrcoef(adata.X.toarray().T))[:n_tfs]
    is_edge = np.zeros(correlation.shape, dtype=bool)
    truth = adata.uns["ground_truth"]
    is_edge[adata.var_names.get_indexer(truth["source"]), adata.var_names.get_indexer(truth["target"])] = True
    others = ~np.eye(*correlation.shape, dtype=bool) & np.isfinite(correlation)
    return roc_auc_score(is_edge[others], correlation[others])


# --- kinetics ----------------------------------------------------------------------------------------------------


def unregulated(production: float, decay: float) -> Kinetics:
    return Kinetics(
        basal=np.array([[production], [production]]),
        regulation=sparse.csr_matrix((2, 1)),
        half_response=np.array([1.0]),
        decay=np.array([decay, decay]),
        hill=2.0,
    )


@pytest.mark.parametrize(("production", "decay", "noise"), [(40.0, 1.0, 1.0), (60.0, 0.5, 1.0), (100.0, 1.25, 0.5)])
def test_an_unregulated_gene_has_the_mean_and_variance_of_its_equation(production, decay, noise):
    """dx = (b − λx)dt + q√(b + λx)dW has mean b/λ and variance q²b/λ; a step dt adds the factor 1/(1 − λdt/2)."""
    n_cells, dt = 20_000, 0.05
    levels = unregulated(production, decay).integrate(
        np.zeros(n_cells, dtype=int), np.random.default_rng(0), noise=noise, duration=20, dt=dt
    )
    mean, variance = production / decay, noise**2 * production / decay / (1 - decay * dt / 2)
    for gene in levels.astype(np.float64):
        assert abs(gene.mean() - mean) < 4 * np.sqrt(variance / n_cells)
        assert abs(gene.var() / variance - 1) < 4 * np.sqrt(2 / n_cells)
    assert abs(np.corrcoef(levels)[0, 1]) < 4 / np.sqrt(n_cells)


def cascade() -> Kinetics:
    """Master → TF (activates), TF ⊣ gene, master → gene, in two states."""
    return Kinetics(
        basal=np.array([[20.0, 5.0], [2.0, 2.0], [3.0, 3.0]]),
        regulation=sparse.csr_matrix(np.array([[0.0, 0.0], [30.0, 0.0], [10.0, -25.0]])),
        half_response=np.array([15.0, 12.0]),
        decay=np.array([1.0, 0.7, 1.3]),
        hill=3.0,
    )


def rate_equations(_, x, basal):
    """The cascade written out by hand."""
    on = [x[0] ** 3 / (15.0**3 + x[0] ** 3), x[1] ** 3 / (12.0**3 + x[1] ** 3)]
    return [
        basal - 1.0 * x[0],
        2.0 + 30.0 * on[0] - 0.7 * x[1],
        3.0 + 10.0 * on[0] + 25.0 * (1 - on[1]) - 1.3 * x[2],
    ]


def test_without_noise_the_steady_state_is_that_of_an_ode_solver():
    kinetics = cascade()
    expected = np.column_stack(
        [
            integrate.solve_ivp(
                rate_equations, (0, 200), [1.0, 1.0, 1.0], args=(b,), rtol=1e-10, atol=1e-10, method="LSODA"
            ).y[:, -1]
            for b in (20.0, 5.0)
        ]
    )
    np.testing.assert_allclose(kinetics.steady_state(), expected, rtol=1e-7)
    levels = kinetics.integrate(np.array([1, 0, 1]), np.random.default_rng(0), noise=0)
    np.testing.assert_allclose(levels, expected[:, [1, 0, 1]], rtol=1e-5)


def test_a_trajectory_relaxes_as_an_ode_solver_says():
    """A factor on the master's production takes the cell away from its starting point."""
    factors = np.array([[2.0], [1.0], [1.0]])
    levels = cascade().integrate(
        np.array([1]), np.random.default_rng(0), noise=0, extrinsic=factors, duration=1.5, dt=0.001
    )
    start = cascade().steady_state()[:, 1]
    expected = integrate.solve_ivp(rate_equations, (0, 1.5), start, args=(10.0,), rtol=1e-10, atol=1e-10).y[:, -1]
    np.testing.assert_allclose(levels[:, 0], expected, rtol=2e-3)


def test_a_steep_hill_function_is_a_switch_and_overflows_nowhere():
    from dataclasses import replace

    kinetics = replace(cascade(), hill=500.0)
    np.testing.assert_allclose(kinetics.steady_state()[1], [32 / 0.7, 2 / 0.7])
    levels = kinetics.integrate(np.array([0, 1]), np.random.default_rng(0), noise=1)
    assert np.isfinite(levels).all()
    assert (levels >= 0).all()


def test_regulation_that_dwarfs_basal_production_stays_finite():
    assert np.isfinite(simulated(50, strength=1e12, repressing=0.9).layers["molecules"]).all()


# --- network -----------------------------------------------------------------------------------------------------


def test_network_is_acyclic_signed_and_has_hubs():
    adata = simulated(50, 400, 40, mean_targets=30, rng=3)
    truth = adata.uns["ground_truth"]
    assert len(truth) == 40 * 30
    assert not truth.duplicated(["source", "target"]).any()
    assert not (truth["source"] == truth["target"]).any()
    tfs = adata.var_names[adata.var["is_tf"]]
    assert truth["source"].isin(tfs).all()
    between = truth[truth["target"].isin(tfs)]
    assert len(between)
    assert (tfs.get_indexer(between["source"]) < tfs.get_indexer(between["target"])).all()
    assert not truth["target"].isin(adata.var_names[adata.var["is_master"]]).any()
    # Every gene but the masters is regulated, and its regulators' shares add up.
    shares = truth.groupby("target")["weight"].sum()
    assert len(shares) == 400 - adata.var["is_master"].sum()
    np.testing.assert_allclose(shares, 1, rtol=1e-5)
    assert set(truth["sign"]) == {1, -1}
    assert abs((truth["sign"] == -1).mean() - 0.3) < 0.06
    out_degree = truth["source"].value_counts()
    assert out_degree.max() > 4 * out_degree.median()


@settings(max_examples=40, deadline=None)
@given(
    n_tfs=st.integers(1, 12),
    n_others=st.integers(1, 30),
    n_cells=st.integers(1, 15),
    mean_targets=st.floats(0, 60),
    seed=st.integers(0, 2**31),
)
def test_any_size_gives_a_valid_dataset(n_tfs, n_others, n_cells, mean_targets, seed):
    adata = simulated(n_cells, n_tfs + n_others, n_tfs, n_states=1, mean_targets=mean_targets, rng=seed)
    assert adata.shape == (n_cells, n_tfs + n_others)
    truth = adata.uns["ground_truth"]
    assert len(truth) <= round(n_tfs * mean_targets)
    assert not truth.duplicated(["source", "target"]).any()
    assert np.isfinite(adata.X.data).all()
    counts = adata.layers["counts"]
    assert counts.dtype == np.int32
    assert counts.min() >= 0
    assert (adata.layers["molecules"] >= 0).all()


# --- conditions ---------------------------------------------------------------------------------------------------


def test_conditions_share_all_but_the_rewired_edges():
    adata = simulated(600, n_conditions=3, rewired=0.25, rng=4)
    assert adata.obs["condition"].value_counts().tolist() == [200, 200, 200]
    first = adata.uns["ground_truth"]
    assert first.equals(simulated(50, rng=4).uns["ground_truth"])
    tfs = set(adata.var_names[adata.var["is_tf"]])
    into_others = (~first["target"].isin(tfs)).to_numpy()
    changed = adata.uns["rewired"]
    truths = [adata.uns[f"ground_truth_condition{number}"] for number in (2, 3)]
    for name, truth in zip(("condition2", "condition3"), truths, strict=True):
        pd.testing.assert_frame_equal(truth.drop(columns="source"), first.drop(columns="source"))  # in-degree, sign
        differs = (truth["source"] != first["source"]).to_numpy()
        assert differs.sum() == round(0.25 * into_others.sum())
        assert not differs[~into_others].any()
        assert not truth.duplicated(["source", "target"]).any()
        assert truth["source"].isin(tfs).all()
        before, after = (set(zip(t["source"], t["target"], strict=True)) for t in (first, truth))
        own = changed[changed["condition"] == name]
        edges = {
            change: set(zip(part["source"], part["target"], strict=True)) for change, part in own.groupby("change")
        }
        assert edges == {"lost": before - after, "gained": after - before}
    assert not truths[0].equals(truths[1])


def test_a_rewired_gene_follows_its_new_regulator():
    adata = simulated(1200, n_states=1, n_conditions=2, rewired=0.5, cell_effect=1.0, rng=2)
    changed = adata.uns["rewired"]
    only = adata.uns["ground_truth"].groupby("target")["source"].transform("size") == 1
    changed = changed[changed["target"].isin(adata.uns["ground_truth"].loc[only, "target"])]
    molecules = adata.to_df("molecules")

    def correlation(edges, condition):
        cells = molecules[adata.obs["condition"] == condition]
        return np.array(
            [np.corrcoef(cells[s], cells[t])[0, 1] for s, t in zip(edges.source, edges.target, strict=True)]
        )

    for change, there, not_there in (("lost", "condition1", "condition2"), ("gained", "condition2", "condition1")):
        edges = changed[changed["change"] == change]
        assert len(edges) > 5
        assert np.median(correlation(edges, there) * edges["sign"]) > 0.4
        assert np.median(np.abs(correlation(edges, not_there))) < 0.2


def test_rewiring_stops_where_there_are_no_other_tfs():
    adata = simulated(20, 12, 3, n_conditions=2, mean_targets=1000, rewired=1.0)
    assert adata.uns["ground_truth"].equals(adata.uns["ground_truth_condition2"])
    assert not len(adata.uns["rewired"])


def test_conditions_survive_writing_and_leave_one_condition_as_it_was(tmp_path):
    adata = simulated(30, n_conditions=2)
    adata.write_h5ad(tmp_path / "a.h5ad")
    back = ad.read_h5ad(tmp_path / "a.h5ad")
    assert back.uns["rewired"]["change"].tolist() == adata.uns["rewired"]["change"].tolist()
    one = simulated()
    assert "condition" not in one.obs
    assert set(one.uns) == {"ground_truth", "simulated", "log1p"}
    # sums of what version 0.1.0.dev0 made before there were conditions
    assert (int(one.layers["counts"].sum()), one.layers["counts"].nnz) == (356_799, 37_506)


# --- dataset -----------------------------------------------------------------------------------------------------


def test_slots(adata):
    assert adata.shape == (400, 120)
    assert list(adata.var_names[:2]) == ["TF01", "TF02"]
    assert list(adata.var_names[20:22]) == ["G0001", "G0002"]
    assert adata.var["is_tf"].sum() == 20
    assert adata.obs["state"].value_counts().tolist() == [134, 133, 133]
    assert adata.X.dtype == np.float32
    assert adata.X.format == adata.layers["counts"].format == "csr"
    assert adata.uns["simulated"]["n_tfs"] == 20
    assert adata.uns["simulated"]["rng"] == 0


def test_x_is_the_logarithm_of_counts_per_ten_thousand(adata):
    counts = adata.layers["counts"].toarray().astype(float)
    expected = np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(adata.X.toarray(), expected, rtol=1e-5)
    assert "log1p" in adata.uns  # where scanpy looks before it takes a logarithm again


def test_same_seed_same_bits(adata):
    again = simulated(rng=0)
    for one, other in ((adata.X, again.X), (adata.layers["counts"], again.layers["counts"])):
        np.testing.assert_array_equal(one.toarray(), other.toarray())
    np.testing.assert_array_equal(adata.layers["molecules"], again.layers["molecules"])
    assert adata.uns["ground_truth"].equals(again.uns["ground_truth"])
    assert adata.obs.equals(again.obs)
    assert not np.array_equal(adata.X.toarray(), simulated(rng=1).X.toarray())
    one, other = (simulated(20, rng=np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one.X.toarray(), other.X.toarray())


def test_sequencing_changes_neither_network_nor_molecules(adata):
    other = simulated(dropout=0.5, counts_per_gene=2, library_sd=1)
    assert adata.uns["ground_truth"].equals(other.uns["ground_truth"])
    np.testing.assert_array_equal(adata.layers["molecules"], other.layers["molecules"])
    assert simulated(30, noise=0.2).uns["ground_truth"].equals(adata.uns["ground_truth"])


def test_global_random_state_is_left_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    simulated(10)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_survives_writing(adata, tmp_path):
    for name, data in (("full", adata), ("no edges", simulated(10, mean_targets=0))):
        data.write_h5ad(tmp_path / f"{name}.h5ad")
        back = ad.read_h5ad(tmp_path / f"{name}.h5ad")
        np.testing.assert_array_equal(back.X.toarray(), data.X.toarray())
        np.testing.assert_array_equal(back.layers["counts"].toarray(), data.layers["counts"].toarray())
        assert back.uns["ground_truth"].shape == data.uns["ground_truth"].shape
        assert back.uns["ground_truth"]["source"].tolist() == data.uns["ground_truth"]["source"].tolist()
        assert back.uns["ground_truth"]["sign"].tolist() == data.uns["ground_truth"]["sign"].tolist()
        assert back.uns["simulated"] == data.uns["simulated"]
        assert back.obs["state"].tolist() == data.obs["state"].tolist()


@pytest.mark.parametrize("seed", range(4))
def test_edges_show_in_expression_and_only_through_the_network(seed):
    assert edge_auroc(simulated(rng=seed)) > 0.65
    assert abs(edge_auroc(simulated(rng=seed, strength=0)) - 0.5) < 0.07


def test_repressed_targets_fall_as_their_tf_rises():
    adata = simulated(600, n_states=1, rng=2, cell_effect=1.0)
    truth = adata.uns["ground_truth"]
    alone = truth[truth["weight"] > 0.99]
    molecules = adata.to_df("molecules")
    correlation = np.array(
        [np.corrcoef(molecules[s], molecules[t])[0, 1] for s, t in zip(alone["source"], alone["target"], strict=True)]
    )
    assert len(alone) > 10
    assert (np.sign(correlation) == alone["sign"]).mean() > 0.9


def test_states_are_separable_and_differ_through_the_masters(adata):
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.01))
    accuracy = cross_val_score(classifier, adata.X.toarray(), adata.obs["state"], cv=3).mean()
    assert accuracy > 0.8
    same = simulated(state_effect=0)
    assert cross_val_score(classifier, same.X.toarray(), same.obs["state"], cv=3).mean() < 0.45


def test_counts_have_the_depth_and_the_losses_asked_for():
    adata = simulated(1000, dropout=0, counts_per_gene=20, library_sd=0.5, rng=1)
    totals = np.asarray(adata.layers["counts"].sum(axis=1)).ravel()
    assert abs(totals.mean() / (20 * 120) - 1) < 0.08
    assert abs(np.log(totals).std() - 0.5) < 0.05
    zeros = [
        1 - simulated(dropout=q, counts_per_gene=1000, rng=1).layers["counts"].nnz / (400 * 120)
        for q in (0, 0.2, 0.5, 0.8)
    ]
    np.testing.assert_allclose(zeros, [0, 0.2, 0.5, 0.8], atol=0.06)


def test_a_cell_without_counts_stays_zero():
    adata = simulated(50, counts_per_gene=0.005)
    empty = np.asarray(adata.layers["counts"].sum(axis=1)).ravel() == 0
    assert empty.any()
    assert adata.X[empty].nnz == 0


@pytest.mark.parametrize(
    "arguments",
    [
        {"n_cells": 0},
        {"n_genes": 20, "n_tfs": 20},
        {"n_tfs": 0},
        {"n_states": 401},
        {"repressing": 1.5},
        {"noise": -1},
        {"dropout": float("nan")},
        {"hill": 0},
        {"strength": float("inf")},
        {"n_conditions": 0},
        {"rewired": 1.5},
    ],
)
def test_arguments_out_of_range_are_named(arguments):
    with pytest.raises(ArgumentError, match=f"{next(iter(arguments))}(=| is )"):
        simulated(**arguments)


def test_is_fast():
    simulated(10)
    start = time.perf_counter()
    simulated()
    assert time.perf_counter() - start < 2
