"""Agreement of batches: measures against brute force and published libraries, the verb against the measures."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from mudata import MuData
from scipy import sparse
from scipy.spatial.distance import cdist
from scipy.stats import ortho_group, rankdata, spearmanr
from sklearn.metrics import jaccard_score

import scgrn_tl as sg
from scgrn_tl.core import ArgumentError, GeneVocabulary, MissingKeyError
from scgrn_tl.core.agreement import (
    batch_accuracy,
    linear_cka,
    mean_cosine,
    nearest_genes,
    network_agreement,
    shared_neighbors,
)
from scgrn_tl.models import ScBERT, ScBERTConfig

if TYPE_CHECKING:
    from pathlib import Path

agreement = sg.tl.batch_agreement


def two_embeddings(noise: float = 0.5, n_genes: int = 40, dim: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    one = rng.normal(size=(n_genes, dim)) + 3
    return one, one + noise * rng.normal(size=one.shape)


# --- measures ---------------------------------------------------------------------------------------------------------


def test_cosine_is_that_of_a_loop_over_genes() -> None:
    one, other = two_embeddings()
    cosines = []
    for u, v in zip(one - one.mean(0), other - other.mean(0), strict=True):
        cosines.append(u @ v / np.sqrt((u @ u) * (v @ v)))
    assert mean_cosine(one, other) == pytest.approx(np.mean(cosines), abs=1e-12)
    assert mean_cosine(one, one + 7) == pytest.approx(1)  # a shift of all genes does not count
    assert mean_cosine(one, 2 * one.mean(0) - one) == pytest.approx(-1)
    assert np.isnan(mean_cosine(np.ones((5, 2)), one[:5, :2]))


def test_cka_is_the_hsic_of_gram_matrices() -> None:
    """The other form of Kornblith et al. (2019): HSIC(K, L) / √(HSIC(K, K) HSIC(L, L)) of T × T kernels."""
    one, other = two_embeddings()
    center = np.eye(len(one)) - 1 / len(one)

    def hsic(x: np.ndarray, y: np.ndarray) -> float:
        return np.trace(x @ x.T @ center @ y @ y.T @ center)

    expected = hsic(one, other) / np.sqrt(hsic(one, one) * hsic(other, other))
    assert linear_cka(one, other) == pytest.approx(expected, rel=1e-10)
    turned = 3 * one @ ortho_group.rvs(one.shape[1], random_state=0) + 1
    assert linear_cka(one, turned) == pytest.approx(1)
    assert abs(mean_cosine(one, turned)) < 0.9
    assert np.isnan(linear_cka(np.ones((5, 2)), one[:5]))


def test_shared_neighbors_are_those_of_a_full_distance_matrix() -> None:
    one, other = two_embeddings()
    sets = []
    for embedding in (one, other):
        distance = cdist(embedding - embedding.mean(0), embedding - embedding.mean(0), "cosine")
        np.fill_diagonal(distance, np.inf)
        sets.append([set(np.argsort(row)[:7]) for row in distance])
    expected = np.mean([len(a & b) / 7 for a, b in zip(*sets, strict=True)])
    found = shared_neighbors(nearest_genes(one, 7), nearest_genes(other, 7))
    assert found == pytest.approx(expected, abs=1e-12)
    assert 0.2 < found < 0.9
    unrelated = np.random.default_rng(1).normal(size=(2, 400, 5))
    by_chance = shared_neighbors(nearest_genes(unrelated[0], 40), nearest_genes(unrelated[1], 40))
    assert by_chance == pytest.approx(40 / 399, abs=0.01)


def networks(n_genes: int = 30, n_tfs: int = 8) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    one = rng.random((n_tfs, n_genes)).round(2)  # with ties
    return one, np.clip(one + 0.2 * rng.normal(size=one.shape), 0, 1)


def stored(scores: np.ndarray, kept: np.ndarray) -> sparse.csr_matrix:
    """G × G with an entry, perhaps 0, for every pair ``kept``."""
    rows, columns = np.nonzero(kept)
    return sparse.csr_matrix((scores[kept], (rows, columns)), shape=(scores.shape[1],) * 2)


def test_networks_are_compared_over_the_pairs_of_both() -> None:
    one, other = networks()
    one[0, :5] = 0.0  # scored, and so counted
    rng = np.random.default_rng(3)
    kept = [rng.random(one.shape) < 0.9 for _ in range(2)]
    both = kept[0] & kept[1]
    found = network_agreement(stored(one, kept[0]), stored(other, kept[1]), 50)
    assert found["n_pairs"] == both.sum()
    assert found["spearman"] == pytest.approx(spearmanr(one[both], other[both]).statistic)
    # "min" ranks from above: whoever ties with the 50th is among the first 50
    top = [rankdata(-scores[both], method="min") <= 50 for scores in (one, other)]
    assert found["jaccard"] == pytest.approx(jaccard_score(*top))
    shuffled = [rng.permutation(top[0]) for _ in range(400)]
    by_chance = np.mean([jaccard_score(each, top[1]) for each in shuffled])
    assert found["jaccard_by_chance"] == pytest.approx(by_chance, rel=0.05)


def test_networks_that_cannot_tell_pairs_apart_or_share_none() -> None:
    one, other = networks()
    all_of_them = np.ones(one.shape, dtype=bool)
    assert np.isnan(
        network_agreement(stored(np.ones_like(one), all_of_them), stored(other, all_of_them), 5)["spearman"]
    )
    first = np.zeros_like(all_of_them)
    first[0, :2] = True
    with pytest.raises(ArgumentError, match="have 2 scored pairs in common"):
        network_agreement(stored(one, first), stored(other, all_of_them), 5)
    of_all = network_agreement(stored(one, all_of_them), stored(other, all_of_them), 10_000)
    assert of_all["jaccard"] == of_all["jaccard_by_chance"] == 1


def test_accuracy_is_at_chance_for_noise_and_one_where_batches_are_apart() -> None:
    rng = np.random.default_rng(0)
    codes = np.repeat([0, 1, 2], [200, 60, 40])
    noise = rng.normal(size=(300, 80))
    accuracies = batch_accuracy(noise, codes, 2**40)
    assert accuracies.shape == (5,)
    assert abs(accuracies.mean() - 1 / 3) < 0.1
    np.testing.assert_array_equal(accuracies, batch_accuracy(noise, codes, 2**40))
    assert batch_accuracy(noise + 3 * codes[:, None], codes, 0).mean() > 0.98
    assert batch_accuracy(noise[:, :1] + 9 * codes[:, None], codes, 0).mean() > 0.9
    few = np.tile([0, 1], 5)
    assert batch_accuracy(np.where(few[:, None], 1.0, -1.0) + 0.1 * noise[:10], few, 0).mean() == 1


# --- the verb ---------------------------------------------------------------------------------------------------------

N_CELLS, N_GENES = 60, 24


def make_adata() -> ad.AnnData:
    rng = np.random.default_rng(0)
    rates = rng.gamma(1.0, 4.0, N_GENES) * np.exp(0.5 * rng.normal(size=(N_CELLS, N_GENES)))
    donor = rng.permutation(["a/b"] * 30 + ["c"] * 20 + ["d"] * 10)
    rates[donor == "d"] *= np.exp(rng.normal(size=N_GENES))
    obs = pd.DataFrame({"donor": donor}, index=[f"cell{i}" for i in range(N_CELLS)])
    counts = rng.poisson(rates).astype(np.float32)
    return ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=[f"G{i}" for i in range(N_GENES)]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("agreement")
    model = ScBERT(ScBERTConfig(n_genes=N_GENES - 2, dim=8, depth=2, heads=2, dim_head=8))
    model.initialize(torch.Generator().manual_seed(0))
    model.save(folder / "encoder", GeneVocabulary(f"G{i}" for i in range(N_GENES - 2)))
    return folder


@pytest.fixture
def adata(folder: Path) -> ad.AnnData:
    adata = make_adata()
    sg.tl.scbert_embed(adata, weights=folder / "encoder", groupby="donor", hidden_to=folder / "hidden.zarr")
    return adata


def row(table: pd.DataFrame, cells: str, one: str, other: str) -> pd.Series:
    found = table[(table["cells"] == cells) & (table["batch_1"] == one) & (table["batch_2"] == other)]
    assert len(found) == 1
    return found.iloc[0]


def test_embeddings_of_every_two_batches(adata: ad.AnnData, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "scgrn_tl")
    assert agreement(adata, batch_key="donor", n_neighbors=4) is None
    result = adata.uns["batch_agreement"]
    table = result["embeddings"]
    assert list(zip(table["batch_1"], table["batch_2"], strict=True)) == [("a_b", "c"), ("a_b", "d"), ("c", "d")]
    one, other = adata.varm["scbert_a_b"][:-2], adata.varm["scbert_d"][:-2]
    found = row(table, "all", "a_b", "d")
    assert found["cosine"] == pytest.approx(mean_cosine(one, other))
    assert found["cka"] == pytest.approx(linear_cka(one, other))
    assert found["shared_neighbors"] == pytest.approx(shared_neighbors(nearest_genes(one, 4), nearest_genes(other, 4)))
    assert found["shared_neighbors_by_chance"] == pytest.approx(4 / 21)
    assert (found["n_cells_1"], found["n_cells_2"], found["n_genes"]) == (30, 10, 22)
    assert "networks" not in result
    assert "fit_grn(adata, prior, groupby='donor')" in caplog.text
    assert list(result["batches"]) == ["a_b", "c", "d"]
    assert result["params"]["n_neighbors"] == 4
    assert (result["cells"]["n_cells"], result["cells"]["chance"]) == (60, 1 / 3)
    assert result["cells"]["balanced_accuracy"] == pytest.approx(result["cells"]["fold_accuracies"].mean())


@pytest.mark.parametrize("stored_states", [True, False], ids=["from the store", "encoded again"])
@pytest.mark.parametrize("pool", ["attention", "mean"])
def test_halves_are_what_pooling_them_by_a_column_gives(
    adata: ad.AnnData, folder: Path, monkeypatch: pytest.MonkeyPatch, stored_states: bool, pool: str
) -> None:
    """The halves that were drawn, pooled by ``scbert_embed(groupby=)`` from an AnnData that has no other cells."""
    from scgrn_tl.tl import _batch_agreement

    drawn, draw = [], _batch_agreement._draw_halves
    monkeypatch.setattr(_batch_agreement, "_draw_halves", lambda *args: drawn.extend(draw(*args)) or drawn)
    if pool == "mean":
        sg.tl.scbert_embed(adata, weights=folder / "encoder", groupby="donor", pool="mean")
    arguments = {"hidden": folder / "hidden.zarr"} if stored_states else {}
    agreement(adata, batch_key="donor", halves=True, n_neighbors=4, **arguments)
    table = adata.uns["batch_agreement"]["embeddings"]
    assert table["cells"].tolist() == ["all"] * 3 + ["half"] * 6

    of_half = np.full(N_CELLS, None, dtype=object)
    for number, half in enumerate(drawn):
        assert half.cells.sum() == 5
        assert set(adata.obs["donor"][half.cells].str.replace("/", "_")) == {half.name}
        assert all(label is None for label in of_half[half.cells])  # disjoint
        of_half[half.cells] = f"{half.name}{number % 2}"
    again = make_adata()
    again.obs["half"] = of_half
    sg.tl.scbert_embed(again, weights=folder / "encoder", groupby="half", pool=pool)
    values = {name: again.varm[f"scbert_{name}"][:-2] for name in ("a_b0", "a_b1", "d0", "d1")}
    within = row(table, "half", "d", "d")
    assert within["cosine"] == pytest.approx(mean_cosine(values["d0"], values["d1"]), abs=1e-5)
    assert within["cka"] == pytest.approx(linear_cka(values["d0"], values["d1"]), abs=1e-5)
    between = row(table, "half", "a_b", "d")
    crossed = [(values[f"a_b{i}"], values[f"d{j}"]) for i in (0, 1) for j in (0, 1)]
    assert between["cka"] == pytest.approx(np.mean([linear_cka(*pair) for pair in crossed]), abs=1e-5)
    assert between["n_cells_1"] == between["n_cells_2"] == 5


def test_batches_that_differ_agree_less_than_halves_of_one(tmp_path: Path) -> None:
    simulated = {"n_cells": 300, "n_genes": 40, "n_tfs": 8, "n_batches": 2, "n_states": 1}
    model = ScBERT(ScBERTConfig(n_genes=40, dim=16, depth=2, heads=2, dim_head=8))
    names = sg.datasets.simulated(**simulated).var_names
    model.initialize(torch.Generator().manual_seed(0)).save(tmp_path, GeneVocabulary(names))
    differing = sg.datasets.simulated(**simulated, batch_effect=1.0, batch_depths=(1, 0.3))
    alike = sg.datasets.simulated(**simulated, batch_effect=0)
    gaps, accuracies = [], []
    for data in (differing, alike):
        sg.tl.scbert_embed(data, weights=tmp_path, layer="counts", groupby="batch")
        agreement(data, batch_key="batch", halves=True, n_neighbors=5)
        table = data.uns["batch_agreement"]["embeddings"]
        within = [row(table, "half", name, name)["shared_neighbors"] for name in ("batch1", "batch2")]
        gaps.append(np.mean(within) - row(table, "half", "batch1", "batch2")["shared_neighbors"])
        accuracies.append(data.uns["batch_agreement"]["cells"]["balanced_accuracy"])
    assert gaps[0] > 0.1 > abs(gaps[1])
    assert accuracies[0] > 0.9
    assert abs(accuracies[1] - 0.5) < 0.12


def test_networks_of_every_two_batches(adata: ad.AnnData) -> None:
    one, other = networks(N_GENES, 8)
    everywhere = np.ones(one.shape, dtype=bool)
    of_batches = {"a_b": one, "c": other, "d": one**2}
    for name, scores in of_batches.items():
        adata.varp[f"net_{name}"] = stored(scores, everywhere)
    agreement(adata, batch_key="donor", grn_key="net", n_top=20)
    table = adata.uns["batch_agreement"]["networks"]
    assert "spearman_specificity" not in table
    for name in of_batches:
        adata.varp[f"net_{name}_specificity"] = stored(-of_batches[name], everywhere)
    agreement(adata, batch_key="donor", grn_key="net", n_top=20)
    table = adata.uns["batch_agreement"]["networks"].set_index(["batch_1", "batch_2"])
    assert table.loc[("a_b", "c"), "spearman"] == pytest.approx(spearmanr(one.ravel(), other.ravel()).statistic)
    assert table.loc[("a_b", "d"), "jaccard"] == table.loc[("a_b", "d"), "spearman"] == pytest.approx(1)
    assert table.loc[("c", "d"), "spearman_specificity"] == pytest.approx(table.loc[("c", "d"), "spearman"])
    assert (table["n_pairs"] == one.size).all()


def test_same_seed_same_numbers_and_files(adata: ad.AnnData, folder: Path, tmp_path: Path) -> None:
    arguments = {"batch_key": "donor", "halves": True, "hidden": folder / "hidden.zarr"}
    agreement(adata, **arguments)
    agreement(adata, **arguments, key_added="again")
    agreement(adata, **arguments, key_added="other", rng=1)
    result = adata.uns["batch_agreement"]
    pd.testing.assert_frame_equal(result["embeddings"], adata.uns["again"]["embeddings"])
    np.testing.assert_array_equal(result["cells"]["fold_accuracies"], adata.uns["again"]["cells"]["fold_accuracies"])
    assert not result["embeddings"].equals(adata.uns["other"]["embeddings"])
    adata.write_h5ad(tmp_path / "agreement.h5ad")
    back = ad.read_h5ad(tmp_path / "agreement.h5ad").uns["batch_agreement"]
    pd.testing.assert_frame_equal(
        back["embeddings"].reset_index(drop=True), result["embeddings"], check_dtype=False, check_index_type=False
    )
    assert back["cells"]["balanced_accuracy"] == result["cells"]["balanced_accuracy"]
    assert set(back) == set(result)


def test_a_sample_of_cells_takes_alike_of_each_batch(adata: ad.AnnData) -> None:
    agreement(adata, batch_key="donor", max_cells=24)
    assert adata.uns["batch_agreement"]["cells"]["n_cells"] == 3 * 8


def test_without_attention_or_with_a_tiny_batch(
    adata: ad.AnnData, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "scgrn_tl")
    few = adata[np.r_[np.flatnonzero(adata.obs["donor"] != "d"), np.flatnonzero(adata.obs["donor"] == "d")[:1]]].copy()
    agreement(few, batch_key="donor")
    assert "cells" not in few.uns["batch_agreement"]
    assert "'d' has 1 embedded cells" in caplog.text
    with pytest.raises(ArgumentError, match="Batch 'd' has 1 embedded cells, and halves of fewer"):
        agreement(few, batch_key="donor", halves=True)
    del adata.obsm["scbert_attention"]
    agreement(adata, batch_key="donor", halves=True)
    assert "cells" not in adata.uns["batch_agreement"]
    with pytest.raises(MissingKeyError, match="scbert_attention"):
        agreement(adata, batch_key="donor", halves=True, hidden=folder / "hidden.zarr")


def test_copy_and_mudata(adata: ad.AnnData) -> None:
    mdata = MuData({"rna": adata.copy()})
    copy = agreement(adata, batch_key="donor", copy=True)
    assert "batch_agreement" not in adata.uns
    agreement(mdata, batch_key="donor")
    pd.testing.assert_frame_equal(
        copy.uns["batch_agreement"]["embeddings"], mdata["rna"].uns["batch_agreement"]["embeddings"]
    )


def test_embeddings_of_other_batches_are_refused(adata: ad.AnnData) -> None:
    adata.obs["renamed"] = adata.obs["donor"]
    with pytest.raises(ArgumentError, match=r"with the groups of obs\['donor'\]. Run.*groupby='renamed'"):
        agreement(adata, batch_key="renamed")
    labels = adata.obs["donor"].astype(object).to_numpy()
    adata.obs["donor"] = np.r_[labels[1:], labels[:1]]
    with pytest.raises(ArgumentError, match=r"have changed since varm\['scbert'\] was made. Run.*groupby='donor'"):
        agreement(adata, batch_key="donor")
    del adata.uns["scbert"]["groups_sha256"]  # as older files are
    agreement(adata, batch_key="donor", n_neighbors=4)
    assert "batch_agreement" in adata.uns


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"batch_key": "lane"}, MissingKeyError, r"obs\['lane'\] \(batch_key=\)"),
        ({"batch_key": "same"}, ArgumentError, "has one batch, 'x'"),
        ({"batch_key": "other"}, MissingKeyError, r"scbert_embed\(adata, groupby='other', key_added='scbert'"),
        ({"key": "gene2vec"}, MissingKeyError, r"groupby='donor', key_added='gene2vec'"),
        ({"n_neighbors": 0}, ArgumentError, "n_neighbors is a whole number of at least 1, not 0"),
        ({"n_neighbors": 21}, ArgumentError, "share 22 embedded genes; n_neighbors=21 takes at least 23"),
        ({"n_top": 1.5}, ArgumentError, "n_top is a whole number"),
        ({"max_cells": 0}, ArgumentError, "max_cells is a whole number"),
        ({"hidden": "hidden.zarr"}, ArgumentError, "halves=True"),
        ({"key_added": "a/b"}, ArgumentError, "key_added is a name without '/'"),
    ],
)
def test_wrong_arguments(adata: ad.AnnData, arguments: dict, error: type[Exception], message: str) -> None:
    adata.obs["same"], adata.obs["other"] = "x", np.where(np.arange(N_CELLS) < 9, "y", "z")
    before = set(adata.uns)
    with pytest.raises(error, match=message):
        agreement(adata, **{"batch_key": "donor"} | arguments)
    assert set(adata.uns) == before
