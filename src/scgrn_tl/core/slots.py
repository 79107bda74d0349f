"""Where a verb reads and writes: the AnnData behind its argument, and all its results put there at once."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import door
from .errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from anndata import AnnData
    from mudata import MuData

__all__ = ["Slots", "check_key", "clean_name", "open_anndata", "run_record", "write_slots"]

LOGGER = logging.getLogger(__name__)

SLOTS = ("obs", "var", "obsm", "varm", "varp", "uns")
_ABSENT = object()


def open_anndata(data: AnnData | MuData, *, modality: str = "rna", copy: bool = False) -> AnnData:
    """The AnnData to work on: ``data`` itself, or ``data.mod[modality]`` of a MuData.

    Raises
    ------
    MissingKeyError
        If the MuData has no such modality.
    ArgumentError
        If ``data`` is neither, or a view of an AnnData that is backed by a file, which anndata cannot write to, or
        ``copy=True`` is asked of one that is backed.
    """
    adata = door.open_anndata(data, modality=modality)
    if adata.is_view and adata.isbacked:
        msg = (
            "Results cannot be written to a view of a backed AnnData. Take the view of one that is lazily read, "
            "`anndata.experimental.read_lazy(path)[cells]`, or read it into memory with `.to_memory()`."
        )
        raise ArgumentError(msg)
    if copy and adata.isbacked:
        msg = "copy=True needs the AnnData in memory: pass `adata.to_memory()`, or leave copy=False."
        raise ArgumentError(msg)
    return adata


def check_key(name: str, value: str) -> None:
    """Raise :class:`ArgumentError` if ``value`` cannot be a key of an AnnData: empty, or with a ``/``."""
    if not isinstance(value, str) or not value or "/" in value:
        msg = f"{name} is a name without '/', which splits keys in HDF5 and zarr files; not {value!r}."
        raise ArgumentError(msg)


def clean_name(label: object) -> str:
    """``label`` as part of a key: ``/`` becomes ``_``, since it would split the key in HDF5 and zarr files."""
    return str(label).replace("/", "_")


def _writable(value: Any) -> Any:
    """``value`` in a form that ``write_h5ad`` takes: no paths, tuples, numpy scalars, or ``None`` inside mappings."""
    if isinstance(value, dict):
        return {str(key): _writable(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (tuple, list)):
        if all(isinstance(inner, str) for inner in value):
            return np.array(value, dtype=object)
        return np.asarray([_writable(inner) for inner in value])
    if isinstance(value, (bool, int, float, str, np.ndarray)) or hasattr(value, "to_numpy"):
        return value
    return str(value)


def run_record(params: Mapping[str, Any], **results: Any) -> dict[str, Any]:
    """What ``uns[key]`` keeps of a run: its parameters, the package version, and ``results``, all writable to files.

    Parameters that are ``None`` are left out.
    """
    from scgrn_tl import __version__

    return _writable({"params": dict(params), "version": __version__, **results})


@dataclass
class Slots:
    """Results on their way into an AnnData: slot → key → value.

    Filling this touches no AnnData; :func:`write_slots` then writes everything, or nothing.

    Attributes
    ----------
    dropped
        ``(slot, key)`` of an earlier run's results that no longer hold and are taken away.
    """

    obs: dict[str, Any] = field(default_factory=dict)
    var: dict[str, Any] = field(default_factory=dict)
    obsm: dict[str, Any] = field(default_factory=dict)
    varm: dict[str, Any] = field(default_factory=dict)
    varp: dict[str, Any] = field(default_factory=dict)
    uns: dict[str, Any] = field(default_factory=dict)
    dropped: set[tuple[str, str]] = field(default_factory=set)

    def items(self) -> Iterator[tuple[str, str, Any]]:
        """Every ``(slot, key, value)``."""
        for slot in SLOTS:
            for key, value in getattr(self, slot).items():
                yield slot, key, value

    def describe(self) -> str:
        """``varm['scbert'] (948 × 200 float32), uns['scbert']``: what is written where."""
        return ", ".join(
            f"{slot}[{key!r}]"
            + (f" ({' × '.join(map(str, value.shape))} {value.dtype})" if getattr(value, "ndim", 0) > 1 else "")
            for slot, key, value in self.items()
        )


def _put(adata: AnnData, slot: str, key: str, value: Any) -> None:
    if value is _ABSENT:
        if key in getattr(adata, slot):
            del getattr(adata, slot)[key]
    else:
        getattr(adata, slot)[key] = value


def write_slots(
    data: AnnData | MuData, slots: Slots, *, modality: str = "rna", copy: bool = False
) -> AnnData | MuData | None:
    """Write ``slots`` into ``data``, or into a copy of it that is returned.

    A view becomes an AnnData of its own, as AnnData does on any write. If anything interrupts the writing, what was
    there before is put back: the AnnData is as before or complete.
    """
    from anndata import ImplicitModificationWarning

    if copy:
        data = data.copy()
    adata = open_anndata(data, modality=modality)
    before: list[tuple[str, str, Any]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImplicitModificationWarning)
        try:
            stale = [(slot, key, _ABSENT) for slot, key in sorted(slots.dropped) if key not in getattr(slots, slot)]
            for slot, key, value in (*stale, *slots.items()):
                holder = getattr(adata, slot)
                before.append((slot, key, holder.get(key, _ABSENT)))
                _put(adata, slot, key, value)
        except BaseException:
            for slot, key, value in reversed(before):
                _put(adata, slot, key, value)
            raise
    LOGGER.info("Wrote %s.", slots.describe())
    return data if copy else None
