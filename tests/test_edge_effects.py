"""Attention of the fitted graph network, and what leaving an edge out does, against the equations."""

import math

import numpy as np
import pytest
import torch

import scgrn_tl as sg
from scgrn_tl.core import ArgumentError, MissingKeyError, PriorNetwork
from scgrn_tl.models import PriorGNN, RelationalGraph, prior_gnn, prior_graph, seeded_rng
from scgrn_tl.models.ensemble_scores import graph_of
from scgrn_tl.models.pair_attention import PairGraph

SMALL = {"gnn_widths": (16, 8), "gnn_heads": 2, "channel_hidden": 16, "channel_width": 8, "epochs": 4}


@pytest.fixture(scope="module")
def simulated():
    adata = sg.datasets.simulated(n_cells=60, n_genes=30, n_tfs=6, mean_targets=6, rng=3)
    adata.varm["mine"] = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)
    return adata


@pytest.fixture(scope="module")
def model(simulated):
    return sg.models.ScTransNet.from_anndata(
        simulated, simulated.uns["ground_truth"], use_rep="mine", n_models=2, **SMALL
    ).fit()


def literal_alpha(layer, v, graph):
    """Eqs. 7, 9–12 of one layer, message by message, over concatenated vectors: ``(E', H)``."""
    u = torch.eye(2, dtype=v.dtype)[graph.node_type]
    f_q = torch.cat([layer.query_state.weight, layer.query_type.weight.T], dim=1)
    f_k = torch.cat([layer.key_state.weight, layer.key_type.weight.T, layer.key_relation.weight], dim=1)
    alpha = torch.zeros(len(graph.relation), layer.heads, dtype=v.dtype)
    for t in range(len(v)):
        into, gammas = [], []
        for e, (s, reader) in enumerate(graph.edge_index.T.tolist()):
            if reader != t:
                continue
            relation = torch.eye(7, dtype=v.dtype)[graph.relation[e]]
            r_st = layer.relation_mlp(torch.cat([relation, u[s], u[t]]))  # (7)
            q_s = f_q @ torch.cat([v[s], u[s]]) + layer.query_state.bias  # (9)
            k_t = f_k @ torch.cat([v[t], u[t], r_st]) + layer.key_state.bias  # (10)
            product = (q_s.view(layer.heads, -1) * k_t.view(layer.heads, -1)).sum(1)
            into.append(e)
            gammas.append(product / math.sqrt(layer.head_width))  # (11)
        alpha[into] = torch.softmax(torch.stack(gammas), dim=0)  # (12)
    return alpha


@pytest.mark.parametrize("edges_at_once", [2**17, 3], ids=["one block", "blocks"])
def test_attention_equals_the_equations(monkeypatch, edges_at_once):
    monkeypatch.setattr(prior_gnn, "_EDGES_AT_ONCE", edges_at_once)
    edges = torch.tensor([[0, 0, 1, 2, 1, 0], [3, 4, 3, 0, 5, 2]])  # 0 → 2 → 0 is mutual
    graph = RelationalGraph.from_edges(edges, torch.tensor([1, -1, 0, 1, 0, -1]), torch.tensor([1, 1, 1, 0, 0, 0, 0]))
    with seeded_rng(0), torch.no_grad():
        gnn = PriorGNN(5, widths=(8, 4), heads=2, dropout=0.5).double().eval()
        features = torch.randn(7, 5, dtype=torch.float64)
        v, expected = gnn.input(features), []
        for layer in gnn.layers:
            expected.append(literal_alpha(layer, v, graph))
            v = layer(v, graph)
    torch.testing.assert_close(gnn.layers[0].attention(gnn.input(features), graph), expected[0], atol=1e-12, rtol=0)
    found = gnn.attention(features, graph)
    torch.testing.assert_close(found, torch.stack(expected).mean((0, 2)), atol=1e-12, rtol=0)
    assert not found.requires_grad


@pytest.mark.parametrize("share", [0.0, 1.1], ids=["over all pairs", "edge by edge"])
def test_matrix_of_a_fitted_model(model, monkeypatch, share):
    monkeypatch.setattr(prior_graph, "_DENSE", share)
    inputs, prior = model._fitted()
    assert isinstance(graph_of(inputs, prior), PairGraph if share == 0 else RelationalGraph)
    found = model.attention()
    assert (found.format, found.dtype, found.shape) == ("csr", np.float32, (30, 30))
    np.testing.assert_allclose(np.asarray(found.sum(axis=0)).ravel(), 1.0, atol=1e-6)
    # entries where an edge leads one way or the other, and on the diagonal; nowhere else
    pattern = np.eye(30, dtype=bool)
    pattern[tuple(prior.edge_index)] = pattern[tuple(prior.edge_index[::-1])] = True
    np.testing.assert_array_equal(found.toarray() > 0, pattern)
    messages = RelationalGraph.from_edges(
        torch.from_numpy(prior.edge_index), torch.from_numpy(prior.sign.astype(np.int64)), inputs.node_type
    )
    expected = np.zeros((30, 30))
    with torch.no_grad():
        for member in model._members:
            gnn = member.module.gnn
            v = gnn.input(inputs.features)
            for layer in gnn.layers:
                alpha = literal_alpha(layer, v, messages).mean(1).numpy() / (2 * len(gnn.layers))
                np.add.at(expected, tuple(messages.edge_index.numpy()), alpha)
                v = layer(v, messages)
    np.testing.assert_allclose(found.toarray(), expected, atol=1e-5)


def test_a_model_without_a_graph_attends_to_nothing(simulated):
    model = sg.models.ScTransNet.from_anndata(
        simulated, simulated.uns["ground_truth"], use_rep="mine", use_gnn=False, **SMALL
    ).fit()
    assert model.attention() is None
    with pytest.raises(ArgumentError, match="has no graph"):
        model.explain(model.regulators[0], "G0010")


def test_effects_are_those_of_a_model_without_the_edge(model, tmp_path):
    """Each edge is left out of the prior of a copy of the model, and the pair is scored by the copy."""
    source, target = model.prior.genes[model.prior.edge_index[0, 0]], model.prior.genes[model.prior.edge_index[1, 0]]
    effects = model.explain(source, target, n_messages=3)
    assert (source, target) in {(effect.source, effect.target) for effect in effects}
    assert len({effect[:2] for effect in effects}) == len(effects) <= 7
    changes = [abs(effect.logit_change) for effect in effects]
    assert changes == sorted(changes, reverse=True)
    assert changes[0] > 1e-4
    model.save(tmp_path / "model")
    with_all = model.scores()
    row = int(np.flatnonzero(with_all.regulators == model.genes.index(source))[0])
    column = model.genes.index(target)
    attention = model.attention().toarray()
    for effect in effects:
        copy = sg.models.ScTransNet.load(tmp_path / "model")
        frame = copy.prior.to_frame()
        frame = frame[(frame["source"] != effect.source) | (frame["target"] != effect.target)]
        assert len(frame) == model.prior.n_edges - 1
        copy.prior = PriorNetwork.from_any(frame, copy.genes)
        without = copy.scores()
        change = without.matrix[row, column] - with_all.matrix[row, column]
        hub = without.hub[row, column] - with_all.hub[row, column]
        assert effect.logit_change == pytest.approx(float(change), abs=1e-5)
        assert effect.specificity_change == pytest.approx(float(change - hub), abs=1e-5)
        ends = [model.genes.index(effect.source), model.genes.index(effect.target)]
        for gene, given in ((source, effect.regulator_attention), (target, effect.target_attention)):
            at = model.genes.index(gene)
            other = [end for end in ends if end != at]
            assert given == pytest.approx(float(attention[other[0], at]) if at in ends else 0.0)


def test_the_strongest_messages_are_tried(model):
    source, target = model.regulators[0], model.regulators[1]
    tried = {effect[:2] for effect in model.explain(source, target, n_messages=1)}
    attention = model.attention().toarray()
    for gene in (source, target):
        at = model.genes.index(gene)
        read = attention[:, at].copy()
        read[at] = 0
        ends = {gene, model.genes[int(read.argmax())]}
        assert any(set(edge) == ends for edge in tried)


def test_what_cannot_be_explained(model):
    with pytest.raises(MissingKeyError, match="Not among the model's 6 regulators and 30 genes: NOPE"):
        model.explain("NOPE", "G0010")
    for number, words in ((0, "a whole number above 0"), (2.5, "a whole number, not 2.5"), (True, "a whole number")):
        with pytest.raises(ArgumentError, match=f"n_messages is {words}"):
            model.explain(model.regulators[0], "G0010", n_messages=number)
    with pytest.raises(ArgumentError, match="not fitted"):
        sg.models.ScTransNet().explain("a", "b")
