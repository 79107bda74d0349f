"""Batches of the simulator: what they change in counts, and that they change nothing else."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest

import scgrn_tl as sg
from scgrn_tl.core.errors import ArgumentError
from scgrn_tl.datasets._batches import Batches

simulated = sg.datasets.simulated
UNLIKE = {"n_batches": 2, "batch_sizes": (0.8, 0.2), "batch_depths": (1, 0.3), "batch_ambient": (0.02, 0.2)}


def counts_of(adata: ad.AnnData) -> np.ndarray:
    return adata.layers["counts"].toarray().astype(float)


def test_batches_that_do_not_differ_leave_every_bit_as_it_is():
    plain, alike = simulated(60), simulated(60, n_batches=3, batch_effect=0)
    np.testing.assert_array_equal(counts_of(plain), counts_of(alike))
    assert plain.obs.columns.tolist() == ["state"]
    assert "batch_efficiency" not in plain.varm
    np.testing.assert_array_equal(counts_of(plain), counts_of(simulated(60, batch_effect=5.0)))  # one batch


def test_biology_does_not_know_of_batches():
    plain, batches = simulated(), simulated(**UNLIKE, batch_effect=1.0)
    np.testing.assert_array_equal(plain.layers["molecules"], batches.layers["molecules"])
    assert plain.uns["ground_truth"].equals(batches.uns["ground_truth"])
    assert plain.obs["state"].equals(batches.obs["state"])
    assert not np.array_equal(counts_of(plain), counts_of(batches))


def test_slots_and_seeds(tmp_path):
    adata = simulated(**UNLIKE)
    assert adata.obs["batch"].value_counts().to_dict() == {"batch1": 320, "batch2": 80}
    assert adata.varm["batch_efficiency"].shape == (120, 2)
    assert adata.varm["batch_efficiency"].dtype == np.float32
    np.testing.assert_array_equal(counts_of(adata), counts_of(simulated(**UNLIKE)))
    assert not adata.obs["batch"].equals(simulated(**UNLIKE, rng=1).obs["batch"])
    adata.write_h5ad(tmp_path / "batches.h5ad")
    back = ad.read_h5ad(tmp_path / "batches.h5ad")
    assert back.obs["batch"].equals(adata.obs["batch"])
    assert back.uns["simulated"]["batch_depths"].tolist() == [1, 0.3]
    assert simulated(10, n_batches=3).obs["batch"].value_counts().tolist() == [4, 3, 3]


def test_expected_counts_follow_their_equation():
    rng = np.random.default_rng(0)
    expected = rng.gamma(1.0, size=(7, 4))
    batches = Batches(
        codes=np.array([0, 1, 0, 1, 1, 0, 0]),
        efficiency=rng.gamma(1.0, size=(4, 2)),
        depth=np.array([1.0, 0.3]),
        ambient=np.array([0.0, 0.25]),
    )
    literal = np.empty_like(expected)
    for n, b in enumerate(batches.codes):
        for i in range(4):
            members = np.flatnonzero(batches.codes == b)
            soup = sum(batches.efficiency[i, b] * expected[m, i] for m in members) / len(members)
            own = batches.efficiency[i, b] * expected[n, i]
            literal[n, i] = batches.depth[b] * ((1 - batches.ambient[b]) * own + batches.ambient[b] * soup)
    np.testing.assert_allclose(batches.distort(expected), literal, rtol=1e-12)


def test_efficiencies_show_in_the_counts_of_their_batch():
    adata = simulated(2000, n_batches=2, batch_effect=0.5, dropout=0, counts_per_gene=50)
    efficiency = adata.varm["batch_efficiency"]
    assert abs(np.log(efficiency).std() - 0.5) < 0.06
    assert abs(efficiency.mean() - 1) < 0.1
    means = np.stack([counts_of(adata)[adata.obs["batch"] == name].mean(axis=0) for name in ("batch1", "batch2")])
    realised, drawn = np.log(means[1] / means[0]), np.log(efficiency[:, 1] / efficiency[:, 0])
    np.testing.assert_allclose(realised, drawn, atol=0.15)


def test_a_poor_batch_has_fewer_counts_and_more_of_them_from_elsewhere():
    arguments = {"n_cells": 1000, "n_batches": 2, "batch_effect": 0, "dropout": 0.4, "counts_per_gene": 20}
    adata = simulated(**arguments, batch_depths=(1, 0.3), batch_ambient=(0, 0.5))
    poor = (adata.obs["batch"] == "batch2").to_numpy()
    counts, clean = counts_of(adata), counts_of(simulated(**arguments))
    totals = counts.sum(axis=1)
    assert abs(totals[poor].mean() / totals[~poor].mean() - 0.3) < 0.03
    np.testing.assert_array_equal((counts > 0)[~poor].mean(), (clean > 0)[~poor].mean())
    absent = clean == 0  # as good as: 20 counts are expected of a gene that is there
    per_cell = counts / totals[:, None]
    assert per_cell[poor][absent[poor]].sum() > 10 * per_cell[~poor][absent[~poor]].sum()

    spread = per_cell[poor].std(axis=0).mean(), per_cell[~poor].std(axis=0).mean()
    assert spread[0] < spread[1]  # what all cells share makes them alike


@pytest.mark.parametrize(
    "arguments",
    [
        {"n_batches": 0},
        {"n_batches": 401},
        {"n_batches": 2.5},
        {"batch_effect": -0.1},
        {"batch_effect": float("inf")},
        {"batch_sizes": (0.5,), "n_batches": 2},
        {"batch_sizes": (0, 1), "n_batches": 2},
        {"batch_sizes": (1e-6, 1), "n_batches": 2},
        {"batch_depths": (1, 0), "n_batches": 2},
        {"batch_depths": (1, 1)},
        {"batch_ambient": (0, 1.5), "n_batches": 2},
        {"batch_ambient": (0, float("nan")), "n_batches": 2},
    ],
)
def test_arguments_out_of_range_are_named(arguments):
    with pytest.raises(ArgumentError, match=f"{next(iter(arguments))}(=| is )"):
        simulated(**arguments)
