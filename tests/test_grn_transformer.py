"""GRN-Transformer: the axial transformer, what it learns without labels, and the forest on its attention."""

from __future__ import annotations

import math
from dataclasses import replace

import joblib
import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

import scgrn_tl as sg
from scgrn_tl import methods
from scgrn_tl.core import ArgumentError, EdgeSplit, GRNTask, LabeledPairs, PriorNetwork, make_task
from scgrn_tl.methods import grn_transformer as module
from scgrn_tl.models.axial_training import (
    MaskedTraining,
    draw_masked,
    masked_loss,
    pair_maps,
    prior_maps,
    standardize,
)
from scgrn_tl.models.axial_transformer import AxialTransformer, MixedMaps, TiedAttention, TiedGeneAttention
from scgrn_tl.models.seeding import seeded_rng

SMALL = {"steps": 8, "width": 8, "depth": 2, "heads": 2, "batch_size": 64}
N_GENES, N_CELLS, N_MAPS, HEADS = 5, 7, 3, 2


def random(*shape, seed=0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def small_model(**changes) -> AxialTransformer:
    with seeded_rng(0):
        model = AxialTransformer(**({"width": 8, "depth": 2, "heads": HEADS} | changes)).double()
        for parameter in model.parameters():  # larger than at the start, so that every term counts
            torch.nn.init.normal_(parameter, std=0.7)
    return model.eval()


# ---------------------------------------------------------------- literal transcriptions


def by_head(vector: torch.Tensor, heads: int) -> list[torch.Tensor]:
    return list(vector.reshape(heads, -1))


def softmax(values: list[float]) -> list[float]:
    top = max(values)
    exponentials = [math.exp(value - top) for value in values]
    return [value / sum(exponentials) for value in exponentials]


def literal_gene_logits(attention: TiedGeneAttention, y: torch.Tensor, maps: torch.Tensor, a0: torch.Tensor) -> list:
    """Logits of each head, with u and w written out and an ``a0`` that is to make no difference."""
    n_genes, n_cells, width = y.shape
    heads = attention.heads
    scale = (width // heads) ** -0.5 / math.sqrt(n_cells)
    q = [[by_head(attention.query(y[i, r]) * scale, heads) for r in range(n_cells)] for i in range(n_genes)]
    k = [[by_head(attention.key(y[j, r]), heads) for r in range(n_cells)] for j in range(n_genes)]
    logits = [[[0.0] * n_genes for _ in range(n_genes)] for _ in range(heads)]
    for i in range(n_genes):
        for j in range(n_genes):
            products = [sum(q[i][r][h] * k[j][r][h] for r in range(n_cells)) for h in range(heads)]
            u = sum(attention.pair_match(product) for product in products) / heads
            w = [attention.map_match.weight[:, 0] * p + a0 for p in maps[:, i, j]]
            share = softmax([float(u @ w_m) for w_m in w])
            mixed = sum(s * float(p) for s, p in zip(share, maps[:, i, j], strict=True))
            for h in range(heads):
                logits[h][i][j] = float(products[h].sum()) + float(attention.map_strength[h]) * mixed
                if i == j:
                    logits[h][i][j] = -1e9
    return logits


def literal_mix(attention: TiedAttention, shares: list, y: torch.Tensor) -> torch.Tensor:
    """``(S, T, D)``, attention shares ``[H][S][S]`` applied entry by entry."""
    out = torch.zeros_like(y)
    for s in range(y.shape[0]):
        for t in range(y.shape[1]):
            parts = []
            for h in range(attention.heads):
                values = [by_head(attention.value(y[o, t]), attention.heads)[h] for o in range(y.shape[0])]
                parts.append(sum(share * value for share, value in zip(shares[h][s], values, strict=True)))
            out[s, t] = attention.output(torch.cat(parts))
    return out


def literal_cell_shares(attention: TiedAttention, y: torch.Tensor) -> list:
    """``[H][B][B]`` of ``y`` ``(B, G, D)``."""
    n_cells, n_genes, width = y.shape
    d = width // attention.heads
    shares = []
    for h in range(attention.heads):
        part = slice(h * d, (h + 1) * d)
        rows = []
        for r in range(n_cells):
            logits = [
                sum(float(attention.query(y[r, g])[part] @ attention.key(y[s, g])[part]) for g in range(n_genes))
                / math.sqrt(d)
                / math.sqrt(n_genes)
                for s in range(n_cells)
            ]
            rows.append(softmax(logits))
        shares.append(rows)
    return shares


@torch.no_grad()
def literal_model(model: AxialTransformer, values: torch.Tensor, maps: torch.Tensor):
    """Predictions ``(G, B)`` and the gene attention of every layer."""
    x = torch.zeros(*values.shape, model.missing.out_features * 2, dtype=values.dtype)
    for i in range(values.shape[0]):
        for r in range(values.shape[1]):
            value = values[i, r].reshape(1)
            entry = model.value[2](torch.relu(model.value[0](value)))
            missing = model.missing(torch.tensor([1.0 if value == 0 else 0.0], dtype=values.dtype))
            x[i, r] = model.first_norm(torch.cat([entry, missing]))
    attentions = []
    for layer in model.layers:
        y = layer.gene_norm(x)
        logits = literal_gene_logits(layer.genes, y, maps, a0=torch.full((8,), 3.0, dtype=values.dtype))
        shares = [[softmax(row) for row in head] for head in logits]
        attentions.append(torch.tensor(shares, dtype=values.dtype))
        x = x + literal_mix(layer.genes, shares, y)
        y = layer.cell_norm(x).transpose(0, 1)
        x = x + literal_mix(layer.cells, literal_cell_shares(layer.cells, y), y).transpose(0, 1)
        first, _, last = layer.feed_forward
        x = x + last(torch.nn.functional.gelu(first(layer.feed_norm(x))))
    return model.head(x)[..., 0], attentions


@pytest.fixture
def table():
    values = random(N_GENES, N_CELLS, seed=1)
    values[2, 3] = values[0, 1] = 0
    return values, random(N_MAPS, N_GENES, N_GENES, seed=2)


def test_the_transformer_is_its_equations(table):
    values, maps = table
    model = small_model()
    expected, attentions = literal_model(model, values, maps)
    wanted = random(N_GENES, N_CELLS, seed=3) > 0
    with torch.no_grad():
        torch.testing.assert_close(model(values, maps, wanted), expected[wanted], rtol=1e-9, atol=1e-9)
    for found, attention in zip(model.gene_attentions(values, maps), attentions, strict=True):
        torch.testing.assert_close(found, attention, rtol=1e-9, atol=1e-12)
        assert (found.diagonal(dim1=1, dim2=2) == 0).all()


@pytest.mark.parametrize("block", [1, 2, 3, 7, 100])
def test_attention_over_blocks_of_cells_is_that_of_all_at_once(table, block):
    values, maps = table
    model = small_model(depth=3)
    _, attentions = literal_model(model, values, maps)
    found = list(model.gene_attentions(values, maps, block))
    assert len(found) == 3
    for part, whole in zip(found, attentions, strict=True):
        torch.testing.assert_close(part, whole, rtol=1e-9, atol=1e-12)


def test_mixed_maps_and_their_gradient(monkeypatch):
    sharpness, maps = random(5, 5, seed=4).requires_grad_(), 3 * random(N_MAPS, 5, 5, seed=5)
    expected = torch.einsum("mij,mij->ij", maps, (sharpness[None] * maps).softmax(dim=0))
    for block in (2, 64):
        monkeypatch.setattr("scgrn_tl.models.axial_transformer.ROW_BLOCK", block)
        torch.testing.assert_close(MixedMaps.apply(sharpness, maps), expected, rtol=1e-12, atol=1e-12)
        assert torch.autograd.gradcheck(lambda t: MixedMaps.apply(t, maps), sharpness)


def test_gradients_are_those_of_the_equations(table):
    """Autograd through plain einsums agrees with the module on every parameter that the loss depends on."""
    values, maps = table
    model = small_model(depth=1)
    wanted = torch.ones(N_GENES, N_CELLS, dtype=torch.bool)
    (gradient,) = torch.autograd.grad(model(values, maps, wanted).sum(), [model.layers[0].genes.map_match.weight])
    step = 1e-6
    for row in range(len(gradient)):
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                model.layers[0].genes.map_match.weight[row] += sign * step
                ends.append(float(model(values, maps, wanted).sum()))
                model.layers[0].genes.map_match.weight[row] -= sign * step
        assert float(gradient[row, 0]) == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4, abs=1e-6)
    loss = model(values, maps, wanted).square().mean()
    loss.backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())


# ---------------------------------------------------------------- standardised expression and maps


def test_standardize_by_hand():
    expression = np.array(
        [
            [1.0, 3.0, 0.0, 0.0],  # mean 2, sd 1
            [0.0, 0.0, 0.0, 0.0],
            [0.1, 0.1, 0.1, 0.1],
            [0.7, 0.7, 0.7, 0.0],  # no spread: the zeros are infinitely far off
            [1.0, 1.0002, 0.0, 0.0],  # mean 1.0001, sd 0.0001
        ],
        dtype=np.float32,
    )
    expected = [[-1, 1, -2, -2], [0] * 4, [0] * 4, [0, 0, 0, -20], [-1, 1, -20, -20]]
    found = standardize(expression)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_prior_maps_are_those_of_numpy_and_scipy():
    rng = np.random.default_rng(0)
    expression = np.round(rng.gamma(1.0, size=(6, 30)), 1)  # with ties
    information = rng.random((6, 6)) * 1.7
    maps = prior_maps(expression, information)
    np.testing.assert_allclose(maps[0], np.corrcoef(expression), atol=1e-6)
    np.testing.assert_allclose(maps[1], spearmanr(expression, axis=1).statistic, atol=1e-6)
    np.testing.assert_allclose(maps[2], np.cov(expression), rtol=1e-6)
    precision = np.linalg.inv(np.cov(expression) + 0.001 * np.eye(6))
    np.testing.assert_allclose(maps[3], precision / np.abs(precision).max(), atol=1e-6)
    np.testing.assert_allclose(maps[4], information / information.max(), rtol=1e-6)
    assert (prior_maps(expression)[4] == 0).all()


@pytest.mark.parametrize("n_cells", [1, 2, 12])
def test_prior_maps_of_constant_genes_are_finite(n_cells):
    expression = np.random.default_rng(1).random((4, n_cells)).astype(np.float32)
    expression[1], expression[2] = 0.1, 0
    maps = prior_maps(expression, np.zeros((4, 4)))
    assert np.isfinite(maps).all()
    assert (maps[:3, [1, 2]] == 0).all()
    assert (maps[4] == 0).all()


def test_pair_maps_and_their_correction_by_hand():
    layers = [random(2, 4, 4, seed=seed).softmax(dim=-1) for seed in (1, 2)]
    regulators = np.array([1, 3])
    found = pair_maps(iter(layers), regulators)
    for index, attention in enumerate(head for layer in layers for head in layer):
        m = [[float(attention[b, a]) for b in range(4)] for a in range(4)]  # b attends to a
        total = sum(map(sum, m))
        for row, a in enumerate(regulators):
            for b in range(4):
                product = sum(m[a]) * sum(m[c][b] for c in range(4)) / total
                assert found["maps"][index, row, b] == pytest.approx(m[a][b], rel=1e-6)
                assert found["corrected"][index, row, b] == pytest.approx(m[a][b] - product, abs=1e-7)
    assert found["maps"].shape == found["corrected"].shape == (4, 2, 4)


# ---------------------------------------------------------------- masked training


def test_masked_entries_are_drawn_with_replacement():
    masked = draw_masked((40, 50), 0.15, torch.Generator().manual_seed(3))
    hits = torch.randint(2000, (300,), generator=torch.Generator().manual_seed(3)).tolist()
    assert masked.shape == (40, 50)
    assert masked.flatten().nonzero().flatten().tolist() == sorted(set(hits))
    assert int(masked.sum()) < 300
    shares = [float(draw_masked((40, 50), 0.5, torch.Generator().manual_seed(s)).double().mean()) for s in range(20)]
    assert np.mean(shares) == pytest.approx(1 - math.exp(-0.5), abs=0.005)


def test_masked_loss_by_hand():
    assert float(masked_loss(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 4.0]))) == pytest.approx(5 / 2.00001)
    assert float(masked_loss(torch.empty(0), torch.empty(0))) == 0


class Recorder(torch.nn.Module):
    """Predicts its one weight everywhere, and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.calls: list[tuple[torch.Tensor, torch.Tensor]] = []

    def forward(self, values, maps, wanted):
        self.calls.append((values, wanted))
        return self.weight.expand(int(wanted.sum()))


def recorded(n_cells, *, steps=1, clip=1e-3, share=0.5):
    # entry (g, c) is 1 + c, so that a column tells its cell; gene 0 is absent everywhere
    values = torch.arange(1.0, n_cells + 1).expand(6, -1).clone()
    present = torch.ones(6, n_cells, dtype=torch.bool)
    present[0] = False
    model = Recorder()
    training = MaskedTraining(steps, lr=1e-2, weight_decay=0, batch_size=4, mask_share=share, clip=clip)
    losses = training.fit(model, values, present, torch.zeros(1), generator=torch.Generator().manual_seed(0))
    return model, losses


def test_batches_of_passes_over_the_cells():
    model, losses = recorded(11, steps=5)
    assert len(losses) == 3  # two of two steps, and one that is cut off
    assert [values.shape for values, _ in model.calls] == [(6, 4)] * 5  # the three that fill no batch are left out
    cells = [values.amax(dim=0).tolist() for values, _ in model.calls]  # no column is masked from top to bottom
    assert len({*cells[0], *cells[1]}) == 8
    assert cells[:2] != cells[2:4]
    assert [values.shape for values, _ in recorded(3)[0].calls] == [(6, 3)]
    assert not model.training


def test_what_is_masked_is_hidden_and_what_is_absent_does_not_count():
    model, _ = recorded(40, steps=30)
    for values, wanted in model.calls:
        assert not wanted[0].any()
        assert (values[wanted] == 0).all()
        assert torch.equal(values[1:] == 0, wanted[1:])
        assert (values[1:][~wanted[1:]] > 0).all()
    assert any((values[0] == 0).any() for values, _ in model.calls)


def test_loss_of_a_pass_and_clipping_by_value():
    model, losses = recorded(4, clip=1e-3)
    values, wanted = model.calls[0]
    actual = values.amax(dim=0).expand(6, -1)[wanted]
    assert losses[0] == pytest.approx(float(actual.square().sum()) / (len(actual) + 1e-5), rel=1e-6)
    assert abs(float(model.weight.grad)) == pytest.approx(1e-3)  # it would be some -5
    assert abs(float(recorded(4, clip=100)[0].weight.grad)) > 1


def test_training_finds_structure():
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(12, 2)) @ rng.normal(size=(2, 60))
    expression = np.exp(0.5 * factors)
    values = torch.from_numpy(standardize(expression))
    with seeded_rng(0):
        model = AxialTransformer(width=16, depth=2, heads=2)
    training = MaskedTraining(180, lr=3e-3, weight_decay=0.01, batch_size=20, mask_share=0.15, clip=1e-3)
    maps = torch.from_numpy(prior_maps(expression))
    losses = training.fit(
        model, values, torch.ones(12, 60, dtype=torch.bool), maps, generator=torch.Generator().manual_seed(0)
    )
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:3])


# ---------------------------------------------------------------- labels to believe


def test_credible_labels_are_the_literal_rule():
    rng = np.random.default_rng(0)
    labels = rng.random(300) < 0.4
    probabilities = np.clip(np.where(labels, 0.9, 0.1) + rng.normal(scale=0.05, size=(10, 300)), 0, 1)
    contradicted = rng.choice(300, 20, replace=False)
    probabilities[:, contradicted] = 0.5
    unsure = rng.choice(300, 20, replace=False)
    probabilities[:, unsure] += rng.normal(scale=0.2, size=(10, 20))
    m = [np.mean([probabilities[f][p] for f in range(10)]) for p in range(300)]
    s = [math.sqrt(np.mean([(probabilities[f][p] - m[p]) ** 2 for f in range(10)])) for p in range(300)]

    def bound(of, label, sign):
        chosen = [of[p] for p in range(300) if labels[p] == label]
        return np.mean(chosen) + sign * 2 * np.std(chosen)

    expected = []
    for p in range(300):
        drop = s[p] > bound(s, labels[p], 1)
        drop |= m[p] < bound(m, True, -1) if labels[p] else m[p] > bound(m, False, 1)
        expected.append(not drop)
    found = module.credible_labels(probabilities, labels)
    assert found.tolist() == expected
    assert (~found & labels).sum() > 0
    assert (~found & ~labels).sum() > 0


@pytest.mark.parametrize("labels", [[True], [False, False], [True, False]])
def test_labels_that_all_forests_agree_on_are_believed(labels):
    probabilities = np.tile(np.where(labels, 0.7, 0.1), (10, 1))
    assert module.credible_labels(probabilities, np.array(labels)).all()


# ---------------------------------------------------------------- the method


@pytest.fixture(scope="module")
def task() -> GRNTask:
    adata = sg.datasets.simulated(rng=0)
    network = PriorNetwork.from_any(adata.uns["ground_truth"], adata.var_names)
    task = make_task(adata, prior=network, split=sg.bm.split_edges(network, rng=0), seed=0)
    return replace(task, n_jobs=1)


@pytest.fixture(scope="module")
def prepared(task):
    return methods.get("grn_transformer").prepared(task, **SMALL)


def run(task, **changes):
    return methods.get("grn_transformer").run(task, **({**SMALL, "n_trees": 10} | changes))


def test_scores_of_a_simulated_task(task, prepared):
    scores = run(task)
    assert scores.matrix.shape == (len(task.regulators), task.n_genes)
    assert not scores.is_logit
    assert scores.matrix.min() >= 0
    assert scores.matrix.max() <= 1
    assert len(scores.history["train_loss"]) == 2
    train, _ = task.supervision()
    assert scores.details["n_training_pairs"] == len(train)
    assert 0.5 * len(train) < scores.details["n_believed"] < len(train)
    # believed labels are mostly given back
    at = scores.at(train.pairs)
    assert at[train.labels].mean() > 0.6
    assert at[~train.labels].mean() < 0.3
    assert np.array_equal(run(replace(task, prepared=prepared)).matrix, scores.matrix)


def test_the_forest_sees_corrected_and_bare_attention_of_the_pair(task, prepared, monkeypatch):
    pairs = np.array([[task.regulators[2], 5], [task.regulators[0], 0], [task.regulators[2], task.regulators[0]]])
    features = module._PairFeatures(task, prepared)
    expected = [
        [maps[k, row, gene] for maps in (prepared["corrected"], prepared["maps"]) for k in range(4)]
        for row, gene in [(2, 5), (0, 0), (2, task.regulators[0])]
    ]
    np.testing.assert_array_equal(features.of(pairs), expected)
    train, _ = task.supervision()
    forest = module._fitted_forest(0, features.of(train.pairs), train.labels, 5)
    whole = features.scored_by(forest)
    monkeypatch.setattr(module, "BLOCK_PAIRS", 17)
    np.testing.assert_array_equal(features.scored_by(forest), whole)
    for row, gene in [(1, 3), (2, 0)]:
        pair = np.array([[task.regulators[row], gene]])
        assert whole[row, gene] == pytest.approx(forest.predict_proba(features.of(pair))[0, 1])


def test_the_method_is_scikit_learn_on_the_believed_pairs(task, prepared):
    from sklearn.ensemble import RandomForestClassifier

    task = replace(task, prepared=prepared, seed=4)
    train, _ = task.supervision()
    x, y = module._PairFeatures(task, prepared).of(train.pairs), train.labels
    probabilities = [RandomForestClassifier(10, random_state=4 + i).fit(x, y).predict_proba(x)[:, 1] for i in range(10)]
    kept = module.credible_labels(np.array(probabilities), y)
    assert 0 < kept.sum() < len(y)
    forest = RandomForestClassifier(10, random_state=4).fit(x[kept], y[kept])
    np.testing.assert_allclose(run(task).at(train.pairs), forest.predict_proba(x)[:, 1], rtol=1e-6)
    plain = RandomForestClassifier(10, random_state=4).fit(x, y)
    found = run(task, clean_labels=False)
    np.testing.assert_allclose(found.at(train.pairs), plain.predict_proba(x)[:, 1], rtol=1e-6)
    assert found.details["n_believed"] == len(y)


def test_attention_is_learned_without_labels(task, prepared):
    flipped = LabeledPairs(task.split.train.pairs, ~task.split.train.labels)
    other = replace(task, split=EdgeSplit(flipped, task.split.validation, LabeledPairs.empty()), prior=None)
    again = methods.get("grn_transformer").prepared(other, **SMALL)
    assert set(again) == set(prepared)
    for name, values in prepared.items():
        np.testing.assert_array_equal(again[name], values)
    # and it does not see them even if it looked
    seen = []
    entry = replace(methods.get("grn_transformer"), prepare=lambda task, *, steps=1: seen.append(task) or {})
    entry.prepared(task, steps=1)
    assert seen[0].split is None
    assert seen[0].prior is None


def test_seeds_and_processes(task, prepared):
    task = replace(task, prepared=None)
    again = methods.get("grn_transformer").prepared(task, **SMALL)
    other = methods.get("grn_transformer").prepared(replace(task, seed=1), **SMALL)
    for name in ("maps", "corrected", "loss"):
        assert np.array_equal(again[name], prepared[name])
        assert not np.array_equal(other[name], prepared[name])
    task = replace(task, prepared=prepared)
    alone = run(task)
    with joblib.parallel_config(backend="threading"):
        assert np.array_equal(run(replace(task, n_jobs=2)).matrix, alone.matrix)


def test_many_cells_are_sampled(task):
    chosen = np.sort(np.random.default_rng(task.seed).choice(task.expression.shape[1], 40, replace=False))
    sample = replace(task, expression=np.ascontiguousarray(task.expression[:, chosen]), pseudotime=None)
    learn = methods.get("grn_transformer").prepared
    found, expected = learn(task, **SMALL, max_cells=40), learn(sample, **SMALL)
    for name in ("maps", "loss"):
        np.testing.assert_array_equal(found[name], expected[name])


def test_the_information_map_makes_a_difference(task, prepared):
    without = methods.get("grn_transformer").prepared(task, **SMALL, use_pidc=False)
    assert not np.allclose(without["maps"], prepared["maps"], rtol=1e-3)


def test_untrained_attention_can_be_used_too(task):
    scores = run(task, steps=0, use_pidc=False, clean_labels=False)
    assert scores.history["train_loss"] == []


@pytest.mark.parametrize("n_cells", [1, 2, 30])
def test_degenerate_expression_gets_finite_scores(n_cells):
    rng = np.random.default_rng(0)
    expression = rng.gamma(1.0, size=(9, n_cells)).astype(np.float32)
    expression[1], expression[2], expression[3] = 0, 2.5, 0
    expression[3, 0] = 1
    pairs = np.array([[1, gene] for gene in range(9) if gene != 1])
    split = EdgeSplit(LabeledPairs(pairs[:6], np.array([1, 0, 0, 1, 0, 0])), LabeledPairs.empty(), LabeledPairs.empty())
    task = GRNTask(expression, tuple("ABCDEFGHI"), np.array([1]), split=split, n_jobs=1)
    assert np.isfinite(run(task).matrix).all()


def test_training_pairs_that_are_all_edges_make_edges_of_all(task, prepared):
    train = LabeledPairs(task.split.train.pairs, np.ones(len(task.split.train)))
    task = replace(task, split=EdgeSplit(train, task.split.validation, LabeledPairs.empty()), prepared=prepared)
    assert (run(task).matrix == 1).all()


def test_errors(task, prepared):
    with pytest.raises(ArgumentError, match=r"steps >= 0; 0 < mask_share < 1; clip > 0"):
        run(task, steps=-1, mask_share=1.0, clip=0.0)
    with pytest.raises(ArgumentError, match="width a multiple of heads and of 2"):
        run(task, width=10, heads=4)
    with pytest.raises(ArgumentError, match=r"more than max_genes=20, .*highly_variable"):
        run(task, max_genes=20)
    with pytest.raises(ArgumentError, match="prepared for other regulators"):
        run(replace(task, prepared={**prepared, "regulators": task.regulators[:-1]}))
    with pytest.raises(ArgumentError, match=r"get\(\"grn_transformer\"\)\.run\(task\)"):
        module.grn_transformer(task)
