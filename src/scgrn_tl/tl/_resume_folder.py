"""What an embedding run leaves behind as it goes, so that a killed run can be continued."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scgrn_tl.core import ArgumentError
from scgrn_tl.core.damaged import refuse_damaged

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scgrn_tl.models.pooling import GenePool

__all__ = ["ResumeFolder"]

DELETE = "Delete the folder `resume_from` and start over."
SAVE_SHARE = 0.05
"""At most this share of the run's time goes into saving."""


class ResumeFolder:
    """A folder with the sums over the cells encoded so far.

    ``run.json`` says which run it is; ``progress.npz`` (of process r of several ``progress-r.npz``) holds the number of
    finished cells and every pool's sums, and is replaced atomically. What is written of cells beyond that number, to
    the attention kept beside it for instance, is written again.

    Parameters
    ----------
    folder
        Made if it is not there.
    run
        What has to be the same for the sums to be continued: name → fingerprint.
    rank, size
        This process's number, and how many share the run.

    Raises
    ------
    ArgumentError
        If the folder holds another run's progress, or other files.
    """

    def __init__(self, folder: str | os.PathLike[str], run: Mapping[str, str], *, rank: int = 0, size: int = 1) -> None:
        self.folder = Path(folder)
        self._progress = self.folder / ("progress.npz" if size == 1 else f"progress-{rank}.npz")
        run = dict(run) | {"processes": str(size)}
        self._saved_at = -np.inf
        self._save_seconds = 0.0
        described = self.folder / "run.json"
        if described.is_file():
            with refuse_damaged(described, DELETE):
                before = dict(json.loads(described.read_text()))
            differing = sorted(name for name in {*before, *run} if before.get(name) != run.get(name))
            if differing:
                msg = (
                    f"resume_from={str(folder)!r} holds the progress of another run, which differs in "
                    f"{', '.join(differing)}. Name another folder, or delete this one."
                )
                raise ArgumentError(msg)
            return
        if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
            msg = f"resume_from={str(folder)!r} holds other files; name a new or empty folder."
            raise ArgumentError(msg)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._replace("run.json", json.dumps(run, indent=1).encode())

    def _replace(self, name: str, content: bytes) -> None:
        """Write ``name`` beside itself, then put it in place: it is there whole or not at all."""
        beside = self.folder / f".{name}.{os.getpid()}"
        try:
            with beside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self.folder / name)
        finally:
            beside.unlink(missing_ok=True)

    def load(self) -> tuple[int, dict[str, GenePool]]:
        """Number of finished cells, and the pools as they were then; ``(0, {})`` at the start."""
        from scgrn_tl.models.pooling import GenePool

        if not self._progress.is_file():
            return 0, {}
        states: dict[str, dict[str, np.ndarray]] = {}
        with refuse_damaged(self._progress, DELETE), np.load(self._progress, allow_pickle=False) as stored:
            n_done = int(stored["n_done"])
            names = json.loads(str(stored["names"]))
            for number, name in enumerate(names):
                states[name] = {key: stored[f"{number}.{key}"] for key in ("weighted_sum", "weight_sum", "n_cells")}
        return n_done, {name: GenePool.from_state(state) for name, state in states.items()}

    def save(self, n_done: int, pools: Mapping[str, GenePool], *, final: bool) -> None:
        """Save the state after ``n_done`` cells; skipped, unless ``final``, where saving would take too much time."""
        began = time.monotonic()
        if not final and (began - self._saved_at) * SAVE_SHARE < self._save_seconds:
            return
        arrays: dict[str, np.ndarray] = {"n_done": np.asarray(n_done), "names": np.asarray(json.dumps(list(pools)))}
        for number, pool in enumerate(pools.values()):
            arrays |= {f"{number}.{key}": value for key, value in pool.state().items()}
        beside = self.folder / f".{self._progress.stem}.{os.getpid()}.npz"
        try:
            with beside.open("wb") as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._progress)
        finally:
            beside.unlink(missing_ok=True)
        self._saved_at = time.monotonic()
        self._save_seconds = self._saved_at - began
