"""Which implementation of streamed FAVOR+ attention a device gets."""

from __future__ import annotations

import importlib.util
import logging
import os
import subprocess
from functools import cache
from typing import TYPE_CHECKING

import torch

from scgrn_tl.core.errors import ArgumentError

from .favor import FavorStream

if TYPE_CHECKING:
    from torch import Tensor

    from .favor_triton import FusedFavorStream

__all__ = ["VARIABLE", "favor_stream"]

LOGGER = logging.getLogger(__name__)

VARIABLE = "SCGRN_TL_ATTENTION"
"""Environment variable: ``auto`` (default), ``torch`` or ``triton``."""
TOLERANCE = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 5e-2}
"""Largest difference from float64 that passes the check on first use, by type of the queries, keys and values."""


def favor_stream(
    projection: Tensor, *, block_size: int = 128, room: Tensor | None = None
) -> FavorStream | FusedFavorStream:
    """One attention layer for cells on the device of ``projection``: fused where that is possible, else in PyTorch.

    Fused kernels need a CUDA device of compute capability 8.0 or later, Triton, float32 weights and heads of at most
    128. On first use they are compiled and held against float64; if either fails, a warning says so and PyTorch
    computes. ``SCGRN_TL_ATTENTION=torch`` never takes them, ``triton`` takes them or is an error, and with
    ``TRITON_INTERPRET=1`` takes them on a CPU too, slowly.

    Parameters
    ----------
    projection
        ω, ``(m, d)``.
    block_size, room
        See :class:`~scgrn_tl.models.favor.FavorStream`; the fused kernels need neither.

    Raises
    ------
    ArgumentError
        If the variable has another value, or asks for kernels that cannot run here.
    """
    choice = os.environ.get(VARIABLE, "auto")
    if choice not in {"auto", "torch", "triton"}:
        msg = f"{VARIABLE} is 'auto', 'torch' or 'triton', not {choice!r}."
        raise ArgumentError(msg)
    if choice == "torch" or (choice == "auto" and projection.device.type != "cuda"):
        return FavorStream(projection, block_size=block_size, room=room)
    reason = _why_not_fused(projection)
    if reason is None:
        from .favor_triton import FusedFavorStream

        return FusedFavorStream(projection)
    if choice == "triton":
        msg = f"{VARIABLE}=triton, but {reason}. Set it to 'auto' or 'torch'."
        raise ArgumentError(msg)
    return FavorStream(projection, block_size=block_size, room=room)


def _why_not_fused(projection: Tensor) -> str | None:
    """What keeps the fused kernels from running, to follow a "but"; ``None`` if nothing does."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    from .favor_triton import INTERPRETED, MAX_DIM_HEAD

    device, (n_features, dim_head) = projection.device, projection.shape
    kind = device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else projection.dtype
    if projection.dtype != torch.float32 or dtype not in TOLERANCE:
        return f"weights are {projection.dtype} and computed with in {dtype}, not in float32 or less"
    if dim_head > MAX_DIM_HEAD:
        return f"heads are {dim_head} wide, and {MAX_DIM_HEAD} is the most they take"
    if INTERPRETED:
        return None
    if kind != "cuda" or torch.version.hip is not None:
        return f"the weights are on {device}, and the kernels are for NVIDIA's devices"
    if torch.cuda.get_device_capability(device) < (8, 0):
        return f"{torch.cuda.get_device_name(device)} is older than compute capability 8.0"
    return _why_check_failed(device, n_features, dim_head, dtype)


@cache
def _why_check_failed(device: torch.device, n_features: int, dim_head: int, dtype: torch.dtype) -> str | None:
    """Run the kernels once on a device; what went wrong, or ``None``. A failure is logged."""
    from triton.errors import TritonError

    try:
        difference = _largest_difference(device, n_features, dim_head, dtype)
    except (TritonError, RuntimeError, OSError, subprocess.SubprocessError) as error:  # no compiler, no memory, …
        reason = f"the fused attention kernels do not run on {device}: {type(error).__name__}: {error}"
    else:
        if difference < TOLERANCE[dtype]:
            return None
        reason = f"the fused attention kernels are off by {difference:.1g} on {device} in {dtype}"
    LOGGER.warning("PyTorch computes the attention, since %s", reason)
    return reason


def _largest_difference(device: torch.device, n_features: int, dim_head: int, dtype: torch.dtype) -> float:
    """Largest difference between fused attention and float64, in outputs and column sums, on random input."""
    from .favor_triton import SPLIT, FusedFavorStream

    generator = torch.Generator().manual_seed(0)
    projection = torch.randn((n_features, dim_head), generator=generator)
    shape = (2, 2, SPLIT + 77, dim_head)
    q, k, v = (torch.randn(shape, generator=generator).to(dtype) for _ in range(3))
    fused = FusedFavorStream(projection.to(device))
    reference = FavorStream(projection.double(), block_size=shape[2])
    fused.add_keys(k.to(device), v.to(device))
    reference.add_keys(k.double(), v.double())
    differences = (
        fused.attend(q.to(device)).cpu() - reference.attend(q.double()),
        fused.attention_sums(lambda _: k.to(device)).cpu() - reference.attention_sums(lambda _: k.double()),
    )
    # Python's max would pass over a NaN
    return max(float(difference.abs().max().nan_to_num(nan=torch.inf)) for difference in differences)
