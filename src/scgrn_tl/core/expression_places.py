"""Where an AnnData holds expression that can be used, for errors to name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["usable_expression"]

N_CELLS_LOOKED_AT = 200


def usable_expression(adata: AnnData, *, besides: str | None) -> str:
    """A sentence that names expression without negative values, and the call that takes it.

    Parameters
    ----------
    adata
        ``X``, its layers and ``raw`` are looked through, the first cells of each.
    besides
        What cannot be used: a layer, or ``None`` for ``X``.
    """
    layers = [str(key) for key in adata.layers if key is not None and key != besides]
    if found := [key for key in layers if _looks_usable(adata.layers[key])]:
        others = f" (so do {', '.join(map(repr, found[1:]))})" if found[1:] else ""
        return f"layers[{found[0]!r}] has none below 0{others}: pass `layer={found[0]!r}`."
    if besides is not None and adata.X is not None and _looks_usable(adata.X):
        return "adata.X has none below 0: leave `layer` out."
    if adata.raw is not None and _looks_usable(adata.raw.X):
        return _of_raw(adata)
    return "Keep them before they are scaled, `adata.layers['log'] = adata.X.copy()`, and pass `layer='log'`."


def _of_raw(adata: AnnData) -> str:
    there = f"adata.raw has none below 0, of {adata.raw.n_vars:,} genes"
    if adata.var_names.isin(adata.raw.var_names).all():
        return f"{there}: `adata.layers['log'] = adata.raw[:, adata.var_names].X`, then pass `layer='log'`."
    return f"{there} that go by other names: pass `adata.raw.to_adata()`."


def _looks_usable(matrix: Any) -> bool:
    """Whether the first cells have numbers, none of them negative."""
    block = matrix[:N_CELLS_LOOKED_AT]
    block = block.compute() if hasattr(block, "compute") else block
    values = block.data if sparse.issparse(block) else np.asarray(block)
    return values.dtype.kind in "biuf" and bool(np.isfinite(values).all() and (values >= 0).all())
