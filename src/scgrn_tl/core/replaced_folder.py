"""A folder that is whole, as it was, or not there: written beside its place, and moved there."""

from __future__ import annotations

import glob
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["put_back", "replaced_folder"]

_LOCK = "lock"
"""Held by the process that writes a folder; the system lets go of it when the process is killed."""
_PATIENCE = 30
"""Seconds that two renames may take."""


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """Give a path to make a folder at, and move it to ``folder`` once the block has ended well.

    No file system exchanges two folders at once: between two renames the old one is beside its place. Whoever reads or
    writes there next calls :func:`put_back`, in case the process was killed at that moment; this function does.

    Parameters
    ----------
    folder
        Where to; what is there is replaced. The path given has the same name, and lies beside it.
    """
    put_back(folder)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    new, old = beside / "new" / folder.name, beside / "old" / folder.name
    try:
        with FileLock(beside / _LOCK):
            new.parent.mkdir()
            old.parent.mkdir()
            yield new
            try:
                if folder.exists():
                    folder.rename(old)
                new.rename(folder)
            except BaseException:
                if old.exists() and not folder.exists():
                    old.rename(folder)
                raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def put_back(folder: Path) -> None:
    """Move the folder to its place that a process had moved aside when it was killed, before the new one was there.

    A process that is still about to move them is waited for.
    """
    if folder.exists() or not folder.name:
        return
    for old in folder.parent.glob(f".{glob.escape(folder.name)}-*/old/{glob.escape(folder.name)}"):
        # gone already, if the process ended meanwhile or another one was faster; or all of it can only be read
        with suppress(OSError, Timeout), FileLock(old.parents[1] / _LOCK, timeout=_PATIENCE):
            if not folder.exists():
                old.rename(folder)
            shutil.rmtree(old.parents[1], ignore_errors=True)
        return
