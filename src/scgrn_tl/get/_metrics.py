"""How well a stored network did, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from scgrn_tl.core import MissingKeyError, open_anndata
from scgrn_tl.core.argument_types import typed_arguments

from ._slots import read_record

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

__all__ = ["grn_metrics"]


@typed_arguments
def grn_metrics(adata: AnnData | MuData, *, key: str = "grn", modality: str = "rna") -> pd.DataFrame:
    """Metrics of the fitted network on its held-out pairs, beside those of its hub floor.

    Parameters
    ----------
    adata
        Annotated data with ``uns[key]["metrics"]``, or a MuData whose ``modality`` has it.
    key
        Where :func:`scgrn_tl.tl.fit_grn` stored the network.
    modality
        Which modality to read if ``adata`` is a MuData.

    Returns
    -------
    A new DataFrame with one row per method and part: the column ``method`` first, then ``part`` (``validation``,
    ``test``) if there, then one column per metric, as :func:`scgrn_tl.bm.evaluate` names them.

    Raises
    ------
    ArgumentError
        If an argument is of another kind than the signature says.
    MissingKeyError
        If no metrics are stored under ``key``.
    """
    record = read_record(open_anndata(adata, modality=modality), key)
    stored = record.get("metrics") if hasattr(record, "get") else None
    if not isinstance(stored, pd.DataFrame):
        names = sorted(map(str, record)) if hasattr(record, "get") else []
        msg = (
            f"Did not find a table .uns[{key!r}]['metrics']. Run `sg.tl.fit_grn` first, with a prior large enough to "
            f"hold some edges back. There are: {names}."
        )
        raise MissingKeyError(msg)
    table = stored.copy()
    if "method" not in table:
        table = table.rename_axis(index="method").reset_index()
    first = [name for name in ("method", "part") if name in table]
    table = table[[*first, *(name for name in table if name not in first)]].reset_index(drop=True)
    # Text columns come back as categories from some files: the same types whether or not the data were ever saved.
    texts = [name for name in table if isinstance(table[name].dtype, pd.CategoricalDtype)]
    return table.astype(dict.fromkeys(texts, object))
