"""Files that are pinned by hash: found in a mirror or the cache, or else downloaded once."""

from __future__ import annotations

import hashlib
import logging
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scgrn_tl._settings import settings
from scgrn_tl.core.errors import DownloadError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["PinnedFile", "Source", "announce", "fetch", "find_local", "sha256_of"]

LOGGER = logging.getLogger(__name__)

_CHUNK = 2**18
_TIMEOUT = 30.0
"""Seconds without a byte from the server after which a download is given up."""
_PROGRESS_FROM = 2**23
"""Files from this size on show a progress bar: smaller ones are there before it is drawn."""

_announced: set[str] = set()


@dataclass(frozen=True)
class Source:
    """Where files come from, under which licence, and what to cite.

    Attributes
    ----------
    name
        What the files are.
    licence
        Licence of the files.
    citation
        Publication to cite.
    """

    name: str
    licence: str
    citation: str


@dataclass(frozen=True)
class PinnedFile:
    r"""A file that is known by its hash, wherever it lies.

    Attributes
    ----------
    path
        Path below the cache folder and below a mirror, with forward slashes.
    url
        Where it is downloaded from; ``None`` for a file that only a mirror can have.
    source
        Licence and citation.
    n_bytes
        Size, where it is known.
    sha256
        SHA-256 of the content.
    git_blob_sha1
        Git's name of the content, ``SHA-1("blob " + length + "\0" + content)``: for files without a known SHA-256.
    """

    path: str
    url: str | None
    source: Source
    n_bytes: int | None = None
    sha256: str | None = None
    git_blob_sha1: str | None = None

    def __post_init__(self) -> None:
        if self.sha256 is None and self.git_blob_sha1 is None:
            msg = f"{self.path} has neither a SHA-256 nor a git blob SHA-1 to be verified by."
            raise ValueError(msg)

    @property
    def digest(self) -> str:
        """The hash that it is verified by, and which one that is."""
        return f"SHA-256 {self.sha256}" if self.sha256 is not None else f"git blob SHA-1 {self.git_blob_sha1}"

    def mismatch(self, path: Path) -> str | None:
        """What is wrong with the content of ``path``, in words; ``None`` if it is the pinned one."""
        size = path.stat().st_size
        if self.n_bytes is not None and size != self.n_bytes:
            return f"it has {size:,} bytes instead of {self.n_bytes:,}"
        kind, _, wanted = self.digest.rpartition(" ")
        found = _git_blob_sha1_of(path) if self.sha256 is None else sha256_of(path)
        return None if found == wanted else f"its {kind} is {found} instead of {wanted}"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _git_blob_sha1_of(path: Path) -> str:
    """SHA-1 under which git stores a file's content, in hexadecimal."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def find_local(file: PinnedFile) -> Path | None:
    """The file in the mirror, else in the cache, if it is there with the right content; ``None`` otherwise."""
    for folder in (settings.mirror, settings.cache_dir):
        if folder is None:
            continue
        path = folder / file.path
        if path.is_file():
            problem = file.mismatch(path)
            if problem is None:
                return path
            LOGGER.warning("%s is not used: %s.", path, problem)
    return None


def fetch(file: PinnedFile) -> Path:
    """The path of a file with verified content, downloaded if it is neither in the mirror nor in the cache.

    A download is written beside the final name and moved there once its hash is right, so that an interrupted one
    leaves nothing under that name. A process that wants a file which another one is downloading waits for it.

    Raises
    ------
    DownloadError
        If the file cannot be had: no network, no such file on the server, another content than the pinned one, or a
        cache folder that cannot be written. It names the file, the URL, the hash, the reason and the ways out.
    """
    announce(file.source)
    if (local := find_local(file)) is not None:
        return local
    final = settings.cache_dir / file.path
    if file.url is None:
        raise DownloadError(_failure(file, final, "there is no address to download it from"))
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with _only_process(final):
            if not final.is_file() or file.mismatch(final) is not None:
                _download(file, file.url, final)
    except OSError as error:  # the errors of requests and filelock are among them
        raise DownloadError(_failure(file, final, str(error) or type(error).__name__)) from error
    return final


def announce(source: Source) -> None:
    """Say licence and citation, once per process and source: in the log if that shows it, else on stderr.

    ``settings.notices`` switches the latter off.
    """
    if source.name in _announced:
        return
    _announced.add(source.name)
    notice = f"{source.name}. Licence: {source.licence}. Please cite {source.citation}."
    if LOGGER.isEnabledFor(logging.INFO):
        LOGGER.info("%s", notice)
    elif settings.notices:
        sys.stderr.write(f"{notice}\n")


@contextmanager
def _only_process(final: Path) -> Iterator[None]:
    """Hold the lock that says this process downloads ``final``; the operating system frees it if the process dies."""
    from filelock import FileLock, Timeout

    lock = FileLock(final.with_name(f".{final.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        LOGGER.info("Another process is downloading %s: waiting for it.", final)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _download(file: PinnedFile, url: str, final: Path) -> None:
    from pooch import HTTPDownloader

    size = "" if file.n_bytes is None else f" ({file.n_bytes / 1e6:.1f} MB)"
    LOGGER.info("Downloading %s%s to %s.", url, size, final)
    show_progress = settings.progress and (file.n_bytes or 0) >= _PROGRESS_FROM
    # The lock makes one name for the unfinished file safe, and what a killed process left under it is overwritten.
    unfinished = final.with_name(f".{final.name}.part")
    try:
        get = HTTPDownloader(progressbar=show_progress, chunk_size=_CHUNK, timeout=_TIMEOUT)
        get(url, str(unfinished), None)
        if (problem := file.mismatch(unfinished)) is not None:
            msg = f"what the server sent is not the pinned file: {problem}"
            raise OSError(msg)
        unfinished.replace(final)
    finally:
        unfinished.unlink(missing_ok=True)


def _failure(file: PinnedFile, final: Path, reason: str) -> str:
    return (
        f"Could not get {file.path} from {file.url or 'anywhere'}: {reason.rstrip('.')}. "
        f"To mend it: put the file ({file.digest}) at {final}, "
        f"or set SCGRN_TL_MIRROR (`sg.settings.mirror`) to a folder that holds {file.path}, "
        "or, if that folder cannot be written, set SCGRN_TL_CACHE (`sg.settings.cache_dir`) to one that can."
    )
