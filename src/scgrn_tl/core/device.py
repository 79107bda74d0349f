"""Which device computes."""

from __future__ import annotations

from functools import cache

from scgrn_tl._settings import settings

from .errors import ArgumentError

__all__ = ["resolve_device"]


@cache
def _mps_works() -> bool:
    """Whether Apple's MPS is there and computes a product, which some builds announce and then fail at."""
    import torch

    if not torch.backends.mps.is_available():
        return False
    try:
        ones = torch.ones(2, 2, device="mps")
        return bool(((ones @ ones).cpu() == 2).all())
    except (RuntimeError, NotImplementedError):
        return False


def resolve_device(device: str | None = None) -> str:
    """Name of the torch device to use.

    Parameters
    ----------
    device
        A name that :class:`torch.device` takes; ``None`` for ``sg.settings.device``. ``"auto"`` takes CUDA if there is
        one, else the CPU; MPS, which lacks some operations, only serves when asked for.

    Raises
    ------
    ArgumentError
        If the name is unknown or the device is not there.
    """
    import torch

    name = settings.device if device is None else str(device)
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
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
