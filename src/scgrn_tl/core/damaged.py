"""What is damaged on disk makes the libraries that read it raise anything at all; users get one error that says so."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from .errors import ArgumentError, ScgrnError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

__all__ = ["refuse_damaged"]


@contextmanager
def refuse_damaged(
    path: str | os.PathLike[str], mend: str, *, error: type[ScgrnError] = ArgumentError
) -> Iterator[None]:
    """Have whatever is raised while a file is read or parsed say which file that was, and what to do.

    Errors of this package and of the operating system go through as they are. Put nothing but reading into the block.

    Parameters
    ----------
    path
        The file, folder or matrix.
    mend
        A sentence on the way out.
    error
        Class to raise.
    """
    try:
        yield
    except (ScgrnError, OSError):
        raise
    except Exception as cause:
        msg = f"{str(path)!r} cannot be read; it seems to be damaged ({type(cause).__name__}: {cause}). {mend}"
        raise error(msg) from cause
