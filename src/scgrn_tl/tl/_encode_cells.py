"""Running an encoder over a stream of cells: batch size, precision, progress, and a word on what it will cost."""

from __future__ import annotations

import logging
import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scgrn_tl.core import ArgumentError, peak_memory, total_memory
from scgrn_tl.core.progress_bar import progress_bar

if TYPE_CHECKING:
    from collections.abc import Generator

    import torch

    from scgrn_tl.models.scbert import Encoding, ScBERT, ScBERTConfig

    from ._token_stream import TokenStream

__all__ = ["CellEncoder", "default_batch_size", "resolve_dtype"]

LOGGER = logging.getLogger(__name__)

DTYPES = ("float32", "float64", "float16", "bfloat16")
BATCH_BYTES = {"cpu": 2**28, "cuda": 2**32}
"""Most memory that a batch's hidden states may take."""
BATCH_SHARE = 1 / 32
"""Most of the machine's or the GPU's memory that they may take."""
LONG_RUN = 10.0
"""Seconds from which a run is announced with its cost."""


def resolve_dtype(dtype: str | torch.dtype | None) -> str:
    """One of ``"float32"`` (for ``None``), ``"float64"``, ``"float16"``, ``"bfloat16"``, from a name or torch dtype."""
    name = "float32" if dtype is None else str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        msg = f"dtype is one of {', '.join(map(repr, DTYPES))} or the torch dtype of that name, not {dtype!r}."
        raise ArgumentError(msg)
    return name


def cell_bytes(config: ScBERTConfig, n_positions: int) -> int:
    """Rough memory of one cell of a batch: its hidden states, before and after a layer and normalised."""
    return 4 * n_positions * 3 * config.dim


def default_batch_size(config: ScBERTConfig, n_positions: int, device: str) -> int:
    """Cells in a batch, so that their hidden states stay within a share of memory; at least 1, at most 64.

    The share is of all memory and not of what is free now: the same machine always takes the same batches.
    """
    import torch

    kind = device.partition(":")[0]
    memory = torch.cuda.get_device_properties(device).total_memory if kind == "cuda" else total_memory()
    budget = min(BATCH_BYTES.get(kind, BATCH_BYTES["cpu"]), memory * BATCH_SHARE)
    return int(np.clip(budget // cell_bytes(config, n_positions), 1, 64))


@dataclass(eq=False)
class CellEncoder:
    """An encoder with the sequence it reads, the device and the precision.

    Attributes
    ----------
    model
        Already on ``device``.
    stream
        The cells' tokens.
    positions
        ``int64[T]``, positions of the sequence's genes in the model's vocabulary.
    batch_size
        Cells in a batch.
    device, dtype
        Names, as :func:`scgrn_tl.core.resolve_device` and :func:`resolve_dtype` give them. Half precision runs under
        autocast; ``"float64"`` needs a model of that type.
    """

    model: ScBERT
    stream: TokenStream
    positions: np.ndarray
    batch_size: int
    device: str
    dtype: str

    def run(
        self, cells: np.ndarray, *, label: str = "Encoding", n_before: int = 0, held_bytes: int = 0
    ) -> Generator[tuple[np.ndarray, Encoding]]:
        """Encode ``cells`` (ascending row numbers), batch by batch. Close the generator to end its reading ahead.

        Parameters
        ----------
        label
            Of the progress bar.
        n_before
            Cells finished in an earlier run, for the progress bar.
        held_bytes
            What the caller will come to hold and has not touched yet, for the announced memory.

        Yields
        ------
        ``int64[B]`` row numbers, and their ``Encoding`` on the device.
        """
        import torch

        from scgrn_tl.models.threads import threads_for

        positions = None
        if len(self.positions) < self.model.config.n_genes:
            positions = torch.from_numpy(self.positions).to(self.device)
        half = self.dtype in {"float16", "bfloat16"}
        autocast = torch.autocast(self.device.partition(":")[0], getattr(torch, self.dtype), enabled=half)
        with (
            closing(self.stream.batches(cells, self.batch_size)) as batches,
            progress_bar(total=n_before + len(cells), initial=n_before, desc=label, unit="cell") as bar,
        ):
            began: float | None = time.monotonic()
            for rows, tokens in batches:
                with torch.inference_mode(), autocast, threads_for(tokens.size * self.model.config.dim):
                    encoding = self.model.encode(self._on_device(tokens), positions)
                yield rows, encoding
                bar.update(len(rows))
                if began is not None:
                    self._announce((time.monotonic() - began) / len(rows), len(cells), held_bytes)
                    began = None

    def _on_device(self, tokens: np.ndarray) -> torch.Tensor:
        """``int64 (B, T)``; over the bus to a GPU go the bytes, out of pinned memory."""
        import torch

        narrow = torch.from_numpy(tokens)
        if self.device.startswith("cuda"):
            narrow = narrow.pin_memory().to(self.device, non_blocking=True)
        return narrow.to(self.device, torch.int64)

    def _announce(self, seconds_per_cell: float, n_cells: int, held_bytes: int) -> None:
        """Say what a long run will cost, and which arguments would make it cheaper."""
        seconds = seconds_per_cell * n_cells
        if seconds < LONG_RUN:
            return
        gpu = ""
        if self.device.startswith("cuda"):
            import torch

            gpu = f" ({torch.cuda.max_memory_allocated(self.device) / 1e9:.1f} GB of GPU memory)"
        LOGGER.info(
            "Encoding %s cells × %s genes on %s takes about %s and %.1f GB%s. Shorter with genes= (a shorter "
            "sequence), n_cells= (a random part of the cells)%s.",
            f"{n_cells:,}",
            f"{len(self.positions):,}",
            self.device,
            _duration(seconds),
            (peak_memory() + held_bytes) / 1e9,
            gpu,
            "" if self.device.startswith("cuda") else " or device='cuda'",
        )


def _duration(seconds: float) -> str:
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"
