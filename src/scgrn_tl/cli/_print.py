"""How commands speak."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

__all__ = ["METRICS", "aligned", "log_to_stderr", "say"]

METRICS = {"auroc": "AUROC", "auprc": "AUPRC", "auprc_ratio": "AUPRC ratio", "epr": "EPR"}


@contextmanager
def log_to_stderr(level: int) -> Iterator[None]:
    """Show the package's log while a command runs, and leave the logger as it was."""
    logger, handler = logging.getLogger("scgrn_tl"), logging.StreamHandler()
    before = logger.level
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def say(step: str, text: str) -> None:
    print(f"{step:<7}{text}", flush=True)


def aligned(table: pd.DataFrame) -> str:
    renamed = table.rename(columns=METRICS)
    return renamed.to_string(float_format=lambda value: f"{value:.3f}", na_rep="–")
