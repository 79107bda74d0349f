from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from mudata import MuData
from scipy import sparse

import scgrn_tl as sg
from scgrn_tl.core import ArgumentError, DuplicateGenesError, ExpressionError, GeneOverlapError, MissingKeyError
from scgrn_tl.models import load_scbert
from scgrn_tl.models.checkpoint import weights_sha256
from scgrn_tl.models.coexpression import coexpression_vectors
from scgrn_tl.models.scbert_model import ScBERTModel

if TYPE_CHECKING:
    from pathlib import Path

TINY = {"dim": 16, "depth": 1, "heads": 2, "dim_head": 8}


def structured_tokens(n_cells: int = 120, n_genes: int = 40, seed: int = 0) -> np.ndarray:
    """Two cell states, each with half of the genes high: a gene's bin follows from the other genes of its cell."""
    rng = np.random.default_rng(seed)
    high = rng.random(n_cells)[:, None] < 0.5
    first = np.arange(n_genes)[None] < n_genes // 2
    tokens = np.where(high == first, 4, 2) + rng.integers(0, 2, (n_cells, n_genes))
    return np.where(rng.random((n_cells, n_genes)) < 0.3, 0, tokens).astype(np.uint8)


def make_adata(n_cells: int = 60, n_genes: int = 30) -> ad.AnnData:
    """Log-normalised values whose bins are :func:`structured_tokens`."""
    values = structured_tokens(n_cells, n_genes) + np.random.default_rng(1).random((n_cells, n_genes)) * 0.9
    values[structured_tokens(n_cells, n_genes) == 0] = 0
    return ad.AnnData(
        sparse.csr_matrix(values.astype(np.float32)), var=pd.DataFrame(index=[f"mt-{i}.x" for i in range(n_genes)])
    )


# -------------------------------------------------------------------------------------------------- gene vectors


@pytest.mark.parametrize("as_sparse", [True, False])
def test_vectors_are_the_best_approximation_of_the_correlations(as_sparse: bool) -> None:
    rng = np.random.default_rng(0)
    expression = rng.gamma(1.0, size=(50, 4)) @ rng.random((4, 20)) + rng.random((50, 20)) * 0.3
    expression *= rng.random(expression.shape) < 0.8
    vectors = coexpression_vectors(sparse.csr_matrix(expression) if as_sparse else expression, 6)
    correlations = np.corrcoef(expression.T)
    values, axes = np.linalg.eigh(correlations)
    expected = (axes[:, -6:] * values[-6:]) @ axes[:, -6:].T
    np.testing.assert_allclose(vectors @ vectors.T, expected, atol=1e-5)
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, coexpression_vectors(expression, 6))


def test_vectors_where_there_are_fewer_components_than_asked_for() -> None:
    expression = np.random.default_rng(0).random((4, 9)).astype(np.float32)
    expression[:, 2] = 0.1
    vectors = coexpression_vectors(expression, 8)
    assert vectors.shape == (9, 8)
    assert not vectors[:, 3:].any()  # four cells have three degrees of freedom
    assert not vectors[2].any()
    varying = np.delete(np.arange(9), 2)
    np.testing.assert_allclose(
        (vectors @ vectors.T)[np.ix_(varying, varying)], np.corrcoef(expression[:, varying].T), atol=1e-5
    )
    assert not coexpression_vectors(expression[:1], 3).any()
    with pytest.raises(ArgumentError, match="dim is at least 1"):
        coexpression_vectors(expression, 0)


# ----------------------------------------------------------------------------------------------------- the verb


def test_folder_is_accepted_by_scbert_embed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    adata = make_adata()
    before = adata.X.copy()
    with caplog.at_level(logging.INFO, logger="scgrn_tl"):
        folder = sg.tl.scbert_pretrain(adata, weights_dir=tmp_path / "new" / "encoder", max_epochs=4, **TINY)
    assert folder == tmp_path / "new" / "encoder"
    assert "Trained an encoder on 60 cells × 30 genes" in caplog.text
    sg.tl.scbert_embed(adata, weights=folder)
    assert adata.varm["scbert"].shape == (30, 16)
    assert np.isfinite(adata.varm["scbert"]).all()
    assert (before != adata.X).nnz == 0

    record = adata.uns["scbert_training"]
    assert record["weights_dir"] == str(folder)
    assert record["params"]["dim"] == 16
    assert record["params"]["gene_init"] == "svd"
    assert (record["n_cells"], record["n_genes"], record["version"]) == (60, 30, sg.__version__)
    assert {len(record["history"][key]) for key in ("train_loss", "validation_loss", "validation_accuracy")} == {4}
    assert 0 < record["baseline_accuracy"] < 1
    assert record["validation_accuracy"] == record["history"]["validation_accuracy"][record["best_epoch"] - 1]

    adata.write_h5ad(tmp_path / "adata.h5ad")
    stored = ad.read_h5ad(tmp_path / "adata.h5ad").uns["scbert_training"]
    np.testing.assert_array_equal(stored["history"]["train_loss"], record["history"]["train_loss"])


def test_same_seed_same_weights(tmp_path: Path) -> None:
    hashes = []
    runs = [(1, "svd"), (1, "svd"), (2, "svd"), (1, "random"), (1, "skipgram"), (1, "skipgram")]
    for number, (seed, gene_init) in enumerate(runs):
        folder = sg.tl.scbert_pretrain(
            make_adata(), weights_dir=tmp_path / str(number), max_epochs=1, rng=seed, gene_init=gene_init, **TINY
        )
        hashes.append(weights_sha256(folder))
    assert hashes[0] == hashes[1]
    assert hashes[4] == hashes[5]
    assert len(set(hashes)) == 4


@pytest.mark.parametrize("kind", ["dense", "csc", "backed", "layer", "mudata"])
def test_any_matrix(tmp_path: Path, kind: str) -> None:
    adata = make_adata()
    expected = weights_sha256(sg.tl.scbert_pretrain(adata, weights_dir=tmp_path / "a", max_epochs=1, **TINY))
    arguments: dict = {}
    given: ad.AnnData | MuData = adata
    if kind == "dense":
        given.X = adata.X.toarray()
    elif kind == "csc":
        given.X = sparse.csc_matrix(adata.X)
    elif kind == "backed":
        adata.write_h5ad(tmp_path / "a.h5ad")
        given = ad.read_h5ad(tmp_path / "a.h5ad", backed="r")
    elif kind == "layer":
        given.layers["log"] = adata.X.copy()
        given.X = sparse.csr_matrix(adata.shape)
        arguments = {"layer": "log"}
    else:
        given, arguments = MuData({"gex": adata}), {"modality": "gex"}
    folder = sg.tl.scbert_pretrain(given, weights_dir=tmp_path / "b", max_epochs=1, **TINY, **arguments)
    assert weights_sha256(folder) == expected
    assert "scbert_training" in (given["gex"].uns if kind == "mudata" else given.uns)


def test_counts_are_normalised_and_many_genes_and_cells_are_sampled(tmp_path: Path) -> None:
    counts = np.random.default_rng(0).poisson(1.0, (50, 30)).astype(np.int32)
    counts[0] = 0
    adata = ad.AnnData(sparse.csr_matrix(counts), var=pd.DataFrame(index=[f"g{i}" for i in range(30)]))
    sg.tl.scbert_pretrain(adata, weights_dir=tmp_path / "a", max_epochs=1, max_genes=7, max_cells=20, **TINY)
    assert adata.uns["scbert_training"]["n_cells"] == 20
    _, vocabulary = load_scbert(tmp_path / "a")
    assert vocabulary.symbols == tuple(adata.var_names)


def test_a_vocabulary_of_ones_own(tmp_path: Path) -> None:
    """Genes that the data lack are in the vocabulary, and another AnnData that has them can be embedded."""
    adata = make_adata()
    genes = ["other", *adata.var_names[:20][::-1]]
    folder = sg.tl.scbert_pretrain(adata, weights_dir=tmp_path / "a", genes=genes, max_epochs=1, **TINY)
    model, vocabulary = load_scbert(folder)
    assert vocabulary.symbols == tuple(genes)
    assert not model.gene_vectors[0].any()  # nothing is known of it
    assert model.gene_vectors[1:].any(dim=1).all()
    other = adata[:, :10].copy()
    other.var_names = ["other", *adata.var_names[1:10]]
    sg.tl.scbert_embed(other, weights=folder)
    assert np.isfinite(other.varm["scbert"]).all()


def test_batches_are_recorded_and_change_the_encoder(tmp_path: Path) -> None:
    adata = make_adata()
    adata.obs["donor"] = pd.Categorical(np.resize(["a/1", "b"], adata.n_obs))
    adata.obs.loc[adata.obs_names[:4], "donor"] = np.nan
    with_batches = sg.tl.scbert_pretrain(adata, weights_dir=tmp_path / "a", batch_key="donor", max_epochs=2, **TINY)
    record = adata.uns["scbert_training"]
    assert (record["n_cells"], record["n_batches"], record["params"]["batch_key"]) == (56, 2, "donor")
    without = sg.tl.scbert_pretrain(adata, weights_dir=tmp_path / "b", max_epochs=2, **TINY)
    assert adata.uns["scbert_training"]["n_batches"] == 1
    assert weights_sha256(with_batches) != weights_sha256(without)
    assert list(adata.obs) == ["donor"]
    assert "_scvi_uuid" not in adata.uns


def test_fit_is_kept_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adata = make_adata()
    monkeypatch.setattr("scgrn_tl.models.scbert_model.SEEN_GENES", 0)  # two epochs
    with sg.settings.override(cache_dir=tmp_path):
        sg.tl.scbert_embed(adata, weights="fit")
        (folder,) = (tmp_path / "encoders").iterdir()
        assert adata.uns["scbert"]["weights"]["path"] == str(folder)
        monkeypatch.setattr(ScBERTModel, "train", lambda *_, **__: pytest.fail("trained again"))
        again = sg.tl.scbert_embed(make_adata(), weights="fit", copy=True)
        np.testing.assert_array_equal(again.varm["scbert"], adata.varm["scbert"])
        assert sg.tl.scbert_pretrain(adata) == folder
        assert adata.uns["scbert_training"]["weights_dir"] == str(folder)
        monkeypatch.undo()
        monkeypatch.setattr("scgrn_tl.models.scbert_model.SEEN_GENES", 0)
        sg.tl.scbert_embed(adata, weights="fit", rng=1)
        assert len(list((tmp_path / "encoders").iterdir())) == 2
    assert adata.varm["scbert"].shape == (30, 64)


def test_fit_where_the_cache_cannot_be_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scgrn_tl.models.scbert_model.SEEN_GENES", 0)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "file").touch()
    adata = make_adata()
    with sg.settings.override(cache_dir=tmp_path / "file"), caplog.at_level(logging.WARNING, logger="scgrn_tl"):
        sg.tl.scbert_embed(adata, weights="fit")
        sg.tl.attentive_pool(adata)
    assert "cache cannot be written" in caplog.text
    assert np.isfinite(adata.varm["scbert_pool_attention"]).all()


def test_interrupted_training_leaves_no_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ScBERTModel, "train", interrupted)
    adata = make_adata()
    with sg.settings.override(cache_dir=tmp_path), pytest.raises(KeyboardInterrupt):
        sg.tl.scbert_embed(adata, weights="fit")
    assert not list((tmp_path / "encoders").iterdir())
    assert not adata.varm


def test_weights_dir_of_an_earlier_encoder_is_replaced_and_of_others_is_not(tmp_path: Path) -> None:
    adata = make_adata()
    for seed in (0, 1):
        sg.tl.scbert_pretrain(adata, weights_dir=tmp_path / "a", max_epochs=1, rng=seed, **TINY)
    sg.tl.scbert_embed(adata, weights=tmp_path / "a")
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ArgumentError, match="no folder of an encoder"):
        sg.tl.scbert_pretrain(adata, weights_dir=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"gene_init": "pca"}, ArgumentError, "gene_init is one of 'svd', 'skipgram'"),
        ({"dim": 0}, ArgumentError, "dim is a whole number"),
        ({"dim": 10, "heads": 4}, ArgumentError, "multiple of heads"),
        ({"max_epochs": 0}, ArgumentError, "max_epochs is a whole number"),
        ({"max_cells": 1}, ArgumentError, "max_cells"),
        ({"learning_rate": -1.0}, ArgumentError, "learning_rate"),
        ({"validation_fraction": 1.0}, ArgumentError, "validation_fraction"),
        ({"key_added": "a/b"}, ArgumentError, "without '/'"),
        ({"layer": "nope"}, MissingKeyError, "layers"),
        ({"batch_key": "nope"}, MissingKeyError, "batch_key"),
        ({"genes": "mt-0.x"}, ArgumentError, "list of gene names"),
        ({"genes": ["mt-0.x", "mt-0.x"]}, DuplicateGenesError, "mt-0.x"),
        ({"genes": ["mt-0.x", "b"]}, GeneOverlapError, "1 of 30 genes"),
        ({"device": "abacus"}, ArgumentError, "not a torch device"),
    ],
)
def test_wrong_arguments(tmp_path: Path, arguments: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        sg.tl.scbert_pretrain(make_adata(), weights_dir=tmp_path / "a", **arguments)
    assert not (tmp_path / "a").exists()


def test_unusable_expression(tmp_path: Path) -> None:
    adata = make_adata()
    doubled = adata.copy()
    doubled.var_names = [*adata.var_names[:-1], adata.var_names[0]]
    with pytest.raises(DuplicateGenesError):
        sg.tl.scbert_pretrain(doubled, weights_dir=tmp_path / "a")
    with pytest.raises(ExpressionError, match="at least two cells with counts; there are 1"):
        sg.tl.scbert_pretrain(adata[:1].copy(), weights_dir=tmp_path / "a")
    adata.X.data[3] = np.nan
    with pytest.raises(ExpressionError, match="NaN"):
        sg.tl.scbert_pretrain(adata, weights_dir=tmp_path / "a")
