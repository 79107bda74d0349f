"""A zarr store with one row for each cell, filled as cells are encoded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np

from scgrn_tl.core import ArgumentError
from scgrn_tl.core.damaged import refuse_damaged

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import pandas as pd

    from scgrn_tl.models.processes import Processes

__all__ = ["CellStore"]

REWRITE = "Delete it, and have `sg.tl.scbert_embed` write it again."
CHUNK_BYTES = 2**20
CHUNKS_PER_PROCESS = 8
"""At least so many, so that processes, which share no chunk, get about as many cells each."""


@dataclass(frozen=True, eq=False)
class CellStore:
    """A zarr group with an array whose first axis is cells, the cells' and the genes' names.

    Attributes
    ----------
    path
        The store's folder.
    array
        The zarr array ``(N, T, …)``.
    """

    path: Path
    array: Any

    KIND: ClassVar[str]
    ARRAY: ClassVar[str]
    CONTENT: ClassVar[str]
    WRITTEN_BY: ClassVar[str]
    READ_BY: ClassVar[str]
    FILL: ClassVar[float]

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        obs_names: pd.Index,
        genes: Sequence[str],
        *shape: int,
        dtype: type[np.floating],
        n_processes: int = 1,
    ) -> Self:
        """A new store; an earlier one of the kind at ``path`` is replaced.

        Parameters
        ----------
        obs_names, genes
            N and T names.
        shape
            Of one gene in one cell.
        dtype
            Of the array.
        n_processes
            That write into it, each its own chunks.

        Raises
        ------
        ArgumentError
            If something else than such a store lies at ``path``.
        """
        import zarr
        from anndata.io import write_elem

        path = Path(path)
        cls.check_replaceable(path)
        group = zarr.open_group(str(path), mode="w", zarr_format=2)
        group.attrs.update({"kind": cls.KIND})
        write_elem(group, "obs_names", obs_names.astype(str).to_numpy(dtype=object))
        write_elem(group, "genes", np.array(genes, dtype=object))
        full = (len(obs_names), len(genes), *shape)
        row_bytes = int(np.prod(full[1:])) * np.dtype(dtype).itemsize
        # a power of two, so that the chunks of two stores begin at the same cells
        most = len(obs_names) // (CHUNKS_PER_PROCESS * n_processes) if n_processes > 1 else len(obs_names)
        cells_per_chunk = 1 << (max(1, min(most, CHUNK_BYTES // row_bytes)).bit_length() - 1)
        array = group.create_array(
            cls.ARRAY, shape=full, chunks=(cells_per_chunk, *full[1:]), dtype=np.dtype(dtype), fill_value=cls.FILL
        )
        return cls(path, array)

    @classmethod
    def reopen(cls, path: str | os.PathLike[str]) -> Self:
        """The unfinished store at ``path``, to write on; the caller knows it to be of the same run.

        Raises
        ------
        ArgumentError
            If there is none.
        """
        import zarr

        path = Path(path)
        if _attributes(path).get("kind") != cls.KIND:
            msg = (
                f"{cls.WRITTEN_BY}={str(path)!r} of the run to be resumed is gone; delete `resume_from` and start over."
            )
            raise ArgumentError(msg)
        with refuse_damaged(path, REWRITE):
            zarr.open_group(str(path), mode="r+").attrs["complete"] = False
        return cls._read(path, "r+")

    @classmethod
    def shared(
        cls,
        path: str | os.PathLike[str],
        obs_names: pd.Index,
        genes: Sequence[str],
        *shape: int,
        dtype: type[np.floating],
        continued: bool,
        processes: Processes,
    ) -> Self:
        """The store that ``processes`` write together: a new one, or of a run that is ``continued`` the one there."""

        def begin() -> Any:
            return cls.create(path, obs_names, genes, *shape, dtype=dtype, n_processes=processes.size)

        def again() -> Any:
            return cls.reopen(path)

        return processes.first_then(again if continued else begin, again)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """The finished store at ``path``.

        Raises
        ------
        ArgumentError
            If there is none, or the run that wrote it did not finish.
        """
        attributes = _attributes(Path(path))
        if attributes.get("kind") != cls.KIND:
            msg = (
                f"{cls.READ_BY}={str(path)!r} holds no {cls.CONTENT}; "
                f"`sg.tl.scbert_embed(adata, {cls.WRITTEN_BY}=…)` writes them."
            )
            raise ArgumentError(msg)
        if not attributes.get("complete", False):
            msg = f"{cls.READ_BY}={str(path)!r} is of a run that did not finish; run `sg.tl.scbert_embed` again."
            raise ArgumentError(msg)
        return cls._read(Path(path), "r")

    @classmethod
    def _read(cls, path: Path, mode: Any) -> Self:
        import zarr

        with refuse_damaged(path, REWRITE):
            return cls(path, zarr.open_group(str(path), mode=mode)[cls.ARRAY])

    def names(self, of: Literal["obs_names", "genes"]) -> tuple[str, ...]:
        """Names of the N cells or of the T genes, read from the store."""
        import zarr
        from anndata.io import read_elem

        with refuse_damaged(self.path, REWRITE):
            return tuple(map(str, read_elem(zarr.open_group(str(self.path), mode="r")[of])))

    @classmethod
    def check_replaceable(cls, path: str | os.PathLike[str]) -> None:
        """Raise :class:`ArgumentError` unless nothing, an empty folder or an earlier store is at ``path``."""
        path = Path(path)
        if path.is_dir() and (not any(path.iterdir()) or _attributes(path).get("kind") == cls.KIND):
            return
        if path.exists():
            msg = (
                f"{cls.WRITTEN_BY}={str(path)!r} exists and holds no {cls.CONTENT}, so it is not overwritten. Name "
                "another path."
            )
            raise ArgumentError(msg)

    @property
    def cells_per_chunk(self) -> int:
        """Cells in a chunk; two processes must not write into the same one."""
        return int(self.array.chunks[0])

    def write(self, rows: np.ndarray, values: np.ndarray) -> None:
        """Put ``values`` ``(B, T, …)`` at the ascending cell numbers ``rows``."""
        if not len(rows):
            return
        values = values.astype(self.array.dtype, copy=False)
        if rows[-1] - rows[0] + 1 == len(rows):
            self.array[int(rows[0]) : int(rows[-1]) + 1] = values
        else:
            self.array[rows] = values

    def finish(self) -> None:
        """Mark the store as complete."""
        import zarr

        zarr.open_group(str(self.path), mode="r+").attrs["complete"] = True


def _attributes(path: Path) -> dict[str, Any]:
    """Attributes of the zarr group at ``path``; empty if there is none."""
    attributes = path / ".zattrs"
    if not attributes.is_file():
        return {}
    try:
        return dict(json.loads(attributes.read_text()))
    except ValueError:
        return {}
