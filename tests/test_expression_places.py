"""Scaled expression is refused with code that takes what can be used, and that runs as it stands."""

from __future__ import annotations

import re

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scgrn_tl.core import ExpressionError
from scgrn_tl.core.door import genes_by_cells

N_CELLS, N_GENES = 30, 6


def scaled_anndata(**layers):
    """As scanpy's tutorials leave it: log values of six genes in ``raw``, three of them chosen and scaled in ``X``."""
    logged = np.log1p(np.random.default_rng(0).poisson(2, (N_CELLS, N_GENES))).astype(np.float32)
    adata = ad.AnnData(logged, var=pd.DataFrame(index=[f"GENE{i}" for i in range(N_GENES)]))
    adata.raw = adata
    adata = adata[:, [4, 1, 3]].copy()
    adata.layers.update({name: make(adata.X) for name, make in layers.items()})
    adata.X = (adata.X - adata.X.mean(axis=0)) / adata.X.std(axis=0)
    return adata, logged[:, [4, 1, 3]]


def refusal(adata, layer=None):
    with pytest.raises(ExpressionError, match="negative") as refused:
        genes_by_cells(adata, layer)
    _, mend = str(refused.value).split(", for instance with `layer=`. ")
    return mend, re.findall(r"`(.*?)`", mend)


def test_scaled_expression_is_refused_with_the_code_that_takes_raw():
    adata, logged = scaled_anndata()
    message, (code, call) = refusal(adata)
    assert f"adata.raw has none below 0, of {N_GENES} genes" in message
    exec(code, {"adata": adata})  # what the message says runs as it stands
    assert call == "layer='log'"
    np.testing.assert_array_equal(genes_by_cells(adata, "log"), logged.T)


@pytest.mark.parametrize("container", [np.array, sparse.csr_matrix, sparse.csc_array])
def test_scaled_expression_is_refused_with_a_layer_that_can_be_used(container):
    adata, logged = scaled_anndata(scaled_too=np.negative, log=container, with_nan=lambda x: x * np.nan)
    message, calls = refusal(adata)
    assert "layers['log'] has none below 0: pass" in message
    assert calls == ["layer='log'"]
    np.testing.assert_array_equal(genes_by_cells(adata, "log"), logged.T)
    assert refusal(adata, "scaled_too")[1] == ["layer='log'"]
    adata.X = logged
    del adata.layers["log"]
    assert refusal(adata, "scaled_too")[1] == ["layer"]  # leave it out: X will do


def test_scaled_expression_without_anything_to_take_instead():
    adata, logged = scaled_anndata()
    adata.var_names = ["a", "b", "c"]
    message, calls = refusal(adata)
    assert "by other names" in message
    assert genes_by_cells(eval(calls[0], {"adata": adata})).shape[0] == N_GENES
    adata.raw = None
    _, (code, call) = refusal(adata)
    adata.X = logged
    exec(code, {"adata": adata})
    assert call == "layer='log'"
    np.testing.assert_array_equal(genes_by_cells(adata, "log"), logged.T)
