from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mudata import MuData

import scgrn_tl as sg
from scgrn_tl.core import ArgumentError, GeneVocabulary, MissingKeyError, WeightsError, WeightsUnavailableError
from scgrn_tl.models import ScBERT, ScBERTConfig
from scgrn_tl.tl._cell_groups import CellGroups
from scgrn_tl.tl._cell_weighting import CellWeighting
from scgrn_tl.tl._hidden_store import HiddenStore

if TYPE_CHECKING:
    from pathlib import Path

N_CELLS, N_GENES, N_KNOWN, DIM = 40, 14, 12, 8


def make_adata() -> ad.AnnData:
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.gamma(1.0, 4.0, N_GENES), (N_CELLS, N_GENES))
    counts[:, -1] = 20_000  # outside the vocabulary: the others then fall into all of the bins
    obs = pd.DataFrame(
        {
            "type": rng.choice(["B", "CD4/T", "NK"], N_CELLS),
            "batch": rng.choice(["one", "two", "three"], N_CELLS, p=[0.7, 0.2, 0.1]),
        },
        index=[f"cell{i}" for i in range(N_CELLS)],
    )
    return ad.AnnData(counts.astype(np.float32), obs=obs, var=pd.DataFrame(index=[f"G{i}" for i in range(N_GENES)]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``encoder``, a weights folder, and ``hidden.zarr``."""
    folder = tmp_path_factory.mktemp("pool")
    model = ScBERT(ScBERTConfig(n_genes=N_KNOWN, dim=DIM, depth=2, heads=2, dim_head=8))
    # large weights: attention that differs between cells
    model.initialize(torch.Generator().manual_seed(0))
    with torch.no_grad():
        for attend, _ in model.performer.net.layers:
            attend.fn.to_q.weight *= 4
            attend.fn.to_k.weight *= 4
    model.save(folder / "encoder", GeneVocabulary(f"G{i}" for i in range(N_KNOWN)))
    sg.tl.scbert_embed(make_adata(), weights=folder / "encoder", hidden_to=folder / "hidden.zarr")
    return folder


@pytest.fixture
def adata(folder: Path) -> ad.AnnData:
    adata = make_adata()
    sg.tl.scbert_embed(adata, weights=folder / "encoder")
    return adata


def tensors(adata: ad.AnnData, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The full tensor (N, T, D) and attention (N, T), as float64."""
    store = HiddenStore.open(folder / "hidden.zarr")
    hidden = store.array[:][store.rows_of(adata.obs_names)]
    return hidden.astype(float), adata.obsm["scbert_attention"].astype(float)


def literal_weights(attention: np.ndarray, weighting: str, temperature: float, top_k: int | None) -> np.ndarray:
    if weighting == "mean":
        return np.ones_like(attention)
    if weighting == "softmax":
        exponent = np.exp(attention / temperature - (attention / temperature).max(0))
        return exponent / exponent.sum(0)
    if weighting == "top_k":
        weights = np.zeros_like(attention)
        for gene in range(attention.shape[1]):
            best = np.argsort(-attention[:, gene])[:top_k]
            weights[best, gene] = attention[best, gene]
        return weights
    return attention


def literal_pool(
    hidden: np.ndarray,
    attention: np.ndarray,
    batches: np.ndarray | None = None,
    *,
    weighting: str = "attention",
    temperature: float = 1.0,
    top_k: int | None = None,
) -> np.ndarray:
    """Plain numpy over all cells at once."""
    batches = np.zeros(len(hidden)) if batches is None else batches
    pooled = []
    for batch in np.unique(batches):
        inside = batches == batch
        weights = literal_weights(attention[inside], weighting, temperature, top_k)
        pooled.append(np.einsum("nt,ntd->td", weights / weights.sum(0), hidden[inside]))
    return np.mean(pooled, axis=0)


RULES = [
    {"weighting": "attention"},
    {"weighting": "mean"},
    {"weighting": "softmax"},
    {"weighting": "softmax", "temperature": 0.004},
    {"weighting": "softmax", "temperature": 1e-7},
    {"weighting": "top_k", "top_k": 1},
    {"weighting": "top_k", "top_k": 5},
    {"weighting": "top_k", "top_k": 1000},
]


@pytest.mark.parametrize("stored", [True, False], ids=["from the store", "encoded again"])
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_equals_a_literal_computation(adata: ad.AnnData, folder: Path, rule: dict, stored: bool) -> None:
    arguments = {"hidden": folder / "hidden.zarr"} if stored else {}
    assert sg.tl.attentive_pool(adata, groupby="type", batch_key="batch", key_added="z", **rule, **arguments) is None
    hidden, attention = tensors(adata, folder)
    batches = adata.obs["batch"].to_numpy()
    expected = literal_pool(hidden, attention, batches, **rule)
    np.testing.assert_allclose(adata.varm["z"][:N_KNOWN], expected, atol=1e-5)
    assert np.isnan(adata.varm["z"][N_KNOWN:]).all()
    for label in adata.obs["type"].unique():
        inside = (adata.obs["type"] == label).to_numpy()
        expected = literal_pool(hidden[inside], attention[inside], batches[inside], **rule)
        np.testing.assert_allclose(adata.varm[f"z_{label.replace('/', '_')}"][:N_KNOWN], expected, atol=1e-5)
    assert list(adata.uns["z"]["groups"]) == ["B", "CD4_T", "NK"]
    assert adata.uns["z"]["groups_sha256"] == CellGroups.from_obs(adata, "type", "groupby").sha256()
    assert list(adata.uns["z"]["batches"]) == ["one", "three", "two"]


@pytest.mark.parametrize("rule", [RULES[0], RULES[3], RULES[6]], ids=str)
def test_attention_that_was_not_stored_is_had_from_the_encoder(adata: ad.AnnData, folder: Path, rule: dict) -> None:
    hidden, attention = tensors(adata, folder)
    del adata.obsm["scbert_attention"]
    sg.tl.attentive_pool(adata, key_added="z", **rule)
    np.testing.assert_allclose(adata.varm["z"][:N_KNOWN], literal_pool(hidden, attention, **rule), atol=1e-5)


def test_default_is_what_scbert_embed_wrote(adata: ad.AnnData, folder: Path) -> None:
    mean = adata.varm["scbert_mean"].copy()
    sg.tl.attentive_pool(adata)
    sg.tl.attentive_pool(adata, weighting="mean", hidden=folder / "hidden.zarr")
    np.testing.assert_allclose(adata.varm["scbert_pool_attention"], adata.varm["scbert"], atol=1e-6)
    np.testing.assert_allclose(adata.varm["scbert_pool_mean"], mean, atol=1e-6)
    np.testing.assert_array_equal(adata.varm["scbert_mean"], mean)
    assert adata.uns["scbert_pool_mean"]["params"]["weighting"] == "mean"


def test_batches_count_alike_however_large(folder: Path) -> None:
    """A batch whose cells stand ten times over changes nothing."""
    one = make_adata()
    of_two = one[one.obs["batch"] == "two"]
    repeated = ad.concat([one] + [of_two] * 9, merge="same", index_unique="-", keys=[str(i) for i in range(10)])
    for each in (one, repeated):
        sg.tl.scbert_embed(each, weights=folder / "encoder")
        sg.tl.attentive_pool(each, batch_key="batch", key_added="z")
    np.testing.assert_allclose(one.varm["z"], repeated.varm["z"], atol=1e-6)
    assert np.nanmax(np.abs(one.varm["scbert"] - repeated.varm["scbert"])) > 1e-3


def test_subset_of_cells_in_another_order(adata: ad.AnnData, folder: Path) -> None:
    some = adata[np.random.default_rng(0).permutation(N_CELLS)[:15]].copy()
    expected = literal_pool(*tensors(some, folder))
    for arguments in ({}, {"hidden": folder / "hidden.zarr"}):
        sg.tl.attentive_pool(some, key_added="z", **arguments)
        np.testing.assert_allclose(some.varm["z"][:N_KNOWN], expected, atol=1e-5)


def test_only_encoded_cells_count(folder: Path, tmp_path: Path) -> None:
    adata = make_adata()
    adata.X[:3] = 0
    with pytest.warns(UserWarning, match="3 of 40 cells have no counts"):
        sg.tl.scbert_embed(adata, weights=folder / "encoder", n_cells=9, hidden_to=tmp_path / "h.zarr")
    for arguments in ({}, {"hidden": tmp_path / "h.zarr"}):
        sg.tl.attentive_pool(adata, key_added="z", **arguments)
        sg.tl.attentive_pool(adata, weighting="mean", key_added="m", **arguments)
        np.testing.assert_allclose(adata.varm["z"], adata.varm["scbert"], atol=1e-6)
        np.testing.assert_allclose(adata.varm["m"], adata.varm["scbert_mean"], atol=1e-6)
    assert adata.uns["z"]["n_cells"] == 9


def test_genes_may_be_subset_when_hidden_states_are_stored(adata: ad.AnnData, folder: Path) -> None:
    expected = adata.varm["scbert"].copy()
    some = adata[:, [5, 0, 13]].copy()
    sg.tl.attentive_pool(some, hidden=folder / "hidden.zarr", key_added="z")
    np.testing.assert_allclose(some.varm["z"], expected[[5, 0, 13]], atol=1e-6)
    with pytest.raises(ArgumentError, match="has 3 genes; it had 14"):
        sg.tl.attentive_pool(some)


def test_copy_view_mudata_and_files(adata: ad.AnnData, folder: Path, tmp_path: Path) -> None:
    arguments = {"hidden": folder / "hidden.zarr", "groupby": "type", "batch_key": "batch", "key_added": "z"}
    copied = sg.tl.attentive_pool(adata, copy=True, **arguments)
    assert "z" not in adata.varm
    view = adata[:]
    sg.tl.attentive_pool(view, **arguments)
    mdata = MuData({"rna": adata})
    sg.tl.attentive_pool(mdata, **arguments)
    for each in (view, mdata["rna"]):
        np.testing.assert_array_equal(each.varm["z"], copied.varm["z"])
    copied.write_h5ad(tmp_path / "z.h5ad")
    stored = ad.read_h5ad(tmp_path / "z.h5ad")
    np.testing.assert_array_equal(stored.varm["z_CD4_T"], copied.varm["z_CD4_T"])
    sg.tl.attentive_pool(stored, key_added="again")
    np.testing.assert_allclose(stored.varm["again"], stored.varm["scbert"], atol=1e-6)


def test_fitted_encoder_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adata = make_adata()
    monkeypatch.setattr("scgrn_tl.models.scbert_model.SEEN_GENES", 0)  # two epochs
    with sg.settings.override(cache_dir=tmp_path):
        sg.tl.scbert_embed(adata, weights="fit", device="cpu")
        sg.tl.attentive_pool(adata, key_added="z")
        np.testing.assert_allclose(adata.varm["z"], adata.varm["scbert"], atol=1e-6)
        shutil.rmtree(tmp_path / "encoders")  # trained again, from the recorded seed, to the same bits
        sg.tl.attentive_pool(adata, key_added="z2")
    np.testing.assert_array_equal(adata.varm["z2"], adata.varm["z"])


# ----------------------------------------------------------------------------------------------------- properties


@given(
    attention=st.lists(st.lists(st.floats(1e-6, 1.0), min_size=3, max_size=3), min_size=1, max_size=12).map(np.array),
    k=st.integers(1, 14),
    cut=st.integers(0, 12),
)
def test_ranking_of_batches_is_ranking_of_all(attention: np.ndarray, k: int, cut: int) -> None:
    ranking = CellWeighting("top_k", top_k=k).ranking(3)
    for part in (attention[:cut], attention[cut:]):
        if len(part):
            ranking.update(part)
    expected = np.sort(attention, axis=0)[::-1][min(k, len(attention)) - 1]
    np.testing.assert_array_equal(ranking.threshold, expected)


def test_cells_that_tie_count_together() -> None:
    rule = CellWeighting("top_k", top_k=2)
    attention = np.array([[0.3], [0.1], [0.2], [0.2]])
    ranking = rule.ranking(1)
    ranking.update(attention)
    np.testing.assert_array_equal(rule.weights(attention, ranking).ravel(), [0.3, 0, 0.2, 0.2])


@given(temperature=st.floats(1e-12, 1e12), scale=st.floats(1e-12, 1.0))
def test_softmax_neither_overflows_nor_vanishes(temperature: float, scale: float) -> None:
    rule = CellWeighting("softmax", temperature)
    attention = np.random.default_rng(0).random((6, 4)) * scale
    ranking = rule.ranking(4)
    ranking.update(attention)
    weights = rule.weights(attention, ranking)
    assert np.isfinite(weights).all()
    np.testing.assert_array_equal(weights.max(axis=0), 1)


# --------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"weighting": "max"}, ArgumentError, "weighting is one of"),
        ({"weighting": "softmax", "temperature": 0}, ArgumentError, "temperature is positive"),
        ({"weighting": "top_k"}, ArgumentError, "top_k goes with"),
        ({"top_k": 3}, ArgumentError, "top_k goes with"),
        ({"weighting": "top_k", "top_k": 0}, ArgumentError, "at least 1"),
        ({"groupby": "nope"}, MissingKeyError, "groupby="),
        ({"batch_key": "nope"}, MissingKeyError, "batch_key="),
        ({"key": "nope"}, MissingKeyError, "scbert_embed.*first"),
        ({"key_added": "scbert"}, ArgumentError, "choose another name"),
        ({"key_added": "a/b"}, ArgumentError, "without '/'"),
        ({"hidden": "nope.zarr"}, ArgumentError, "holds no hidden states"),
    ],
)
def test_wrong_arguments(adata: ad.AnnData, arguments: dict, error: type[Exception], message: str) -> None:
    before = set(adata.varm)
    with pytest.raises(error, match=message):
        sg.tl.attentive_pool(adata, **arguments)
    assert set(adata.varm) == before


def test_hidden_states_of_another_run(adata: ad.AnnData, folder: Path, tmp_path: Path) -> None:
    other = make_adata()
    other.obs_names = [f"x{i}" for i in range(N_CELLS)]
    sg.tl.scbert_embed(other, weights=folder / "encoder")
    with pytest.raises(ArgumentError, match="40 cells are not in the hidden states"):
        sg.tl.attentive_pool(other, hidden=folder / "hidden.zarr")
    sg.tl.scbert_embed(other, weights=folder / "encoder", genes=["G1", "G2"])
    with pytest.raises(ArgumentError, match="of another run"):
        sg.tl.attentive_pool(other, hidden=folder / "hidden.zarr")
    sg.tl.scbert_embed(adata, weights=folder / "encoder", n_cells=5, hidden_to=tmp_path / "h.zarr", copy=True)
    with pytest.raises(ArgumentError, match="lacks hidden states"):
        sg.tl.attentive_pool(adata, hidden=tmp_path / "h.zarr")


def test_hidden_states_of_an_unfinished_run(
    adata: ad.AnnData, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ScBERT, "encode", killed)
        with pytest.raises(KeyboardInterrupt):
            sg.tl.scbert_embed(make_adata(), weights=folder / "encoder", hidden_to=tmp_path / "h.zarr")
    with pytest.raises(ArgumentError, match="did not finish"):
        sg.tl.attentive_pool(adata, hidden=tmp_path / "h.zarr")


def test_attention_is_needed_with_stored_hidden_states(adata: ad.AnnData, folder: Path) -> None:
    del adata.obsm["scbert_attention"]
    with pytest.raises(MissingKeyError, match="store_attention=True"):
        sg.tl.attentive_pool(adata, hidden=folder / "hidden.zarr")
    sg.tl.attentive_pool(adata, hidden=folder / "hidden.zarr", weighting="mean", key_added="m")
    np.testing.assert_allclose(adata.varm["m"], adata.varm["scbert_mean"], atol=1e-6)


def test_weights_gone_or_changed(folder: Path, tmp_path: Path) -> None:
    adata = make_adata()
    shutil.copytree(folder / "encoder", tmp_path / "encoder")
    sg.tl.scbert_embed(adata, weights=tmp_path / "encoder")
    ScBERT(ScBERTConfig(n_genes=N_KNOWN, dim=DIM, depth=2, heads=2, dim_head=8)).save(
        tmp_path / "encoder", GeneVocabulary(f"G{i}" for i in range(N_KNOWN))
    )
    with pytest.raises(WeightsError, match="the embedding was made with"):
        sg.tl.attentive_pool(adata)
    shutil.rmtree(tmp_path / "encoder")
    with pytest.raises(WeightsUnavailableError, match="are gone"):
        sg.tl.attentive_pool(adata)
