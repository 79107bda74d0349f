from __future__ import annotations

import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pytest
import torch

from scgrn_tl.core.errors import ArgumentError
from scgrn_tl.models import Encoding, ScBERT, ScBERTConfig, favor
from scgrn_tl.models.seeding import seeded_rng

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import performer_pytorch.performer_pytorch as performer_module

SMALL = ScBERTConfig(n_genes=60, dim=24, depth=3, heads=4, dim_head=16)


@pytest.fixture
def model() -> ScBERT:
    return ScBERT(SMALL).initialize(torch.Generator().manual_seed(0)).eval()


def draw_tokens(n_cells: int, n_genes: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 6, (n_cells, n_genes), generator=torch.Generator().manual_seed(seed))


def layer_norm(x: np.ndarray, norm: torch.nn.LayerNorm) -> np.ndarray:
    centred = x - x.mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + norm.eps)
    return scaled * norm.weight.detach().numpy() + norm.bias.detach().numpy()


def linear(x: np.ndarray, module: torch.nn.Linear) -> np.ndarray:
    out = x @ module.weight.detach().numpy().T
    return out if module.bias is None else out + module.bias.detach().numpy()


def literal_encoder(model: ScBERT, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One cell in float64, from the equations of model.md §2–3, forming every attention matrix."""
    c = model.config
    x = model.token_emb.weight.detach().numpy()[np.append(tokens, 0)] + model.pos_emb.emb.weight.detach().numpy()
    sums = []
    for attend, feed_forward in model.performer.net.layers:
        normed = layer_norm(x, attend.norm)
        omega = attend.fn.fast_attention.projection_matrix.numpy()
        scale = c.dim_head**-0.25
        q, k, v = (
            linear(normed, module).reshape(-1, c.heads, c.dim_head).transpose(1, 0, 2)
            for module in (attend.fn.to_q, attend.fn.to_k, attend.fn.to_v)
        )
        q_dash, k_dash = q @ omega.T * scale, k @ omega.T * scale
        q_norm, k_norm = ((y**2).sum(-1, keepdims=True) / 2 * scale**2 for y in (q, k))
        q_features = (np.exp(q_dash - q_norm - q_dash.max(-1, keepdims=True)) + 1e-4) / np.sqrt(len(omega))
        k_features = (np.exp(k_dash - k_norm - k_dash.max()) + 1e-4) / np.sqrt(len(omega))
        matrix = q_features @ k_features.transpose(0, 2, 1)  # (H, T, T)
        matrix /= matrix.sum(axis=-1, keepdims=True)
        sums.append(matrix.sum(axis=1))
        x = x + linear((matrix @ v).transpose(1, 0, 2).reshape(len(x), -1), attend.fn.to_out)
        inner = torch.from_numpy(linear(layer_norm(x, feed_forward.norm), feed_forward.fn.fn.w1))
        x = x + linear(torch.nn.functional.gelu(inner).numpy(), feed_forward.fn.fn.w2)
    attention = np.mean(sums, axis=(0, 1))[:-1]
    return layer_norm(x, model.norm)[:-1], attention / attention.sum()


@pytest.mark.parametrize("block_size", [1, 7, 50, 100_000])
@pytest.mark.parametrize("kept_bytes", [0, 30_000, 2**28])  # none of the keys' features, some, and all
def test_encode_equals_the_equations(
    model: ScBERT, block_size: int, kept_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scgrn_tl.models.scbert.KEPT_BYTES", kept_bytes)
    model = model.double()
    tokens = draw_tokens(3, SMALL.n_genes)
    hidden, attention = model.encode(tokens, block_size=block_size)
    for cell in range(3):
        expected_hidden, expected_attention = literal_encoder(model, tokens[cell].numpy())
        np.testing.assert_allclose(hidden[cell].numpy(), expected_hidden, atol=1e-9)
        np.testing.assert_allclose(attention[cell].numpy(), expected_attention, atol=1e-9)


def test_equals_performer_lm_with_the_same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def per_cell_maximum(data, *, projection_matrix, is_query, normalize_data=True, eps=1e-4, device=None):
        d, m = data.shape[-1], len(projection_matrix)
        dash = torch.einsum("bhid,jd->bhij", d**-0.25 * data, projection_matrix)
        norm = (data**2).sum(-1, keepdim=True) / 2 * d**-0.5
        maximum = torch.amax(dash, dim=-1 if is_query else (1, 2, 3), keepdim=True)
        return m**-0.5 * (torch.exp(dash - norm - maximum) + eps)

    config = ScBERTConfig(n_genes=300)  # the published widths, fewer genes
    ours = ScBERT(config)
    theirs = performer_module.PerformerLM(
        num_tokens=7,
        max_seq_len=301,
        dim=200,
        depth=6,
        heads=10,
        rotary_position_emb=False,
        attn_out_bias=True,
        auto_check_redraw=False,
    ).eval()
    del theirs.performer.proj_updater
    theirs.load_state_dict(ours.state_dict())
    tokens = draw_tokens(2, 300)
    monkeypatch.setattr(performer_module, "softmax_kernel", per_cell_maximum)
    with torch.no_grad():
        padded = torch.nn.functional.pad(tokens, (0, 1))
        expected = theirs(padded, return_encodings=True)[:, :-1]
        expected_logits = theirs(padded)[:, :-1]
        assert (ours.logits(tokens) - expected_logits).abs().max() < 1e-4
    assert (ours.encode(tokens).hidden - expected).abs().max() < 1e-4
    assert (ours.hidden(tokens) - expected).abs().max() < 1e-4


def test_encoding_has_the_documented_form(model: ScBERT) -> None:
    encoding = model.encode(draw_tokens(2, SMALL.n_genes))
    assert isinstance(encoding, Encoding)
    assert encoding.hidden.shape == (2, 60, 24)
    assert encoding.attention.shape == (2, 60)
    assert not encoding.hidden.requires_grad
    assert (encoding.attention > 0).all()
    np.testing.assert_allclose(encoding.attention.sum(dim=1).numpy(), 1, rtol=1e-5)


def test_does_not_depend_on_batch_or_order(model: ScBERT) -> None:
    tokens = draw_tokens(9, SMALL.n_genes)
    tokens[0] = 5  # cells that differ much, so that a stabiliser shared between cells would show
    tokens[1] = 0
    hidden, attention = model.encode(tokens)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    shuffled = model.encode(tokens[order])
    assert (shuffled.hidden - hidden[order]).abs().max() < 1e-5
    assert (shuffled.attention - attention[order]).abs().max() < 1e-7
    for cell in range(9):
        alone = model.encode(tokens[[cell]])
        assert (alone.hidden[0] - hidden[cell]).abs().max() < 1e-5
        assert (alone.attention[0] - attention[cell]).abs().max() < 1e-7
    with torch.no_grad():
        assert (model.hidden(tokens)[3] - model.hidden(tokens[[3]])[0]).abs().max() < 1e-5


def test_positions_choose_the_gene_vectors(model: ScBERT) -> None:
    positions = torch.tensor([3, 10, 11, 40])
    tokens = draw_tokens(2, 4)
    small = ScBERT(ScBERTConfig(n_genes=4, dim=24, depth=3, heads=4, dim_head=16))
    state = model.state_dict()
    state["pos_emb.emb.weight"] = state["pos_emb.emb.weight"][[3, 10, 11, 40, 60]]
    small.load_state_dict(state)
    for ours, expected in zip(model.encode(tokens, positions), small.encode(tokens), strict=True):
        torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(model.hidden(tokens, positions), small.hidden(tokens))


def test_encode_is_bit_identical_when_repeated_and_leaves_the_model(model: ScBERT) -> None:
    tokens = draw_tokens(3, SMALL.n_genes)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    first, second = model.encode(tokens), model.train().encode(tokens)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_logits_train(model: ScBERT) -> None:
    model.train()
    tokens = draw_tokens(4, SMALL.n_genes)
    projection = model.performer.net.layers[0][0].fn.fast_attention.projection_matrix.clone()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(15):
        loss = torch.nn.functional.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten())
        optimizer.zero_grad()
        loss.backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    assert torch.equal(model.performer.net.layers[0][0].fn.fast_attention.projection_matrix, projection)


def test_bfloat16_autocast_keeps_attention_in_full_precision(model: ScBERT) -> None:
    tokens = draw_tokens(2, SMALL.n_genes)
    expected = model.encode(tokens)
    with torch.autocast("cpu", torch.bfloat16):
        encoding = model.encode(tokens)
        trained = model.hidden(tokens)
    assert encoding.hidden.dtype == torch.float32
    assert (encoding.hidden - expected.hidden).abs().max() < 0.1
    assert (trained - expected.hidden).abs().max() < 0.1
    np.testing.assert_allclose(encoding.attention.numpy(), expected.attention.numpy(), rtol=0.02)


def test_initialize_is_reproducible_and_isolated() -> None:
    before = torch.get_rng_state()
    one, two, other = (ScBERT(SMALL).initialize(torch.Generator().manual_seed(seed)).state_dict() for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[name], two[name]) for name in one)
    drawn = [name for name in one if "norm" not in name and not torch.equal(one[name], other[name])]
    assert len(drawn) == len([name for name in one if "norm" not in name])
    with seeded_rng(99):
        assert all(
            torch.equal(a, b)
            for a, b in zip(ScBERT(SMALL).state_dict().values(), ScBERT(SMALL).state_dict().values(), strict=True)
        )


def test_initialize_draws_what_the_modules_document(model: ScBERT) -> None:
    attend, _ = model.performer.net.layers[0]
    bound = SMALL.dim**-0.5  # PyTorch's default for linear layers
    assert attend.fn.to_q.weight.abs().max() <= bound
    assert attend.fn.to_q.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)
    assert (model.norm.weight == 1).all()
    block = attend.fn.fast_attention.projection_matrix[: SMALL.dim_head]
    directions = block / block.norm(dim=1, keepdim=True)
    torch.testing.assert_close(directions @ directions.T, torch.eye(SMALL.dim_head), atol=1e-5, rtol=0)
    assert (model.pos_emb.emb.weight[-1] == 0).all()


def test_initialize_takes_gene_vectors() -> None:
    vectors = torch.randn(60, 24, generator=torch.Generator().manual_seed(1))
    model = ScBERT(SMALL).initialize(torch.Generator().manual_seed(0), vectors)
    assert torch.equal(model.gene_vectors, vectors)
    assert (model.pos_emb.emb.weight[-1] == 0).all()
    with pytest.raises(ArgumentError, match=r"\(59, 24\); expected \(60, 24\)"):
        model.initialize(torch.Generator(), vectors[:-1])


@pytest.mark.parametrize(
    ("tokens", "positions", "match"),
    [
        (torch.zeros(2, 60), None, "int64"),
        (torch.zeros(60, dtype=torch.int64), None, "int64"),
        (torch.zeros(2, 59, dtype=torch.int64), None, "59 columns.*60 genes"),
        (torch.full((2, 60), 7), None, "7 to 7; expected 0…6"),
        (torch.full((2, 60), -1), None, "-1"),
        (torch.zeros(2, 3, dtype=torch.int64), torch.tensor([0, 1]), "3 columns.*positions for 2"),
        (torch.zeros(2, 2, dtype=torch.int64), torch.tensor([0, 60]), "0 to 60; expected 0…59"),
        (torch.zeros(2, 2, dtype=torch.int64), torch.tensor([0.0, 1.0]), "positions should be int64"),
        (torch.zeros(2, 0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), "int64"),
    ],
)
def test_refuses_tokens_that_do_not_fit(
    model: ScBERT, tokens: torch.Tensor, positions: torch.Tensor | None, match: str
) -> None:
    for call in (model.encode, model.hidden):
        with pytest.raises(ArgumentError, match=match):
            call(tokens, positions)


@pytest.mark.parametrize("wrong", [{"n_genes": 0}, {"depth": 1.5}, {"heads": 7}, {"n_features": -1}, {"dim": True}])
def test_refuses_shapes_that_cannot_be(wrong: dict[str, object]) -> None:
    with pytest.raises(ArgumentError, match=next(iter(wrong))):
        ScBERTConfig(**{"n_genes": 10, **wrong})


def test_published_size_and_repr() -> None:
    model = ScBERT(ScBERTConfig(n_genes=10))
    config = repr(model)
    assert model.n_parameters == sum(p.numel() for p in model.parameters())
    assert "10 genes, 6 layers × 10 heads, 200 wide" in config
    assert model.performer.net.layers[0][0].fn.fast_attention.projection_matrix.shape == (266, 64)
    assert isinstance(model.performer.net.layers[0][0].fn.fast_attention, favor.FavorAttention)


def test_no_cells() -> None:
    model = ScBERT(SMALL)
    hidden, attention = model.encode(torch.zeros(0, 60, dtype=torch.int64))
    assert hidden.shape == (0, 60, 24)
    assert attention.shape == (0, 60)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read from ru_maxrss in KiB")
def test_peak_memory_of_long_sequences_is_below_2_gb() -> None:
    script = """
        import resource, torch
        from scgrn_tl.models import ScBERT, ScBERTConfig
        model = ScBERT(ScBERTConfig(n_genes=16_906)).eval()
        tokens = torch.randint(0, 6, (4, 15_000), generator=torch.Generator().manual_seed(0))
        hidden, attention = model.encode(tokens, torch.arange(15_000))
        assert hidden.isfinite().all() and attention.isfinite().all()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 2
