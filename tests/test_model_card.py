"""The card beside a saved model says what the model knows, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

import scgrn_tl as sg
from scgrn_tl.models import ScTransNet, fit_hub_rates

ARCHIVE = Path(__file__).parent / "archive"
FAST = {"gnn_widths": (16, 8), "gnn_heads": 2, "channel_hidden": 16, "channel_width": 8, "epochs": 3, "n_components": 8}


@pytest.fixture(scope="module")
def adata():
    adata = sg.datasets.simulated(80, 60, 10, mean_targets=10, rng=1)
    adata.varm["scbert"] = np.random.default_rng(0).normal(size=(60, 6)).astype(np.float32)
    weights = {"kind": "path", "path": "/home/me/encoders/blood", "sha256": "ab" * 32}
    adata.uns["scbert"] = {"params": {"pool": "attention"}, "weights": weights}
    return adata


@pytest.fixture(scope="module")
def model(adata):
    settings = FAST | {"use_rep": "scbert", "n_models": 2}
    return ScTransNet.from_anndata(adata, adata.uns["ground_truth"], rng=3, **settings).fit()


def row(card, name):
    """The cells of the row of a table."""
    (line,) = [line for line in card.splitlines() if line.startswith(f"| {name}")]
    return [cell.strip() for cell in line.split("|")[2:-1]]


def test_it_says_what_the_model_was_fitted_to(model, adata):
    card = model.card()
    assert row(card, "cells") == ["80"]
    assert row(card, "genes") == ["60 (TF01, TF02, TF03, …)"]
    assert row(card, "regulators") == ["10 (TF01, TF02, TF03, …)"]
    (embedding,) = row(card, "gene embedding")
    assert "`varm['scbert']`, 6 wide" in embedding
    assert "encoders/blood" in embedding
    assert "ab" * 32 in embedding
    assert "/home/me" not in card  # nobody else's business
    sign = model.prior.sign
    assert row(card, "of known sign") == [f"{(sign > 0).sum()} activate, {(sign < 0).sum()} repress"]
    assert row(card, "edges trained on") == [f"{model.prior.n_edges} of {len(model.prior.regulators)} regulators"]
    n_held_out = len(adata.uns["ground_truth"]) - model.prior.n_edges
    assert row(card, "edges held out") == [str(n_held_out)]
    assert row(card, "SHA-256 of the edges") == [f"`{model.prior.sha256()}`"]
    assert row(card, "epochs run") == ["3, 3"]
    assert row(card, "epoch kept") == [", ".join(map(str, model.scores().details["best_epoch"]))]
    assert "channel_width=8" in card
    # what was fitted before the networks
    said = " ".join(card.split())
    assert "a term of every regulator and of every target, and 10 latent factors of regulators that share" in said
    training = said[said.index("## Training") : said.index("## How good")]
    assert "Fitted first, to the training pairs alone: terms of regulators and of targets, and 10 latent" in training
    assert "genes that are expressed alike" in training
    assert "joint_lr" not in card
    assert f"scgrn_tl {sg.__version__}" in card


def test_its_figures_are_those_of_the_validation_pairs(model, adata):
    card, scores = model.card(), model.scores()
    train, validation = model._labels.supervision()
    at_pairs = scores.at(validation.pairs)
    labels, mask = np.zeros((2, 10, 60), dtype=bool)
    mask[train.pairs[:, 0], train.pairs[:, 1]] = True  # regulators are the first genes
    labels[train.positives[:, 0], train.positives[:, 1]] = True
    floor = fit_hub_rates(labels, mask).matrix()[validation.pairs[:, 0], validation.pairs[:, 1]]
    prevalence = validation.labels.mean()
    for name, metric, at_random in (("AUROC |", roc_auc_score, 0.5), ("AUPRC |", average_precision_score, prevalence)):
        expected = [metric(validation.labels, at_pairs), metric(validation.labels, floor), at_random]
        assert row(card, name) == [f"{value:.3f}" for value in expected]
    brier = np.mean((model.calibration(at_pairs) - validation.labels) ** 2)
    assert row(card, "Brier score")[0] == f"{brier:.3f}"
    slope, sign, size = re.search(r"exp\(−\((\S+) · logit ([+−]) ([^)]+)\)\)", card).groups()
    assert float(slope) == pytest.approx(model.calibration.slope, rel=1e-3)
    assert float(size) * {"+": 1, "−": -1}[sign] == pytest.approx(model.calibration.intercept, rel=1e-3)


def test_it_stands_beside_the_weights_and_outlives_them(model, tmp_path):
    model.save(tmp_path / "blood", description="Blood of two donors, edges of CollecTRI. CC BY 4.0.")
    written = (tmp_path / "blood" / "README.md").read_text(encoding="utf-8")
    assert "\nBlood of two donors, edges of CollecTRI. CC BY 4.0.\n" in written
    back = ScTransNet.load(tmp_path / "blood", device="cpu")
    assert back.card() == written == model.card()
    back.save(tmp_path / "again")
    assert (tmp_path / "again" / "README.md").read_text(encoding="utf-8") == written
    assert written.startswith("---\nlibrary_name: scgrn_tl\n")
    headings = re.findall(r"^## (.*)$", written, re.MULTILINE)
    assert headings == [
        "Data",
        "Known edges (prior network)",
        "Training",
        "How good it is",
        "Limits",
        "How to load it",
        "Citation",
        "Versions",
    ]
    assert max(len(line) for line in written.splitlines() if not line.startswith(("|", "Calibration"))) <= 120


def test_its_code_runs(model, adata, tmp_path):
    model.save(tmp_path / "blood")
    (code,) = re.findall(r"^```python\n(.*?)^```", model.card(), re.MULTILINE | re.DOTALL)
    names = {"adata": adata.copy()}
    exec(compile(code.replace("path/to/this/folder", str(tmp_path / "blood")), "README.md", "exec"), names)
    assert set(names["table"]["seen_target"]) == {True}
    assert "grn" in names["adata"].varp


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"gene_features": "expression"}, "no other data can be scored"),
        ({"use_gnn": False}, "nothing further to read, so that this fit is all there is"),
        ({"hub_terms": False}, "is not told apart from the rest of a score"),
        ({"latent_factors": 0, "expression_effects": False}, "fitted first: hub rates, a two-way logistic model"),
        ({"expression_effects": False}, "10 latent factors (of variance 3, by left-out pairs); by a logistic"),
        ({"latent_factors": 0}, "of every target, read from genes that are expressed alike too."),
        ({"validation_fraction": 0.0}, "not calibrated (fitted on: nothing)"),
    ],
    ids=str,
)
def test_limits_are_those_of_this_model(adata, params, expected):
    model = ScTransNet.from_anndata(adata, adata.uns["ground_truth"], use_rep=None, **FAST | params).fit()
    card = model.card()
    assert expected in " ".join(card.split())
    assert "(expression and known edges)" in " ".join(card.split())
    assert row(card, "gene embedding") == ["none"]
    assert ("nothing is known" in card) == ("validation_fraction" in params)
    assert "scBERT" not in card
    assert ("fit to known edges that was made beforehand" in " ".join(card.split())) == ("hub_terms" not in params)


def test_of_an_old_file_it_says_what_is_not_known():
    card = ScTransNet.load(ARCHIVE / "sctransnet-format1", device="cpu").card()
    assert row(card, "cells") == ["not recorded"]
    assert row(card, "gene embedding") == ["one, of unknown origin"]
    assert "nothing is known" in card
    assert "scgrn_tl 0.1.0.dev0" in card
