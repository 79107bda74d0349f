"""The progress bar of a method that trains."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from scgrn_tl.core.progress_bar import progress_bar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["progress"]


@contextmanager
def progress(label: str, total: int, *, unit: str = "epoch") -> Iterator[Callable[[], object]]:
    """A bar that each call of what is given moves on by one; hidden where ``sg.settings.progress`` says so.

    Its clock starts with the first call: what is prepared before tells nothing of how long epochs take.
    """
    with progress_bar(total=total, desc=label, unit=unit) as bar:

        def advance() -> object:
            if bar.n == 0 and not bar.disable:
                bar.unpause()
            return bar.update()

        yield advance
