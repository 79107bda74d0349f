"""Lightning inside a library: quiet, in the precision that suits the device, and with a Ctrl-C that is one."""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["best_precision", "keyboard_interrupt_as_usual", "lightning_device", "quiet_lightning"]


def best_precision(accelerator: str) -> str:
    """Lightning's name of bfloat16 mixed precision on GPUs that have it, and of float32 elsewhere."""
    on_gpu = accelerator in {"auto", "gpu", "cuda"} and torch.cuda.is_available()
    return "bf16-mixed" if on_gpu and torch.cuda.is_bf16_supported() else "32-true"


def lightning_device(device: str) -> dict[str, Any]:
    """A torch device's name, such as ``"cuda:1"``, as Lightning's ``accelerator`` and ``devices``."""
    kind, _, index = device.partition(":")
    accelerator = "gpu" if kind == "cuda" else kind
    return {"accelerator": accelerator, "devices": [int(index)] if index and kind == "cuda" else 1}


@contextmanager
def keyboard_interrupt_as_usual() -> Iterator[None]:
    """Inside the block Ctrl-C raises :class:`KeyboardInterrupt` in the end, and still works afterwards.

    Lightning turns it into an exit of the whole process, and ignores Ctrl-C from then on.
    """
    on_main_thread = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT) if on_main_thread else None
    try:
        yield
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Inside the block, Lightning's remarks on the hardware stay unsaid, and how it asks torch in an outdated way."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)`", category=FutureWarning)
            warnings.filterwarnings("ignore", message="GPU available but not used")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
