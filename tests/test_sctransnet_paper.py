"""scTransNet with the paper's settings for defaults."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import scgrn_tl as sg
from scgrn_tl.bm._variants import resolve_methods
from scgrn_tl.core import ArgumentError, MissingKeyError, PriorNetwork, make_task
from scgrn_tl.models import ScTransNet

SMALL = {"gnn_widths": (16, 8), "gnn_heads": 2, "channel_hidden": 16, "channel_width": 8, "epochs": 4}
PUBLISHED = {  # Kommu et al. 2024, sections 3.3, 3.4 and 4.1
    "hub_terms": False,
    "negatives": "hard",
    "select": "auprc",
    "gene_features": "expression",
    "gnn_widths": (256, 128),
    "channel_hidden": 128,
    "channel_width": 64,
    "epochs": 100,
    "lr": 3e-3,
    "weight_decay": 0.0,
    "decoder": "dot",
    "use_gnn": True,
}


@pytest.fixture(scope="module")
def adata():
    made = sg.datasets.simulated(n_cells=60, n_genes=40, n_tfs=8, rng=0)
    made.varm["scbert"] = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    made.varm["mine"] = np.random.default_rng(1).normal(size=(40, 3)).astype(np.float32)
    return made


@pytest.fixture(scope="module")
def task(adata):
    prior = PriorNetwork.from_any(adata.uns["ground_truth"], adata.var_names)
    return make_task(adata, prior=prior, split=sg.bm.split_edges(prior, rng=0), embedding=adata.varm["scbert"], seed=0)


def test_its_defaults_are_the_published_ones():
    paper, ours = (sg.methods.get(name).parameters for name in ("sctransnet_paper", "sctransnet"))
    assert {name: paper[name] for name in PUBLISHED} == PUBLISHED
    assert paper["patience"] >= paper["epochs"]
    changed = {name for name in paper if paper[name] != ours[name]}
    assert changed == {*PUBLISHED, "patience"} - {"decoder", "use_gnn", "epochs", "lr"}


def test_it_is_the_model_with_these_settings(task):
    paper = sg.methods.get("sctransnet_paper")
    scores = paper.run(task, **SMALL)
    model = ScTransNet(**PUBLISHED | {"patience": 100} | SMALL).fit(task)
    np.testing.assert_array_equal(scores.matrix, model.scores().matrix)
    assert scores.hub is None
    assert len(scores.history["train_loss"]) == 4
    assert (scores.matrix != sg.methods.get("sctransnet").run(task, **SMALL).matrix).any()
    assert (scores.matrix != paper.run(replace(task, embedding=task.embedding[::-1]), **SMALL).matrix).any()


def test_each_setting_can_be_changed(task):
    paper, ours = (sg.methods.get(name) for name in ("sctransnet_paper", "sctransnet"))
    np.testing.assert_array_equal(paper.run(task, **ours.parameters | SMALL).matrix, ours.run(task, **SMALL).matrix)
    with pytest.raises(ArgumentError, match="'sctransnet_paper' has no parameter 'n_epochs'"):
        paper.run(task, n_epochs=3)
    with pytest.raises(ArgumentError, match="negatives is 'all' or 'hard'"):
        paper.run(task, negatives="easy")


def test_it_does_not_run_without_an_embedding(task):
    with pytest.raises(MissingKeyError, match=r"'sctransnet_paper' needs a gene embedding.*use_rep='scbert'"):
        sg.methods.get("sctransnet_paper").run(replace(task, embedding=None))


def test_scbert_is_its_embedding_unless_another_is_named(adata, tmp_path):
    prior = adata.uns["ground_truth"]
    fitted = {
        name: sg.tl.fit_grn(adata, prior, method="sctransnet_paper", copy=True, **given, **SMALL)
        for name, given in {"default": {}, "scbert": {"use_rep": "scbert"}, "mine": {"use_rep": "mine"}}.items()
    }
    used = {name: one.uns["grn"]["params"]["use_rep"] for name, one in fitted.items()}
    assert used == {"default": "scbert", "scbert": "scbert", "mine": "mine"}
    probability = {name: one.varp["grn"].toarray() for name, one in fitted.items()}
    np.testing.assert_array_equal(probability["default"], probability["scbert"])
    assert (probability["default"] != probability["mine"]).any()
    assert "grn_specificity" not in fitted["default"].varp
    kept = sg.tl.fit_grn(adata, prior, method="sctransnet_paper", model_to=tmp_path / "model", copy=True, **SMALL)
    own = ScTransNet.load(tmp_path / "model")
    assert own.config.hub_terms is False
    assert own.config.epochs == 4
    np.testing.assert_array_equal(kept.varp["grn"].toarray(), probability["default"])


def test_the_benchmark_gives_it_scberts_embedding():
    variants = {
        variant.label: variant.embeddings
        for variant in resolve_methods(
            {
                "ours": "sctransnet",
                "paper": "sctransnet_paper",
                "set": {"method": "sctransnet_paper", "lr": 1e-3},
                "mine": {"method": "sctransnet_paper", "use_rep": ["scbert_mean", "mine"]},
                "none": {"method": "sctransnet_paper", "use_rep": None},
            }
        )
    }
    assert variants == {
        "ours": (),
        "paper": ("scbert",),
        "set": ("scbert",),
        "mine": ("scbert_mean", "mine"),
        "none": ("scbert",),
        "hub_floor": (),
    }
