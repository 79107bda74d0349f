from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch

from scgrn_tl import settings
from scgrn_tl.models.favor import FavorAttention, FavorStream, blocks, favor_performer
from scgrn_tl.models.seeding import seeded_rng
from scgrn_tl.models.threads import SMALL_WORK, threads_for

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import performer_pytorch.performer_pytorch as performer_module


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64, scale: float = 1.0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype) * scale


def attention_layer(dim_head: int = 8, n_features: int | None = None, seed: int = 0) -> FavorAttention:
    with seeded_rng(seed):
        return FavorAttention(dim_head, n_features).double()


def literal_features(x: np.ndarray, projection: np.ndarray, stabilizer: float) -> np.ndarray:
    """φ of one vector, as model.md §2 writes it."""
    m, d = projection.shape
    return (np.exp(projection @ x * d**-0.25 - (x @ x) * d**-0.5 / 2 - stabilizer) + 1e-4) / math.sqrt(m)


def literal_attention(q: np.ndarray, k: np.ndarray, projection: np.ndarray) -> np.ndarray:
    """The T×T attention matrix of every head of one cell, ``(H, T, T)``, row by row from the equations."""
    d = projection.shape[1]
    key_stabilizer = max((projection @ x * d**-0.25).max() for head in k for x in head)
    matrices = []
    for q_head, k_head in zip(q, k, strict=True):
        key_features = np.array([literal_features(x, projection, key_stabilizer) for x in k_head])
        rows = []
        for x in q_head:
            products = key_features @ literal_features(x, projection, (projection @ x * d**-0.25).max())
            rows.append(products / products.sum())
        matrices.append(rows)
    return np.array(matrices)


def stream_through(
    attention: FavorAttention, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, size: int, n_kept: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    room = None if n_kept is None else q.new_empty(math.prod(k.shape[:2]) * len(attention.projection_matrix) * n_kept)
    stream = FavorStream(attention.projection_matrix, block_size=max(1, size // 3), room=room)
    for genes in blocks(k.shape[-2], size):
        stream.add_keys(k[..., genes, :], v[..., genes, :])
    out = torch.cat([stream.attend(q[..., genes, :]) for genes in blocks(q.shape[-2], size)], dim=-2)
    return out, stream.attention_sums(lambda genes: k[..., genes, :])


@pytest.mark.parametrize("scale", [0.3, 3.0])
@pytest.mark.parametrize("size", [1, 4, 100])
@pytest.mark.parametrize("n_kept", [None, 0, 5, 11])
def test_stream_equals_the_equations(scale: float, size: int, n_kept: int | None) -> None:
    attention = attention_layer()
    q, k, v = (draw(2, 3, 11, 8, seed=seed, scale=scale) for seed in range(3))
    out, sums = stream_through(attention, q, k, v, size, n_kept)
    for cell in range(2):
        expected = literal_attention(q[cell].numpy(), k[cell].numpy(), attention.projection_matrix.numpy())
        np.testing.assert_allclose(out[cell].numpy(), expected @ v[cell].numpy(), atol=1e-10)
        np.testing.assert_allclose(sums[cell].numpy(), expected.sum(axis=1), atol=1e-10)


def test_forward_with_and_without_gradients_equals_the_equations() -> None:
    attention = attention_layer()
    q, k, v = (draw(1, 2, 9, 8, seed=seed) for seed in range(3))
    expected = literal_attention(q[0].numpy(), k[0].numpy(), attention.projection_matrix.numpy()) @ v[0].numpy()
    np.testing.assert_allclose(attention(q, k, v)[0].numpy(), expected, atol=1e-10)
    with torch.no_grad():
        np.testing.assert_allclose(attention(q, k, v)[0].numpy(), expected, atol=1e-10)


def test_sums_of_every_layer_and_head_are_the_number_of_genes() -> None:
    q, k, v = (draw(3, 4, 700, 8, seed=seed) for seed in range(3))
    _, sums = stream_through(attention_layer(), q, k, v, 64)
    assert sums.shape == (3, 4, 700)
    np.testing.assert_allclose(sums.sum(dim=-1).numpy(), 700, rtol=1e-12)
    assert (sums > 0).all()


def test_blocks_do_not_change_the_result_when_the_running_maximum_grows() -> None:
    attention = attention_layer()
    q, k, v = (draw(2, 2, 50, 8, seed=seed) for seed in range(3))
    k = k * torch.linspace(0.01, 8, 50)[:, None]  # the largest exponents come last: every block rescales
    whole, whole_sums = stream_through(attention, q, k, v, 50)
    for size, n_kept in ((1, None), (7, 0), (7, 20), (32, 50)):
        out, sums = stream_through(attention, q, k, v, size, n_kept)
        np.testing.assert_allclose(out.numpy(), whole.numpy(), atol=1e-10)
        np.testing.assert_allclose(sums.numpy(), whole_sums.numpy(), atol=1e-10)


def test_equals_performer_pytorch_where_its_key_maximum_is_the_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    original = performer_module.softmax_kernel

    def per_cell_maximum(data, *, projection_matrix, is_query, **kwargs):
        if is_query:
            return original(data, projection_matrix=projection_matrix, is_query=True, **kwargs)
        d, m = data.shape[-1], len(projection_matrix)
        dash = torch.einsum("bhid,jd->bhij", d**-0.25 * data, projection_matrix)
        norm = (data**2).sum(-1, keepdim=True) / 2 * d**-0.5
        return m**-0.5 * (torch.exp(dash - norm - torch.amax(dash, dim=(1, 2, 3), keepdim=True)) + 1e-4)

    shape = {"dim": 40, "depth": 3, "heads": 4, "dim_head": 16}
    with seeded_rng(1):
        ours = favor_performer(**shape)
        theirs = performer_module.Performer(**shape, qkv_bias=False, attn_out_bias=True, auto_check_redraw=False)
    del theirs.proj_updater
    theirs.load_state_dict(ours.state_dict())
    x = draw(2, 60, 40, dtype=torch.float32)
    with torch.no_grad():
        ours_out = ours(x)
        per_head = theirs(x)
        monkeypatch.setattr(performer_module, "softmax_kernel", per_cell_maximum)
        per_cell = theirs(x)
    assert (ours_out - per_cell).abs().max() < 1e-4
    assert (per_head - per_cell).abs().max() > 1e-4  # the maximum does matter


def test_gradients_are_those_of_finite_differences() -> None:
    attention = attention_layer(dim_head=3, n_features=5)
    q, k, v = (draw(1, 2, 4, 3, seed=seed).requires_grad_() for seed in range(3))
    # The stabilisers are constants to autograd, as in performer-pytorch: only values can be checked by differences.
    assert torch.autograd.gradcheck(lambda v: attention(q, k, v), v)
    attention(q, k, v).square().sum().backward()
    assert all(t.grad is not None and t.grad.isfinite().all() and t.grad.abs().sum() > 0 for t in (q, k, v))


def test_seeded_rng_isolates_the_global_state() -> None:
    before = torch.get_rng_state()
    with seeded_rng(3):
        first = torch.rand(4)
    assert torch.equal(torch.get_rng_state(), before)

    def fail() -> None:
        with seeded_rng(3):
            assert torch.equal(torch.rand(4), first)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert torch.equal(torch.get_rng_state(), before)
    with seeded_rng(4):
        assert not torch.equal(torch.rand(4), first)


def test_seeded_rng_draws_what_manual_seed_would() -> None:
    expected = torch.rand(5, generator=torch.Generator().manual_seed(2**62 + 1))
    with seeded_rng(2**62 + 1):
        assert torch.equal(torch.rand(5), expected)


def test_small_work_takes_one_thread_and_puts_the_number_back():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with threads_for(SMALL_WORK):
            assert torch.get_num_threads() == 1
        with pytest.raises(RuntimeError), threads_for(1):  # noqa: PT012
            assert torch.get_num_threads() == 1
            raise RuntimeError
        assert torch.get_num_threads() == 2
        with threads_for(SMALL_WORK + 1):
            assert torch.get_num_threads() == 2
        with settings.override(n_threads=3):
            with threads_for(SMALL_WORK):
                assert torch.get_num_threads() == 1
            with threads_for(SMALL_WORK + 1):
                assert torch.get_num_threads() == 3
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
