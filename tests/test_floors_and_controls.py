"""What a method has to beat, and scTransNet robbed of a part of its input."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import OneHotEncoder

import scgrn_tl as sg
from scgrn_tl import methods
from scgrn_tl.core import ArgumentError, LabeledPairs, PriorNetwork, make_task
from scgrn_tl.models.random_encoding import random_encoding

SMALL = {"gnn_widths": (16, 8), "gnn_heads": 2, "channel_hidden": 16, "channel_width": 8, "epochs": 4}


@pytest.fixture(scope="module")
def task():
    adata = sg.datasets.simulated(n_cells=60, n_genes=40, n_tfs=8, rng=0)
    prior = PriorNetwork.from_any(adata.uns["ground_truth"], adata.var_names)
    made = make_task(adata, prior=prior, split=sg.bm.split_edges(prior, rng=0), seed=0)
    return replace(made, embedding=np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32))


def with_training(task, kept):
    train = task.split.train
    part = LabeledPairs(train.pairs[kept], train.labels[kept])
    return replace(task, split=replace(task.split, train=part))


def test_single_rates_are_the_two_halves_of_the_hub_floor(task):
    tf, target, floor = (methods.get(name)(task) for name in ("tf_rate", "target_rate", "hub_floor"))
    both = methods.get("hub_floor")(task, form="logit").matrix
    np.testing.assert_allclose(tf.matrix + target.matrix, both, rtol=1e-5)
    assert (np.ptp(tf.matrix, axis=1) == 0).all()
    assert (np.ptp(target.matrix, axis=0) == 0).all()
    assert floor.matrix.shape == tf.matrix.shape
    train = task.split.train
    of_tf = train.labels[train.pairs[:, 0] == task.regulators[2]]
    rate = (of_tf.sum() + train.prevalence) / (len(of_tf) + 1)
    assert tf.matrix[2, 0] == pytest.approx(math.log(rate / (1 - rate)), rel=1e-5)


def test_without_non_edges_rates_are_degrees(task):
    edges = with_training(task, task.split.train.labels)
    degrees = np.bincount(edges.split.train.pairs[:, 1], minlength=40)
    np.testing.assert_allclose(methods.get("target_rate")(edges).matrix[3], np.log1p(degrees), rtol=1e-6)


def test_gene_identity_is_a_logistic_regression_on_two_one_hot_vectors(task):
    scores = methods.get("gene_identity")(task, C=0.5)
    train = task.split.train
    encoder = OneHotEncoder(handle_unknown="ignore").fit(train.pairs)
    model = LogisticRegression(C=0.5, max_iter=5000, tol=1e-8).fit(encoder.transform(train.pairs), train.labels)
    rows, genes = np.meshgrid(task.regulators, np.arange(40), indexing="ij")
    everything = np.column_stack([rows.ravel(), genes.ravel()])
    expected = model.decision_function(encoder.transform(everything))  # an unseen gene is all zeros
    np.testing.assert_allclose(scores.matrix.ravel(), expected, atol=5e-3)
    assert scores.is_logit


def test_gene_identity_of_one_class_knows_nothing(task):
    assert not methods.get("gene_identity")(with_training(task, task.split.train.labels)).matrix.any()
    with pytest.raises(ArgumentError, match="C, the inverse"):
        methods.get("gene_identity")(task, C=0)


def test_random_is_chance(task):
    wide = replace(task, regulators=np.arange(40), split=None, prior=None)
    matrix = methods.get("random")(wide).matrix
    labels = np.random.default_rng(1).random(matrix.shape) < 0.2
    assert roc_auc_score(labels.ravel(), matrix.ravel()) == pytest.approx(0.5, abs=0.06)
    np.testing.assert_array_equal(methods.get("random")(wide).matrix, matrix)
    assert (methods.get("random")(replace(wide, seed=1)).matrix != matrix).all()


# --- controls ---------------------------------------------------------------------------------------------------------


def test_permuted_expression_gives_genes_the_features_of_others(task, monkeypatch):
    seen = []

    def spy(given, **params):
        seen.append((given, params))
        return methods.get("hub_floor").func(given)

    monkeypatch.setattr("scgrn_tl.methods.controls.sctransnet", spy)
    methods.get("permuted_expression")(task, epochs=4)
    ((given, params),) = seen
    assert params["epochs"] == 4
    source = [int(np.flatnonzero((task.embedding == row).all(1))[0]) for row in given.embedding]
    assert sorted(source) == list(range(40))
    assert sum(a == b for a, b in enumerate(source)) < 5
    np.testing.assert_array_equal(given.expression, task.expression[source])
    assert given.split.train is task.split.train
    assert given.genes == task.genes
    methods.get("permuted_expression")(replace(task, embedding=None))
    assert seen[-1][0].embedding is None


def test_random_encoder_replaces_the_embedding(task):
    run, model = methods.get("random_encoder"), methods.get("sctransnet")
    scores = run(task, **SMALL)
    embedding = random_encoding(task.expression, seed=task.seed)
    np.testing.assert_array_equal(scores.matrix, model(replace(task, embedding=embedding), **SMALL).matrix)
    np.testing.assert_array_equal(scores.matrix, run(replace(task, embedding=None), **SMALL).matrix)
    assert (scores.matrix != model(task, **SMALL).matrix).any()


def test_random_encoding_is_of_the_expression_but_of_no_training(task):
    first = random_encoding(task.expression, seed=0)
    assert first.shape == (40, 64)
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(first, random_encoding(task.expression, seed=0))
    assert (first != random_encoding(task.expression, seed=1)).any()
    raised = task.expression.copy()
    raised[3] += 2
    assert np.abs(random_encoding(raised, seed=0)[3] - first[3]).max() > 1e-3
    few = random_encoding(np.repeat(task.expression, 3, axis=1), seed=0, max_cells=20)
    assert np.isfinite(few).all()


@pytest.mark.parametrize("name", ["permuted_expression", "random_encoder"])
def test_controls_take_the_parameters_of_the_model(task, name):
    with pytest.raises(ArgumentError, match="no parameter 'n_epochs'"):
        methods.get(name)(task, n_epochs=3)
    with pytest.raises(ArgumentError, match="gnn_widths divisible by gnn_heads"):
        methods.get(name)(task, gnn_heads=3, gnn_widths=(16, 8))
    np.testing.assert_array_equal(methods.get(name)(task, **SMALL).matrix, methods.get(name)(task, **SMALL).matrix)
