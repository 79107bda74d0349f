"""Hidden states kept on disk (zarr), so that genes can be pooled anew without encoding again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scgrn_tl.core import ArgumentError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

__all__ = ["HiddenStore"]

KIND = "scgrn_tl hidden states"
CHUNK_BYTES = 2**20


@dataclass(frozen=True, eq=False)
class HiddenStore:
    """A zarr group with ``hidden`` (cells × genes × width), the cells' and the genes' names.

    Rows of cells that were not encoded are NaN and take no space on disk.

    Attributes
    ----------
    path
        The store's folder.
    array
        The zarr array ``(N, T, D)``.
    obs_names
        N cell names.
    genes
        T gene names.
    """

    path: Path
    array: Any
    obs_names: tuple[str, ...]
    genes: tuple[str, ...]

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        obs_names: Sequence[str],
        genes: Sequence[str],
        dim: int,
        *,
        half: bool,
        resume: bool,
    ) -> HiddenStore:
        """A new store, or with ``resume`` the unfinished one at ``path``, which the caller knows to be of the same run.

        Raises
        ------
        ArgumentError
            If something else than such a store lies at ``path``.
        """
        import zarr
        from anndata.io import write_elem

        path = Path(path)
        check_replaceable(path)
        if resume:
            if _attributes(path).get("kind") != KIND:
                msg = f"hidden_to={str(path)!r} of the run to be resumed is gone; delete `resume_from` and start over."
                raise ArgumentError(msg)
            group = zarr.open_group(str(path), mode="r+")
            group.attrs["complete"] = False
            return cls(path, group["hidden"], tuple(obs_names), tuple(genes))
        dtype = np.dtype(np.float16 if half else np.float32)
        group = zarr.open_group(str(path), mode="w", zarr_format=2)
        group.attrs.update({"kind": KIND})
        write_elem(group, "obs_names", np.array(obs_names, dtype=object))
        write_elem(group, "genes", np.array(genes, dtype=object))
        cells_per_chunk = min(len(obs_names), max(1, CHUNK_BYTES // (len(genes) * dim * dtype.itemsize)))
        array = group.create_array(
            "hidden",
            shape=(len(obs_names), len(genes), dim),
            chunks=(cells_per_chunk, len(genes), dim),
            dtype=dtype,
            fill_value=float("nan"),
        )
        return cls(path, array, tuple(obs_names), tuple(genes))

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> HiddenStore:
        """The finished store at ``path``.

        Raises
        ------
        ArgumentError
            If there is none, or the run that wrote it did not finish.
        """
        import zarr
        from anndata.io import read_elem

        attributes = _attributes(Path(path))
        if attributes.get("kind") != KIND:
            msg = f"hidden={str(path)!r} holds no hidden states; `sg.tl.scbert_embed(adata, hidden_to=…)` writes them."
            raise ArgumentError(msg)
        if not attributes.get("complete", False):
            msg = f"hidden={str(path)!r} is of a run that did not finish; run `sg.tl.scbert_embed` again."
            raise ArgumentError(msg)
        group = zarr.open_group(str(path), mode="r")
        names, genes = (tuple(map(str, read_elem(group[key]))) for key in ("obs_names", "genes"))
        return cls(Path(path), group["hidden"], names, genes)

    def write(self, rows: np.ndarray, hidden: np.ndarray) -> None:
        """Put ``hidden`` ``(B, T, D)`` at the ascending cell numbers ``rows``."""
        self.array[rows] = hidden.astype(self.array.dtype)

    def finish(self) -> None:
        """Mark the store as complete."""
        import zarr

        zarr.open_group(str(self.path), mode="r+").attrs["complete"] = True

    def rows_of(self, obs_names: Sequence[str]) -> np.ndarray:
        """``int64``, the store's row of each named cell.

        Raises
        ------
        ArgumentError
            If a cell is not in the store, or names in it are not unique.
        """
        row_of = {name: row for row, name in enumerate(self.obs_names)}
        if len(row_of) < len(self.obs_names):
            msg = (
                "Cells are found in the hidden store by name, but obs_names are not unique. Run "
                "`adata.obs_names_make_unique()`, then `sg.tl.scbert_embed` again."
            )
            raise ArgumentError(msg)
        absent = [name for name in obs_names if name not in row_of]
        if absent:
            msg = (
                f"{len(absent)} cells are not in the hidden states at {str(self.path)!r} ({', '.join(absent[:3])}, …): "
                "they were written for another AnnData."
            )
            raise ArgumentError(msg)
        return np.array([row_of[name] for name in obs_names], dtype=np.int64)

    def batches(self, rows: np.ndarray, batch_size: int) -> Iterator[tuple[slice, np.ndarray]]:
        """``float32 (B, T, D)`` of the store's ``rows``, in batches, with the batch's place among ``rows``."""
        for start in range(0, len(rows), batch_size):
            batch = slice(start, min(start + batch_size, len(rows)))
            yield batch, np.asarray(self.array[rows[batch]], dtype=np.float32)


def _attributes(path: Path) -> dict[str, Any]:
    """Attributes of the zarr group at ``path``; empty if there is none."""
    attributes = path / ".zattrs"
    if not attributes.is_file():
        return {}
    try:
        return dict(json.loads(attributes.read_text()))
    except ValueError:
        return {}


def check_replaceable(path: str | os.PathLike[str]) -> None:
    """Raise :class:`ArgumentError` unless nothing, an empty folder or an earlier hidden store is at ``path``."""
    path = Path(path)
    if path.is_dir() and (not any(path.iterdir()) or _attributes(path).get("kind") == KIND):
        return
    if path.exists():
        msg = f"hidden_to={str(path)!r} exists and holds no hidden states, so it is not overwritten. Name another path."
        raise ArgumentError(msg)
