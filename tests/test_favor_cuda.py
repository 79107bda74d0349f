"""The fused kernels on a CUDA device, against float64 on the CPU."""

from __future__ import annotations

import pytest
import torch

from scgrn_tl.models.favor import FavorAttention, FavorStream, blocks
from scgrn_tl.models.favor_path import VARIABLE, favor_stream
from scgrn_tl.models.scbert import ScBERT, ScBERTConfig
from scgrn_tl.models.seeding import seeded_rng

pytestmark = pytest.mark.gpu
pytest.importorskip("triton")


@pytest.fixture(autouse=True)
def _kernels_or_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("needs compute capability 8.0")
    monkeypatch.setenv(VARIABLE, "triton")


def draw(*shape: int, dtype: torch.dtype = torch.float32, scale: float = 1.0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(shape, generator=generator) * scale).to(dtype) for _ in range(3)]


def omega(features: int, width: int) -> torch.Tensor:
    with seeded_rng(1):
        return FavorAttention(width, features).projection_matrix


def through(stream, q, k, v, size):
    genes = list(blocks(k.shape[2], size))
    for block in genes:
        stream.add_keys(k[:, :, block], v[:, :, block])
    out = torch.cat([stream.attend(q[:, :, block]) for block in genes], dim=2)
    return out, stream.attention_sums(lambda block: k[:, :, block])


@pytest.mark.parametrize("size", [100_000, 700])
@pytest.mark.parametrize(
    ("shape", "features", "dtype", "scale", "tolerance"),
    [
        ((2, 3, 1_501, 64), 266, torch.float32, 1.0, 1e-4),
        ((2, 3, 1_501, 64), 266, torch.float32, 8.0, 1e-3),
        ((2, 3, 1_501, 64), 266, torch.bfloat16, 1.0, 2e-2),
        ((2, 3, 1_501, 64), 266, torch.float16, 1.0, 4e-3),
        ((3, 1, 1, 16), 30, torch.float32, 1.0, 1e-4),
        ((1, 2, 900, 20), 59, torch.float32, 1.0, 1e-4),
        ((1, 2, 900, 128), 621, torch.float32, 1.0, 1e-4),
        ((1, 2, 16_907, 64), 266, torch.bfloat16, 1.0, 2e-2),
    ],
)
def test_kernels_equal_float64(shape, features, dtype, scale, tolerance, size):
    q, k, v = draw(*shape, dtype=dtype)
    q, k, projection = scale * q, scale * k, omega(features, shape[-1])
    reference, reference_sums = through(FavorStream(projection.double()), q.double(), k.double(), v.double(), 4_096)
    out, sums = through(favor_stream(projection.cuda()), q.cuda(), k.cuda(), v.cuda(), size)
    assert out.dtype == dtype
    assert (out.cpu() - reference).abs().max() < tolerance
    torch.testing.assert_close(sums.cpu().double(), reference_sums, rtol=1e-3, atol=0)
    torch.testing.assert_close(sums.sum(dim=-1).cpu(), torch.full(shape[:2], float(shape[2])), rtol=1e-4, atol=0)


def test_results_do_not_change_from_run_to_run_or_with_the_batch():
    q, k, v = (x.cuda() for x in draw(4, 10, 3_000, 64))
    projection = omega(266, 64).cuda()
    out, sums = through(favor_stream(projection), q, k, v, 100_000)
    for _ in range(5):
        again, sums_again = through(favor_stream(projection), q, k, v, 100_000)
        assert torch.equal(out, again)
        assert torch.equal(sums, sums_again)
    alone, sums_alone = through(favor_stream(projection), q[2:3], k[2:3], v[2:3], 100_000)
    torch.testing.assert_close(alone, out[2:3], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(sums_alone, sums[2:3], rtol=1e-5, atol=0)


@pytest.mark.slow
def test_cells_beyond_two_billion_values():
    distance = 2**31 + 640  # between the first value of one cell and that of the next
    if torch.cuda.mem_get_info()[0] < 3 * 2 * distance * 1.2:
        pytest.skip("needs 16 GB of free memory")
    small = [x.cuda() for x in draw(2, 1, 200, 64, dtype=torch.bfloat16)]
    far = []
    for x in small:
        room = torch.zeros(distance + x[0].numel(), dtype=x.dtype, device="cuda")
        far.append(room.as_strided(x.shape, (distance, *x.stride()[1:])))
        far[-1].copy_(x)
    projection = omega(266, 64).cuda()
    near_out, near_sums = through(favor_stream(projection), *small, 1_000)
    out, sums = through(favor_stream(projection), *far, 1_000)
    assert torch.equal(out, near_out)
    assert torch.equal(sums, near_sums)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-3), (torch.bfloat16, 0.1)])
def test_the_encoder_on_cuda_equals_float64_on_the_cpu(dtype, tolerance, monkeypatch):
    model = ScBERT(ScBERTConfig(n_genes=700, dim=40, depth=3, heads=2)).initialize(torch.Generator().manual_seed(1))
    tokens = torch.randint(6, (3, 700), generator=torch.Generator().manual_seed(2))
    with monkeypatch.context() as patch:
        patch.setenv(VARIABLE, "torch")
        hidden, attention = model.double().encode(tokens)
    with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
        encoding = model.float().cuda().encode(tokens.cuda())
    assert encoding.hidden.dtype == encoding.attention.dtype == torch.float32
    assert (encoding.hidden.cpu() - hidden).abs().max() < tolerance
    torch.testing.assert_close(encoding.attention.cpu().double(), attention, rtol=tolerance, atol=0)
