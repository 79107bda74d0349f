"""Expression of many cells stays sparse on its way to a method, and says the same as a dense array."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scgrn_tl as sg
from scgrn_tl import methods
from scgrn_tl.core import make_task, sparse_expression
from scgrn_tl.models import gene_features

N_CELLS, N_GENES = 130, 40


@pytest.fixture
def always_large(monkeypatch):
    monkeypatch.setattr(sparse_expression, "LARGE", 0)
    monkeypatch.setattr(sparse_expression, "_BLOCK_CELLS", 50)


def counts(*, normalized: bool) -> sparse.csr_matrix:
    rng = np.random.default_rng(0)
    values = rng.random((N_CELLS, N_GENES)) * (rng.random((N_CELLS, N_GENES)) < 0.2)
    values[7] = 0  # a cell without counts
    return sparse.csr_matrix((values if normalized else np.ceil(9 * values)).astype(np.float32))


def stored(kind: str, matrix: sparse.csr_matrix, folder) -> ad.AnnData:
    """The matrix in an AnnData, in memory or on disk."""
    var = pd.DataFrame(index=[f"g{number}" for number in range(N_GENES)])
    if kind == "dask":
        import dask.array as da

        blocks = da.from_array(matrix.toarray(), chunks=(30, N_GENES)).map_blocks(sparse.csr_matrix)
        return ad.AnnData(blocks, var=var)
    if kind in {"csr", "csc"}:
        return ad.AnnData(matrix.asformat(kind), var=var)
    form = {"backed dense": matrix.toarray(), "backed csc": matrix.tocsc()}
    adata = ad.AnnData(form.get(kind, matrix), var=var)
    adata.write_h5ad(folder / "a.h5ad")
    if kind.startswith("backed"):
        return ad.read_h5ad(folder / "a.h5ad", backed="r")
    import zarr

    adata.write_zarr(folder / "a.zarr")
    group = zarr.open_group(folder / "a.zarr", mode="r")
    return ad.AnnData(ad.io.sparse_dataset(group["X"]), var=var)


@pytest.mark.parametrize("normalized", [True, False], ids=["values", "counts"])
@pytest.mark.parametrize("kind", ["csr", "csc", "backed", "backed csc", "backed dense", "zarr", "dask"])
def test_sparse_task_is_the_dense_one(always_large, tmp_path, kind, normalized):
    matrix = counts(normalized=normalized)
    dense = make_task(ad.AnnData(matrix.toarray(), var=pd.DataFrame(index=[f"g{n}" for n in range(N_GENES)])))
    assert isinstance(dense.expression, np.ndarray)
    before = matrix.copy()
    adata = stored(kind, matrix, tmp_path)
    task = make_task(adata)
    assert sparse.issparse(task.expression)
    assert task.expression.dtype == np.float32
    np.testing.assert_array_equal(task.expression.toarray(), dense.expression)
    np.testing.assert_array_equal(task.with_dense_expression().expression, dense.expression)
    assert (matrix != before).nnz == 0


def test_columns_on_disk_are_turned_around_once(always_large, tmp_path, monkeypatch):
    adata = stored("backed csc", counts(normalized=False), tmp_path)
    columns, of_class = [], type(adata.X).__getitem__

    def spy(matrix, index):
        columns.append(index[1] if isinstance(index, tuple) and index[0] == slice(None) else "rows")
        return of_class(matrix, index)

    monkeypatch.setattr(type(adata.X), "__getitem__", spy)
    make_task(adata)
    assert "rows" not in columns  # a block of rows would read the whole file
    assert [block.start for block in columns] == [0, *(block.stop for block in columns[:-1])]
    assert columns[-1].stop == N_GENES


def test_small_or_full_expression_is_dense(monkeypatch):
    adata = sg.datasets.simulated(n_cells=20, n_genes=30, n_tfs=5, rng=0)
    adata.X = sparse.csr_matrix(adata.X)
    assert isinstance(make_task(adata).expression, np.ndarray)
    monkeypatch.setattr(sparse_expression, "LARGE", 0)
    adata.X = sparse.csr_matrix(np.ones(adata.shape, dtype=np.float32))
    assert isinstance(make_task(adata).expression, np.ndarray)


@pytest.mark.parametrize("kind", ["pca", "expression"])
def test_components_from_the_covariance_are_those_of_the_matrix(monkeypatch, kind):
    from scgrn_tl.models import node_features

    monkeypatch.setattr(node_features, "MAX_CELLS", 100)
    monkeypatch.setattr(node_features, "MAX_COMPONENTS", 10)
    monkeypatch.setattr(node_features, "_BLOCK_CELLS", 33)
    monkeypatch.setattr(node_features, "_BLOCK_ENTRIES", 100)
    expression = counts(normalized=True).T.toarray()
    dense = gene_features(expression, kind=kind, n_components=6)
    found = gene_features(sparse.csc_array(expression), kind=kind, n_components=6)
    # The overall scale hangs a little on signs that the solver is free to choose.
    profile = slice(0, 6 if kind == "pca" else 10)
    scale = np.abs(dense[:, profile]).sum() / np.abs(found[:, profile]).sum()
    assert scale == pytest.approx(1, abs=0.02)
    found[:, profile] *= scale
    np.testing.assert_allclose(found, dense, atol=1e-4)
    monkeypatch.setattr(node_features, "GRAM_GENES", 0)
    iterated = gene_features(sparse.csc_array(expression), kind=kind, n_components=6)
    np.testing.assert_allclose(iterated, dense, atol=1e-4)


def mostly_zero() -> ad.AnnData:
    adata = sg.datasets.simulated(n_cells=120, n_genes=40, n_tfs=8, rng=0)
    values = sparse.csr_matrix(adata.X).toarray()
    adata.X = sparse.csr_matrix(values * (values > np.quantile(values, 0.7)))
    return adata


@pytest.mark.parametrize("method", ["sctransnet", "gnnlink", "hub_floor", "permuted_expression"])
def test_methods_score_alike(always_large, method):
    adata = mostly_zero()
    params = {} if method == "hub_floor" else {"epochs": 3}
    found = []
    for form in (adata.X.toarray(), adata.X):
        adata.X = form
        sg.tl.fit_grn(adata, adata.uns["ground_truth"], method=method, use_rep=None, **params)
        found.append(adata.varp["grn"].toarray())
    np.testing.assert_allclose(found[1], found[0], atol=1e-2)
    assert found[0].std() > 0


def test_a_method_that_wants_a_dense_array_gets_one(always_large):
    adata = mostly_zero()
    task = make_task(adata)
    adata.X = adata.X.toarray()
    expected = methods.get("pearson")(make_task(adata)).matrix
    assert sparse.issparse(task.expression)
    np.testing.assert_array_equal(methods.get("pearson")(task).matrix, expected)
