"""Files that are either whole or not there."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from scgrn_tl.core import ArgumentError
from scgrn_tl.core.replaced_folder import put_back, replaced_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["folder_replaced_when_complete", "replaced_when_complete"]


@contextmanager
def replaced_when_complete(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a path beside ``path`` to write to, and move it there once the block has ended well.

    If the block fails (a full disk, Ctrl-C), what stood under ``path`` before still stands there, and nothing is left
    beside it. The path given ends with the suffixes of ``path``.

    Raises
    ------
    ArgumentError
        If the folder does not exist, or ``path`` is itself a folder.
    """
    path = Path(path).expanduser()
    if not path.parent.is_dir():
        msg = f"Cannot write {str(path)!r}: there is no folder {str(path.parent)!r}. Make it first."
        raise ArgumentError(msg)
    if path.is_dir():
        msg = f"Cannot write {str(path)!r}: it is a folder. Name a file in it."
        raise ArgumentError(msg)
    beside = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def folder_replaced_when_complete(path: str | os.PathLike[str], sign: tuple[str, ...]) -> Iterator[Path]:
    """The same for a folder, such as a zarr store; two renames apart from being atomic where there was one before.

    Parameters
    ----------
    path
        The folder.
    sign
        Names of files, one of which a folder at ``path`` has to hold to be replaced.

    Raises
    ------
    ArgumentError
        If the folder around it does not exist, or something else is at ``path``.
    """
    path = Path(path).expanduser()
    if not path.parent.is_dir():
        msg = f"Cannot write {str(path)!r}: there is no folder {str(path.parent)!r}. Make it first."
        raise ArgumentError(msg)
    put_back(path)
    if path.exists() and not any((path / name).is_file() for name in sign):
        msg = f"Cannot write {str(path)!r}: something else is there. Name another path."
        raise ArgumentError(msg)
    with replaced_folder(path) as beside:
        yield beside
