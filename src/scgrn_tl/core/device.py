"""Which device computes."""

from __future__ import annotations

from functools import cache

from scgrn_tl._settings import settings

from .argument_types import typed_arguments
from .errors import ArgumentError

__all__ = ["resolve_device"]


@cache
def _mps_works() -> bool:
    """Whether Apple's MPS is there and has the operations needed, which some builds announce and then fail at."""
    import torch

    if not torch.backends.mps.is_available():
        return False
    try:
        ones, index = torch.ones(2, 2, device="mps"), torch.zeros(2, dtype=torch.int64, device="mps")
        product = (ones @ ones).exp()
        summed = torch.zeros(1, 2, device="mps").index_add(0, index, ones)
        largest = torch.zeros(1, device="mps").scatter_reduce(0, index, ones[0], "amax")
        return bool(torch.isfinite(product).all()) and float(summed.sum()) == 4 and float(largest) == 1
    except (RuntimeError, NotImplementedError):
        return False


@typed_arguments
def resolve_device(device: str | None = None) -> str:
    """Name of the torch device to use.

    Parameters
    ----------
    device
        A name that :class:`torch.device` takes; ``None`` for ``sg.settings.device``. ``"auto"`` takes CUDA if there is
        one, then Apple's MPS where it works, then the CPU.

    Raises
    ------
    ArgumentError
        If the name is unknown or the device is not there.
    """
    import torch

    name = settings.device if device is None else str(device)
    if name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if _mps_works() else "cpu"
    try:
        kind = torch.device(name).type
    except RuntimeError as error:
        msg = f"device={name!r} is not a torch device. Use 'auto', 'cpu', 'cuda', 'cuda:1' or 'mps'."
        raise ArgumentError(msg) from error
    if kind == "cuda" and not torch.cuda.is_available():
        msg = f"device={name!r} was asked for, but PyTorch sees no CUDA device. Use device='auto' or device='cpu'."
        raise ArgumentError(msg)
    if kind == "mps" and not _mps_works():
        msg = f"device={name!r} was asked for, but MPS does not work here. Use device='auto' or device='cpu'."
        raise ArgumentError(msg)
    return name
