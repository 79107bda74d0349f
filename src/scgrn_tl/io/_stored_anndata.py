"""An AnnData file worked on where it lies: opened without its matrices, and copied with new results in it."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scgrn_tl.core import ArgumentError, ExpressionError, MissingKeyError
from scgrn_tl.core.damaged import refuse_damaged
from scgrn_tl.core.matrix import WRITE_AGAIN
from scgrn_tl.core.names import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from anndata import AnnData

__all__ = ["copy_with_results", "open_stored"]


@contextmanager
def open_stored(
    path: str | Path, *, layer: str | None = None, obs: Mapping[str, str] | None = None, uns: tuple[str, ...] = ()
) -> Iterator[AnnData]:
    """An AnnData whose expression stays in its file, open for as long as the block lasts.

    It has ``X`` (or ``layers[layer]`` alone), the names of cells and genes, the columns ``obs``, all of ``var`` and
    ``varm``, and the entries ``uns``; nothing else is read.

    Parameters
    ----------
    path
        An ``.h5ad`` file or a ``.zarr`` folder.
    layer
        Layer with expression.
    obs
        Columns to read, by the argument that names each.
    uns
        What else to read, where it is there.

    Raises
    ------
    ArgumentError
        If there is no such file, or anndata wrote it in a layout that it gave up in 2020.
    ExpressionError, MissingKeyError
        If there is no expression in it, or no such layer or column.
    """
    path = Path(path)
    with _group(path, "r") as group:
        with refuse_damaged(path, WRITE_AGAIN):
            adata = _opened(path, group, layer, obs or {}, uns)
        yield adata


def _opened(path: Path, group: Any, layer: str | None, obs: Mapping[str, str], uns: tuple[str, ...]) -> AnnData:
    from anndata import AnnData
    from anndata.io import read_elem

    for frame in ("obs", "var"):
        if "_index" not in getattr(group.get(frame), "attrs", {}):
            msg = (
                f"{str(path)!r} holds no AnnData that can be read in place. Write it anew with a current anndata: "
                "`anndata.read_h5ad(path).write_h5ad(path)`."
            )
            raise ArgumentError(msg)
    wanted = _checked_columns(group["obs"], obs)
    matrix = _matrix(group, layer)
    index = read_elem(group["obs"][group["obs"].attrs["_index"]])
    columns = {name: read_elem(group["obs"][name]) for name in wanted}
    return AnnData(
        **{"X": matrix} if layer is None else {"layers": {layer: matrix}},
        obs=_frame(columns, index),
        var=read_elem(group["var"]),
        varm=dict(read_elem(group["varm"])) if "varm" in group else {},
        uns={name: read_elem(group["uns"][name]) for name in uns if name in group.get("uns", {})},
    )


def copy_with_results(path: str | Path, copy: Path, adata: AnnData, results: Mapping[str, set[str]]) -> None:
    """Copy an AnnData file as it is, and put some slots of ``adata`` into the copy.

    Parameters
    ----------
    path, copy
        From where and to where; both ``.h5ad`` or both ``.zarr``.
    adata
        As :func:`open_stored` gave it, with results.
    results
        Slot → its keys: those that ``adata`` has are written, those that it lacks are removed.
    """
    from anndata.io import write_elem

    path = Path(path)
    if path.is_dir():
        shutil.copytree(path, copy)
    else:
        shutil.copyfile(path, copy)
    with refuse_damaged(path, WRITE_AGAIN), _group(copy, "r+") as group:
        for slot, keys in results.items():
            if slot not in group:
                write_elem(group, slot, {})
            values = getattr(adata, slot)
            for key in sorted(keys):
                if key in group[slot]:
                    del group[slot][key]
                if key in values:
                    value = values[key]
                    write_elem(group[slot], key, value.to_numpy() if slot == "obs" else value)
            if slot == "obs":
                order = [name for name in group["obs"].attrs["column-order"] if name not in keys]
                group["obs"].attrs["column-order"] = [*order, *sorted(key for key in keys if key in values)]
    _consolidate(copy)


@contextmanager
def _group(path: Path, mode: Any) -> Iterator[Any]:
    """The root group of a file or folder."""
    if path.is_dir():
        import zarr

        with refuse_damaged(path, WRITE_AGAIN):
            group = zarr.open_group(str(path), mode=mode, use_consolidated=False)
        yield group
        return
    import h5py

    with h5py.File(path, mode) as file:
        yield file


def _consolidate(path: Path) -> None:
    """Make the summary of a zarr folder's metadata anew, where it has one."""
    if not path.is_dir():
        return
    import zarr

    stored = zarr.open_group(str(path), mode="r")
    if stored.metadata.consolidated_metadata is not None:
        zarr.consolidate_metadata(str(path), zarr_format=stored.metadata.zarr_format)


def _matrix(group: Any, layer: str | None) -> Any:
    from anndata.io import sparse_dataset

    if layer is not None:
        layers = group.get("layers", {})
        if layer not in layers:
            msg = f"Did not find layers[{layer!r}]. There are: {list(layers)}."
            raise MissingKeyError(msg)
        stored = layers[layer]
    else:
        stored = group.get("X")
        if stored is None or (not hasattr(stored, "shape") and "indptr" not in stored):
            msg = "X is empty; name the layer that holds expression with `layer=`."
            raise ExpressionError(msg)
    return sparse_dataset(stored) if "indptr" in getattr(stored, "keys", dict)() else stored


def _checked_columns(frame: Any, columns: Mapping[str, str]) -> list[str]:
    there = list(map(str, frame.attrs.get("column-order", ())))
    for argument, name in columns.items():
        if name not in there:
            msg = f"Did not find obs[{name!r}] ({argument}=).{did_you_mean(name, there)} There are: {there}."
            raise MissingKeyError(msg)
    return list(dict.fromkeys(columns.values()))


def _frame(columns: Mapping[str, Any], index: Any) -> Any:
    import pandas as pd

    return pd.DataFrame(dict(columns), index=pd.Index(index).astype(str))
