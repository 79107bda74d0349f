"""Every kind of matrix that an AnnData can hold gives the same blocks, and stays as it was."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from scgrn_tl.core import (
    ExpressionError,
    MissingKeyError,
    by_rows,
    expression_matrix,
    iter_cells,
    matrix,
    summarize_expression,
    to_dense,
)

N_CELLS, N_GENES = 23, 11
DTYPES = [np.bool_, np.int8, np.uint8, np.int16, np.int32, np.int64, np.uint16, np.float32, np.float64]


def counts(dtype=np.float32) -> np.ndarray:
    values = np.random.default_rng(0).poisson(0.7, (N_CELLS, N_GENES))
    values[4] = 0  # a cell without counts
    return values.astype(dtype)


def coo_with_duplicates(values):
    coo = sparse.coo_array(values)
    if values.dtype == np.bool_:  # has no halves
        return coo
    row, column = coo.coords
    half = np.where(np.isfinite(coo.data), coo.data / 2, 0).astype(values.dtype)
    return sparse.coo_array(
        (np.r_[half, coo.data - half], (np.r_[row, row], np.r_[column, column])), shape=values.shape
    )


def unsorted_csr(values):
    """CSR whose column indices are in falling order, as some writers leave them."""
    stored = sparse.csr_matrix(values)
    for start, stop in zip(stored.indptr[:-1], stored.indptr[1:], strict=True):
        stored.indices[start:stop] = stored.indices[start:stop][::-1].copy()
        stored.data[start:stop] = stored.data[start:stop][::-1].copy()
    stored.has_sorted_indices = False
    return stored


def view(values):
    padded = np.zeros((2 * N_CELLS, N_GENES + 1), values.dtype)
    padded[::2, 1:] = values
    return padded[::2, 1:]


def anndata_view(container):
    def build(values):
        padded = np.vstack([values, values])
        return ad.AnnData(container(padded))[:N_CELLS].X

    return build


def read_only(values):
    values = values.copy()
    values.flags.writeable = False
    return values


IN_MEMORY = {
    "dense": np.array,
    "dense-fortran": np.asfortranarray,
    "dense-strided": view,
    "dense-read-only": read_only,
    "csr_matrix": sparse.csr_matrix,
    "csr_array": sparse.csr_array,
    "csr-unsorted": unsorted_csr,
    "csc_matrix": sparse.csc_matrix,
    "csc_array": sparse.csc_array,
    "coo_matrix": sparse.coo_matrix,
    "coo_array-duplicates": coo_with_duplicates,
    "anndata-view-dense": anndata_view(np.array),
    "anndata-view-csr": anndata_view(sparse.csr_matrix),
    "anndata-view-csc": anndata_view(sparse.csc_matrix),
}
ON_DISK = {"dense": np.array, "csr": sparse.csr_matrix, "csc": sparse.csc_matrix}


def contents(stored) -> np.ndarray:
    return stored.toarray() if sparse.issparse(stored) else np.array(stored)


@pytest.fixture(params=IN_MEMORY)
def in_memory(request):
    return IN_MEMORY[request.param]


@pytest.fixture(params=[f"{store}-{kind}" for store in ("h5ad", "zarr") for kind in ON_DISK])
def on_disk(request, tmp_path):
    """The ``X`` of an AnnData that stays in its file."""
    store, kind = request.param.split("-")
    adata = ad.AnnData(ON_DISK[kind](counts()))
    if store == "h5ad":
        adata.write_h5ad(tmp_path / "cells.h5ad")
        backed = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
        yield backed.X
        backed.file.close()
    else:
        import zarr

        adata.write_zarr(tmp_path / "cells.zarr")
        stored = zarr.open(tmp_path / "cells.zarr", mode="r")["X"]
        yield stored if kind == "dense" else ad.io.sparse_dataset(stored)


def assert_same_blocks(stored, expected):
    for columns in (None, np.array([7, 0, 3]), np.array([], dtype=np.int64)):
        wanted = expected if columns is None else expected[:, columns]
        for batch_size in (1, 5, N_CELLS, 1000):
            seen = 0
            for rows, block in iter_cells(stored, columns=columns, batch_size=batch_size):
                assert rows.start == seen
                assert block.shape[0] == rows.stop - rows.start <= batch_size
                assert type(block) is np.ndarray
                assert block.dtype == np.float32
                assert block.flags.c_contiguous
                np.testing.assert_array_equal(block, wanted[rows])
                seen = rows.stop
            assert seen == len(expected)


def assert_same_summary(stored, expected):
    summary = summarize_expression(stored)
    np.testing.assert_array_equal(summary.totals, expected.sum(axis=1, dtype=np.float64))
    assert summary.totals.dtype == np.float64
    assert summary.is_counts is True
    assert summary.maximum == expected.max()
    np.testing.assert_array_equal(summary.empty_cells, expected.sum(axis=1) == 0)
    assert summary.empty_cells[4]


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: np.dtype(dtype).name)
def test_in_memory(in_memory, dtype):
    expected = counts(dtype)
    stored = in_memory(expected.copy())
    assert_same_blocks(stored, expected)
    assert_same_summary(stored, expected)
    np.testing.assert_array_equal(contents(stored), expected)
    assert stored.dtype == dtype


def test_on_disk(on_disk):
    assert_same_blocks(on_disk, counts())
    assert_same_summary(on_disk, counts())


@pytest.mark.parametrize(
    "container", [np.array, sparse.csr_matrix, sparse.csr_array], ids=["dense", "csr", "csr_array"]
)
def test_dask(container):
    da = pytest.importorskip("dask.array")
    lazy = da.from_array(counts(), chunks=(4, N_GENES)).map_blocks(container)
    assert_same_blocks(lazy, counts())
    assert_same_summary(lazy, counts())


def test_blocks_are_new_so_that_changing_one_leaves_the_matrix(in_memory):
    expected = counts()
    stored = in_memory(expected.copy())
    for _, block in iter_cells(stored, batch_size=N_CELLS):
        block += 1
    for _, block in iter_cells(stored, columns=np.arange(N_GENES), batch_size=N_CELLS):
        block += 1
    np.testing.assert_array_equal(contents(stored), expected)


@given(
    batch_size=st.integers(1, 50),
    columns=st.lists(st.integers(0, N_GENES - 1), max_size=30),
    kind=st.sampled_from(["dense", "csr_matrix", "csc_matrix", "csr-unsorted"]),
)
def test_any_batch_size_and_any_columns_also_repeated(batch_size, columns, kind):
    expected = counts()
    blocks = iter_cells(IN_MEMORY[kind](expected), columns=np.array(columns, dtype=np.int64), batch_size=batch_size)
    np.testing.assert_array_equal(np.vstack([block for _, block in blocks]), expected[:, columns])


def test_dtype_of_blocks():
    (_, block), *_ = iter_cells(counts(np.int8), dtype=np.float64)
    assert block.dtype == np.float64


@pytest.mark.parametrize("kind", ["dense", "csr_matrix", "csc_matrix"])
def test_one_cell_and_one_gene(kind):
    for shape in ((1, 5), (5, 1), (1, 1)):
        expected = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        blocks = list(iter_cells(IN_MEMORY[kind](expected)))
        assert len(blocks) == 1
        np.testing.assert_array_equal(blocks[0][1], expected)
        assert summarize_expression(IN_MEMORY[kind](expected)).totals.shape == (shape[0],)


@pytest.mark.parametrize("kind", ["dense", "csr_matrix", "csc_matrix"])
def test_no_cells(kind):
    stored = IN_MEMORY[kind](np.zeros((0, 4), np.float32))
    assert list(iter_cells(stored)) == []
    assert summarize_expression(stored).totals.shape == (0,)


def test_all_zero():
    summary = summarize_expression(sparse.csr_matrix((3, 4)))
    assert summary.empty_cells.all()
    assert summary.is_counts
    assert summary.maximum == 0


def test_summary_does_not_depend_on_the_blocks(monkeypatch):
    values = np.random.default_rng(1).gamma(1, 1, (N_CELLS, N_GENES))
    whole = summarize_expression(values)
    monkeypatch.setattr(matrix, "BLOCK_VALUES", 3 * N_GENES)
    blocks = summarize_expression(values)
    np.testing.assert_array_equal(blocks.totals, whole.totals)
    np.testing.assert_allclose(whole.totals, values.sum(axis=1))
    assert (blocks.maximum, blocks.is_counts) == (whole.maximum, whole.is_counts) == (values.max(), False)


def test_one_fraction_is_enough_for_no_counts():
    values = counts()
    values[-1, -1] = 0.5
    assert not summarize_expression(values).is_counts
    assert not summarize_expression(sparse.csr_matrix(values)).is_counts


def test_totals_of_small_integers_do_not_overflow():
    values = np.full((2, 1000), 200, dtype=np.uint8)
    np.testing.assert_array_equal(summarize_expression(values).totals, [200_000, 200_000])
    np.testing.assert_array_equal(summarize_expression(sparse.csr_matrix(values)).totals, [200_000, 200_000])


BAD = {"negative": -1.5, "NaN": np.nan, "infinite": np.inf}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("container", IN_MEMORY)
def test_bad_value_names_the_first_cell_and_gene(container, kind, monkeypatch):
    monkeypatch.setattr(matrix, "BLOCK_VALUES", 5 * N_GENES)  # the offender is in the third block
    values = counts(np.float64)
    values[13, 6] = BAD[kind]
    values[13, 9] = -9
    values[20, 0] = np.nan
    stored = IN_MEMORY[container](values)
    names = ([f"cell{i}" for i in range(N_CELLS)], [f"GENE{i}" for i in range(N_GENES)])
    with pytest.raises(ExpressionError, match=rf"a {kind} value \(.*\) at cell 'cell13', gene 'GENE6'"):
        summarize_expression(stored, *names)
    with pytest.raises(ExpressionError, match="at cell 13, gene 6"):
        summarize_expression(stored)


def test_bad_value_in_a_file(tmp_path):
    values = counts()
    values[7, 2] = -np.inf
    for container in ON_DISK.values():
        ad.AnnData(container(values)).write_h5ad(tmp_path / "bad.h5ad")
        backed = ad.read_h5ad(tmp_path / "bad.h5ad", backed="r")
        with pytest.raises(ExpressionError, match=r"infinite value \(-inf\) at cell '7', gene '2'"):
            summarize_expression(backed.X, backed.obs_names, backed.var_names)
        backed.file.close()


def test_negative_values_say_what_to_pass_instead():
    with pytest.raises(ExpressionError, match=r"z-scored.*layer="):
        summarize_expression(np.array([[-1.0]]))


@pytest.mark.parametrize("dtype", [np.complex64, object, "U3", "datetime64[s]"])
def test_not_numbers(dtype):
    with pytest.raises(ExpressionError, match="has to be numeric"):
        summarize_expression(np.zeros((2, 2), dtype=dtype))


def test_expression_matrix_is_the_stored_object():
    adata = ad.AnnData(counts(), layers={"counts": sparse.csr_matrix(counts())})
    assert expression_matrix(adata) is adata.X
    assert expression_matrix(adata, "counts") is adata.layers["counts"]


def test_expression_matrix_missing():
    with pytest.raises(MissingKeyError, match=r"Did not find layers\['raw'\]. There are: \['counts'\]."):
        expression_matrix(ad.AnnData(counts(), layers={"counts": counts()}), "raw")
    with pytest.raises(ExpressionError, match="`layer=`"):
        expression_matrix(ad.AnnData(layers={"counts": counts()}))


@pytest.mark.parametrize("shape", [(0, 4), (4, 0)])
def test_expression_matrix_without_cells_or_genes(shape):
    with pytest.raises(ExpressionError, match=f"{shape[0]} cells and {shape[1]} genes"):
        expression_matrix(ad.AnnData(np.zeros(shape, np.float32)))


@pytest.mark.parametrize("kind", ["dense-fortran", "csc_matrix", "anndata-view-csr"])
def test_to_dense_is_a_copy(kind):
    expected = counts()
    dense = to_dense(IN_MEMORY[kind](expected))
    assert type(dense) is np.ndarray
    assert dense.flags.c_contiguous
    assert not np.shares_memory(dense, expected)
    np.testing.assert_array_equal(dense, expected)


@pytest.mark.parametrize("convert", [sparse.csr_matrix, sparse.csc_matrix])
@pytest.mark.parametrize(("part", "value"), [("indices", 99), ("indices", -1), ("indptr", 99)])
def test_indices_beyond_the_matrix_are_refused_before_scipy_crashes(convert, part, value):
    """Found by the fuzzer: a damaged file gives such a matrix, and scipy's ``toarray`` writes where it points."""
    matrix = convert(np.arange(12.0).reshape(3, 4))
    getattr(matrix, part)[1] = value
    with pytest.raises(ExpressionError, match="damaged"):
        by_rows(matrix)
    with pytest.raises(ExpressionError, match="damaged"):
        summarize_expression(matrix)
