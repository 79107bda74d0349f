"""The fused kernels: in Triton's interpreter against float64 and the equations, and through its compiler."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest
import torch
from packaging.version import Version

from scgrn_tl.core import ArgumentError
from scgrn_tl.models import favor_path
from scgrn_tl.models.favor import FavorAttention, FavorStream
from scgrn_tl.models.favor_path import favor_stream
from scgrn_tl.models.seeding import seeded_rng

if TYPE_CHECKING:
    from pathlib import Path

needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs triton")


def interpreter_works() -> bool:
    if importlib.util.find_spec("triton") is None:
        return False
    return Version(version("triton")) >= Version("3.7") or Version(np.__version__) < Version("2.4")


needs_interpreter = pytest.mark.skipif(
    not interpreter_works(), reason="needs triton, whose interpreter before 3.7 fails with numpy from 2.4 on"
)


class Case(NamedTuple):
    cells: int = 2
    heads: int = 2
    genes: int = 70
    width: int = 16
    features: int = 40
    dtype: torch.dtype = torch.float32
    scale: float = 1.0
    block: int = 10_000
    growing: bool = False
    tolerance: float = 2e-5


CASES = {
    "small": Case(),
    "published size": Case(cells=1, width=64, features=266),
    "three heads, one tile of features": Case(heads=3, features=30),
    "one gene": Case(cells=1, genes=1),
    "one feature tile and a head of no power of two": Case(width=20, features=16),
    # a query's largest exponent is often below the zeros that fill up the tile
    "two features": Case(features=2, scale=2.0),
    "wide heads": Case(cells=1, heads=1, width=128, features=40),
    "two splits": Case(cells=1, heads=1, genes=1_100, features=16),
    "blocks whose largest exponents come last": Case(block=33, growing=True),
    "ε decides": Case(scale=8.0),
    # exponents of thousands: float32 holds them to a few 10⁻⁴
    "enormous": Case(scale=80.0, tolerance=5e-3),
    "tiny": Case(cells=1, scale=1e-4),
    "bfloat16": Case(cells=1, width=64, features=266, dtype=torch.bfloat16, tolerance=1.5e-2),
    "float16": Case(cells=1, width=32, dtype=torch.float16, tolerance=2e-3),
}

# Uninitialised memory is filled with NaN: a kernel that leaves out or reads beyond anything cannot pass.
INTERPRET = """
import sys, torch
from scgrn_tl.models.favor import blocks
from scgrn_tl.models.favor_triton import INTERPRETED, FusedFavorStream
assert INTERPRETED
torch.use_deterministic_algorithms(True)

def through(case):
    stream = FusedFavorStream(case["projection"])
    q, k, v = (case[name] for name in "qkv")
    genes = list(blocks(k.shape[2], case["block"]))
    for block in genes:
        stream.add_keys(k[:, :, block], v[:, :, block])
    out = torch.cat([stream.attend(q[:, :, block]) for block in genes], dim=2)
    return out, stream.attention_sums(lambda block: k[:, :, block])

cases = torch.load(sys.argv[1])
results = {name: through(case) for name, case in cases.items()}
assert all(map(torch.equal, results["small"], through(cases["small"])))
torch.save(results, sys.argv[2])
"""

# A driver that has no device, and launches that compile only.
COMPILE = """
import sys, torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction
from scgrn_tl.models.favor_triton import FusedFavorStream

class NoDevice:
    def get_current_target(self):
        return GPUTarget("cuda", int(sys.argv[1]), 32)
    def get_current_device(self):
        return 0
    def get_current_stream(self, device):
        return 0

compiled = []
driver.set_active(NoDevice())
JITFunction.__getitem__ = lambda self, grid: lambda *args, **options: compiled.append(
    self.run(*args, grid=grid, warmup=True, **options)
)
dtype, width, features, genes = getattr(torch, sys.argv[2]), *map(int, sys.argv[3:])
stream = FusedFavorStream(torch.zeros(features, width))
q, k, v = (torch.zeros(2, genes, 3, width, dtype=dtype).transpose(1, 2) for _ in range(3))
stream.add_keys(k, v), stream.attend(q), stream.attention_sums(lambda _: k)
for kernel in compiled:
    print(kernel.metadata.name, kernel.metadata.shared, len(kernel.asm["cubin"]))
"""


def in_python(code: str, *arguments: str | Path, **environment: str) -> str:
    inherited = {name: value for name, value in os.environ.items() if name not in {"TRITON_INTERPRET"}}
    run = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=inherited | {"OMP_NUM_THREADS": "1"} | environment,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return run.stdout


def inputs(case: Case) -> dict[str, torch.Tensor | int]:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (
        torch.randn(case.cells, case.genes, case.heads, case.width, generator=generator).transpose(1, 2)
        for _ in range(3)
    )
    if case.growing:
        k = k * torch.linspace(0.01, 4, case.genes)[:, None]
    with seeded_rng(1):
        projection = FavorAttention(case.width, case.features).projection_matrix
    q, k = case.scale * q, case.scale * k
    # values that lie with genes last, which the kernels cannot read in place
    v = v.mT.contiguous().mT if case.dtype == torch.float32 else v
    return {"projection": projection, "block": case.block} | {
        name: x.to(case.dtype) for name, x in zip("qkv", (q, k, v), strict=True)
    }


def literal_attention(q: torch.Tensor, k: torch.Tensor, projection: torch.Tensor) -> np.ndarray:
    """The attention matrices ``(B, H, T, T)`` from the equations of model.md §2, in float64."""
    omega = projection.double().numpy()
    d = omega.shape[1]
    matrices = np.empty((*q.shape[:3], k.shape[2]))
    for cell in range(len(q)):
        queries, keys = (x[cell].double().numpy() for x in (q, k))
        key_maximum = max((omega @ keys[h].T * d**-0.25).max() for h in range(len(keys)))
        for h in range(len(keys)):
            dash_q, dash_k = queries[h] @ omega.T * d**-0.25, keys[h] @ omega.T * d**-0.25
            norm_q, norm_k = ((x[h] ** 2).sum(axis=1, keepdims=True) * d**-0.5 / 2 for x in (queries, keys))
            phi_q = np.exp(dash_q - norm_q - dash_q.max(axis=1, keepdims=True)) + 1e-4
            phi_k = np.exp(dash_k - norm_k - key_maximum) + 1e-4
            products = phi_q @ phi_k.T
            matrices[cell, h] = products / products.sum(axis=1, keepdims=True)
    return matrices


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    folder = tmp_path_factory.mktemp("interpreted")
    torch.save({name: inputs(case) for name, case in CASES.items()}, folder / "in.pt")
    in_python(INTERPRET, folder / "in.pt", folder / "out.pt", TRITON_INTERPRET="1")
    return torch.load(folder / "out.pt")


@needs_interpreter
@pytest.mark.parametrize("name", CASES)
def test_kernels_equal_float64_and_the_equations(
    name: str, interpreted: dict[str, tuple[torch.Tensor, torch.Tensor]]
) -> None:
    case, given = CASES[name], inputs(CASES[name])
    q, k, v = (given[x] for x in "qkv")
    out, sums = interpreted[name]
    assert out.dtype == case.dtype
    assert sums.dtype == torch.float32

    attention = FavorAttention(case.width, case.features).double()
    attention.projection_matrix.copy_(given["projection"])
    whole = attention._attend_whole(q.double(), k.double(), v.double())
    matrices = literal_attention(q, k, given["projection"])
    np.testing.assert_allclose(whole.numpy(), matrices @ v.double().numpy(), atol=1e-9)  # the references agree
    np.testing.assert_allclose(out.double().numpy(), whole.numpy(), atol=case.tolerance)
    # column sums are float32 whatever the inputs are
    np.testing.assert_allclose(sums.numpy(), matrices.sum(axis=2), rtol=max(2e-5, case.tolerance * (case.scale > 50)))
    np.testing.assert_allclose(sums.sum(dim=-1).numpy(), case.genes, rtol=1e-5)


@needs_triton
@pytest.mark.parametrize(
    ("capability", "dtype", "width", "features", "genes"),
    [
        (80, "bfloat16", 16, 16, 70),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [
                (80, "float32", 64, 266, 1_001),
                (80, "bfloat16", 64, 266, 1_001),
                (80, "float16", 64, 266, 16_907),
                (80, "float32", 128, 621, 1),
                (86, "float32", 20, 59, 1_024),
                (90, "float32", 64, 266, 1_001),
                (90, "bfloat16", 64, 266, 16_907),
                (90, "float16", 128, 621, 1_001),
            ]
        ),
    ],
)
def test_kernels_compile_without_a_device(
    capability: int, dtype: str, width: int, features: int, genes: int, tmp_path: Path
) -> None:
    lines = in_python(COMPILE, *map(str, (capability, dtype, width, features, genes)), TRITON_CACHE_DIR=str(tmp_path))
    kernels = [line.split() for line in lines.splitlines()]
    assert [name for name, *_ in kernels] == ["context_kernel", "read_kernel", "column_sum_kernel"]
    for _, shared, binary in kernels:
        assert int(shared) <= 99 * 1024  # what the smallest device of compute capability 8 or later has to give
        assert int(binary) > 1_000


@needs_triton
def test_wrong_inputs_are_named() -> None:
    from scgrn_tl.models.favor_triton import FusedFavorStream

    with pytest.raises(ArgumentError, match=r"float32 projection .* not torch.float64 \(30, 16\)"):
        FusedFavorStream(torch.zeros(30, 16, dtype=torch.float64))
    with pytest.raises(ArgumentError, match=r"d of at most 128, not torch.float32 \(30, 129\)"):
        FusedFavorStream(torch.zeros(30, 129))
    stream = FusedFavorStream(torch.zeros(30, 16))
    with pytest.raises(ArgumentError, match=r"\(cells, heads, genes, 16\) .* not torch.float32 \(1, 2, 5, 8\)"):
        stream.add_keys(torch.zeros(1, 2, 5, 8), torch.zeros(1, 2, 5, 8))
    with pytest.raises(ArgumentError, match=r"not torch.float64"):
        stream.add_keys(torch.zeros(1, 2, 5, 16, dtype=torch.float64), torch.zeros(1, 2, 5, 16))
    with pytest.raises(ArgumentError, match=r"call attend\(\)"):
        stream.attention_sums(lambda _: torch.zeros(1, 2, 5, 16))


def test_a_cpu_computes_in_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    for choice in ("auto", "torch"):
        monkeypatch.setenv(favor_path.VARIABLE, choice)
        assert type(favor_stream(torch.zeros(30, 16))) is FavorStream
    monkeypatch.delenv(favor_path.VARIABLE)
    assert type(favor_stream(torch.zeros(30, 16, dtype=torch.float64))) is FavorStream


def test_a_choice_that_cannot_be_met_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(favor_path.VARIABLE, "flash")
    with pytest.raises(ArgumentError, match="'auto', 'torch' or 'triton', not 'flash'"):
        favor_stream(torch.zeros(30, 16))
    monkeypatch.setenv(favor_path.VARIABLE, "triton")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ArgumentError, match="Triton is not installed"):
        favor_stream(torch.zeros(30, 16))


@needs_triton
@pytest.mark.parametrize(
    ("projection", "reason"),
    [
        (torch.zeros(30, 16), "the weights are on cpu"),
        (torch.zeros(30, 16, dtype=torch.float64), "weights are torch.float64"),
        (torch.zeros(30, 130), "heads are 130 wide"),
    ],
)
def test_forced_kernels_say_why_they_cannot_run(
    projection: torch.Tensor, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(favor_path.VARIABLE, "triton")
    with pytest.raises(ArgumentError, match=f"SCGRN_TL_ATTENTION=triton, but {reason}"):
        favor_stream(projection)


@needs_triton
@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (RuntimeError("no C compiler"), "do not run on cpu: RuntimeError: no C compiler"),
        (0.5, "off by 0.5 on cpu in torch.float32"),
        (float("nan"), "off by nan on cpu"),
        (1e-6, None),
    ],
)
def test_kernels_that_fail_their_check_are_left_alone(
    outcome: float | Exception, said: str | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def check(*_: object) -> float:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(favor_path, "_largest_difference", check)
    favor_path._why_check_failed.cache_clear()
    reason = favor_path._why_check_failed(torch.device("cpu"), 30, 16, torch.float32)
    favor_path._why_check_failed.cache_clear()
    assert reason is None if said is None else said in reason
    assert (caplog.text == "") == (said is None)


@needs_interpreter
@pytest.mark.slow
def test_the_check_on_first_use_passes_in_the_interpreter() -> None:
    code = """
import torch
from scgrn_tl.models.favor_path import TOLERANCE, _largest_difference
for dtype, tolerance in TOLERANCE.items():
    print(_largest_difference(torch.device("cpu"), 16, 16, dtype) < tolerance / 2)
"""
    assert in_python(code, TRITON_INTERPRET="1").split() == ["True"] * 3


@needs_interpreter
@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_the_encoder_in_the_interpreter_equals_the_one_in_torch(dtype: str) -> None:
    code = """
import os, sys, torch
from scgrn_tl.models.favor_triton import FusedFavorStream
from scgrn_tl.models.scbert import ScBERT, ScBERTConfig
calls = []
attend = FusedFavorStream.attend
FusedFavorStream.attend = lambda self, q: calls.append(q.dtype) or attend(self, q)
model = ScBERT(ScBERTConfig(n_genes=60, dim=16, depth=2, heads=2, dim_head=16))
tokens = torch.randint(6, (2, 60), generator=torch.Generator().manual_seed(1))
dtype = getattr(torch, sys.argv[1])
with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
    expected = model.encode(tokens)
    assert not calls
    os.environ["SCGRN_TL_ATTENTION"] = "triton"
    found = model.encode(tokens, block_size=50)
assert calls == [dtype] * 4  # two cells one after the other, two layers
assert found.hidden.dtype == found.attention.dtype == torch.float32
print(float((found.hidden - expected.hidden).abs().max()))
print(float((found.attention / expected.attention - 1).abs().max()))
"""
    largest, relative = map(float, in_python(code, dtype, TRITON_INTERPRET="1").split())
    assert largest < (1e-4 if dtype == "float32" else 0.05)
    assert relative < (1e-4 if dtype == "float32" else 0.02)
