"""The family of errors: each derives from :class:`ScgrnError` and from the builtin that fits.

A message says what was given, what is expected, and the call that mends it. A traceback ends with the page of the
documentation that says more, where there is one.
"""

from __future__ import annotations

from typing import ClassVar, Self

from .documentation import page_address

__all__ = [
    "ArgumentError",
    "DownloadError",
    "DuplicateGenesError",
    "ExpressionError",
    "GeneOverlapError",
    "MissingDependencyError",
    "MissingKeyError",
    "PriorError",
    "ProcessError",
    "ScgrnError",
    "SplitError",
    "WeightsError",
    "WeightsUnavailableError",
]


class ScgrnError(Exception):
    """Base of every error that scgrn_tl raises on purpose.

    Parameters
    ----------
    *args
        The message.
    page
        Page of the documentation that says more, by its name in ``docs/``; that of the class if ``None``. It stands in
        a note of the error (:meth:`BaseException.add_note`), which a traceback shows below the message.
    """

    page: ClassVar[str | None] = None

    def __init__(self, *args: object, page: str | None = None) -> None:
        super().__init__(*args)
        if (named := page or self.page) is not None:
            self.add_note(f"More: {page_address(named)}")


class ArgumentError(ScgrnError, ValueError):
    """An argument has a value that the function cannot use."""


class ExpressionError(ScgrnError, ValueError):
    """The expression matrix holds negative, NaN or infinite values, or has a shape that cannot be used."""

    page = "getting-started#what-the-file-has-to-hold"


class DuplicateGenesError(ScgrnError, ValueError):
    """``var_names`` are not unique."""

    page = "gene-names"


class GeneOverlapError(ScgrnError, ValueError):
    """Too few of the data's genes are known to the encoder or the prior."""

    page = "gene-names"


class PriorError(ScgrnError, ValueError):
    """A prior network cannot be read, or too little of it is left after alignment with the data's genes."""

    page = "priors"


class SplitError(ScgrnError, ValueError):
    """An edge split is impossible, or contradicts the genes it is used with."""

    page = "concepts#splits"


class MissingDependencyError(ScgrnError, ImportError):
    """An optional package that this call needs is not installed."""

    page = "installation"


class MissingKeyError(ScgrnError, KeyError):
    """A slot of the AnnData that should have been written before is not there."""

    page = "concepts#where-results-are"

    def __str__(self) -> str:  # KeyError shows the repr of its message, quotes and all
        return str(self.args[0]) if self.args else ""


class WeightsError(ScgrnError, ValueError):
    """A weights file is damaged, does not match the model, or is not what its hash says."""

    page = "installation#files-that-are-downloaded"


class WeightsUnavailableError(WeightsError, FileNotFoundError):
    """Weights are neither here nor to be had."""

    def __new__(cls, *args: object, page: str | None = None) -> Self:
        """Dask calls this by name; that of ValueError, which comes first, cannot make a FileNotFoundError."""
        return OSError.__new__(cls, *args)


class ProcessError(ScgrnError, RuntimeError):
    """One of the processes that share a run has failed, or cannot be reached."""

    page = "many-machines"


class DownloadError(ScgrnError, OSError):
    """A file could not be downloaded or does not have the expected hash."""

    page = "installation#files-that-are-downloaded"
