"""The progress bar over anything long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scgrn_tl._settings import settings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tqdm import tqdm

__all__ = ["progress_bar"]


def progress_bar(iterable: Iterable[Any] | None = None, *, hidden: bool = False, **look: Any) -> tqdm[Any]:
    """A bar of tqdm that shows after two seconds, unless it is hidden or ``sg.settings.progress`` is off.

    Parameters
    ----------
    iterable
        What is looped over; ``None`` for a bar that is moved on by ``update``.
    hidden
        Hide it whatever the settings say.
    **look
        tqdm's ``total``, ``desc``, ``unit`` and the like.
    """
    hidden = hidden or not settings.progress
    if hidden:
        from tqdm import tqdm  # tqdm.auto complains of missing widgets in a notebook, even if no bar is to be seen
    else:
        from tqdm.auto import tqdm
    return tqdm(iterable, delay=2, disable=hidden, **look)
