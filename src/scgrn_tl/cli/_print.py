"""How commands speak."""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ._flags import in_flags

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

__all__ = ["METRICS", "aligned", "log_level", "log_to_stderr", "say"]

METRICS = {"auroc": "AUROC", "auprc": "AUPRC", "auprc_ratio": "AUPRC ratio", "epr": "EPR"}


class _Formatter(logging.Formatter):
    """Messages alone, in the words of the command line."""

    def format(self, record: logging.LogRecord) -> str:
        return in_flags(super().format(record))


@contextmanager
def log_to_stderr(level: int) -> Iterator[None]:
    """Show the package's log and warnings while a command runs, a plain line each, and leave both as they were."""
    logger, handler = logging.getLogger("scgrn_tl"), logging.StreamHandler()
    handler.setFormatter(_Formatter("%(message)s"))
    logger.addHandler(handler)
    try:
        with log_level("scgrn_tl", level), _warnings_logged(logger):
            yield
    finally:
        logger.removeHandler(handler)


@contextmanager
def _warnings_logged(logger: logging.Logger) -> Iterator[None]:
    """Have the warnings that are meant for users logged, without the line of code that they came from."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def log(message: Warning | str, category: type[Warning], *args: Any, **kwargs: Any) -> None:
            if issubclass(category, UserWarning):
                logger.warning("%s", message)
            else:
                show(message, category, *args, **kwargs)

        warnings.showwarning = log
        yield


@contextmanager
def log_level(name: str, level: int) -> Iterator[None]:
    """Have a logger say what is of this level, and leave it as it was."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)


def say(step: str, text: str) -> None:
    print(f"{step:<7}{text}", flush=True)


def aligned(table: pd.DataFrame) -> str:
    renamed = table.rename(columns=METRICS)
    return renamed.to_string(float_format=lambda value: f"{value:.3f}", na_rep="–")
