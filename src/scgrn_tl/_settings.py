"""Package-wide settings: where files are cached, which device computes, how much is said."""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Settings", "settings"]

LOGGER = logging.getLogger("scgrn_tl")
_LEVELS = {"error": logging.ERROR, "warning": logging.WARNING, "info": logging.INFO, "debug": logging.DEBUG}


def _default_cache() -> Path:
    if given := os.environ.get("SCGRN_TL_CACHE"):
        return Path(given).expanduser()
    import pooch

    return Path(pooch.os_cache("scgrn_tl"))


def _path_from_environment(variable: str) -> Path | None:
    return Path(given).expanduser() if (given := os.environ.get(variable)) else None


@dataclass
class Settings:
    """Settings that every function falls back on when an argument is left at its default.

    Change them in place (``sg.settings.device = "cpu"``), or for one block:
    ``with sg.settings.override(progress=False): ...``.

    Attributes
    ----------
    device
        ``"auto"`` (CUDA, then Apple's MPS where it works, then the CPU), or any name :class:`torch.device` takes.
    progress
        Show progress bars over long loops.
    n_jobs
        Processes for work that divides into independent parts, as :class:`joblib.Parallel` counts them (``-1``: one a
        core). ``None`` leaves it to :func:`joblib.parallel_config` where that asks for more than one, and else takes
        every core.
    n_threads
        Threads of PyTorch on a CPU. ``None`` leaves PyTorch's own number (``OMP_NUM_THREADS``, else one a core). Work
        too small to gain from a second thread takes one. Another number changes results by rounding.
    """

    device: str = "auto"
    progress: bool = True
    n_jobs: int | None = None
    n_threads: int | None = None
    _cache_dir: Path | None = field(default=None, repr=False)
    _mirror: Path | None = field(default=None, repr=False)
    _notices: bool | None = field(default=None, repr=False)
    _verbosity: str = field(default="warning", repr=False)

    def __setattr__(self, name: str, value: Any) -> None:
        if not hasattr(type(self), name):
            msg = f"There is no setting {name!r}."
            raise AttributeError(msg)
        if name == "n_threads" and value is not None and (not isinstance(value, int) or value < 1):
            msg = f"n_threads is a whole number of at least 1, or None; not {value!r}."
            raise ValueError(msg)
        super().__setattr__(name, value)

    @property
    def cache_dir(self) -> Path:
        """Folder of downloaded files (``SCGRN_TL_CACHE``, else the operating system's cache folder)."""
        return self._cache_dir if self._cache_dir is not None else _default_cache()

    @cache_dir.setter
    def cache_dir(self, value: str | os.PathLike[str] | None) -> None:
        self._cache_dir = None if value is None else Path(value).expanduser()

    @property
    def mirror(self) -> Path | None:
        """Read-only folder looked in before any download (``SCGRN_TL_MIRROR``); only files of the right hash count."""
        return self._mirror if self._mirror is not None else _path_from_environment("SCGRN_TL_MIRROR")

    @mirror.setter
    def mirror(self, value: str | os.PathLike[str] | None) -> None:
        self._mirror = None if value is None else Path(value).expanduser()

    @property
    def notices(self) -> bool:
        """Say on stderr, once a process, the licence of files that are used for the first time, and what to cite.

        The environment variable ``SCGRN_TL_NOTICES=0`` has it off from the start.
        """
        return self._notices if self._notices is not None else os.environ.get("SCGRN_TL_NOTICES") != "0"

    @notices.setter
    def notices(self, value: bool | None) -> None:
        self._notices = value

    @property
    def verbosity(self) -> Literal["error", "warning", "info", "debug"]:
        """From which level on messages reach stderr, of ``"error"``, ``"warning"``, ``"info"`` and ``"debug"``.

        ``"info"`` gives a line per result written.

        Setting it adds one handler to the ``scgrn_tl`` logger. Until then the package logs silently, for the
        application's own logging configuration to pick up.
        """
        return self._verbosity  # type: ignore[return-value]

    @verbosity.setter
    def verbosity(self, value: str) -> None:
        if value not in _LEVELS:
            msg = f"verbosity is one of {', '.join(map(repr, _LEVELS))}, not {value!r}."
            raise ValueError(msg)
        self._verbosity = value
        LOGGER.setLevel(_LEVELS[value])
        if not any(getattr(handler, "_scgrn_tl", False) for handler in LOGGER.handlers):
            handler = logging.StreamHandler()
            handler.setFormatter(logging.Formatter("%(message)s"))
            handler._scgrn_tl = True  # type: ignore[attr-defined]
            LOGGER.addHandler(handler)

    @contextmanager
    def override(self, **changes: Any) -> Iterator[Settings]:
        """Change settings inside a ``with`` block and put them back after it."""
        before = replace(self)
        level, handlers = LOGGER.level, list(LOGGER.handlers)
        try:
            for name, value in changes.items():
                setattr(self, name, value)
            yield self
        finally:
            for f in fields(self):
                setattr(self, f.name, getattr(before, f.name))
            LOGGER.setLevel(level)
            LOGGER.handlers[:] = handlers


settings = Settings()
