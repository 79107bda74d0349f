"""CNNC: its network against loops over pixels, its optimiser against Keras' rule, and what it learns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from scgrn_tl import methods
from scgrn_tl.core import ArgumentError, EdgeSplit, ExpressionError, GRNTask, LabeledPairs, SplitError
from scgrn_tl.models import image_cnn
from scgrn_tl.models.expression_images import ExpressionImages
from scgrn_tl.models.image_cnn import CNNC, ImageCNN, decaying_sgd
from scgrn_tl.models.seeding import seeded_rng

QUICK = {"epochs": 2, "batch_size": 16}
N_REGULATORS = 4


def coupled_task(seed: int = 0, n_targets: int = 60, n_cells: int = 100) -> tuple[GRNTask, LabeledPairs]:
    """Every target follows one of four regulators, and only that pair is an edge; and the test pairs, kept apart."""
    rng = np.random.default_rng(seed)
    regulators = rng.gamma(2, size=(N_REGULATORS, n_cells))
    followed = rng.integers(N_REGULATORS, size=n_targets)
    targets = regulators[followed] * rng.uniform(0.5, 2, (n_targets, 1)) * rng.lognormal(0, 0.1, (n_targets, n_cells))
    expression = np.vstack([regulators, targets]).astype(np.float32)
    pairs = np.array([(r, N_REGULATORS + t) for r in range(N_REGULATORS) for t in range(n_targets)])
    labels = followed[pairs[:, 1] - N_REGULATORS] == pairs[:, 0]
    parts = [LabeledPairs(pairs[k], labels[k]) for k in np.array_split(rng.permutation(len(pairs)), [144, 168])]
    split = EdgeSplit(parts[0], parts[1], LabeledPairs.empty())
    genes = tuple(f"G{index}" for index in range(len(expression)))
    return GRNTask(expression, genes, np.arange(N_REGULATORS), split=split), parts[2]


# --- the network ------------------------------------------------------------------------------------------------------


def convolve(x: np.ndarray, layer: torch.nn.Conv2d, *, same: bool) -> np.ndarray:
    """3 × 3 convolution and ReLU, pixel by pixel, of ``x (C, H, W)``."""
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    x = np.pad(x, [(0, 0), (1, 1), (1, 1)]) if same else x
    height, width = x.shape[1] - 2, x.shape[2] - 2
    out = np.empty((len(weight), height, width))
    for i in range(height):
        for j in range(width):
            out[:, i, j] = (weight * x[:, i : i + 3, j : j + 3]).sum((1, 2, 3)) + bias
    return np.maximum(out, 0)


def pool(x: np.ndarray) -> np.ndarray:
    out = np.empty((len(x), x.shape[1] // 2, x.shape[2] // 2))
    for i in range(out.shape[1]):
        for j in range(out.shape[2]):
            out[:, i, j] = x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max((1, 2))
    return out


def test_the_network_is_its_equations():
    with seeded_rng(0):
        torch.nn.init.normal_((trunk := ImageCNN().double().eval()).dense.bias)
    convolutions = [layer for layer in trunk.blocks if isinstance(layer, torch.nn.Conv2d)]
    image = np.random.default_rng(0).random((1, 32, 32))
    x, sizes = image, []
    for first, second in zip(convolutions[::2], convolutions[1::2], strict=True):
        for layer, same in ((first, True), (second, False)):
            x = convolve(x, layer, same=same)
            sizes.append(x.shape[1])
        x = pool(x)
        sizes.append(x.shape[1])
    assert sizes == [32, 30, 15, 15, 13, 6, 6, 4, 2]
    assert [layer.out_channels for layer in convolutions] == [32, 32, 64, 64, 128, 128]
    expected = trunk.dense.weight.detach().numpy() @ x.reshape(-1) + trunk.dense.bias.detach().numpy()
    found = trunk(torch.from_numpy(image)[None])[0].detach().numpy()
    assert found.shape == (512,)
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_cnnc_ends_in_relu_and_one_logit():
    task, _ = coupled_task()
    images = ExpressionImages.of(task.expression)
    with seeded_rng(0):
        module = CNNC(images).eval()
    pairs = torch.tensor([[0, 5], [5, 0], [1, 1]])
    vectors = module.trunk(images(pairs)).detach().numpy()
    assert (vectors < 0).any()
    weight, bias = (p.detach().numpy() for p in module.head[-1].parameters())
    np.testing.assert_allclose(module(pairs).detach(), np.maximum(vectors, 0) @ weight[0] + bias, atol=1e-6)


def test_blocks_of_images_make_no_difference(monkeypatch):
    task, _ = coupled_task()
    with seeded_rng(0):
        module, pairs = CNNC(ExpressionImages.of(task.expression)).eval(), torch.randint(64, (20, 2))
    whole = module(pairs)
    monkeypatch.setattr(image_cnn, "BLOCK_IMAGES", 3)
    torch.testing.assert_close(module(pairs), whole)


@pytest.mark.parametrize("n_bins", [22, 40])
def test_other_sizes_of_image_pass(n_bins):
    assert ImageCNN(n_bins=n_bins)(torch.zeros(2, 1, n_bins, n_bins)).shape == (2, 512)


def test_first_weights_are_keras_defaults():
    """Glorot-uniform: within √(6 / (inputs + outputs)), of that distribution's spread; biases zero."""
    with seeded_rng(0):
        module = CNNC(ExpressionImages.of(np.ones((2, 3))))
    layers = [layer for layer in module.modules() if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear)]
    assert len(layers) == 8
    for layer in layers:
        field = 9 if isinstance(layer, torch.nn.Conv2d) else 1
        limit = np.sqrt(6 / (field * (layer.weight.shape[0] + layer.weight.shape[1])))
        assert layer.weight.abs().max() <= limit
        assert float(layer.weight.detach().std()) == pytest.approx(limit / np.sqrt(3), rel=0.1)
        assert not layer.bias.any()


def test_descent_is_that_of_keras():
    """v ← 0.9 v − lr_t g, p ← p + 0.9 v − lr_t g, with lr_t = lr / (1 + 1e-6 t); here of the loss p⁴."""
    weight = torch.nn.Parameter(torch.tensor(1.0, dtype=torch.float64))
    optimizer, schedule = decaying_sgd([weight], 0.01)
    p, v = 1.0, 0.0
    for step in range(50):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.01 / (1 + 1e-6 * step), rel=1e-12)
        g = 4 * p**3
        v = 0.9 * v - 0.01 * g
        p += 0.9 * v - 0.01 * g
        optimizer.zero_grad()
        (weight**4).backward()
        optimizer.step()
        schedule.step()
        assert weight.item() == pytest.approx(p, abs=1e-5)  # Keras keeps lr inside v, torch outside


def test_half_precision_is_near_and_of_the_blocks_only():
    with seeded_rng(0):
        single, half = ImageCNN().eval(), ImageCNN(dtype=torch.bfloat16).eval()
    half.load_state_dict(single.state_dict())
    images = torch.from_numpy(np.random.default_rng(0).random((8, 1, 32, 32), dtype=np.float32))
    found, expected = half(images), single(images)
    assert found.dtype == torch.float32
    assert not torch.equal(found, expected)
    assert (found - expected).abs().max() < 0.02 * expected.abs().max()


# --- the method -------------------------------------------------------------------------------------------------------


def test_it_learns_which_genes_go_together():
    task, test = coupled_task()
    scores = methods.get("cnnc").run(task, dropout=0.1, epochs=6, batch_size=16, select="last")
    assert roc_auc_score(test.labels, scores.at(test.pairs)) > 0.9
    assert scores.history["train_loss"][0] > 0.6
    assert scores.history["train_loss"][-1] < 0.4
    assert scores.details == {"best_epoch": 6}
    assert scores.is_logit


@pytest.mark.parametrize("name", ["cnnc", "deepdrim"])
def test_half_precision_is_a_parameter(name):
    task, _ = coupled_task()
    # with the first weights, since the entries dropped in training are others
    params = QUICK | {"lr": 1e-9} | ({"n_neighbors": 1} if name == "deepdrim" else {})
    single, half = (methods.get(name).run(task, **params, dtype=dtype) for dtype in ("float32", "bfloat16"))
    assert half.matrix.dtype == np.float32
    assert not np.array_equal(single.matrix, half.matrix)
    np.testing.assert_allclose(half.matrix, single.matrix, atol=0.01)


def test_scores_are_those_of_the_network_it_returns():
    task, test = coupled_task()
    scores = methods.get("cnnc").run(task, **QUICK)
    assert not scores.model.training
    np.testing.assert_allclose(scores.at(test.pairs), scores.model(torch.from_numpy(test.pairs)).detach(), atol=1e-5)
    assert len(scores.history["validation_auroc"]) == 2


def test_a_seed_gives_one_result():
    task, _ = coupled_task()
    first = methods.get("cnnc").run(task, **QUICK)
    again = methods.get("cnnc").run(replace(task, n_jobs=2), **QUICK)
    other = methods.get("cnnc").run(replace(task, seed=1), **QUICK)
    assert np.array_equal(first.matrix, again.matrix)
    assert not np.allclose(first.matrix, other.matrix)


def test_pixels_are_standardised_unless_told_not_to():
    task, _ = coupled_task()
    plain, standard = (
        methods.get("cnnc").run(task, epochs=1, standardize=standardize).model.images for standardize in (False, True)
    )
    assert torch.equal(plain.pixels, ExpressionImages.of(task.expression).pixels)
    drawn = standard(torch.cartesian_prod(torch.arange(64), torch.arange(64)))
    assert drawn.mean() == pytest.approx(0, abs=0.03)
    assert drawn.std() == pytest.approx(1, abs=0.05)


def test_all_negatives_are_more_than_balanced_ones(monkeypatch):
    task, _ = coupled_task()
    sizes = []
    plain = CNNC.forward
    monkeypatch.setattr(
        CNNC, "forward", lambda self, pairs: (sizes.append(len(pairs) * self.training), plain(self, pairs))[1]
    )
    methods.get("cnnc").run(task, epochs=1, negatives="balanced")
    n_edges = int(task.split.train.labels.sum())
    assert sum(sizes) == 2 * n_edges
    sizes.clear()
    methods.get("cnnc").run(task, epochs=1, negatives="all")
    assert sum(sizes) == len(task.split.train)


def test_the_step_width_falls_with_every_step(monkeypatch):
    task, _ = coupled_task()
    made = []
    monkeypatch.setattr(image_cnn, "decaying_sgd", lambda *args: made.append(decaying_sgd(*args)) or made[-1])
    methods.get("cnnc").run(task, epochs=2, batch_size=50, negatives="all", lr=0.02)
    n_steps = 2 * -(-len(task.split.train) // 50)
    assert made[0][0].param_groups[0]["lr"] == pytest.approx(0.02 / (1 + 1e-6 * n_steps), rel=1e-12)


@pytest.mark.parametrize("name", ["cnnc", "deepdrim"])
@pytest.mark.parametrize("case", ["constant", "one regulator", "two cells", "one cell", "no validation", "all edges"])
def test_degenerate_input_has_finite_scores(name, case):
    task, _ = coupled_task(n_targets=60)
    expression = task.expression[:, :20].copy()
    train, validation = task.split.train, task.split.validation
    if case == "constant":
        expression[[0, 10, 11]] = [[1.0], [0.0], [3.0]]
    if case == "one regulator":
        train, validation = (
            LabeledPairs(p.pairs[k], p.labels[k]) for p in (train, validation) for k in [p.pairs[:, 0] == 0]
        )
    if case.endswith(("cell", "cells")):
        expression = expression[:, : 1 + (case == "two cells")]
    if case == "no validation":
        validation = LabeledPairs.empty()
    if case == "all edges":
        train = LabeledPairs(train.positives, np.ones(len(train.positives)))
    regulators = task.regulators[: 1 if case == "one regulator" else None]
    split = EdgeSplit(train, validation, LabeledPairs.empty())
    quick = {"epochs": 1, "batch_size": 64} | ({"n_neighbors": 1} if name == "deepdrim" else {})
    scores = methods.get(name).run(GRNTask(expression, task.genes, regulators, split=split), **quick)
    assert scores.matrix.shape == (len(regulators), 64)
    assert np.isfinite(scores.matrix).all()


@pytest.mark.parametrize("name", ["cnnc", "deepdrim"])
def test_errors(name):
    task, _ = coupled_task()
    without = LabeledPairs(task.split.train.pairs[:3], np.zeros(3))
    with pytest.raises(SplitError, match="3 training pairs are all non-edges"):
        methods.get(name).run(replace(task, split=EdgeSplit(without, LabeledPairs.empty(), LabeledPairs.empty())))
    with pytest.raises(ExpressionError, match="cannot be negative"):
        methods.get(name).run(replace(task, expression=task.expression - 5))


@pytest.mark.parametrize("name", ["cnnc", "deepdrim"])
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"n_bins": 8}, "n_bins is a whole number from 22"),
        ({"dtype": "float16"}, "dtype is 'float32' or 'bfloat16', not 'float16'"),
        ({"negatives": "hard"}, "negatives is 'all' or 'balanced', not 'hard'"),
        ({"epochs": 0}, "epochs"),
        ({"batch_size": 0}, "batch_size"),
        ({"dropout": 1.0}, "dropout"),
        ({"lr": 0.0}, "lr"),
        ({"select": "test"}, "select"),
        ({"patience": 0}, "patience"),
    ],
    ids=str,
)
def test_senseless_parameters_are_refused(name, bad, message):
    task, _ = coupled_task()
    with pytest.raises(ArgumentError, match=message):
        methods.get(name).run(task, **bad)
