from __future__ import annotations

import logging
import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from mudata import MuData
from scipy import sparse

import scgrn_tl as sg
from scgrn_tl.core import (
    ArgumentError,
    DuplicateGenesError,
    ExpressionError,
    GeneOverlapError,
    GeneVocabulary,
    MissingKeyError,
    WeightsError,
    WeightsUnavailableError,
)
from scgrn_tl.models import ScBERT, ScBERTConfig, load_scbert
from scgrn_tl.tl._cell_groups import CellGroups

if TYPE_CHECKING:
    from pathlib import Path

N_CELLS, N_GENES, N_VOCABULARY, DIM = 23, 30, 40, 12
VOCABULARY = GeneVocabulary(f"GENE{i}" for i in range(N_VOCABULARY))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder of 40 genes in a folder."""
    folder = tmp_path_factory.mktemp("encoder")
    model = ScBERT(ScBERTConfig(n_genes=N_VOCABULARY, dim=DIM, depth=2, heads=2, dim_head=8))
    model.initialize(torch.Generator().manual_seed(0)).save(folder, VOCABULARY)
    return folder


@pytest.fixture
def adata() -> ad.AnnData:
    """Counts of 30 genes, 25 of them known to the encoder and in another order than its own."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.gamma(0.5, 2.0, N_GENES), (N_CELLS, N_GENES)).astype(np.float32)
    counts[:, 0] = 20_000  # outside the vocabulary: the others then fall into all of the bins
    names = [f"GENE{i}" for i in rng.permutation(N_VOCABULARY)[:25]] + [f"OTHER{i}" for i in range(1, 5)]
    obs = pd.DataFrame(
        {"type": pd.Categorical(rng.choice(["CD4/T", "B"], N_CELLS), categories=["B", "CD4/T", "unused"])},
        index=[f"cell{i}" for i in range(N_CELLS)],
    )
    return ad.AnnData(sparse.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=["OTHER0", *rng.permutation(names)]))


def literal_embedding(adata: ad.AnnData, weights: Path, genes: list[str], cells: np.ndarray | None = None):
    """Hidden states of every cell, all held at once, one cell encoded at a time in float64."""
    model, vocabulary = load_scbert(weights)
    model = model.double()
    counts = adata.X.toarray().astype(float)
    binned = np.minimum(np.floor(np.log2(1 + 1e4 * counts / counts.sum(1, keepdims=True))), 5).astype(np.int64)
    tokens = np.stack(
        [
            binned[:, adata.var_names.get_loc(gene)]
            if gene in adata.var_names
            else np.zeros(len(binned), dtype=np.int64)
            for gene in genes
        ],
        axis=1,
    )
    positions = torch.tensor([vocabulary.index[gene] for gene in genes])
    encoded = [model.encode(torch.from_numpy(row[None]), positions) for row in tokens]
    hidden = np.concatenate([cell.hidden.numpy() for cell in encoded])  # (N, T, D)
    attention = np.concatenate([cell.attention.numpy() for cell in encoded])  # (N, T)
    if cells is not None:
        hidden, attention = hidden[cells], attention[cells]
    pooled = (hidden * attention[:, :, None]).sum(0) / attention.sum(0)[:, None]  # eq. 6
    return hidden, attention, pooled


def known_genes(adata: ad.AnnData) -> list[str]:
    return [gene for gene in VOCABULARY.symbols if gene in adata.var_names]


def in_var_order(adata: ad.AnnData, genes: list[str], values: np.ndarray) -> np.ndarray:
    frame = pd.DataFrame(values, index=genes).reindex(adata.var_names)
    return frame.to_numpy()


def assert_same_results(one: ad.AnnData, other: ad.AnnData, **tolerance: float) -> None:
    assert set(one.varm) == set(other.varm)
    for key in one.varm:
        np.testing.assert_allclose(one.varm[key], other.varm[key], **tolerance)
    np.testing.assert_allclose(one.obsm["scbert_attention"], other.obsm["scbert_attention"], **tolerance)


# ------------------------------------------------------------------------------------------------ what is written


def test_equals_a_literal_computation(adata: ad.AnnData, weights: Path) -> None:
    assert sg.tl.scbert_embed(adata, weights=weights, dtype="float64", batch_size=4) is None
    genes = known_genes(adata)
    hidden, attention, pooled = literal_embedding(adata, weights, genes)
    np.testing.assert_allclose(adata.varm["scbert"], in_var_order(adata, genes, pooled), atol=1e-6)
    np.testing.assert_allclose(adata.varm["scbert_mean"], in_var_order(adata, genes, hidden.mean(0)), atol=1e-6)
    np.testing.assert_allclose(adata.obsm["scbert_attention"], attention, atol=1e-7)
    np.testing.assert_allclose(adata.obsm["scbert_attention"].sum(1), 1, atol=1e-6)
    assert adata.varm["scbert"].shape == (N_GENES, DIM)
    assert adata.varm["scbert"].dtype == adata.obsm["scbert_attention"].dtype == np.float32
    assert np.isnan(adata.varm["scbert"]).all(1).tolist() == [name.startswith("OTHER") for name in adata.var_names]
    assert adata.obs["scbert_pooled"].all()


def test_uns_says_what_was_done(adata: ad.AnnData, weights: Path) -> None:
    sg.tl.scbert_embed(adata, weights=weights, rng=7, min_overlap=0.4)
    record = adata.uns["scbert"]
    assert list(record["genes"]) == known_genes(adata)
    assert record["overlap"]["n_found"] == 25
    assert sorted(record["overlap"]["missing"]) == [f"OTHER{i}" for i in range(5)]
    assert len(record["weights"]["sha256"]) == 64
    assert record["weights"]["kind"] == "path"
    assert record["params"]["min_overlap"] == 0.4
    assert record["params"]["normalize"] == "auto"
    assert record["normalized"] is True
    assert (record["seed"], record["version"]) == (7, sg.__version__)
    assert record["timing"]["seconds"] > 0


def test_mean_pooling(adata: ad.AnnData, weights: Path) -> None:
    sg.tl.scbert_embed(adata, weights=weights, pool="mean", groupby="type", dtype="float64")
    genes = known_genes(adata)
    hidden, *_ = literal_embedding(adata, weights, genes)
    np.testing.assert_allclose(adata.varm["scbert"], in_var_order(adata, genes, hidden.mean(0)), atol=1e-6)
    np.testing.assert_array_equal(adata.varm["scbert"], adata.varm["scbert_mean"])
    of_b = hidden[(adata.obs["type"] == "B").to_numpy()].mean(0)
    np.testing.assert_allclose(adata.varm["scbert_B"], in_var_order(adata, genes, of_b), atol=1e-6)


def test_groups_are_pooled_by_themselves(adata: ad.AnnData, weights: Path) -> None:
    adata.obs.loc["cell3", "type"] = np.nan
    sg.tl.scbert_embed(adata, weights=weights, groupby="type", dtype="float64", batch_size=3)
    genes = known_genes(adata)
    for label, slot in (("B", "scbert_B"), ("CD4/T", "scbert_CD4_T")):
        cells = (adata.obs["type"] == label).to_numpy()
        *_, pooled = literal_embedding(adata, weights, genes, cells)
        np.testing.assert_allclose(adata.varm[slot], in_var_order(adata, genes, pooled), atol=1e-6)
    assert set(adata.varm) == {"scbert", "scbert_mean", "scbert_B", "scbert_CD4_T"}
    assert list(adata.uns["scbert"]["groups"]) == ["B", "CD4_T"]
    assert adata.uns["scbert"]["groups_sha256"] == CellGroups.from_obs(adata, "type", "groupby").sha256()
    sg.tl.scbert_embed(adata, weights=weights)
    assert "groups_sha256" not in adata.uns["scbert"]


@pytest.mark.parametrize("pool", ["attention", "mean"])
def test_batches_weigh_the_same(adata: ad.AnnData, weights: Path, pool: str) -> None:
    """Against a mean over batches of what a literal computation gives for each batch's cells alone."""
    adata.obs["donor"] = np.where(np.arange(N_CELLS) % 5 == 0, "few/cells", "many cells")
    adata.obs.loc["cell7", "donor"] = None
    sg.tl.scbert_embed(
        adata, weights=weights, pool=pool, groupby="type", batch_key="donor", dtype="float64", batch_size=4
    )
    genes = known_genes(adata)
    hidden, attention, _ = literal_embedding(adata, weights, genes)
    groups = {"scbert": np.ones(N_CELLS, dtype=bool), "scbert_B": (adata.obs["type"] == "B").to_numpy()}
    for slot, group in {**groups, "scbert_mean": groups["scbert"]}.items():
        of_batches = []
        for donor in ("few/cells", "many cells"):
            cells = group & (adata.obs["donor"] == donor).to_numpy()
            weight = (
                attention[cells] if (pool, slot != "scbert_mean") == ("attention", True) else np.ones((cells.sum(), 25))
            )
            of_batches.append((hidden[cells] * weight[:, :, None]).sum(0) / weight.sum(0)[:, None])
        expected = in_var_order(adata, genes, np.mean(of_batches, axis=0))
        np.testing.assert_allclose(adata.varm[slot], expected, atol=1e-6)
    assert list(adata.uns["scbert"]["batches"]) == ["few_cells", "many cells"]
    assert adata.uns["scbert"]["params"]["batch_key"] == "donor"
    assert adata.obs["scbert_pooled"].all()


def test_batches_in_embedding_and_in_pooling_are_the_same_thing(adata: ad.AnnData, weights: Path) -> None:
    adata.obs["donor"] = np.where(np.arange(N_CELLS) < 5, "a", "b")
    sg.tl.scbert_embed(adata, weights=weights, groupby="type", batch_key="donor")
    sg.tl.attentive_pool(adata, groupby="type", batch_key="donor", key_added="z")
    for suffix in ("", "_B", "_CD4_T"):
        np.testing.assert_allclose(adata.varm[f"scbert{suffix}"], adata.varm[f"z{suffix}"], atol=1e-6)


def test_one_batch_is_as_none(adata: ad.AnnData, weights: Path) -> None:
    adata.obs["donor"] = "only"
    one = sg.tl.scbert_embed(adata, weights=weights, groupby="type", batch_key="donor", copy=True)
    assert_same_results(one, sg.tl.scbert_embed(adata, weights=weights, groupby="type", copy=True), rtol=0, atol=0)


def test_a_group_that_a_batch_lacks(adata: ad.AnnData, weights: Path) -> None:
    """Its embedding is that of the batch that has it; a group without cells in any batch has none."""
    adata.obs["donor"] = np.where(adata.obs["type"] == "B", "one", "other")
    adata.obs.loc[adata.obs["type"] == "CD4/T", "donor"] = None
    adata.obs.loc["cell0", ["type", "donor"]] = [np.nan, "other"]
    plain = sg.tl.scbert_embed(adata, weights=weights, groupby="type", copy=True)
    sg.tl.scbert_embed(adata, weights=weights, groupby="type", batch_key="donor")
    np.testing.assert_array_equal(adata.varm["scbert_B"], plain.varm["scbert_B"])
    assert np.isnan(adata.varm["scbert_CD4_T"]).all()


def test_cells_to_encode_without_any_batch(adata: ad.AnnData, weights: Path) -> None:
    adata.X = adata.X.toarray()
    adata.X[0] = 0
    adata.obs["donor"] = [*["one"], *[None] * (N_CELLS - 1)]
    with (
        pytest.warns(UserWarning, match="1 of 23 cells have no counts"),
        pytest.raises(ArgumentError, match=r"obs\['donor'\] \(batch_key=\) has no value for any of the 22 cells"),
    ):
        sg.tl.scbert_embed(adata, weights=weights, batch_key="donor")
    assert not adata.varm
    with pytest.raises(MissingKeyError, match=r"obs\['lane'\] \(batch_key=\)"):
        sg.tl.scbert_embed(adata, weights=weights, batch_key="lane")


def test_a_new_run_takes_away_what_no_longer_holds(adata: ad.AnnData, weights: Path) -> None:
    sg.tl.scbert_embed(adata, weights=weights, groupby="type")
    sg.tl.scbert_embed(adata, weights=weights, store_attention=False)
    assert set(adata.varm) == {"scbert", "scbert_mean"}
    assert "scbert_attention" not in adata.obsm


def test_whole_vocabulary_with_absent_genes_as_zeros(adata: ad.AnnData, weights: Path) -> None:
    sg.tl.scbert_embed(adata, weights=weights, genes="vocabulary", dtype="float64")
    *_, attention, pooled = literal_embedding(adata, weights, list(VOCABULARY.symbols))
    np.testing.assert_allclose(adata.varm["scbert"], in_var_order(adata, list(VOCABULARY.symbols), pooled), atol=1e-6)
    np.testing.assert_allclose(adata.obsm["scbert_attention"], attention, atol=1e-7)
    assert adata.obsm["scbert_attention"].shape == (N_CELLS, N_VOCABULARY)


def test_listed_genes(adata: ad.AnnData, weights: Path) -> None:
    known = known_genes(adata)[:6]
    sg.tl.scbert_embed(adata, weights=weights, genes=[*reversed(known), "OTHER1"], dtype="float64")
    *_, pooled = literal_embedding(adata, weights, known)
    np.testing.assert_allclose(adata.varm["scbert"], in_var_order(adata, known, pooled), atol=1e-6)
    assert list(adata.uns["scbert"]["genes"]) == known


def test_sample_of_cells(adata: ad.AnnData, weights: Path) -> None:
    sg.tl.scbert_embed(adata, weights=weights, n_cells=5, rng=3, dtype="float64")
    pooled = adata.obs["scbert_pooled"].to_numpy()
    assert pooled.sum() == 5
    genes = known_genes(adata)
    *_, expected = literal_embedding(adata, weights, genes, pooled)
    np.testing.assert_allclose(adata.varm["scbert"], in_var_order(adata, genes, expected), atol=1e-6)
    np.testing.assert_allclose(adata.obsm["scbert_attention"].sum(1), pooled, atol=1e-6)

    again = sg.tl.scbert_embed(adata, weights=weights, n_cells=5, rng=3, dtype="float64", copy=True)
    np.testing.assert_array_equal(again.obs["scbert_pooled"], pooled)
    other = sg.tl.scbert_embed(adata, weights=weights, n_cells=5, rng=4, dtype="float64", copy=True)
    assert (other.obs["scbert_pooled"].to_numpy() != pooled).any()


def test_cells_without_counts_are_kept_out(adata: ad.AnnData, weights: Path) -> None:
    rest = sg.tl.scbert_embed(adata[2:], weights=weights, copy=True)
    adata.X = sparse.csr_matrix(np.vstack([np.zeros((2, N_GENES)), adata.X.toarray()[2:]]))
    with pytest.warns(UserWarning, match="2 of 23 cells have no counts"):
        sg.tl.scbert_embed(adata, weights=weights)
    np.testing.assert_allclose(adata.varm["scbert"], rest.varm["scbert"], atol=1e-6)
    np.testing.assert_allclose(adata.obsm["scbert_attention"][:2], 1 / 25, rtol=1e-6)
    assert adata.obs["scbert_pooled"].tolist() == [False] * 2 + [True] * 21


@pytest.mark.parametrize("base", [None, 2, 10])
def test_logarithms_of_scanpy_are_turned_to_base_two(adata: ad.AnnData, weights: Path, base: float | None) -> None:
    import scanpy as sc

    adata.layers["counts"] = adata.X.copy()
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata, base=base)
    from_counts = sg.tl.scbert_embed(adata, weights=weights, layer="counts", copy=True)
    adata.layers["log"] = adata.X.copy()
    from_layer = sg.tl.scbert_embed(adata, weights=weights, layer="log", copy=True)
    sg.tl.scbert_embed(adata, weights=weights)
    assert_same_results(adata, from_counts, rtol=0, atol=1e-6)
    assert_same_results(adata, from_layer, rtol=0, atol=0)


def test_values_already_normalised_are_taken_as_they_are(
    adata: ad.AnnData, weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    counts = adata.X.toarray()
    adata.layers["log2"] = np.log2(1 + 1e4 * counts / counts.sum(1, keepdims=True))
    expected = sg.tl.scbert_embed(adata, weights=weights, copy=True)
    with caplog.at_level(logging.INFO, logger="scgrn_tl"):
        sg.tl.scbert_embed(adata, weights=weights, layer="log2")
    assert_same_results(adata, expected, atol=1e-6)
    assert adata.uns["scbert"]["normalized"] is False
    assert "taken as log-normalised already" in caplog.text
    assert "Wrote obs['scbert_pooled']" in caplog.text


@pytest.mark.parametrize("dtype", ["bfloat16", torch.float16])
def test_half_precision_is_near(adata: ad.AnnData, weights: Path, dtype: str | torch.dtype) -> None:
    expected = sg.tl.scbert_embed(adata, weights=weights, copy=True)
    sg.tl.scbert_embed(adata, weights=weights, dtype=dtype)
    known = ~np.isnan(expected.varm["scbert"]).any(1)
    relative = np.linalg.norm((adata.varm["scbert"] - expected.varm["scbert"])[known])
    assert relative / np.linalg.norm(expected.varm["scbert"][known]) < 0.02
    np.testing.assert_allclose(adata.obsm["scbert_attention"].sum(1), 1, atol=0.01)


# ------------------------------------------------------------------------------------------------------ invariance


@pytest.mark.parametrize(("gigabytes", "expected"), [(1, 4), (4, 17), (64, 38)])
def test_batches_are_smaller_on_a_small_machine(gigabytes: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from scgrn_tl.tl import _encode_cells

    monkeypatch.setattr(_encode_cells, "total_memory", lambda: gigabytes * 10**9)
    assert _encode_cells.default_batch_size(ScBERTConfig(n_genes=2900), 2900, "cpu") == expected


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_batch_size_does_not_matter(adata: ad.AnnData, weights: Path, batch_size: int) -> None:
    expected = sg.tl.scbert_embed(adata, weights=weights, copy=True)
    sg.tl.scbert_embed(adata, weights=weights, batch_size=batch_size)
    assert_same_results(adata, expected, atol=1e-5)


def test_order_of_cells_and_genes_does_not_matter(adata: ad.AnnData, weights: Path) -> None:
    rng = np.random.default_rng(1)
    shuffled = adata[rng.permutation(N_CELLS), rng.permutation(N_GENES)].copy()
    for each in (adata, shuffled):
        sg.tl.scbert_embed(each, weights=weights, batch_size=4)
    assert_same_results(adata, shuffled[adata.obs_names, adata.var_names], atol=1e-5)


def _backed(adata: ad.AnnData, tmp_path: Path) -> ad.AnnData:
    adata.write_h5ad(tmp_path / "adata.h5ad")
    return ad.read_h5ad(tmp_path / "adata.h5ad", backed="r")


def _with_x(convert):
    def prepare(adata: ad.AnnData, tmp_path: Path) -> ad.AnnData:
        changed = adata.copy()
        changed.X = convert(adata.X)
        return changed

    return prepare


MATRICES = {
    "dense float32": _with_x(lambda x: x.toarray()),
    "dense float64, column order": _with_x(lambda x: np.asfortranarray(x.toarray().astype(np.float64))),
    "int32": _with_x(lambda x: x.toarray().astype(np.int32)),
    "uint16 csr": _with_x(lambda x: x.astype(np.uint16)),
    "csc": _with_x(sparse.csc_matrix),
    "csr_array": _with_x(sparse.csr_array),
    "view": lambda adata, _: ad.concat([adata, adata[:1]], merge="same")[:N_CELLS],
    "backed csr": _backed,
    "backed csc": lambda adata, tmp_path: _backed(MATRICES["csc"](adata, tmp_path), tmp_path),
    "backed dense": lambda adata, tmp_path: _backed(MATRICES["dense float32"](adata, tmp_path), tmp_path),
}


@pytest.mark.parametrize("kind", MATRICES)
@pytest.mark.filterwarnings("ignore:Observation names are not unique:UserWarning")
def test_any_matrix(adata: ad.AnnData, weights: Path, tmp_path: Path, kind: str) -> None:
    expected = sg.tl.scbert_embed(adata, weights=weights, copy=True)
    given = MATRICES[kind](adata, tmp_path)
    before = given.X[:].toarray() if sparse.issparse(given.X[:]) else np.array(given.X[:])
    dtype = given.X.dtype
    sg.tl.scbert_embed(given, weights=weights)
    assert_same_results(given, expected, atol=1e-6)
    after = given.X[:].toarray() if sparse.issparse(given.X[:]) else np.array(given.X[:])
    np.testing.assert_array_equal(before, after)
    assert given.X.dtype == dtype


def test_dask(adata: ad.AnnData, weights: Path) -> None:
    dask_array = pytest.importorskip("dask.array")
    expected = sg.tl.scbert_embed(adata, weights=weights, copy=True)
    adata.X = dask_array.from_array(adata.X.toarray(), chunks=(7, 11))
    sg.tl.scbert_embed(adata, weights=weights)
    assert_same_results(adata, expected, atol=1e-6)


def test_one_cell(adata: ad.AnnData, weights: Path) -> None:
    one = adata[:1].copy()
    sg.tl.scbert_embed(one, weights=weights)
    np.testing.assert_allclose(one.varm["scbert"], one.varm["scbert_mean"], atol=1e-6)


def test_same_bits_again(adata: ad.AnnData, weights: Path) -> None:
    one, other = (sg.tl.scbert_embed(adata, weights=weights, copy=True) for _ in range(2))
    assert_same_results(one, other, rtol=0, atol=0)


# ------------------------------------------------------------------------------------------- in and out of AnnData


def test_copy_leaves_the_original(adata: ad.AnnData, weights: Path) -> None:
    before = adata.copy()
    result = sg.tl.scbert_embed(adata, weights=weights, key_added="emb", copy=True)
    assert "emb" in result.varm
    assert not adata.varm
    assert not adata.obsm
    assert not adata.uns
    pd.testing.assert_frame_equal(adata.obs, before.obs)


def test_mudata(adata: ad.AnnData, weights: Path) -> None:
    expected = sg.tl.scbert_embed(adata, weights=weights, copy=True)
    protein = ad.AnnData(np.ones((N_CELLS, 2), dtype=np.float32), obs=adata.obs[[]])
    mdata = MuData({"gex": adata, "prot": protein})
    copied = sg.tl.scbert_embed(mdata, weights=weights, modality="gex", copy=True)
    assert isinstance(copied, MuData)
    assert not mdata["gex"].varm
    assert sg.tl.scbert_embed(mdata, weights=weights, modality="gex") is None
    for each in (mdata, copied):
        np.testing.assert_array_equal(each["gex"].varm["scbert"], expected.varm["scbert"])
    with pytest.raises(MissingKeyError, match=r"no modality 'rna'.*'gex', 'prot'"):
        sg.tl.scbert_embed(mdata, weights=weights)


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_results_survive_writing(adata: ad.AnnData, weights: Path, tmp_path: Path, suffix: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        sg.tl.scbert_embed(
            adata, weights=weights, groupby="type", n_cells=9, hidden_to="hidden.zarr", resume_from=tmp_path / "resume"
        )
    path = tmp_path / f"adata.{suffix}"
    getattr(adata, f"write_{suffix}")(path)
    stored = ad.read_h5ad(path) if suffix == "h5ad" else ad.read_zarr(path)
    assert_same_results(stored, adata, rtol=0, atol=0)
    record, expected = stored.uns["scbert"], adata.uns["scbert"]
    assert set(record) == set(expected)
    assert list(record["genes"]) == list(expected["genes"])
    assert dict(record["params"]) == expected["params"]
    assert stored.obs["scbert_pooled"].sum() == 9


# ------------------------------------------------------------------------------------------ interrupted and resumed


class Killed(BaseException):
    pass


@pytest.fixture
def kill_after(monkeypatch: pytest.MonkeyPatch):
    """Make the encoder die after some batches."""

    def arm(n_batches: int) -> None:
        encode, calls = ScBERT.encode, []

        def dying(self: ScBERT, *args, **kwargs):
            if len(calls) == n_batches:
                monkeypatch.setattr(ScBERT, "encode", encode)
                raise Killed
            calls.append(1)
            return encode(self, *args, **kwargs)

        monkeypatch.setattr(ScBERT, "encode", dying)

    return arm


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("batch_key", [None, "donor"])
def test_a_killed_run_resumes_with_the_same_result(
    adata: ad.AnnData,
    weights: Path,
    tmp_path: Path,
    kill_after,
    monkeypatch: pytest.MonkeyPatch,
    hidden: bool,
    batch_key: str | None,
) -> None:
    adata.obs["donor"] = np.where(np.arange(N_CELLS) % 3 == 0, "one", "other")
    expected = sg.tl.scbert_embed(adata, weights=weights, groupby="type", batch_key=batch_key, batch_size=4, copy=True)
    before = adata.copy()
    monkeypatch.setattr("scgrn_tl.tl._resume_folder.SAVE_SHARE", np.inf)  # save after every batch
    arguments = {
        "weights": weights,
        "groupby": "type",
        "batch_key": batch_key,
        "batch_size": 4,
        "resume_from": tmp_path / "resume",
    }
    if hidden:
        arguments["hidden_to"] = tmp_path / "hidden.zarr"
    kill_after(3)
    with pytest.raises(Killed):
        sg.tl.scbert_embed(adata, **arguments)
    assert not adata.varm
    assert not adata.obsm
    assert not adata.uns
    pd.testing.assert_frame_equal(adata.obs, before.obs)

    encoded = []
    encode = ScBERT.encode
    monkeypatch.setattr(ScBERT, "encode", lambda *args: encoded.append(len(args[1])) or encode(*args))
    sg.tl.scbert_embed(adata, **arguments)
    assert sum(encoded) == N_CELLS - 12
    assert_same_results(adata, expected, rtol=0, atol=0)
    if hidden:
        sg.tl.attentive_pool(adata, hidden=arguments["hidden_to"], batch_key=batch_key)
        np.testing.assert_allclose(adata.varm["scbert_pool_attention"], adata.varm["scbert"], atol=1e-6)

    encoded.clear()
    again = before.copy()
    sg.tl.scbert_embed(again, **arguments)
    assert not encoded
    assert_same_results(again, expected, rtol=0, atol=0)


def test_progress_of_another_run_is_refused(adata: ad.AnnData, weights: Path, tmp_path: Path, kill_after) -> None:
    arguments = {"weights": weights, "batch_size": 4, "resume_from": tmp_path / "resume"}
    kill_after(2)
    with pytest.raises(Killed):
        sg.tl.scbert_embed(adata, **arguments)
    adata.X = adata.X.toarray()
    adata.X[0] = adata.X[0, ::-1]
    with pytest.raises(ArgumentError, match="progress of another run, which differs in expression"):
        sg.tl.scbert_embed(adata, **arguments)
    with pytest.raises(ArgumentError, match="another run, which differs in batch_key, expression, groupby, pool"):
        sg.tl.scbert_embed(adata, groupby="type", batch_key="type", pool="mean", **arguments)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    with pytest.raises(ArgumentError, match="holds other files"):
        sg.tl.scbert_embed(adata, weights=weights, resume_from=tmp_path / "other")


def test_interrupted_writing_puts_back_what_was_there(
    adata: ad.AnnData, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scgrn_tl.core import slots

    adata.varm["scbert"] = np.zeros((N_GENES, 2))
    put = slots._put

    def interrupted(adata: ad.AnnData, slot: str, key: str, value: object) -> None:
        if slot == "uns" and isinstance(value, dict):
            raise KeyboardInterrupt
        put(adata, slot, key, value)

    monkeypatch.setattr(slots, "_put", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sg.tl.scbert_embed(adata, weights=weights)
    assert list(adata.varm) == ["scbert"]
    assert adata.varm["scbert"].shape == (N_GENES, 2)
    assert not adata.obsm
    assert "scbert_pooled" not in adata.obs


# ---------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"pool": "max"}, ArgumentError, "pool is 'attention' or 'mean', not 'max'"),
        ({"n_cells": 0}, ArgumentError, "n_cells is a whole number"),
        ({"batch_size": 2.5}, ArgumentError, "batch_size is a whole number"),
        ({"min_overlap": 2}, ArgumentError, "min_overlap is a share"),
        ({"key_added": "a/b"}, ArgumentError, "without '/'"),
        ({"dtype": "int8"}, ArgumentError, "dtype is one of"),
        ({"device": "abacus"}, ArgumentError, "not a torch device"),
        ({"normalize": "log"}, ArgumentError, "normalize is 'auto'"),
        ({"genes": "all"}, ArgumentError, "genes is None, 'vocabulary' or a list"),
        ({"genes": ["GENE1", "NOPE"]}, ArgumentError, "not in var_names"),
        ({"groupby": "nope"}, MissingKeyError, r"Did not find obs\['nope'\].*'type'"),
        ({"layer": "nope"}, MissingKeyError, r"Did not find layers\['nope'\]"),
        ({"weights": 3}, ArgumentError, "weights is a string or a path"),
        ({"weights": "nope.pth"}, WeightsUnavailableError, "neither 'panglao'.*'fit'.*path that exists"),
        ({"min_overlap": 0.9}, GeneOverlapError, "25 of 30 genes.*at least 90%"),
    ],
)
def test_wrong_arguments(
    adata: ad.AnnData, weights: Path, arguments: dict, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        sg.tl.scbert_embed(adata, **({"weights": weights} | arguments))
    assert not adata.varm
    assert not adata.uns


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "infinite"), (-1.0, "negative")])
def test_bad_expression_names_cell_and_gene(adata: ad.AnnData, weights: Path, value: float, word: str) -> None:
    adata.X = adata.X.toarray()
    adata.X[4, 7] = value
    with pytest.raises(ExpressionError, match=f"{word} value.*'cell4'.*'{adata.var_names[7]}'"):
        sg.tl.scbert_embed(adata, weights=weights)


def test_unusable_anndata(adata: ad.AnnData, weights: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="adata is an AnnData or a MuData, not"):
        sg.tl.scbert_embed(adata.to_df(), weights=weights)
    with pytest.raises(ArgumentError, match="to_memory"):
        sg.tl.scbert_embed(_backed(adata, tmp_path), weights=weights, copy=True)
    nothing = adata.copy()
    nothing.X = sparse.csr_matrix(adata.shape, dtype=np.float32)
    with pytest.raises(ExpressionError, match=r"Every cell is empty"):
        sg.tl.scbert_embed(nothing, weights=weights)
    doubled = adata.copy()
    doubled.var_names = [*adata.var_names[:-1], adata.var_names[0]]
    with pytest.raises(DuplicateGenesError, match="var_names_make_unique"):
        sg.tl.scbert_embed(doubled, weights=weights)


def test_groups_whose_names_collide(adata: ad.AnnData, weights: Path) -> None:
    adata.obs["type"] = ["a/b", "a_b"] + ["c"] * (N_CELLS - 2)
    with pytest.raises(ArgumentError, match="same name once '/'"):
        sg.tl.scbert_embed(adata, weights=weights, groupby="type")
    adata.obs["type"] = "mean"
    with pytest.raises(ArgumentError, match="called 'mean'"):
        sg.tl.scbert_embed(adata, weights=weights, groupby="type")


def test_files_of_others_are_not_overwritten(adata: ad.AnnData, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ArgumentError, match="not overwritten"):
        sg.tl.scbert_embed(adata, weights=weights, hidden_to=tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_no_weights_to_be_had(adata: ad.AnnData, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unavailable(path: object = None) -> Path:
        msg = 'Not here. Set SCGRN_TL_WEIGHTS, or use weights="fit".'
        raise WeightsUnavailableError(msg)

    monkeypatch.setattr("scgrn_tl.datasets.scbert_weights", unavailable)
    with pytest.raises(WeightsUnavailableError, match=r'SCGRN_TL_WEIGHTS.*weights="fit"'):
        sg.tl.scbert_embed(adata)
    assert not adata.varm


def test_damaged_weights(adata: ad.AnnData, weights: Path, tmp_path: Path) -> None:
    for file in weights.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    stored = tmp_path / "model.safetensors"
    stored.write_bytes(stored.read_bytes()[:-10])
    with pytest.raises(WeightsError):
        sg.tl.scbert_embed(adata, weights=tmp_path)
    assert not adata.varm


def test_published_layout(adata: ad.AnnData, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ``.pth`` in scBERT's layout holds no gene names; they are scBERT's own."""
    model, _ = load_scbert(weights)
    torch.save({"model_state_dict": model.state_dict()}, tmp_path / "scbert.pth")
    monkeypatch.setattr("scgrn_tl.datasets.scbert_vocabulary", lambda: VOCABULARY)
    expected = sg.tl.scbert_embed(adata, weights=weights, copy=True)
    sg.tl.scbert_embed(adata, weights=tmp_path / "scbert.pth")
    assert_same_results(adata, expected, rtol=0, atol=0)


def test_a_long_run_is_announced(
    adata: ad.AnnData, weights: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scgrn_tl.tl._encode_cells.LONG_RUN", 0.0)
    with caplog.at_level(logging.INFO, logger="scgrn_tl"):
        sg.tl.scbert_embed(adata, weights=weights, device="cpu")
    (line,) = [line for line in caplog.messages if line.startswith("Encoding")]
    assert "23 cells × 25 genes on cpu takes about" in line
    assert "GB" in line
    assert "genes=" in line
    assert "n_cells=" in line


# ------------------------------------------------------------------------------------------------------- real data


@pytest.mark.slow
@pytest.mark.parametrize("genes", [None, "vocabulary"], ids=["12,376 genes", "16,906 genes"])
def test_full_size_encoder_in_little_memory(mirror: Path, tmp_path: Path, genes: str | None) -> None:
    """A checkpoint in the published layout and size, four real cells of 16,727 genes: a process of less than 2 GB."""
    script = """
        import resource, sys
        import anndata as ad, numpy as np, torch
        import scgrn_tl as sg
        from scgrn_tl.models import ScBERT, ScBERTConfig

        vocabulary = sg.datasets.scbert_vocabulary()
        model = ScBERT(ScBERTConfig(n_genes=len(vocabulary))).initialize(torch.Generator().manual_seed(0))
        torch.save({"model_state_dict": model.state_dict()}, sys.argv[2])
        del model
        adata = ad.read_h5ad(sys.argv[1])
        genes = sys.argv[3] or None
        sg.tl.scbert_embed(adata, weights=sys.argv[2], n_cells=4, genes=genes, device="cpu")
        assert adata.obsm["scbert_attention"].shape == (200, 16_906 if genes else 12_376)
        assert adata.varm["scbert"].shape == (16_727, 200)
        known = adata.var_names.isin(vocabulary.symbols)
        np.testing.assert_array_equal(~np.isnan(adata.varm["scbert"]).any(1), known)
        np.testing.assert_allclose(adata.obsm["scbert_attention"].sum(1), adata.obs["scbert_pooled"], atol=1e-4)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    """
    finished = subprocess.run(
        [
            sys.executable,
            "-c",
            textwrap.dedent(script),
            mirror / "counts/pbmc_10k_protein_v3.h5ad",
            tmp_path / "encoder.pth",
            genes or "",
        ],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ,
    )
    assert finished.returncode == 0, finished.stderr
    print(f"peak {float(finished.stdout):.0f} MiB")
    assert float(finished.stdout) < 2048


def test_all_of_a_run_keeps_to_the_threads_that_are_set(adata: ad.AnnData, weights: Path, monkeypatch) -> None:
    """numba's parallel loops give PyTorch as many as there are cores, whatever ``OMP_NUM_THREADS`` says."""
    from scgrn_tl.tl._gene_pools import GenePools

    seen, add = [], GenePools.add

    def watched(self, *given):
        seen.append(torch.get_num_threads())
        add(self, *given)

    monkeypatch.setattr(GenePools, "add", watched)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with sg.settings.override(n_threads=1):
            sg.tl.scbert_embed(adata, weights=weights)
        assert set(seen) == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
