"""Two ways of doing the same, timed in turn; and scripts in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

BENCHMARKS = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes
    ----------
    what, against
        What is measured, and what beside.
    ours, theirs
        The two figures, with their unit.
    ratio
        Between them, or the one figure that is to be judged.
    reach
        What is to be reached, as text.
    reached
        Whether it is.
    """

    what: str
    against: str
    ours: str
    theirs: str
    ratio: str
    reach: str
    reached: bool


def seconds(function) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def paired(ours, theirs, *, repeats: int) -> tuple[float, float, float]:
    """Median seconds of both, run in turn after one run each to warm up, and the median of theirs / ours."""
    ours(), theirs()
    pairs = np.array([(seconds(ours), seconds(theirs)) for _ in range(repeats)])
    return *np.median(pairs, axis=0), float(np.median(pairs[:, 1] / pairs[:, 0]))


def time_row(what, against, ours, theirs, *, at_least: float, repeats: int) -> Row:
    """A row of a speed-up that is to be at least so much."""
    mine, others, ratio = paired(ours, theirs, repeats=repeats)
    return Row(
        what, against, f"{mine:.3g} s", f"{others:.3g} s", f"{ratio:.2f}×", f"≥ {at_least:g}×", ratio >= at_least
    )


def in_child(script: str, *arguments: object, threads: int | None = None, launcher: tuple[str, ...] = ()) -> dict:
    """Run a script of this folder in a process of its own; what its last line of output says, as JSON."""
    environment = dict(os.environ)
    if threads is not None:
        environment |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    command = [sys.executable, *launcher, str(BENCHMARKS / script), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        msg = f"{' '.join(command)}\n{done.stderr[-3000:]}"
        raise RuntimeError(msg)
    return json.loads(done.stdout.strip().splitlines()[-1])
