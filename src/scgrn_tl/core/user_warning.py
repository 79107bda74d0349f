"""Warnings of what makes a result mean something else than its reader may think."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from pathlib import Path

from .documentation import page_address

__all__ = ["warn_user"]

LOGGER = logging.getLogger(__name__)

_PACKAGE = str(Path(__file__).parents[1]) + os.sep


def warn_user(message: str, *, page: str | None = None) -> None:
    """Raise a :class:`UserWarning` at the line outside of this package that led here.

    So Python shows it once for that line, however deep it arose. Of several processes that run the same program
    (``torchrun``), the first warns and the others log. ``page`` is one of ``docs/`` that says more.
    """
    if page is not None:
        message = f"{message} More: {page_address(page)}"
    if os.environ.get("RANK", "0") != "0":
        LOGGER.warning(message)
        return
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, UserWarning, stacklevel=level)
