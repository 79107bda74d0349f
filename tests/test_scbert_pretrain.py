from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mudata import MuData
from scipy import sparse

import scgrn_tl as sg
from scgrn_tl.core import ArgumentError, DuplicateGenesError, ExpressionError, MissingKeyError
from scgrn_tl.models import ScBERT, ScBERTConfig, load_scbert
from scgrn_tl.models.checkpoint import weights_sha256
from scgrn_tl.models.coexpression import coexpression_vectors
from scgrn_tl.models.masked_training import MaskedTrainer, mask_expressed

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


def small_model(n_genes: int = 40) -> ScBERT:
    return ScBERT(ScBERTConfig(n_genes=n_genes, **TINY)).initialize(torch.Generator().manual_seed(0))


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


# ------------------------------------------------------------------------------------------------------- masking


@given(seed=st.integers(0, 2**32), fraction=st.floats(0.01, 0.9), n_genes=st.integers(1, 60))
def test_masks_hit_the_given_share_of_expressed_positions(seed: int, fraction: float, n_genes: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, 6, (7, n_genes), generator=generator)
    masked, chosen = mask_expressed(tokens, generator, mask_fraction=fraction)
    expected = (torch.count_nonzero(tokens, dim=1) * fraction).ceil()
    torch.testing.assert_close(chosen.sum(1).float(), expected)
    assert not chosen[tokens == 0].any()
    assert torch.equal(masked[~chosen], tokens[~chosen])
    hidden = masked[chosen]
    assert ((hidden == 6) | (hidden == tokens[chosen])).all()


def test_masks_are_even_and_mostly_replaced() -> None:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.full((4000, 40), 3)
    tokens[:, ::2] = 0
    masked, chosen = mask_expressed(tokens, generator)
    per_gene = chosen.float().mean(0)[1::2]
    assert ((per_gene - 0.15).abs() < 0.03).all()
    assert abs((masked[chosen] == 6).float().mean() - 0.9) < 0.01


# ------------------------------------------------------------------------------------------------------ training


def test_training_lowers_the_loss_and_beats_the_most_common_bin() -> None:
    tokens = structured_tokens(200)
    before = tokens.copy()
    model = ScBERT(ScBERTConfig(n_genes=40, dim=32, depth=2, heads=4, dim_head=16))
    model.initialize(torch.Generator().manual_seed(0))
    trainer = MaskedTrainer(model, tokens, max_epochs=12, batch_size=8, learning_rate=5e-3, patience=12)
    trainer.run()
    history = trainer.history
    assert history["train_loss"][-1] < history["train_loss"][0] - 0.4
    assert min(history["validation_loss"]) < 0.9
    # the state says which two bins a gene can have, so that ln 2 is near the least loss, and half can be right;
    # always naming one bin is right in a quarter
    assert trainer.baseline_accuracy < 0.35
    assert trainer.accuracy > 0.45
    assert trainer.accuracy == history["validation_accuracy"][trainer.best_epoch - 1]
    np.testing.assert_array_equal(tokens, before)
    assert not trainer.model.pos_emb.emb.weight[-1].any()


def test_best_epoch_is_restored_and_training_stops() -> None:
    """Pure noise: nothing can be learned for long, so patience runs out and earlier weights come back."""
    tokens = np.random.default_rng(0).integers(1, 6, (24, 20)).astype(np.uint8)
    trainer = MaskedTrainer(small_model(20), tokens, max_epochs=200, learning_rate=2e-2, patience=3)
    trainer.run()
    losses = trainer.history["validation_loss"]
    assert len(losses) == trainer.best_epoch + 3 < 200
    assert losses[trainer.best_epoch - 1] == min(losses)
    again = MaskedTrainer(small_model(20), tokens, max_epochs=200, learning_rate=2e-2, patience=3)
    kept = []
    again.on_epoch = lambda: kept.append({k: v.clone() for k, v in again.model.state_dict().items()})
    again.run()
    for name, tensor in trainer.model.state_dict().items():
        assert torch.equal(tensor, kept[trainer.best_epoch - 1][name]), name


@pytest.mark.parametrize("max_genes", [1024, 15])
def test_same_seed_same_bits_whatever_the_global_state(max_genes: int) -> None:
    weights = []
    for state in (1, 2):
        with torch.random.fork_rng():
            torch.set_rng_state(torch.Generator().manual_seed(state).get_state())
            np_state = np.random.get_state()[1].copy()  # noqa: NPY002
            before = torch.get_rng_state()
            trainer = MaskedTrainer(small_model(), structured_tokens(), seed=5, max_epochs=2, max_genes=max_genes)
            trainer.run()
            assert torch.equal(torch.get_rng_state(), before)
            assert (np.random.get_state()[1] == np_state).all()  # noqa: NPY002
        weights.append(trainer.model.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    other = MaskedTrainer(small_model(), structured_tokens(), seed=6, max_epochs=2, max_genes=max_genes)
    other.run()
    assert not torch.equal(other.model.to_out.weight, weights[0]["to_out.weight"])


def test_too_few_cells_to_train_on() -> None:
    tokens = np.zeros((5, 40), dtype=np.uint8)
    tokens[0, 3] = 1
    with pytest.raises(ArgumentError, match="two cells with expressed genes"):
        MaskedTrainer(small_model(), tokens).run()
    tokens[1, 4] = 1
    with pytest.raises(ArgumentError, match="no gene that the training cells express"):
        MaskedTrainer(small_model(), tokens).run()


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
    for number, (seed, gene_init) in enumerate([(1, "svd"), (1, "svd"), (2, "svd"), (1, "random")]):
        folder = sg.tl.scbert_pretrain(
            make_adata(), weights_dir=tmp_path / str(number), max_epochs=1, rng=seed, gene_init=gene_init, **TINY
        )
        hashes.append(weights_sha256(folder))
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3


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


def test_fit_is_kept_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adata = make_adata()
    monkeypatch.setattr("scgrn_tl.tl._fit_encoder.SEEN_GENES", 0)  # two epochs
    with sg.settings.override(cache_dir=tmp_path):
        sg.tl.scbert_embed(adata, weights="fit")
        (folder,) = (tmp_path / "encoders").iterdir()
        assert adata.uns["scbert"]["weights"]["path"] == str(folder)
        monkeypatch.setattr(MaskedTrainer, "run", lambda _: pytest.fail("trained again"))
        again = sg.tl.scbert_embed(make_adata(), weights="fit", copy=True)
        np.testing.assert_array_equal(again.varm["scbert"], adata.varm["scbert"])
        assert sg.tl.scbert_pretrain(adata) == folder
        assert adata.uns["scbert_training"]["weights_dir"] == str(folder)
        monkeypatch.undo()
        monkeypatch.setattr("scgrn_tl.tl._fit_encoder.SEEN_GENES", 0)
        sg.tl.scbert_embed(adata, weights="fit", rng=1)
        assert len(list((tmp_path / "encoders").iterdir())) == 2
    assert adata.varm["scbert"].shape == (30, 64)


def test_fit_where_the_cache_cannot_be_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scgrn_tl.tl._fit_encoder.SEEN_GENES", 0)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "file").touch()
    adata = make_adata()
    with sg.settings.override(cache_dir=tmp_path / "file"), caplog.at_level(logging.WARNING, logger="scgrn_tl"):
        sg.tl.scbert_embed(adata, weights="fit")
        sg.tl.attentive_pool(adata)
    assert "cache cannot be written" in caplog.text
    assert np.isfinite(adata.varm["scbert_pool_attention"]).all()


def test_interrupted_training_leaves_no_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: MaskedTrainer) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(MaskedTrainer, "run", interrupted)
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
        ({"gene_init": "pca"}, ArgumentError, "gene_init is 'svd' or 'random'"),
        ({"dim": 0}, ArgumentError, "dim is a whole number"),
        ({"dim": 10, "heads": 4}, ArgumentError, "multiple of heads"),
        ({"max_epochs": 0}, ArgumentError, "max_epochs is a whole number"),
        ({"max_cells": 1}, ArgumentError, "max_cells"),
        ({"learning_rate": -1.0}, ArgumentError, "learning_rate"),
        ({"validation_fraction": 1.0}, ArgumentError, "validation_fraction"),
        ({"key_added": "a/b"}, ArgumentError, "without '/'"),
        ({"layer": "nope"}, MissingKeyError, "layers"),
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
