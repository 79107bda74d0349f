"""GENELink, GNNLink and GNE against literal transcriptions of their equations in float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

import scgrn_tl as sg
from scgrn_tl import methods
from scgrn_tl.core import ArgumentError, LabeledPairs, PriorNetwork, make_task
from scgrn_tl.methods.gne import _pair_regression
from scgrn_tl.models import genelink
from scgrn_tl.models.genelink import AttentionLayer, GENELinkModule, symmetric_edges
from scgrn_tl.models.gne import GNEModule, NegativeSampler
from scgrn_tl.models.gnnlink import GNNLinkModule, normalized_adjacency
from scgrn_tl.models.seeding import seeded_rng

NAMES = ("genelink", "gnnlink", "gne")
QUICK = {"genelink": {"epochs": 2}, "gnnlink": {"epochs": 10}, "gne": {"epochs": 3}}
EDGES = np.array([[0, 1], [0, 2], [1, 0], [1, 3], [2, 3]])  # gene 4 and 5 have none


@pytest.fixture(scope="module")
def task():
    adata = sg.datasets.simulated(n_cells=60, n_genes=40, n_tfs=8, rng=0)
    prior = PriorNetwork.from_any(adata.uns["ground_truth"], adata.var_names)
    return make_task(adata, prior=prior, split=sg.bm.split_edges(prior, rng=0), seed=0)


def leaky(x, slope):
    return np.where(x > 0, x, slope * x)


def unit(x):
    return x / max(np.linalg.norm(x), 1e-12)


# --- GENELink ---------------------------------------------------------------------------------------------------------


def dense_attention(layer: AttentionLayer, x: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The layer gene by gene on a dense adjacency matrix: ``(G, heads, width)``."""
    n_genes = len(x)
    adjacency = np.zeros((n_genes, n_genes))
    for a, b in edges:
        adjacency[a, b] = adjacency[b, a] = 1
    weight = layer.attention.lin.weight.detach().double().numpy().reshape(layer.heads, layer.width, -1)
    out = np.zeros((n_genes, layer.heads, layer.width))
    for head in range(layer.heads):
        h = x @ weight[head].T
        a1, a2 = (v[0, head].detach().double().numpy() for v in (layer.attention.att_dst, layer.attention.att_src))
        for i in range(n_genes):
            logits = np.array([leaky(h[i] @ a1 + h[j] @ a2, 0.2) if adjacency[i, j] else -9e15 for j in range(n_genes)])
            alpha = np.exp(logits - logits.max())
            gathered = sum(alpha[j] / alpha.sum() * h[j] for j in range(n_genes))
            out[i, head] = unit(leaky(gathered, 0.2)) + layer.bias[head].detach().double().numpy()
    return out


@pytest.mark.parametrize("decoder", ["dot", "cosine", "mlp"])
def test_genelink_is_its_equations(decoder):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 5))
    torch.nn.init.normal_((module := GENELinkModule(5, decoder=decoder)).first.bias)
    module = module.double().eval()
    pairs = np.array([[0, 1], [1, 0], [2, 5], [4, 4]])
    edges = symmetric_edges(torch.from_numpy(EDGES.T))
    logits = module(torch.from_numpy(x), edges, torch.from_numpy(pairs)).detach().numpy()

    hidden = dense_attention(module.first, x, EDGES).reshape(6, -1)
    hidden = np.where(hidden > 0, hidden, np.expm1(hidden))
    z = dense_attention(module.second, hidden, EDGES).mean(1)
    towers = []
    for tower in module.towers:
        first, second = tower[0], tower[3]
        out = leaky(z @ first.weight.detach().numpy().T + first.bias.detach().numpy(), 0.01)
        towers.append(leaky(out @ second.weight.detach().numpy().T + second.bias.detach().numpy(), 0.01))
    for (a, b), logit in zip(pairs, logits, strict=True):
        t, g = towers[0][a], towers[1][b]
        if decoder == "mlp":
            expected = np.r_[t, g] @ module.joined.weight.detach().numpy()[0] + module.joined.bias.item()
        else:
            expected = t @ g if decoder == "dot" else t @ g / np.linalg.norm(t) / np.linalg.norm(g)
        assert logit == pytest.approx(expected, abs=1e-9)


def test_genelink_graph_has_both_directions_once_and_no_loops():
    edges = symmetric_edges(torch.tensor([[0, 1, 2, 3], [1, 0, 3, 3]]))
    assert sorted(map(tuple, edges.T.tolist())) == [(0, 1), (1, 0), (2, 3), (3, 2)]


def test_genelink_lonely_genes_lose_attention_in_training_too():
    """A row of the attention matrix is dropped out whether its gene has neighbours or none."""
    with seeded_rng(0):
        layer = AttentionLayer(5, 4, heads=2, dropout=0.5)
        x = torch.randn(6, 5)
        edges = symmetric_edges(torch.from_numpy(EDGES.T))
        layer.train()
        first, second = layer(x, edges), layer(x, edges)
    layer.eval()
    calm = layer(x, edges)
    for gene in (0, 5):
        assert not torch.allclose(first[gene], second[gene])
    torch.testing.assert_close(calm, layer(x, edges))
    torch.testing.assert_close(calm[4], calm[5])  # both attend to all genes alike


def test_genelink_many_lonely_genes_are_taken_in_blocks(monkeypatch):
    """Which keep their share of entries, and have the gradients of what was drawn."""
    layer = AttentionLayer(5, 4, heads=2, dropout=0.5).double().train()
    x, n_lonely, drawn = torch.randn(6, 5, dtype=torch.float64, requires_grad=True), 4000, []
    dropout = torch.nn.functional.dropout

    def recorded(even, share):
        drawn.append(dropout(even, share))
        return drawn[-1]

    monkeypatch.setattr(genelink.nn.functional, "dropout", recorded)
    monkeypatch.setattr(genelink, "_EVEN_VALUES", 2 * 6 * 900)
    states = layer.attention.lin(x).view(-1, 2, 4)
    gathered = layer._even(states, n_lonely)
    assert len(drawn) == 5
    even = torch.cat(drawn, dim=1)  # (H, L, G)
    assert even.shape == (2, n_lonely, 6)
    assert float((even > 0).double().mean()) == pytest.approx(0.5, abs=0.02)
    torch.testing.assert_close(gathered, torch.einsum("hlg,ghd->lhd", even, states))
    (found,) = torch.autograd.grad(gathered.square().sum(), x, retain_graph=True)
    (expected,) = torch.autograd.grad(torch.einsum("hlg,ghd->lhd", even, states).square().sum(), x)
    torch.testing.assert_close(found, expected)


def test_genelink_weights_start_as_published():
    layer = AttentionLayer(200, 100, heads=3)
    bound = 1.414 * np.sqrt(6 / 300)
    weights = layer.attention.lin.weight
    assert 0.98 * bound < weights.abs().max() <= bound
    assert layer.attention.att_src.abs().max() <= 1.414 * np.sqrt(6 / 201)
    assert not layer.bias.any()


@pytest.mark.parametrize("schedule", ["epoch", "step"])
def test_genelink_rate_falls_by_epoch_or_by_step(task, monkeypatch, schedule):
    made = []
    adam = torch.optim.Adam
    monkeypatch.setattr(torch.optim, "Adam", lambda *args, **settings: made.append(adam(*args, **settings)) or made[-1])
    methods.get("genelink")(task, schedule=schedule, epochs=3, batch_size=50, select="last", lr=0.01)
    n_batches = -(-len(task.split.train) // 50)
    falls = 3 * n_batches if schedule == "step" else 3
    assert made[0].param_groups[0]["lr"] == pytest.approx(0.01 * 0.99**falls)


# --- GNNLink ----------------------------------------------------------------------------------------------------------


def test_gnnlink_is_its_equations():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(6, 5)).astype(np.float32)
    module = GNNLinkModule(5)
    adjacency = np.zeros((6, 6))
    for a, b in EDGES:
        adjacency[a, b] = 1
    adjacency += 2 * np.eye(6)
    degree = adjacency.sum(1)
    normalised = adjacency / np.sqrt(np.outer(degree, degree))
    made = normalized_adjacency(torch.from_numpy(EDGES.T), 6)
    np.testing.assert_allclose(made.to_dense().numpy(), normalised, rtol=1e-6)

    first, second = (layer.weight.detach().double().numpy().T for layer in (module.first, module.second))
    z = leaky(normalised @ leaky(normalised @ x @ first, 0.2) @ second, 0.2)
    pairs = np.array([[0, 1], [1, 0], [2, 5], [4, 4]])
    scores = module.decode(module.embed(torch.from_numpy(x), made), torch.from_numpy(pairs)).detach().numpy()
    np.testing.assert_allclose(scores, [max(0, z[a] @ z[b]) for a, b in pairs], rtol=1e-4, atol=1e-6)
    bound = np.sqrt(6 / (5 + 128))
    assert 0.9 * bound < module.first.weight.abs().max() <= bound


def test_gnnlink_loss_is_the_published_one(task):
    """The root of the mean over all genes × genes entries of M·(S − Y)²."""
    n_genes = task.n_genes
    scores = methods.get("gnnlink")(task, epochs=1, select="last")
    torch_rng = torch.Generator().manual_seed(task.seed)
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(torch_rng.get_state())
        start = GNNLinkModule(task.expression.shape[1])
    x = task.expression.astype(float)
    x = (x - x.mean(1, keepdims=True)) / np.where(x.std(1, keepdims=True) > 0, x.std(1, keepdims=True), 1)
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-6)
    train = task.split.train
    adjacency = normalized_adjacency(torch.from_numpy(train.positives.T.copy()), n_genes)
    z = start.embed(torch.from_numpy(x.astype(np.float32)), adjacency).detach().double().numpy()
    total = 0.0
    for (a, b), label in zip(train.pairs, train.labels, strict=True):
        total += (max(0.0, z[a] @ z[b]) - label) ** 2
    assert scores.history["train_loss"][0] == pytest.approx(np.sqrt(total / n_genes**2), rel=1e-4)


# --- GNE --------------------------------------------------------------------------------------------------------------


def test_gne_is_its_equations():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(6, 5))
    module = GNEModule(6, 5, width=4, expression_weight=0.7).double().eval()
    e_in, w_a, w_h, e_out = (
        p.detach().numpy() for p in (module.structure, module.attributes, module.hidden, module.output)
    )
    embedded = module.embed(torch.from_numpy(x)).detach().numpy()
    for gene in range(6):
        v = x[gene] @ w_a
        v = np.where(v > 0, v, np.expm1(v))
        h = np.tanh(np.r_[unit(e_in[gene]), 0.7 * unit(v)] @ w_h)
        np.testing.assert_allclose(embedded[gene], e_out[gene] + h, atol=1e-9)


def test_gne_loss_is_a_sampled_softmax():
    module = GNEModule(6, 5, width=4).double()
    torch.nn.init.normal_(module.output_bias)
    h = torch.randn(3, 4, dtype=torch.float64)
    neighbours, sampled = [2, 5, 0], [0, 3, 5]
    expected = torch.rand(6, dtype=torch.float64)
    loss = module.sampled_loss(h, torch.tensor(neighbours), torch.tensor(sampled), expected).item()
    by_hand = []
    for row, neighbour in zip(h, neighbours, strict=True):
        genes = [neighbour, *(gene for gene in sampled if gene != neighbour)]
        logits = np.array([
            (row @ module.output[g] + module.output_bias[g] - expected[g].log()).item() for g in genes
        ])  # fmt: skip
        by_hand.append(np.log(np.exp(logits).sum()) - logits[0])
    assert loss == pytest.approx(np.mean(by_hand))


@pytest.mark.parametrize("distribution", ["uniform", "log_uniform"])
def test_gne_negatives_follow_their_distribution(distribution):
    sampler = NegativeSampler(12, 3, torch.Generator().manual_seed(0), distribution)
    k = np.arange(12)
    weights = np.log((k + 2) / (k + 1)) if distribution == "log_uniform" else np.ones(12)
    np.testing.assert_allclose(sampler.probability.numpy(), weights / weights.sum())
    counts, expected = np.zeros(12), np.zeros(12)
    for _ in range(4000):
        genes, expectation = sampler.draw()
        assert len(set(genes.tolist())) == 3
        counts[genes] += 1
        expected += expectation.numpy()
    np.testing.assert_allclose(counts.sum(), 12000)
    # P(gene is among n tries) = 1 − (1 − p)ⁿ: an approximation, as the tries go on until three are different
    np.testing.assert_allclose(counts, expected, rtol=0.12)
    few, _ = NegativeSampler(2, 10, torch.Generator().manual_seed(0)).draw()
    assert sorted(few.tolist()) == [0, 1]


def test_gne_score_is_a_logistic_regression_on_products(task):
    scores = methods.get("gne")(task, epochs=2, select="last")
    np.testing.assert_allclose(scores.matrix[:, task.regulators], scores.matrix[:, task.regulators].T, atol=1e-4)
    module = scores.model
    x = task.expression.astype(float)
    x = (x - x.mean(1, keepdims=True)) / np.where(x.std(1, keepdims=True) > 0, x.std(1, keepdims=True), 1)
    z = module.embed(torch.from_numpy(x.astype(np.float32))).detach().numpy()
    rows, genes = np.meshgrid(np.arange(len(task.regulators)), np.arange(task.n_genes), indexing="ij")
    products = z[task.regulators[rows.ravel()]] * z[genes.ravel()]
    # the logits are one linear function of the products
    fitted = np.linalg.lstsq(np.c_[products, np.ones(len(products))], scores.matrix.ravel(), rcond=None)[0]
    np.testing.assert_allclose(np.c_[products, np.ones(len(products))] @ fitted, scores.matrix.ravel(), atol=2e-3)


def test_gne_regression_has_as_many_non_edges_as_edges():
    rng = np.random.default_rng(0)
    z = torch.from_numpy(rng.normal(size=(30, 4)))
    pairs = np.array([(a, b) for a in range(4) for b in range(10, 30)])
    labels = (z[pairs[:, 0]] * z[pairs[:, 1]]).sum(1).numpy() > 1
    edges, others = np.flatnonzero(labels), np.flatnonzero(~labels)
    kept = np.r_[edges, others[: len(edges)]]  # as many of each: all of them are taken
    balanced = LabeledPairs(pairs[kept], labels[kept])
    weights, intercept = _pair_regression(z, balanced, torch.Generator().manual_seed(0))
    products = (z[balanced.pairs[:, 0]] * z[balanced.pairs[:, 1]]).numpy()
    reference = LogisticRegression(max_iter=1000).fit(products, balanced.labels)
    np.testing.assert_allclose(weights.numpy(), reference.coef_[0], rtol=1e-3)
    assert intercept == pytest.approx(reference.intercept_[0], rel=1e-2)
    # of more, as many are drawn: the intercept does not follow the prevalence
    everything = LabeledPairs(pairs, labels)
    _, drawn = _pair_regression(z, everything, torch.Generator().manual_seed(0))
    unbalanced = LogisticRegression(max_iter=1000).fit((z[pairs[:, 0]] * z[pairs[:, 1]]).numpy(), labels)
    assert drawn > unbalanced.intercept_[0] + 0.5


# --- all of them ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_bits(task, name):
    run = methods.get(name)
    before = torch.random.get_rng_state()
    first, second = (run(task, **QUICK[name]) for _ in range(2))
    np.testing.assert_array_equal(first.matrix, second.matrix)
    assert first.history == second.history
    assert (run(replace(task, seed=1), **QUICK[name]).matrix != first.matrix).any()
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("name", NAMES)
def test_the_known_network_is_learned(task, name):
    """Training edges rank above training non-edges, far beyond chance."""
    params = {
        "genelink": {"epochs": 30, "batch_size": 8, "dropout": 0.2},
        "gnnlink": {"epochs": 150},
        "gne": {"epochs": 30},
    }[name]
    scores = methods.get(name)(task, select="last", **params)
    assert sg.bm.evaluate(scores, task.split, part="train").auroc > 0.8
    assert scores.details["best_epoch"] == params["epochs"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", ["constant genes", "no non-edges", "no validation", "two genes known"])
def test_degenerate_tasks_give_finite_scores(task, name, case):
    changed, split = task, task.split
    if case == "constant genes":
        expression = task.expression.copy()
        expression[:20] = 1.25
        changed = replace(task, expression=expression)
    elif case == "no validation":
        changed = replace(task, split=replace(split, validation=LabeledPairs.empty()))
    else:
        train = split.train
        first_edge = np.arange(len(train)) == np.flatnonzero(train.labels)[0]
        kept = {"no non-edges": train.labels, "two genes known": first_edge}
        part = LabeledPairs(train.pairs[kept[case]], train.labels[kept[case]])
        changed = replace(task, split=replace(split, train=part), prior=None)
    scores = methods.get(name)(changed, **QUICK[name])
    assert np.isfinite(scores.matrix).all()
    assert scores.matrix.shape == (len(task.regulators), task.n_genes)


@pytest.mark.parametrize(
    ("name", "bad", "message"),
    [
        ("genelink", {"decoder": "sum"}, "decoder"),
        ("genelink", {"schedule": "never"}, "schedule"),
        ("genelink", {"dropout": 1.0}, "dropout"),
        ("gnnlink", {"epochs": 0}, "epochs"),
        ("gnnlink", {"select": "loss"}, "'auprc' or 'last'"),
        ("gne", {"width": 0}, "width"),
        ("gne", {"sampler": "zipf"}, "sampler"),
        ("gne", {"expression_weight": -1}, "expression_weight"),
        ("gne", {"lr": 0}, "lr"),
    ],
)
def test_senseless_parameters_are_refused(task, name, bad, message):
    with pytest.raises(ArgumentError, match=message):
        methods.get(name)(task, **bad)


@pytest.mark.slow
@pytest.mark.internet
@pytest.mark.parametrize(
    ("name", "params", "auroc", "auprc"),
    [
        ("genelink", {"epochs": 6}, 0.84, 0.69),  # as good as after the default 20, of which each takes ten seconds
        ("gnnlink", {}, 0.82, 0.75),
    ],
)
def test_published_numbers_of_hhep(name, params, auroc, auprc):
    """Within what two papers differ by on the same method and data (0.05)."""
    adata, split = sg.datasets.beeline("hHEP"), sg.datasets.beeline_split("hHEP")
    prior = PriorNetwork.from_any(adata.uns["ground_truth"], adata.var_names)
    scores = methods.get(name)(make_task(adata, prior=prior, split=split, seed=0), **params)
    found = sg.bm.evaluate(scores, split)
    assert found.auroc == pytest.approx(auroc, abs=0.05)
    assert found.auprc == pytest.approx(auprc, abs=0.12)
