"""The folder of a benchmark's results: a table that grows row by row, and what each row's scores were."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scgrn_tl.core import ArgumentError
from scgrn_tl.core.argument_types import typed_arguments
from scgrn_tl.core.damaged import refuse_damaged
from scgrn_tl.io._atomic import replaced_when_complete

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["KEY", "ResultsFolder", "read_results", "row_key"]

KEY = ("dataset", "data", "method", "params", "split", "fold", "seed", "weights", "inputs")
"""Columns that tell what was run; the rest is what came out."""

TABLE = "results.parquet"
MEND = "Delete it, and run the benchmark again."

_TEXTS = (
    "dataset",
    "data",
    "method",
    "params",
    "role",
    "split",
    "weights",
    "inputs",
    "error",
    "predictions",
    "version",
)


def row_key(row: Mapping[str, Any]) -> str:
    """Name of a row, out of its :data:`KEY` columns."""
    described = json.dumps([str(row.get(column, "")) for column in KEY])
    return hashlib.sha256(described.encode()).hexdigest()[:16]


class ResultsFolder:
    """Results in ``folder``: ``results.parquet``, and ``predictions/``, ``arrays/`` and ``errors/`` beside it.

    Several processes may write to one folder.

    Parameters
    ----------
    folder
        Made if it is not there.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.path = Path(folder).expanduser().resolve()
        if self.path.exists() and not self.path.is_dir():
            msg = f"out={str(folder)!r} is a file; name a folder."
            raise ArgumentError(msg)
        for name in ("predictions", "arrays", "errors"):
            (self.path / name).mkdir(parents=True, exist_ok=True)

    def table(self) -> pd.DataFrame:
        """All rows that are there; ``predictions`` holds full paths."""
        path = self.path / TABLE
        if not path.is_file():
            return pd.DataFrame(columns=list(KEY))
        with refuse_damaged(path, MEND):
            table = pd.read_parquet(path)
        texts = [column for column in _TEXTS if column in table]
        table[texts] = table[texts].astype(object).fillna("")
        table["predictions"] = [str(self.path / name) if name else "" for name in table["predictions"]]
        return table

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows, in place of earlier ones of the same key."""
        from filelock import FileLock

        new = pd.DataFrame(rows)
        new["predictions"] = [
            Path(name).relative_to(self.path).as_posix() if name else "" for name in new["predictions"]
        ]
        new.index = pd.Index([row_key(row) for row in rows])
        with FileLock(self.path / f".{TABLE}.lock"):
            path = self.path / TABLE
            if path.is_file():
                with refuse_damaged(path, MEND):
                    old = pd.read_parquet(path)
                old.index = pd.Index([row_key(row) for row in old.to_dict("records")])
                old = old.loc[~old.index.isin(new.index)]
                new = new if old.empty else pd.concat([old, new])
            with replaced_when_complete(path) as beside:
                new.reset_index(drop=True).to_parquet(beside, index=False)

    def save_predictions(self, key: str, predictions: Mapping[str, NDArray[Any]]) -> str:
        """Keep a row's scores on its test pairs; the path of the file."""
        return str(self._save(self.path / "predictions" / f"{key}.npz", predictions))

    def save_arrays(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep what several rows need, such as an embedding."""
        self._save(self.path / "arrays" / f"{name}.npz", arrays)

    def has_arrays(self, name: str) -> bool:
        """Whether :meth:`save_arrays` kept something under this name."""
        return (self.path / "arrays" / f"{name}.npz").is_file()

    def arrays(self, name: str, *, prefix: str = "") -> dict[str, NDArray[Any]]:
        """What :meth:`save_arrays` kept under this name, of those whose names start so."""
        with np.load(self.path / "arrays" / f"{name}.npz", allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files if key.startswith(prefix)}

    def save_trace(self, key: str, trace: str) -> None:
        """Keep the traceback of a row that failed."""
        if trace:
            (self.path / "errors" / f"{key}.txt").write_text(trace, encoding="utf-8")

    @staticmethod
    def _save(path: Path, arrays: Mapping[str, NDArray[Any]]) -> Path:
        with replaced_when_complete(path) as beside, beside.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        return path


@typed_arguments
def read_results(out: str | os.PathLike[str]) -> pd.DataFrame:
    """All results that :func:`run` has written to a folder.

    Parameters
    ----------
    out
        The folder.

    Returns
    -------
    See :func:`run`.

    Raises
    ------
    ArgumentError
        If there are none.
    """
    path = Path(out).expanduser()
    if not (path / TABLE).is_file():
        msg = f"There are no results in {str(out)!r}: `sg.bm.run(…, out={str(out)!r})` writes them."
        raise ArgumentError(msg)
    return ResultsFolder(path).table()
