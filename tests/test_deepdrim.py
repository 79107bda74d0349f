"""DeepDRIM: its neighbours and its network against the published 23-image form, and what it learns."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from scgrn_tl import methods
from scgrn_tl.core import ArgumentError, EdgeSplit, GRNTask, LabeledPairs
from scgrn_tl.models import deepdrim as deepdrim_models
from scgrn_tl.models.deepdrim import DeepDRIM, covariance_neighbors
from scgrn_tl.models.expression_images import ExpressionImages
from scgrn_tl.models.seeding import seeded_rng

N_GENES, N_NEIGHBORS = 30, 10
QUICK = {"epochs": 1, "batch_size": 64, "n_neighbors": 1}


@pytest.fixture
def expression() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.gamma(2, size=(N_GENES, 80)).astype(np.float32) * (rng.random((N_GENES, 80)) < 0.6)


# --- neighbours -------------------------------------------------------------------------------------------------------


def test_neighbors_are_those_of_the_covariance_matrix(expression, monkeypatch):
    covariance = np.cov(expression.astype(float))
    expected = [sorted(range(N_GENES), key=lambda j, row=row: -row[j])[:N_NEIGHBORS] for row in covariance]
    found = covariance_neighbors(expression, N_NEIGHBORS)
    assert found.tolist() == expected
    assert (found == np.arange(N_GENES)[:, None]).any(axis=1).mean() > 0.9  # a gene is its own neighbour
    monkeypatch.setattr(deepdrim_models, "_BLOCK_PAIRS", 7 * N_GENES)
    assert np.array_equal(covariance_neighbors(expression, N_NEIGHBORS), found)


def test_covariance_keeps_its_sign():
    row = np.arange(6.0)
    assert covariance_neighbors(np.array([row, -9 * row, row / 2, 3 * row]), 4)[0].tolist() == [3, 0, 2, 1]


def test_neighbors_of_few_genes_and_of_constant_ones():
    expression = np.array([[0.1, 0.1, 0.1], [1, 2, 3], [0.7, 0.7, 0.7]], dtype=np.float32)
    assert covariance_neighbors(expression, 10).tolist() == [[0, 1, 2], [1, 0, 2], [0, 1, 2]]
    assert covariance_neighbors(expression, 0).shape == (3, 0)


# --- the network ------------------------------------------------------------------------------------------------------


def image_of(expression: np.ndarray, a: int, b: int) -> np.ndarray:
    u, v = np.log10(expression[a].astype(float) + 0.01), np.log10(expression[b].astype(float) + 0.01)
    counts = np.histogram2d(u, v, bins=32)[0].T
    return (np.log10(counts / len(u) + 1e-4) + 4) / 4


def published_logit(module: DeepDRIM, expression: np.ndarray, a: int, b: int) -> torch.Tensor:
    """One pair: 23 images in the published order, each through its trunk, joined, and three dense layers."""
    covariance = np.cov(expression.astype(float))
    of_a, of_b = (np.argsort(-covariance[gene], kind="stable")[:N_NEIGHBORS] for gene in (a, b))
    genes = [(a, b), (a, a), (b, b), *[(a, j) for j in of_a], *[(j, b) for j in of_b]]
    images = torch.from_numpy(np.array([image_of(expression, x, y) for x, y in genes]))[:, None]
    joined = torch.cat([module.pair_trunk(images[:1]), module.neighbor_trunk(images[1:])])  # (23, 512)
    # the joint layer holds its weights in the order pair, a's images, b's images
    weight = module.joint.weight.view(512, 23, 512)[:, [0, 1, 12, *range(2, 12), *range(13, 23)]]
    hidden = torch.relu(torch.einsum("oid,id->o", weight, joined) + module.joint.bias)
    first, second = (layer for layer in module.head if isinstance(layer, torch.nn.Linear))
    return second(torch.relu(first(hidden)))[0]


@pytest.fixture
def module(expression) -> DeepDRIM:
    neighbors = torch.from_numpy(covariance_neighbors(expression, N_NEIGHBORS))
    images = ExpressionImages.of(expression)
    with seeded_rng(0):
        made = DeepDRIM(replace(images, pixels=images.pixels.double()), neighbors, dropout=0, head_dropout=0).double()
        torch.nn.init.normal_(made.joint.bias, std=0.1)
    return made


PAIRS = [(0, 5), (0, 6), (3, 5), (5, 3), (7, 7), (0, 5)]


def test_the_network_is_the_published_one(module, expression):
    logits = module.eval()(torch.tensor(PAIRS))
    expected = torch.stack([published_logit(module, expression, a, b) for a, b in PAIRS])
    assert expected.std() > 1e-4
    torch.testing.assert_close(logits, expected, atol=1e-7, rtol=0)


def test_gradients_are_those_of_the_published_one(module, expression):
    pairs = PAIRS[:3]
    module.train()(torch.tensor(pairs)).sum().backward()
    found = [parameter.grad.clone() for parameter in module.parameters()]
    module.zero_grad()
    torch.stack([published_logit(module, expression, a, b) for a, b in pairs]).sum().backward()
    for gradient, parameter in zip(found, module.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, atol=1e-6, rtol=1e-5)


def test_every_distinct_image_is_embedded_once(module):
    seen: dict[str, int] = {"pair": 0, "neighbor": 0}
    for name, trunk in (("pair", module.pair_trunk), ("neighbor", module.neighbor_trunk)):
        trunk.register_forward_hook(lambda _, images, __, name=name: seen.update({name: seen[name] + len(images[0])}))
    module(torch.tensor(PAIRS))
    needed = set()
    for a, b in PAIRS:
        needed |= {(a, a), (b, b)} | {(a, j) for j in module.neighbors[a].tolist()}
        needed |= {(j, b) for j in module.neighbors[b].tolist()}
    assert seen == {"pair": len(PAIRS), "neighbor": len(needed)}


def test_blocks_of_images_make_no_difference(module, monkeypatch):
    whole = module(torch.tensor(PAIRS))
    monkeypatch.setattr(deepdrim_models, "BLOCK_IMAGES", 4)
    torch.testing.assert_close(module(torch.tensor(PAIRS)), whole)


def test_shared_dropout_is_of_a_gene_and_own_dropout_of_a_pair(expression):
    """With entries of the joint layer's input dropped, equal pairs differ by their own image's entries alone."""
    neighbors = torch.from_numpy(covariance_neighbors(expression, 2))
    with seeded_rng(0):
        module = DeepDRIM(ExpressionImages.of(expression), neighbors, dropout=0, head_dropout=0.5).train()
    of_regulator, of_target = module.views(torch.tensor([0, 1]), torch.tensor([5]))
    assert of_regulator.shape == (2, 512)
    assert of_target.shape == (1, 512)
    again, _ = module.views(torch.tensor([0, 1]), torch.tensor([5]))
    assert not torch.allclose(of_regulator, again)
    torch.nn.init.zeros_(module.joint.weight[:, :512])
    seen: list[torch.Tensor] = []
    module.head.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    module(torch.tensor([[0, 5], [0, 5], [1, 5]]))
    assert torch.equal(seen[0][0], seen[0][1])
    assert not torch.allclose(seen[0][0], seen[0][2])


# --- the method -------------------------------------------------------------------------------------------------------


def coupled_task() -> tuple[GRNTask, LabeledPairs]:
    """Every target follows one of four regulators, and only that pair is an edge; and the test pairs, kept apart."""
    rng = np.random.default_rng(0)
    regulators = rng.gamma(2, size=(4, 100))
    followed = rng.integers(4, size=50)
    targets = regulators[followed] * rng.uniform(0.5, 2, (50, 1)) * rng.lognormal(0, 0.1, (50, 100))
    pairs = np.array([(r, 4 + t) for r in range(4) for t in range(50)])
    labels = followed[pairs[:, 1] - 4] == pairs[:, 0]
    parts = [LabeledPairs(pairs[k], labels[k]) for k in np.array_split(rng.permutation(200), [120, 140])]
    split = EdgeSplit(parts[0], parts[1], LabeledPairs.empty())
    expression = np.vstack([regulators, targets]).astype(np.float32)
    return GRNTask(expression, tuple(f"G{index}" for index in range(54)), np.arange(4), split=split), parts[2]


def test_it_learns_which_genes_go_together():
    task, test = coupled_task()
    quick = {"epochs": 5, "batch_size": 8, "n_neighbors": 1, "dropout": 0.0, "select": "last"}
    scores = methods.get("deepdrim").run(task, **quick)
    assert roc_auc_score(test.labels, scores.at(test.pairs)) > 0.8
    assert scores.history["train_loss"][-1] < 0.5
    assert scores.details == {"best_epoch": 5}
    assert scores.is_logit


def test_a_seed_gives_one_result_and_it_is_the_networks():
    task, test = coupled_task()
    first = methods.get("deepdrim").run(task, **QUICK)
    again = methods.get("deepdrim").run(replace(task, n_jobs=2), **QUICK)
    other = methods.get("deepdrim").run(replace(task, seed=1), **QUICK)
    assert np.array_equal(first.matrix, again.matrix)
    assert not np.allclose(first.matrix, other.matrix)
    np.testing.assert_allclose(first.at(test.pairs), first.model(torch.from_numpy(test.pairs)).detach(), atol=1e-5)


@pytest.mark.parametrize(
    ("n_edges", "given", "expected"),
    [
        (100, {}, 32),  # 200 pairs an epoch
        (1000, {}, 62),  # 2,000
        (5000, {}, 256),  # 10,000
        (100, {"negatives": "all"}, 256),  # 12,000
        (5000, {"batch_size": 7}, 7),
    ],
    ids=str,
)
def test_size_of_batches(monkeypatch, n_edges, given, expected):
    module = sys.modules["scgrn_tl.methods.deepdrim"]
    used = {}
    monkeypatch.setattr(module, "pair_image_scores", lambda *_, **settings: used.update(settings))
    genes = np.arange(1, 12001)
    pairs = LabeledPairs(np.column_stack([np.zeros_like(genes), genes]), genes <= n_edges)
    split = EdgeSplit(pairs, LabeledPairs.empty(), LabeledPairs.empty())
    expression = np.zeros((12001, 1), dtype=np.float32)
    task = GRNTask(expression, tuple(map(str, range(12001))), np.array([0]), split=split)
    monkeypatch.setattr("scgrn_tl.models.deepdrim.covariance_neighbors", lambda *_: np.zeros((12001, 0), dtype=int))
    module.deepdrim(task, **given)
    assert used["batch_size"] == expected


@pytest.mark.parametrize("n_neighbors", [-1, 2.5])
def test_senseless_numbers_of_neighbors_are_refused(n_neighbors):
    task, _ = coupled_task()
    with pytest.raises(ArgumentError, match=r"n_neighbors is a whole number( of at least 0)?, not"):
        methods.get("deepdrim").run(task, n_neighbors=n_neighbors)
