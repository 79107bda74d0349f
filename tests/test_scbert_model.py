"""ScBERTModel as a model of scvi-tools: what its users expect of ``setup_anndata``, ``train``, ``save``, ``load``."""

from __future__ import annotations

import json
import logging
import pickle
import signal
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

import scgrn_tl as sg
from scgrn_tl.core import (
    ArgumentError,
    ExpressionError,
    GeneOverlapError,
    GeneVocabulary,
    WeightsError,
    WeightsUnavailableError,
)
from scgrn_tl.models import ScBERT, ScBERTConfig, load_scbert
from scgrn_tl.models.masked_expression import EXPRESSED_BINS

if TYPE_CHECKING:
    from pathlib import Path

    from scgrn_tl.models import ScBERTModel

TINY = {"dim": 16, "depth": 2, "heads": 2, "dim_head": 8}
N_CELLS, N_GENES = 60, 24


def structured(n_cells: int = N_CELLS, n_genes: int = N_GENES, seed: int = 0) -> np.ndarray:
    """Two cell states, each with half of the genes high: a gene's bin follows from the other genes of its cell."""
    rng = np.random.default_rng(seed)
    high = rng.random(n_cells)[:, None] < 0.5
    tokens = np.where(high == (np.arange(n_genes)[None] < n_genes // 2), 4, 2) + rng.integers(0, 2, (n_cells, n_genes))
    return np.where(rng.random((n_cells, n_genes)) < 0.3, 0, tokens + rng.random((n_cells, n_genes)) * 0.9)


def make_adata(n_cells: int = N_CELLS, seed: int = 0) -> ad.AnnData:
    obs = pd.DataFrame(
        {
            "donor": pd.Categorical(np.resize(["d1", "d2", "d2"], n_cells)),
            "type": pd.Categorical(np.resize(["B", "T"], n_cells)),
        },
        index=[f"cell{i}" for i in range(n_cells)],
    )
    values = sparse.csr_matrix(structured(n_cells, seed=seed))
    return ad.AnnData(values, obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(N_GENES)]))


def make_model(adata: ad.AnnData | None = None, *, batch_key: str | None = "donor", **kwargs: object) -> ScBERTModel:
    adata = make_adata() if adata is None else adata
    sg.models.ScBERTModel.setup_anndata(adata, batch_key=batch_key, labels_key="type")
    return sg.models.ScBERTModel(adata, **(TINY | kwargs))


def train(model: ScBERTModel, **kwargs: object) -> ScBERTModel:
    arguments = {"max_epochs": 2, "batch_size": 8, "accelerator": "cpu", "enable_progress_bar": False}
    model.train(**(arguments | kwargs))
    return model


def weights(model: ScBERTModel) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.module.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# ------------------------------------------------------------------------------------------------------ training


def test_a_model_as_scvi_tools_knows_it(capsys: pytest.CaptureFixture) -> None:
    model = make_model()
    assert not model.is_trained
    assert model.summary_stats.n_batch == 2
    assert model.summary_stats.n_vars == N_GENES
    repr(model)  # scvi-tools prints it
    assert "ScBERTModel with 24 genes, 2 layers" in capsys.readouterr().out
    assert model.adata_manager.adata is model.adata
    assert model.registry["setup_args"]["batch_key"] == "donor"
    with pytest.warns(UserWarning, match="untrained model"):
        model.get_gene_embedding()
    train(model)
    assert model.is_trained
    assert {"train_loss", "validation_loss", "train_accuracy", "validation_accuracy"} <= set(model.history)
    assert model.history["train_loss"].index.name == "epoch"
    assert len(model.history["train_loss"]) == 2
    assert sorted([*model.train_indices, *model.validation_indices]) == list(range(N_CELLS))
    assert len(model.validation_indices) == 6
    assert model.trainer.max_epochs == 2
    embedding = model.get_gene_embedding()
    assert (embedding.shape, embedding.dtype) == ((N_GENES, 16), np.float32)
    assert np.isfinite(embedding).all()


def test_training_learns_and_beats_the_usual_bin() -> None:
    adata = make_adata(200)
    model = train(make_model(adata, batch_key=None, dim=32, heads=4), max_epochs=12, lr=5e-3, early_stopping=False)
    history = {name: frame.iloc[:, 0].astype(float) for name, frame in model.history.items()}
    assert history["train_loss"].iloc[-1] < history["train_loss"].iloc[0] - 0.4
    # the state says which two bins a gene can have: ln 2 is near the least loss, and half can be right
    assert history["validation_loss"].min() < 0.9
    assert history["validation_accuracy"][model.best_epoch_ - 1] > 0.42
    assert history["validation_accuracy_usual_bin"].nunique() == 1  # the same masks in every epoch
    assert history["validation_accuracy_usual_bin"][0] < 0.35
    assert not model.module.encoder.pos_emb.emb.weight[-1].any()


def test_the_loss_is_the_cross_entropy_of_the_hidden_bins() -> None:
    model = make_model()
    rng = torch.Generator().manual_seed(0)
    torch.nn.init.normal_(model.module.batch_emb.weight, generator=rng)
    batch = {
        "tokens": torch.tensor([[1, 6, 0], [6, 3, 6]]),
        "bins": torch.tensor([[0, 4, 0], [2, 0, 5]]),
        "positions": torch.tensor([0, 3, 9]),
        "usual": torch.tensor([2, 2, 5]),
        "batch": torch.tensor([[1], [0]]),
    }
    _, _, output = model.module(batch)
    losses, right = [], 0
    for cell in range(2):
        added = model.module.batch_emb.weight[batch["batch"][cell]]
        logits = model.module.encoder.logits(batch["tokens"][cell : cell + 1], batch["positions"], added=added)[0]
        for gene in range(3):
            if true := int(batch["bins"][cell, gene]):
                losses.append(-torch.log_softmax(logits[gene], dim=0)[true])
                right += int(logits[gene, EXPRESSED_BINS].argmax()) + 1 == true
    torch.testing.assert_close(output.loss, torch.stack(losses).mean())
    assert int(output.extra_metrics["n_hidden"]) == 3
    assert int(output.extra_metrics["n_right"]) == right
    assert int(output.extra_metrics["n_usual"]) == 2
    batch["bins"][:] = 0
    assert float(model.module(batch)[2].loss.detach()) == 0


def test_the_best_epoch_is_kept_and_training_stops() -> None:
    """Pure noise: nothing can be learned for long, so patience runs out and earlier weights come back."""
    adata = make_adata()
    adata.X = sparse.csr_matrix(np.random.default_rng(0).integers(1, 6, adata.shape) + 0.5)
    kept = []
    model = make_model(adata, batch_key=None, gene_init="random")
    train(model, max_epochs=200, lr=2e-2, on_epoch=lambda _: kept.append(weights(model)))
    losses = model.history["validation_loss"].iloc[:, 0].astype(float).to_numpy()
    assert len(losses) == model.best_epoch_ + 3 < 200
    assert losses[model.best_epoch_ - 1] == losses.min()
    assert same(weights(model), kept[model.best_epoch_ - 1])


def test_same_seed_same_bits_whatever_the_global_state() -> None:
    found = []
    for state in (1, 2):
        with torch.random.fork_rng():
            torch.set_rng_state(torch.Generator().manual_seed(state).get_state())
            numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002
            before = torch.get_rng_state()
            found.append(weights(train(make_model(seed=3), seed=5, max_genes=15)))
            assert torch.equal(torch.get_rng_state(), before)
            assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002
    assert same(*found)
    assert not same(found[0], weights(train(make_model(seed=3), seed=6, max_genes=15)))
    assert not same(found[0], weights(train(make_model(seed=4), seed=5, max_genes=15)))


def test_training_goes_on() -> None:
    model = train(make_model())
    before = weights(model)
    train(model, max_epochs=1)
    assert len(model.history["train_loss"]) == 3
    assert not same(before, weights(model))
    assert model.best_epoch_ == 3  # counted over both
    assert list(model.history["validation_loss"].index) == [0, 1, 2]


@pytest.mark.parametrize("blocks", [None, 1, 0])
def test_only_the_last_blocks_learn(blocks: int | None) -> None:
    model = make_model()
    before = weights(model)
    train(model, train_blocks=blocks)
    changed = {name for name, value in weights(model).items() if not torch.equal(value, before[name])}
    changed -= {"trained_batches"}
    parts = ("encoder.norm", "encoder.to_out", "batch_emb")
    if blocks == 1:
        parts += ("encoder.performer.net.layers.1.",)
    if blocks is None:
        parts += ("encoder.performer.net.layers.", "encoder.token_emb", "encoder.pos_emb")
    assert all(name.startswith(parts) for name in changed)
    assert all(any(name.startswith(part) for name in changed) for part in parts)
    assert not any("projection_matrix" in name for name in changed)
    assert all(parameter.requires_grad for parameter in model.get_encoder().parameters())
    with pytest.raises(ArgumentError, match="2 blocks"):
        train(model, train_blocks=3)


def test_batches_are_averaged_out() -> None:
    model = train(make_model(), lr=1e-2)
    vectors = model.module.batch_emb.weight
    assert vectors.shape == (2, 16)
    assert vectors.abs().max() > 1e-3
    tokens = torch.from_numpy(structured(5).astype(np.int64))
    with torch.no_grad():
        expected = model.module.encoder.hidden(tokens, added=vectors.mean(dim=0).expand(5, 16))
    torch.testing.assert_close(model.get_encoder().encode(tokens).hidden, expected, rtol=1e-4, atol=1e-5)
    assert make_model(batch_key=None).module.batch_emb is None


def test_batches_start_as_if_there_were_none() -> None:
    tokens = torch.from_numpy(structured(5).astype(np.int64))
    model = make_model()
    with torch.no_grad():
        torch.testing.assert_close(
            model.module.encoder.logits(tokens),
            model.module.encoder.logits(tokens, added=model.module.batch_emb(torch.tensor([0, 1, 0, 1, 1]))),
        )


def test_loggers_checkpoints_and_accumulated_gradients(tmp_path: Path) -> None:
    from lightning.pytorch.loggers import CSVLogger
    from scvi.train import SaveCheckpoint

    model = make_model()
    checkpoints = SaveCheckpoint(dirpath=str(tmp_path / "checkpoints"), monitor="validation_loss", save_top_k=2)
    train(
        model,
        logger=CSVLogger(tmp_path, name="log"),
        callbacks=[checkpoints],
        enable_checkpointing=True,
        accumulate_grad_batches=2,
    )
    table = pd.read_csv(next((tmp_path / "log").rglob("metrics.csv")))
    assert {"train_loss", "validation_loss"} <= set(table)
    np.testing.assert_allclose(
        table["validation_loss"].dropna(), model.history["validation_loss"].iloc[:, 0].astype(float), rtol=1e-5
    )
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2
    assert model.trainer.global_step == 8  # of 54 cells 7 batches an epoch, two of them to a step
    best = sg.models.ScBERTModel.load(checkpoints.best_model_path, model.adata)
    assert same(weights(best), weights(model))


def test_half_precision_stays_near_full() -> None:
    """What GPUs with bfloat16 do by default; on the CPU it is asked for."""
    full, half = (train(make_model(), precision=precision) for precision in ("32-true", "bf16-mixed"))
    losses = [model.history["validation_loss"].iloc[:, 0].astype(float) for model in (full, half)]
    np.testing.assert_allclose(*losses, rtol=0.03)
    assert not np.allclose(*losses, rtol=1e-6)
    assert half.module.encoder.token_emb.weight.dtype == torch.float32


def test_ctrl_c_is_one_and_works_again() -> None:
    model = make_model()
    before = signal.getsignal(signal.SIGINT)

    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(model, on_epoch=interrupted)
    assert signal.getsignal(signal.SIGINT) is before
    assert not model.is_trained
    train(model)
    assert model.is_trained


def test_training_that_cannot_be() -> None:
    one_cell = make_adata(1)
    with pytest.warns(UserWarning, match="fewer than 3 cells"):
        sg.models.ScBERTModel.setup_anndata(one_cell)
    with pytest.raises(ArgumentError, match="one of them to hold out"):
        train(sg.models.ScBERTModel(one_cell, **TINY))
    with pytest.raises(ArgumentError, match="train_size is a share"):
        train(make_model(), train_size=1.5)
    adata = make_adata()
    adata.X = sparse.csr_matrix(np.full(adata.shape, 0.5))
    with pytest.raises(ArgumentError, match="Of 0 cells with counts"):
        train(make_model(adata))


def test_held_out_cells_of_which_nothing_can_be_predicted() -> None:
    """Each of two cells expresses a gene that the other does not."""
    adata = make_adata(4)
    adata.X = sparse.csr_matrix(np.eye(4, N_GENES) * 3)
    sg.models.ScBERTModel.setup_anndata(adata)
    model = sg.models.ScBERTModel(adata, gene_init="random", **TINY)
    with pytest.raises(ArgumentError, match="held-out cells express no gene that the training cells express"):
        train(model)
    assert not model.is_trained


@pytest.mark.parametrize("train_size", [0.9, 1.0])
def test_training_that_diverges_leaves_the_model_as_it_was(train_size: float) -> None:
    model = train(make_model())
    before, history = weights(model), model.history
    with pytest.raises(ArgumentError, match="diverged"):
        train(model, lr=1e20, train_size=train_size)
    assert same(weights(model), before)
    assert model.history is history
    assert model.is_trained
    untrained = make_model()
    with pytest.raises(ArgumentError, match="diverged"):
        train(untrained, lr=1e20, train_size=train_size)
    assert not untrained.is_trained


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_epochs": 0}, "max_epochs is a whole number"),
        ({"batch_size": 0}, "batch_size is a whole number"),
        ({"max_genes": -3}, "max_genes is a whole number"),
        ({"mask_fraction": 0.0}, "mask_fraction is a share"),
        ({"replace_probability": 1.5}, "replace_probability is a share"),
        ({"lr": 0.0}, "lr is positive"),
        ({"train_size": 0.9, "validation_size": 0.5}, "more than all cells"),
        ({"batch_size": 100, "datasplitter_kwargs": {"drop_last": True}}, "make no batch of batch_size=100"),
        ({"datasplitter_kwargs": {"load_sparse_tensor": True}}, "datasplitter_kwargs cannot have load_sparse_tensor"),
        ({"plan_kwargs": {"learning_rat": 1}}, "there is no 'learning_rat'"),
        ({"train_blocks": 3}, "2 blocks"),
    ],
)
def test_wrong_arguments_of_train(arguments: dict, message: str) -> None:
    model = make_model()
    before = weights(model)
    with pytest.raises(ArgumentError, match=message):
        train(model, **arguments)
    assert same(weights(model), before)
    assert not model.module.training
    assert all(parameter.requires_grad for parameter in model.module.parameters())


def test_arguments_as_users_of_scvi_tools_give_them() -> None:
    model = make_model()
    train(
        model,
        train_size=None,
        batch_size=np.int64(8),
        callbacks=None,
        plan_kwargs={"lr": 1e-3, "optimizer": "AdamW", "weight_decay": 0.1},
        early_stopping_min_delta=100,
        early_stopping_patience=1,
        max_epochs=9,
    )
    assert len(model.history["train_loss"]) == 2  # nothing is better by 100
    assert not model.module.encoder.pos_emb.emb.weight[-1].any()
    own = [np.arange(40), np.arange(40, 50), np.arange(50, 60)]
    train(model, datasplitter_kwargs={"external_indexing": own}, plan_kwargs={"reduce_lr_on_plateau": True})
    np.testing.assert_array_equal(model.validation_indices, own[1])


def test_one_stopping_rule_where_the_user_brings_it() -> None:
    from lightning.pytorch.callbacks import EarlyStopping

    own = EarlyStopping("validation_accuracy", mode="max", patience=50)
    model = train(make_model(), callbacks=[own])
    assert [each for each in model.trainer.callbacks if isinstance(each, EarlyStopping)] == [own]


def test_validation_now_and_then() -> None:
    model = train(make_model(), max_epochs=4, check_val_every_n_epoch=2)
    assert list(model.history["validation_loss"].index) == [1, 3]
    assert list(model.history["train_loss"].index) == [0, 1, 2, 3]
    assert model.best_epoch_ in {2, 4}
    never = train(make_model(), max_epochs=2, check_val_every_n_epoch=5, early_stopping=False)
    assert "validation_loss" not in never.history
    assert never.best_epoch_ == 2


def test_history_grows_whatever_the_logger(tmp_path: Path) -> None:
    from lightning.pytorch.loggers import CSVLogger

    model = train(make_model())
    train(model, logger=CSVLogger(tmp_path), max_epochs=3)
    assert list(model.history["train_loss"].index) == [0, 1, 2, 3, 4]
    assert list(model.history["validation_loss"].index) == [0, 1, 2, 3, 4]


def test_only_batches_that_were_trained_on_are_averaged() -> None:
    adata = make_adata()
    adata.obs["donor"] = pd.Categorical(adata.obs["donor"].astype(str), categories=["d0", "d1", "d2", "d3"])
    model = train(make_model(adata), lr=1e-2)
    vectors = model.module.batch_emb.weight
    assert model.module.trained_batches.tolist() == [False, True, True, False]
    moved = model.get_encoder().token_emb.weight - model.module.encoder.token_emb.weight
    torch.testing.assert_close(moved[0], vectors[1:3].mean(dim=0), atol=1e-6, rtol=0)


def test_setting_the_data_up_anew_does_not_change_a_model() -> None:
    adata = make_adata()
    adata.obs["plate"] = pd.Categorical(np.resize(list("abcdefg"), N_CELLS))
    models = [make_model(adata), make_model(make_adata())]
    sg.models.ScBERTModel.setup_anndata(adata, batch_key="plate")
    assert same(*(weights(train(model)) for model in models))


def test_expression_that_changes_in_place_is_read_anew() -> None:
    adata = make_adata()
    counts = np.random.default_rng(0).poisson(5.0, adata.shape).astype(np.float64)
    adata.X = sparse.csr_matrix(counts)
    model = train(make_model(adata))
    before = model.get_gene_embedding()
    adata.X = sparse.csr_matrix(np.log2(1 + 1e4 * counts / counts.sum(axis=1, keepdims=True)))
    np.testing.assert_array_equal(model.get_gene_embedding(), before)
    adata.X[0, 0] = -1
    with pytest.raises(ExpressionError, match="cell0"):
        model.get_gene_embedding()


def test_without_validation_cells_the_last_epoch_stays() -> None:
    model = train(make_model(), train_size=1.0)
    assert model.best_epoch_ == 2
    assert len(model.validation_indices) == 0
    assert "validation_loss" not in model.history


# ----------------------------------------------------------------------------------------------------- embedding


def test_gene_embeddings_are_those_of_scbert_embed(tmp_path: Path) -> None:
    adata = make_adata()
    model = train(make_model(adata))
    encoder = model.get_encoder()
    encoder.save(tmp_path / "encoder", model.vocabulary)
    embedded = make_adata()
    sg.tl.scbert_embed(embedded, weights=tmp_path / "encoder", groupby="type")
    for pool, slot in (("attention", "scbert"), ("mean", "scbert_mean")):
        sg.tl.attentive_pool(embedded, weighting=pool, batch_key="donor", groupby="type", key_added=f"{pool}_by_donor")
        np.testing.assert_allclose(
            model.get_gene_embedding(pool=pool), embedded.varm[f"{pool}_by_donor"], rtol=0, atol=1e-5
        )
        assert slot in embedded.varm
    by_label = model.get_gene_embedding(by_label=True)
    assert list(by_label) == ["B", "T"]
    for label, embedding in by_label.items():
        np.testing.assert_allclose(embedding, embedded.varm[f"attention_by_donor_{label}"], rtol=0, atol=1e-5)
    with pytest.raises(ArgumentError, match="pool is 'attention' or 'mean'"):
        model.get_gene_embedding(pool="max")


def test_new_cells_and_some_cells() -> None:
    model = train(make_model())
    new = make_adata(30, seed=7)
    embedding = model.get_gene_embedding(new)
    np.testing.assert_allclose(model.get_gene_embedding(new, indices=np.arange(30)), embedding, atol=1e-6)
    assert not np.allclose(model.get_gene_embedding(new, indices=[0, 1, 2]), embedding, atol=1e-3)
    strange = make_adata(30)
    strange.obs["donor"] = pd.Categorical(np.resize(["d1", "d9"], 30))
    with pytest.raises(ValueError, match="d9"):
        model.get_gene_embedding(strange)


def test_cells_without_counts_have_no_say() -> None:
    adata = make_adata()
    values = adata.X.toarray()
    values[[0, 7]] = 0
    adata.X = sparse.csr_matrix(values)
    model = train(make_model(adata))
    rest = np.setdiff1d(np.arange(N_CELLS), [0, 7])
    np.testing.assert_allclose(model.get_gene_embedding(), model.get_gene_embedding(indices=rest), atol=1e-6)
    assert np.isnan(model.get_gene_embedding(indices=[0, 7])).all()


# ---------------------------------------------------------------------------------------------------- what it reads


@pytest.mark.filterwarnings("ignore:Training will be faster when sparse matrix is formatted as CSR:UserWarning")
@pytest.mark.parametrize("kind", ["dense", "csc", "counts", "natural logarithms", "layer", "backed"])
def test_any_matrix(kind: str, tmp_path: Path) -> None:
    counts = np.random.default_rng(0).poisson(5.0, (N_CELLS, N_GENES)).astype(np.float64)
    logarithms = np.log2(1 + 1e4 * counts / counts.sum(axis=1, keepdims=True))

    def found(adata: ad.AnnData, layer: str | None = None) -> dict[str, torch.Tensor]:
        sg.models.ScBERTModel.setup_anndata(adata, layer)
        return weights(train(sg.models.ScBERTModel(adata, gene_init="random", **TINY), max_epochs=1))

    adata = make_adata()
    adata.X = sparse.csr_matrix(logarithms)
    expected = found(adata)
    adata = make_adata()
    layer = None
    adata.X = {
        "dense": logarithms,
        "csc": sparse.csc_matrix(logarithms),
        "counts": sparse.csr_matrix(counts),
        "natural logarithms": logarithms * np.log(2) * (1 + 1e-12),
        "layer": sparse.csr_matrix(counts.shape),
        "backed": sparse.csr_matrix(logarithms),
    }[kind]
    if kind == "natural logarithms":
        adata.uns["log1p"] = {"base": None}
    elif kind == "layer":
        adata.layers["logs"], layer = sparse.csr_matrix(logarithms), "logs"
    elif kind == "backed":
        adata.write_h5ad(tmp_path / "a.h5ad")
        adata = ad.read_h5ad(tmp_path / "a.h5ad", backed="r+")
    weights_found = found(adata, layer)
    if kind != "backed":
        assert same(weights_found, expected)
        return
    for name, value in expected.items():  # scvi-tools sorts the cells of a batch from a file: other masks fall on them
        torch.testing.assert_close(weights_found[name], value, rtol=0, atol=3e-2)


def test_a_pretrained_encoder_goes_on_with_its_own_genes() -> None:
    vocabulary = GeneVocabulary(["x1", *[f"g{i}" for i in range(0, N_GENES, 2)][::-1], "x2"])
    encoder = ScBERT(ScBERTConfig(n_genes=len(vocabulary), **TINY)).initialize(torch.Generator().manual_seed(5))
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    adata = make_adata()
    sg.models.ScBERTModel.setup_anndata(adata)
    model = sg.models.ScBERTModel.from_encoder(adata, encoder, vocabulary, min_overlap=0.3)
    assert same(dict(model.get_encoder().state_dict()), before)
    train(model, train_blocks=1)
    assert same(dict(encoder.state_dict()), before)
    embedding = model.get_gene_embedding()
    assert np.isnan(embedding[1::2]).all()
    assert np.isfinite(embedding[::2]).all()
    with pytest.raises(GeneOverlapError, match="12 of 24 genes"):
        train(sg.models.ScBERTModel.from_encoder(adata, encoder, vocabulary, min_overlap=0.9))


def test_what_cannot_be_read() -> None:
    adata = make_adata()
    adata.X[3, 4] = np.nan
    with pytest.raises(ExpressionError, match="NaN"):
        make_model(adata)
    with pytest.raises(ArgumentError, match="gene_init is one of"):
        make_model(gene_init="pca")
    with pytest.raises(ValueError, match="Please set up your AnnData"):
        sg.models.ScBERTModel(make_adata())
    with pytest.raises(KeyError, match="nope"):
        sg.models.ScBERTModel.setup_anndata(make_adata(), batch_key="nope")
    missing = make_adata()
    missing.obs.loc["cell3", "donor"] = np.nan
    with pytest.raises(ArgumentError, match="no value for 1 cells"):
        sg.models.ScBERTModel.setup_anndata(missing, batch_key="donor")
    for vocabulary in ("g1", {"g1", "g2"}):
        with pytest.raises(ArgumentError, match="list of gene names"):
            make_model(vocabulary=vocabulary)
    assert make_model(vocabulary=GeneVocabulary(["g3", "g1"]), min_overlap=0).vocabulary.symbols == ("g3", "g1")
    with pytest.raises(ArgumentError, match="min_overlap"):
        make_model(min_overlap=5)
    unlabelled = make_adata()
    sg.models.ScBERTModel.setup_anndata(unlabelled)
    with pytest.raises(ArgumentError, match="labels_key"):
        train(sg.models.ScBERTModel(unlabelled, **TINY)).get_gene_embedding(by_label=True)


# ------------------------------------------------------------------------------------------------------- on disk


def test_save_and_load(tmp_path: Path) -> None:
    adata = make_adata()
    model = train(make_model(adata))
    embedding = model.get_gene_embedding()
    model.save(tmp_path / "model", save_anndata=True)
    with pytest.raises(ValueError, match="already exists"):
        model.save(tmp_path / "model")
    for given in (None, adata, make_adata()):
        loaded = sg.models.ScBERTModel.load(tmp_path / "model", given)
        assert loaded.is_trained
        assert same(weights(loaded), weights(model))
        np.testing.assert_array_equal(loaded.get_gene_embedding(), embedding)
        pd.testing.assert_frame_equal(
            loaded.history["train_loss"].astype(float), model.history["train_loss"].astype(float)
        )
        np.testing.assert_array_equal(loaded.train_indices, model.train_indices)
        assert loaded.best_epoch_ == model.best_epoch_
        assert loaded.init_params_ == model.init_params_
        assert loaded.summary_string == model.summary_string
    train(loaded, max_epochs=1)
    assert len(loaded.history["train_loss"]) == 3
    loaded.save(tmp_path / "model", overwrite=True)
    again = sg.models.ScBERTModel.load(tmp_path / "model", adata)
    assert same(weights(again), weights(loaded))


def test_load_without_data(tmp_path: Path) -> None:
    model = train(make_model())
    model.save(tmp_path / "model")
    with pytest.warns(UserWarning, match="No AnnData was saved"):
        loaded = sg.models.ScBERTModel.load(tmp_path / "model")
    assert loaded.adata is None
    with pytest.raises(ArgumentError, match="no AnnData to train on"):
        train(loaded)
    np.testing.assert_array_equal(loaded.get_gene_embedding(make_adata()), model.get_gene_embedding())
    loaded = sg.models.ScBERTModel.load(tmp_path / "model", adata=False)
    assert same(dict(loaded.get_encoder().state_dict()), dict(model.get_encoder().state_dict()))


def test_prefix_and_encoder_folder(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    model = train(make_model())
    model.save(tmp_path / "model", prefix="run1_")
    loaded = sg.models.ScBERTModel.load(tmp_path / "model", make_adata(), prefix="run1_")
    assert same(weights(loaded), weights(model))
    encoder, vocabulary = load_scbert(tmp_path / "model" / "run1_encoder")
    assert same(dict(encoder.state_dict()), dict(model.get_encoder().state_dict()))
    assert vocabulary.symbols == tuple(model.adata.var_names)
    adata = make_adata()
    sg.tl.scbert_embed(adata, weights=tmp_path / "model" / "run1_encoder")
    assert np.isfinite(adata.varm["scbert"]).all()
    registry = sg.models.ScBERTModel.load_registry(str(tmp_path / "model"), prefix="run1_")
    assert registry["setup_args"]["labels_key"] == "type"
    sg.models.ScBERTModel.view_setup_args(tmp_path / "model", prefix="run1_")
    assert "'labels_key': 'type'" in capsys.readouterr().out


def test_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = train(make_model())
    model.save(tmp_path / "model", save_anndata=True)

    def refused(*_: object, **__: object) -> None:
        pytest.fail("a pickle was read")

    monkeypatch.setattr(torch, "load", refused)
    monkeypatch.setattr(pickle, "load", refused)
    monkeypatch.setattr(pickle, "loads", refused)
    monkeypatch.setattr(pickle, "Unpickler", refused)
    (tmp_path / "model" / "model.pt").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    assert sg.models.ScBERTModel.load_registry(tmp_path / "model")["setup_args"]["batch_key"] == "donor"
    assert same(weights(sg.models.ScBERTModel.load(tmp_path / "model")), weights(model))


@pytest.mark.parametrize("kind", ["int", "bool", "interval", "float"])
def test_batches_of_any_type_are_read_back(tmp_path: Path, kind: str) -> None:
    adata = make_adata()
    number = np.resize([0, 1, 1], N_CELLS)
    values = {"int": number, "bool": number == 1, "float": number / 2, "interval": pd.cut(number, [-1, 0.5, 2])}
    adata.obs["donor"] = pd.Categorical(values[kind])
    model = train(make_model(adata))
    model.save(tmp_path / "model")
    loaded = sg.models.ScBERTModel.load(tmp_path / "model", adata.copy())
    np.testing.assert_array_equal(loaded.get_gene_embedding(), model.get_gene_embedding())


def test_what_cannot_be_saved_is_said_before_anything_is_written(tmp_path: Path) -> None:
    model = make_model()
    model.palette_ = {"x"}
    with pytest.raises(ArgumentError, match="palette_ holds a set"):
        model.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()
    model.palette_ = {("a", 1): (2.0, None)}
    model.is_trained_ = True
    model.save(tmp_path / "model")
    assert sg.models.ScBERTModel.load(tmp_path / "model", make_adata()).palette_ == {("a", 1): [2.0, None]}


def test_devices_as_scvi_tools_names_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model()
    model.is_trained_ = True
    model.save(tmp_path / "model")
    asked = []
    monkeypatch.setattr("scgrn_tl.models.stored_model.resolve_device", lambda device: asked.append(device) or "cpu")
    for arguments in ({}, {"accelerator": "gpu"}, {"accelerator": "cpu"}, {"device": 1}, {"device": "cuda:0"}):
        sg.models.ScBERTModel.load(tmp_path / "model", False, **arguments)
    assert asked == [None, "cuda", "cpu", "cuda:1", "cuda:0"]


def test_several_devices_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning.pytorch.Trainer.world_size", 2)
    with pytest.raises(ArgumentError, match="one device, not on 2"):
        train(make_model())


def damage(folder: Path, kind: str) -> None:
    tensors, description = folder / "module.safetensors", folder / "module.json"
    content = json.loads(description.read_text())
    if kind == "missing":
        tensors.unlink()
    elif kind == "truncated":
        tensors.write_bytes(tensors.read_bytes()[:200])
    elif kind == "no json":
        description.write_text("{")
    elif kind == "newer":
        description.write_text(json.dumps(content | {"format_version": 99, "scgrn_tl_version": "9.9"}))
    elif kind == "another format":
        description.write_text(json.dumps(content | {"format": "x"}))
    elif kind == "lacks attributes":
        description.write_text(json.dumps({key: content[key] for key in content if key != "attributes"}))
    elif kind == "another shape":
        content["attributes"]["init_params_"]["non_kwargs"]["dim"] = 32
        description.write_text(json.dumps(content))
    elif kind == "another model's tensors":
        tensors.write_bytes(tensors.read_bytes()[:-1] + b"x")
    elif kind == "no setup":
        del content["attributes"]["registry_"]["setup_args"]
        description.write_text(json.dumps(content))
    elif kind == "strange attribute":
        content["attributes"]["train"] = 1
        description.write_text(json.dumps(content))
    elif kind == "unknown argument":
        content["attributes"]["init_params_"]["non_kwargs"]["colour"] = "red"
        description.write_text(json.dumps(content))
    elif kind == "another class":
        content["attributes"]["registry_"]["model_name"] = "SCVI"
        description.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("missing", WeightsUnavailableError, "module.safetensors is missing"),
        ("truncated", WeightsError, "damaged, or of another model"),
        ("no json", WeightsError, "damaged"),
        ("newer", WeightsError, "version 99 .scgrn_tl 9.9.*Upgrade"),
        ("another format", WeightsError, "expected 'scgrn_tl.ScBERTModel'"),
        ("lacks attributes", WeightsError, "damaged"),
        ("another shape", WeightsError, "do not fit"),
        ("another class", ArgumentError, "another class: 'SCVI'"),
        ("another model's tensors", WeightsError, "of another model"),
        ("no setup", WeightsError, "damaged"),
        ("strange attribute", WeightsError, "'train' is no attribute"),
        ("unknown argument", WeightsError, "damaged"),
    ],
)
def test_damaged_models(tmp_path: Path, kind: str, error: type[Exception], message: str) -> None:
    model = make_model()
    model.is_trained_ = True
    model.save(tmp_path / "model")
    damage(tmp_path / "model", kind)
    with pytest.raises(error, match=message):
        sg.models.ScBERTModel.load(tmp_path / "model", make_adata())
    assert issubclass(error, ValueError)  # as scvi-tools' own errors on loading


def test_data_that_do_not_fit_a_loaded_model(tmp_path: Path) -> None:
    model = make_model()
    model.is_trained_ = True
    model.save(tmp_path / "model")
    renamed = make_adata()
    renamed.var_names = [f"other{i}" for i in range(N_GENES)]
    with pytest.raises(GeneOverlapError):
        sg.models.ScBERTModel.load(tmp_path / "model", renamed).get_gene_embedding()
    fewer = make_adata()[:, :5].copy()
    with pytest.raises(ValueError, match="vars"):
        sg.models.ScBERTModel.load(tmp_path / "model", fewer)


def test_managers_come_and_go() -> None:
    model, other = make_model(), make_model()
    train(model)
    model.deregister_manager(model.adata)
    with pytest.raises(ValueError, match="Please set up your AnnData"):
        model.deregister_manager(model.adata)
    assert other.get_anndata_manager(other.adata) is not None


def test_the_verbs_leave_no_anndata_behind_and_say_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture, caplog: pytest.LogCaptureFixture
) -> None:
    mine = make_model()
    store = sg.models.ScBERTModel._setup_adata_manager_store
    before = set(store)
    adata = make_adata()
    with caplog.at_level(logging.INFO):
        sg.tl.scbert_pretrain(adata, weights_dir=tmp_path / "a", batch_key="donor", max_epochs=2, **TINY)
        with pytest.raises(GeneOverlapError):
            sg.tl.scbert_pretrain(adata, weights_dir=tmp_path / "b", genes=["x", "y"], max_epochs=2, **TINY)
    assert set(store) == before
    assert "_scvi_uuid" not in adata.uns
    assert mine.adata_manager is not None
    assert capsys.readouterr().out == ""
    assert {record.name.split(".")[0] for record in caplog.records} <= {"scgrn_tl"}
