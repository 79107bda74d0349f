"""The GNN against a literal transcription of eqs. 7–13, edge by edge."""

import math

import numpy as np
import pytest
import torch

from scgrn_tl.models import PriorGNN, PriorGNNLayer, RelationalGraph, pair_attention, prior_gnn, seeded_rng
from scgrn_tl.models.pair_attention import PairGraph
from scgrn_tl.models.prior_graph import N_NODE_TYPES, N_RELATIONS, relation_of

N_GENES, IN, OUT = 7, 6, 8
EDGES = torch.tensor([[0, 0, 1, 2, 1], [3, 4, 3, 0, 5]])
SIGN = torch.tensor([1, -1, 0, 1, 0])
NODE_TYPE = torch.tensor([1, 1, 1, 0, 0, 0, 0])


@pytest.fixture
def graph():
    return RelationalGraph.from_edges(EDGES, SIGN, NODE_TYPE)


def literal(layer, v, graph):
    """Eqs. 7–13, one edge at a time, over concatenated vectors as the paper writes them."""
    heads, width = layer.heads, layer.head_width

    def one_hot(index, n):
        return torch.nn.functional.one_hot(torch.as_tensor(index), n).to(v.dtype)

    def f_m(v_s, u_s, r):  # a linear map of the concatenation, its matrix put together from the parts
        matrix = torch.cat(
            [layer.message_state.weight, layer.message_type.weight.T, layer.message_relation.weight], dim=1
        )
        return matrix @ torch.cat([v_s, u_s, r]) + layer.message_state.bias

    def f_q(v_s, u_s):
        matrix = torch.cat([layer.query_state.weight, layer.query_type.weight.T], dim=1)
        return matrix @ torch.cat([v_s, u_s]) + layer.query_state.bias

    def f_k(v_t, u_t, r):
        matrix = torch.cat([layer.key_state.weight, layer.key_type.weight.T, layer.key_relation.weight], dim=1)
        return matrix @ torch.cat([v_t, u_t, r]) + layer.key_state.bias

    out = []
    for t in range(len(v)):
        gammas, messages = [], []
        for (s, target), relation in zip(graph.edge_index.T.tolist(), graph.relation.tolist(), strict=True):
            if target != t:
                continue
            u_s, u_t = one_hot(graph.node_type[s], N_NODE_TYPES), one_hot(graph.node_type[t], N_NODE_TYPES)
            r = layer.relation_mlp(torch.cat([one_hot(relation, N_RELATIONS), u_s, u_t]))  # (7)
            messages.append(f_m(v[s], u_s, r))  # (8)
            q, k = f_q(v[s], u_s), f_k(v[t], u_t, r)  # (9, 10)
            gammas.append((q.view(heads, width) * k.view(heads, width)).sum(1) / math.sqrt(width))  # (11)
        alpha = torch.softmax(torch.stack(gammas), dim=0)  # (12), over the edges that enter t
        message = (alpha[:, :, None] * torch.stack(messages).view(-1, heads, width)).sum(0).reshape(-1)
        out.append(layer.node_mlp(message) + layer.residual(v[t]))  # (13)
    return torch.stack(out)


@pytest.mark.parametrize("widths", [(IN, OUT), (OUT, OUT)], ids=["width changes", "width stays"])
def test_layer_equals_the_equations(graph, widths):
    with seeded_rng(0):
        layer = PriorGNNLayer(*widths, heads=2).double()
        v = torch.randn(N_GENES, widths[0], dtype=torch.float64)
    torch.testing.assert_close(layer(v, graph), literal(layer, v, graph), atol=1e-10, rtol=1e-10)


def as_pairs(edges=EDGES, sign=SIGN):
    regulators = NODE_TYPE.nonzero().squeeze(1)
    return PairGraph.from_edges(
        edge_row=edges[0],
        target=edges[1],
        relation=relation_of(sign),
        regulators=regulators,
        node_type=NODE_TYPE,
    )


@pytest.mark.parametrize("sign", [SIGN, 0 * SIGN], ids=["signed", "unsigned"])
@pytest.mark.parametrize("at_once", [2**24, 6], ids=["whole", "in blocks"])
def test_masks_over_all_pairs_give_the_equations_too(monkeypatch, sign, at_once):
    monkeypatch.setattr(pair_attention, "_BLOCK_VALUES", at_once)
    graph = RelationalGraph.from_edges(EDGES, sign, NODE_TYPE)
    with seeded_rng(0):
        layer = PriorGNNLayer(IN, OUT, heads=2).double()
        v = (3 * torch.randn(N_GENES, IN, dtype=torch.float64)).requires_grad_()
    weight = torch.arange(N_GENES * OUT, dtype=torch.float64).view(N_GENES, OUT).sin()
    values, gradients = [], []
    for out in (layer(v, as_pairs(sign=sign)), literal(layer, v, graph)):
        values.append(out)
        gradients.append(torch.autograd.grad((out * weight).sum(), [v, *layer.parameters()], allow_unused=True))
    torch.testing.assert_close(*values, atol=1e-10, rtol=1e-10)
    for left, right in zip(*gradients, strict=True):
        torch.testing.assert_close(left, right, atol=1e-9, rtol=1e-9)


def test_edges_in_blocks_give_the_equations(monkeypatch, graph):
    monkeypatch.setattr(prior_gnn, "_EDGES_AT_ONCE", 3)
    with seeded_rng(0):
        layer = PriorGNNLayer(IN, OUT, heads=2).double()
        v = torch.randn(N_GENES, IN, dtype=torch.float64)
    torch.testing.assert_close(layer(v, graph), literal(layer, v, graph), atol=1e-10, rtol=1e-10)


def test_hiding_pairs_is_building_the_graph_without_them():
    hidden = torch.zeros(3, N_GENES, dtype=torch.bool)
    hidden[0, 4] = hidden[2, 0] = hidden[2, 6] = True  # the last is no edge
    kept = torch.tensor([True, False, True, False, True])
    with seeded_rng(0):
        layer = PriorGNNLayer(IN, OUT, heads=2).double()
        v = torch.randn(N_GENES, IN, dtype=torch.float64)
    expected = layer(v, RelationalGraph.from_edges(EDGES[:, kept], SIGN[kept], NODE_TYPE))
    for whole in (RelationalGraph.from_edges(EDGES, SIGN, NODE_TYPE), as_pairs()):
        torch.testing.assert_close(layer(v, whole.without(hidden)), expected)
        assert not torch.allclose(layer(v, whole), expected)


def test_every_relation_has_its_inverse_and_every_gene_a_loop(graph):
    relations = graph.relation.tolist()
    edges = {(s, t, r) for (s, t), r in zip(graph.edge_index.T.tolist(), relations, strict=True)}
    relation_of_sign = {1: 0, -1: 1, 0: 2}
    for (s, t), sign in zip(EDGES.T.tolist(), SIGN.tolist(), strict=True):
        assert (s, t, relation_of_sign[sign]) in edges
        assert (t, s, relation_of_sign[sign] + 3) in edges
    assert {(g, g, 6) for g in range(N_GENES)} <= edges
    assert len(edges) == 2 * EDGES.shape[1] + N_GENES


def test_a_gene_without_edges_hears_only_itself(graph):
    with seeded_rng(0):
        gnn = PriorGNN(IN, widths=(OUT, OUT), heads=2).eval()
        features = torch.randn(N_GENES, IN)
    changed = features.clone()
    changed[:6] += 1
    before, after = gnn(features, graph), gnn(changed, graph)
    assert torch.equal(before[6], after[6])  # gene 6 stands in no edge
    assert not torch.allclose(before[3], after[3])


def test_sign_and_direction_matter(graph):
    with seeded_rng(0):
        layer = PriorGNNLayer(IN, OUT, heads=2)
        v = torch.randn(N_GENES, IN)
    flipped = layer(v, RelationalGraph.from_edges(EDGES, -SIGN, NODE_TYPE))
    turned = layer(v, RelationalGraph.from_edges(EDGES.flip(0), SIGN, NODE_TYPE))
    assert not torch.allclose(layer(v, graph), flipped)
    assert not torch.allclose(layer(v, graph), turned)


def test_gene_order_does_not_matter(graph):
    with seeded_rng(0):
        gnn = PriorGNN(IN, widths=(OUT, OUT), heads=2).eval().double()
        features = torch.randn(N_GENES, IN, dtype=torch.float64)
    order = torch.from_numpy(np.random.default_rng(0).permutation(N_GENES))
    place = torch.argsort(order)
    shuffled = RelationalGraph.from_edges(place[EDGES], SIGN, NODE_TYPE[order])
    torch.testing.assert_close(gnn(features[order], shuffled), gnn(features, graph)[order])


def test_heads_have_to_divide_the_width():
    with pytest.raises(ValueError, match="cannot be divided between 3 heads"):
        PriorGNNLayer(IN, OUT, heads=3)
