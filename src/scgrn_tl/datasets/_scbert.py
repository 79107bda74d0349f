"""What the published scBERT encoder is made of: its gene names and its weights."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from scgrn_tl._settings import settings
from scgrn_tl.core.argument_types import typed_arguments
from scgrn_tl.core.errors import DownloadError, WeightsUnavailableError
from scgrn_tl.core.genes import GeneVocabulary

from ._files import fetch, sha256_of
from ._registry import SCBERT_VOCABULARY, SCBERT_WEIGHTS

__all__ = ["WEIGHTS_VARIABLE", "scbert_vocabulary", "scbert_weights"]

LOGGER = logging.getLogger(__name__)

WEIGHTS_VARIABLE = "SCGRN_TL_WEIGHTS"
"""Environment variable with the path of scBERT weights of one's own."""

_VOCABULARY_SHA256 = "4c09ba1912e184682fe5e7f32e2b443bdfb7883d0d0191551b38c6c2f155600f"
_GOOGLE_DRIVE_ID = "1_Pgk_o8AtQtoXr_ZLQx0eJYoSWzjxC8f"


def scbert_vocabulary() -> GeneVocabulary:
    """The 16,906 human gene symbols that scBERT (Yang et al. 2022) knows, in the order of its gene vectors.

    Raises
    ------
    DownloadError
        If the file of names cannot be had, or does not hold the names that the weights were trained with.
    """
    path = fetch(SCBERT_VOCABULARY)
    vocabulary = GeneVocabulary(path.read_text(encoding="utf-8").splitlines())
    if vocabulary.sha256 != _VOCABULARY_SHA256:
        msg = f"{path} does not hold scBERT's gene names: their SHA-256 is {vocabulary.sha256}."
        raise DownloadError(msg)
    return vocabulary


@typed_arguments
def scbert_weights(path: str | os.PathLike[str] | None = None) -> Path:
    """The path of scBERT weights, downloaded once if need be (88 MB).

    Tried in this order: ``path``; the environment variable ``SCGRN_TL_WEIGHTS``; the published checkpoint
    ``scbert/panglao_pretrain.pth`` in the mirror (``sg.settings.mirror``), in the cache (``sg.settings.cache_dir``),
    and from its address. The published checkpoint counts only with its SHA-256. Weights that are named by ``path`` or
    the variable are yours (fine-tuned ones, for instance) and may have any content; the log says which they are.

    The checkpoint is a copy of the file that scBERT's authors posted, under GPL-3.0. It is not part of this package.

    Parameters
    ----------
    path
        A ``.pth`` file in scBERT's layout, or a weights folder written by this package.

    Raises
    ------
    ArgumentError
        If ``path`` is no path.
    WeightsUnavailableError
        If a named path is not there, or the published checkpoint cannot be had.
    """
    if path is not None:
        return _own_weights(Path(path), "weights path")
    if given := os.environ.get(WEIGHTS_VARIABLE):
        return _own_weights(Path(given), f"path in {WEIGHTS_VARIABLE}")
    try:
        return fetch(SCBERT_WEIGHTS)
    except DownloadError as error:
        reason = str(error).partition(" To mend it:")[0]
        msg = f"{reason} {_ways_out()}"
        raise WeightsUnavailableError(msg) from error


def _own_weights(path: Path, what: str) -> Path:
    path = path.expanduser()
    if path.is_dir():
        LOGGER.info("Using the weights folder %s.", path)
        return path
    if not path.is_file():
        msg = f"The {what}, {path}, is not there. {_ways_out()}"
        raise WeightsUnavailableError(msg)
    found = sha256_of(path)
    if found == SCBERT_WEIGHTS.sha256:
        LOGGER.info("Using %s, the published scBERT checkpoint.", path)
    else:
        LOGGER.info("Using %s, weights of your own (SHA-256 %s), not the published scBERT checkpoint.", path, found)
    return path


def _ways_out() -> str:
    name = Path(SCBERT_WEIGHTS.path).name
    return (
        f"To get the published weights, download {name} ({SCBERT_WEIGHTS.digest}) from {SCBERT_WEIGHTS.url} "
        f"(or from Google Drive, file id {_GOOGLE_DRIVE_ID}: https://drive.google.com/file/d/{_GOOGLE_DRIVE_ID}) on "
        f"any machine, then do one of: give its path (`weights=`); set {WEIGHTS_VARIABLE} to its path; put it at "
        f"{settings.cache_dir / SCBERT_WEIGHTS.path}; or put it at {SCBERT_WEIGHTS.path} below the folder that "
        'SCGRN_TL_MIRROR names. With `weights="fit"` no weights are needed: a small encoder is trained on the data.'
    )
