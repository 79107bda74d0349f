"""``tl.fit_grn(joint=True)`` as a user calls it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import anndata as ad
import mudata as md
import numpy as np
import pytest
import torch

import scgrn_tl as sg
from scgrn_tl.core import ArgumentError, GeneVocabulary, MissingKeyError, WeightsError, WeightsUnavailableError
from scgrn_tl.models import ScBERT, ScBERTConfig

if TYPE_CHECKING:
    from pathlib import Path

FAST = {
    "gnn_widths": (16, 8),
    "gnn_heads": 2,
    "channel_hidden": 16,
    "channel_width": 8,
    "epochs": 4,
    "use_rep": "scbert",
}
JOINT = FAST | {"joint": True, "joint_lr": 1e-2, "joint_cells": 8}
N_UNKNOWN = 2


@pytest.fixture(scope="module")
def simulated() -> ad.AnnData:
    return sg.datasets.simulated(n_cells=60, n_genes=40, n_tfs=8, mean_targets=10, rng=1)


@pytest.fixture(scope="module")
def weights(simulated, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("joint") / "encoder"
    model = ScBERT(ScBERTConfig(n_genes=simulated.n_vars - N_UNKNOWN, dim=8, depth=2, heads=2, dim_head=8))
    model.initialize(torch.Generator().manual_seed(0))
    model.save(folder, GeneVocabulary(simulated.var_names[N_UNKNOWN:]))
    return folder


@pytest.fixture(scope="module")
def embedded(simulated, weights) -> ad.AnnData:
    adata = simulated.copy()
    sg.tl.scbert_embed(adata, weights=weights)
    return adata


@pytest.fixture
def adata(embedded) -> ad.AnnData:
    return embedded.copy()


@pytest.fixture
def prior(simulated):
    return simulated.uns["ground_truth"]


def test_writes_what_it_says(adata, prior):
    before = adata.varm["scbert"].copy()
    assert sg.tl.fit_grn(adata, prior, **JOINT) is None
    trained = adata.varm["grn_scbert"]
    assert (trained.shape, trained.dtype) == ((40, 8), np.float32)
    np.testing.assert_array_equal(np.isnan(trained).all(axis=1), np.arange(40) < N_UNKNOWN)
    np.testing.assert_array_equal(adata.varm["scbert"], before)
    record = adata.uns["grn"]
    assert record["params"]["joint"] is True
    assert (record["params"]["joint_lr"], record["params"]["joint_cells"]) == (1e-2, 8)
    assert record["joint"]["n_cells"] == record["joint"]["n_cells_sampled"] == 60
    assert record["joint"]["weights_sha256"] == adata.uns["scbert"]["weights"]["sha256"]
    known = slice(N_UNKNOWN, None)
    moved = np.square(trained[known] - before[known]).mean() / before[known].var(axis=0).mean()
    assert record["joint"]["shift"] == pytest.approx(np.sqrt(moved), rel=1e-4)
    assert moved > 1e-4
    assert len(sg.get.grn_df(adata, min_probability=0.0)) == adata.varp["grn"].nnz


@pytest.mark.parametrize("how", [{}, {"pool": "mean"}, {"genes": "vocabulary"}, {"dtype": "float64"}], ids=str)
def test_the_encoder_kept_is_the_one_that_embeds(adata, prior, weights, tmp_path, how):
    """``weights=`` takes what ``joint_to=`` wrote, and gives what the fit was scored with."""
    sg.tl.scbert_embed(adata, weights=weights, **how)
    sg.tl.fit_grn(adata, prior, joint_to=tmp_path / "tuned", **JOINT)
    again = sg.tl.scbert_embed(adata, weights=tmp_path / "tuned", copy=True, **how)
    np.testing.assert_allclose(again.varm["scbert"], adata.varm["grn_scbert"], atol=1e-5)
    assert np.nanmax(np.abs(adata.varm["grn_scbert"] - adata.varm["scbert"])) > 1e-3
    assert adata.uns["grn"]["params"]["joint_to"] == str(tmp_path / "tuned")
    # a folder of an encoder is replaced
    sg.tl.fit_grn(adata, prior, joint_to=tmp_path / "tuned", rng=1, **JOINT)


@pytest.mark.parametrize("n_models", [1, 2])
def test_attention_of_the_graph_is_stored(adata, prior, n_models):
    for how in (FAST, JOINT):
        sg.tl.fit_grn(adata, prior, n_models=n_models, **how)
        np.testing.assert_allclose(adata.varp["grn_attention"].sum(axis=0), 1, rtol=1e-5)
        assert adata.uns["grn"]["params"]["n_models"] == n_models


def test_edges_are_explained_with_the_trained_encoder(adata, prior, tmp_path):
    sg.tl.fit_grn(adata, prior, joint_to=tmp_path / "tuned", **JOINT)
    edge = (prior["source"].iloc[0], prior["target"].iloc[0])
    with pytest.warns(UserWarning, match=r"without cells\. The network was scored with the jointly trained varm"):
        sg.tl.explain_edges(adata, [edge])
    reason = adata.uns["edge_explanation"]["absent"]["cells"]
    call = f"sg.tl.scbert_embed(adata, weights={str(tmp_path / 'tuned')!r}, key_added='tuned')"
    assert f"`{call}`, and explain with rep='tuned'" in reason
    sg.tl.scbert_embed(adata, weights=tmp_path / "tuned", key_added="tuned")
    sg.tl.explain_edges(adata, [edge], rep="tuned")
    record = adata.uns["edge_explanation"]
    assert record["absent"] == {}
    known = [gene for gene in edge if gene in set(adata.uns["tuned"]["genes"])]
    for gene in known:
        attention = adata.obsm["tuned_attention"][:, list(adata.uns["tuned"]["genes"]).index(gene)].astype(float)
        top = record["top_cells"].query("gene == @gene")["weight"].iloc[0]
        assert top == pytest.approx(attention.max() / attention.sum())
    sg.tl.fit_grn(adata, prior, n_models=2, **JOINT)
    with pytest.warns(UserWarning, match="Of an ensemble, the trained encoders are not kept"):
        sg.tl.explain_edges(adata, [edge], rep="tuned")


def test_the_scores_are_those_of_the_embedding_that_is_stored(adata, prior, monkeypatch):
    from scgrn_tl.models import ScTransNet

    models = []
    whole = ScTransNet.use_embeddings
    monkeypatch.setattr(ScTransNet, "use_embeddings", lambda self, given: models.append(self) or whole(self, given))
    sg.tl.fit_grn(adata, prior, **JOINT)
    (model,) = models
    model.use_embeddings([adata.varm["grn_scbert"]])
    calibration = adata.uns["grn"]["calibration"]
    logits = calibration["slope"] * model.scores().matrix.astype(float) + calibration["intercept"]
    stored = adata.varp["grn"][adata.var["grn_is_tf"].to_numpy()].toarray()
    np.testing.assert_allclose(stored[stored > 0], (1 / (1 + np.exp(-logits)))[stored > 0], atol=1e-6)


def test_same_seed_same_bits_other_seed_other_bits(adata, prior):
    one, other = (sg.tl.fit_grn(adata, prior, copy=True, rng=3, **JOINT) for _ in range(2))
    np.testing.assert_array_equal(one.varp["grn"].toarray(), other.varp["grn"].toarray())
    np.testing.assert_array_equal(one.varm["grn_scbert"], other.varm["grn_scbert"])
    third = sg.tl.fit_grn(adata, prior, copy=True, rng=4, **JOINT)
    assert (third.varp["grn"] != one.varp["grn"]).nnz
    assert "grn" not in adata.varp


def test_without_joint_nothing_of_it_shows(adata, prior):
    plain = sg.tl.fit_grn(adata, prior, copy=True, **FAST)
    assert "grn_scbert" not in plain.varm
    assert "joint" not in plain.uns["grn"]
    # an earlier joint run's embedding no longer holds; a user's own of that name stays
    sg.tl.fit_grn(adata, prior, **JOINT)
    assert "grn_scbert" in adata.varm
    sg.tl.fit_grn(adata, prior, **FAST)
    assert "grn_scbert" not in adata.varm
    np.testing.assert_array_equal(adata.varp["grn"].toarray(), plain.varp["grn"].toarray())
    adata.varm["grn_scbert"] = adata.varm["scbert"]
    sg.tl.fit_grn(adata, prior, **FAST)
    assert "grn_scbert" in adata.varm


def test_an_ensemble_stores_the_mean(adata, prior):
    sg.tl.fit_grn(adata, prior, n_models=2, **JOINT)
    assert "grn_std" in adata.varp
    alone = sg.tl.fit_grn(adata, prior, copy=True, **JOINT).varm["grn_scbert"]
    mean = adata.varm["grn_scbert"]
    assert np.nanmax(np.abs(mean - alone)) > 1e-4  # the second member's is another
    assert np.nanmax(np.abs(mean - alone)) < np.nanmax(np.abs(alone - adata.varm["scbert"]))


def test_a_sample_of_the_cells_starts_from_the_whole_embedding(adata, prior, monkeypatch):
    monkeypatch.setattr("scgrn_tl.tl._joint_embedding.SAMPLED_CELLS", 5)
    settings = JOINT | {"joint_lr": 1e-9}
    sg.tl.fit_grn(adata, prior, **settings)
    assert adata.uns["grn"]["joint"]["n_cells_sampled"] == 5
    assert adata.uns["grn"]["joint"]["n_cells"] == 60
    np.testing.assert_allclose(adata.varm["grn_scbert"], adata.varm["scbert"], atol=1e-5)
    plain = sg.tl.fit_grn(adata, prior, copy=True, **FAST)
    np.testing.assert_allclose(adata.varp["grn"].toarray(), plain.varp["grn"].toarray(), atol=1e-3)
    monkeypatch.setattr("scgrn_tl.tl._joint_embedding.SAMPLED_BYTES", 3 * 2 * 4 * 39 * 8)
    sg.tl.fit_grn(adata, prior, **settings)
    assert adata.uns["grn"]["joint"]["n_cells_sampled"] == 3


def test_attention_that_was_not_stored_is_computed(adata, prior, weights):
    with_attention = sg.tl.fit_grn(adata, prior, copy=True, **JOINT)
    sg.tl.scbert_embed(adata, weights=weights, store_attention=False)
    sg.tl.fit_grn(adata, prior, **JOINT)
    np.testing.assert_allclose(adata.varm["grn_scbert"], with_attention.varm["grn_scbert"], atol=1e-4)


def test_results_survive_writing(adata, prior, tmp_path):
    sg.tl.fit_grn(adata, prior, joint_to=tmp_path / "tuned", **JOINT)
    adata.write_h5ad(tmp_path / "a.h5ad")
    back = ad.read_h5ad(tmp_path / "a.h5ad")
    np.testing.assert_array_equal(back.varm["grn_scbert"], adata.varm["grn_scbert"])
    assert back.uns["grn"]["joint"] == adata.uns["grn"]["joint"]
    sg.tl.fit_grn(back, prior, **JOINT)  # what was read back can be trained again
    np.testing.assert_array_equal(back.varm["grn_scbert"], adata.varm["grn_scbert"])


def test_an_embedding_that_is_missing_is_made_first(simulated, prior, weights, monkeypatch):
    from scgrn_tl.tl import _scbert_embed

    embed = _scbert_embed.scbert_embed
    monkeypatch.setattr(_scbert_embed, "scbert_embed", lambda adata, **given: embed(adata, weights=weights, **given))
    adata = simulated.copy()
    without = {name: value for name, value in JOINT.items() if name != "use_rep"}
    sg.tl.fit_grn(adata, prior, **without)  # joint training is of an encoder: it needs no name
    assert {"scbert", "grn_scbert"} <= set(adata.varm)
    assert adata.uns["grn"]["params"]["use_rep"] == "scbert"


def test_mudata(adata, prior):
    with md.set_options(pull_on_update=False):
        both = md.MuData({"rna": adata.copy()})
    sg.tl.fit_grn(both, prior, **JOINT)
    sg.tl.fit_grn(adata, prior, **JOINT)
    np.testing.assert_array_equal(both["rna"].varm["grn_scbert"], adata.varm["grn_scbert"])


# -------------------------------------------------------------------- what bad input gets


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"method": "genelink"}, ArgumentError, "Use method='sctransnet'"),
        ({"method": "random_encoder"}, ArgumentError, "Use method='sctransnet'"),
        ({"method": "permuted_expression"}, ArgumentError, "Use method='sctransnet'"),
        ({"use_rep": ["scbert", "mine"]}, ArgumentError, r"one gene embedding.*use_rep=\['scbert', 'mine'\]"),
        ({"use_rep": "mine"}, ArgumentError, r"varm\['mine'\].*names none"),
        ({"use_rep": "scbert_mean"}, ArgumentError, r"varm\['scbert_mean'\].*names none"),
        ({"use_rep": "nowhere"}, MissingKeyError, r"varm\['nowhere'\]"),
        ({"joint_blocks": 3}, ArgumentError, "from 1 to 2"),
        ({"joint_blocks": 0}, ArgumentError, "joint_blocks > 0"),
        ({"joint_lr": -1.0}, ArgumentError, "joint_lr > 0"),
        ({"joint_cells": 1.5}, ArgumentError, "joint_cells is a whole number"),
        ({"joint": False, "joint_to": "somewhere"}, ArgumentError, "joint_to='somewhere'.*pass joint=True"),
        ({"joint": False, "joint_lr": 1e-4}, ArgumentError, "joint_lr, joint_cells is of joint training"),
        ({"use_rep": "grn_scbert"}, ArgumentError, "change key_added"),
        ({"joint_to": "somewhere", "n_models": 2}, ArgumentError, "n_models=1"),
        ({"groupby": "state"}, ArgumentError, "give one of both"),
    ],
)
def test_bad_arguments(adata, prior, params, error, message):
    adata.varm["mine"] = np.ones((adata.n_vars, 3), dtype=np.float32)
    before = set(adata.varm), set(adata.varp), set(adata.uns)
    given = {"joint": True} if "method" in params else JOINT
    with pytest.raises(error, match=message):
        sg.tl.fit_grn(adata, prior, **given | params)
    assert (set(adata.varm), set(adata.varp), set(adata.uns)) == before


def test_a_folder_of_other_files_is_left_alone(adata, prior, tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ArgumentError, match=r"joint_to=.*is no folder of an encoder"):
        sg.tl.fit_grn(adata, prior, joint_to=tmp_path, **JOINT)
    assert "grn" not in adata.varp


def test_weights_gone_or_changed(adata, prior, weights, tmp_path):
    copied = tmp_path / "encoder"
    shutil.copytree(weights, copied)
    sg.tl.scbert_embed(adata, weights=copied)
    model, vocabulary = ScBERT.load(copied)
    with torch.no_grad():
        model.norm.weight += 1
    model.save(copied, vocabulary)
    with pytest.raises(WeightsError, match="leave joint=False"):
        sg.tl.fit_grn(adata, prior, **JOINT)
    shutil.rmtree(copied)
    with pytest.raises(WeightsUnavailableError, match="leave joint=False"):
        sg.tl.fit_grn(adata, prior, **JOINT)
    assert "grn" not in adata.varp


def test_genes_that_were_taken_out_since(adata, prior):
    with pytest.raises(ArgumentError, match="38 genes; it had 40"):
        sg.tl.fit_grn(adata[:, :38].copy(), prior, **JOINT)


def test_batches_that_weigh_alike_are_refused(simulated, weights, prior):
    """All cells are pooled together in joint training."""
    adata = simulated.copy()
    adata.obs["batch"] = np.resize(["a", "b"], adata.n_obs)
    sg.tl.scbert_embed(adata, weights=weights, batch_key="batch")
    with pytest.raises(ArgumentError, match="weighs batches alike"):
        sg.tl.fit_grn(adata, prior, **JOINT)
