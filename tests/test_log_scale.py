"""Logarithms to another base than they are taken for, and totals other than scBERT's: told by the cells' totals."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
from scipy import sparse

from scgrn_tl.core import summarize_expression
from scgrn_tl.core.log_scale import constant_totals
from scgrn_tl.tl._token_stream import Expression

COUNTS = np.random.default_rng(0).poisson(np.random.default_rng(1).gamma(1, 2, size=40), size=(300, 40))


def normalised(target_sum: float | None = 1e4, base: float | None = None) -> ad.AnnData:
    adata = ad.AnnData(sparse.csr_matrix(COUNTS, dtype=np.float32))
    sc.pp.normalize_total(adata, target_sum=target_sum)
    sc.pp.log1p(adata, base=base)
    return adata


@pytest.mark.parametrize("convert", [sparse.csr_matrix, sparse.csc_matrix, lambda matrix: matrix.toarray()])
def test_the_scale_is_told_by_what_sums_to_the_same(convert):
    for base, scale in ((None, "natural"), (2, "base 2")):
        found = constant_totals(convert(normalised(1e4, base).X))
        assert list(found) == [scale]
        assert found[scale] == pytest.approx(1e4, rel=1e-5)
    plain = COUNTS / COUNTS.sum(axis=1, keepdims=True) * 50
    assert constant_totals(convert(sparse.csr_matrix(plain))) == pytest.approx({"none": 50})


def test_nothing_is_told_of_part_of_the_genes_of_counts_or_of_few_cells():
    matrix = normalised().X
    assert constant_totals(matrix[:, :20]) == {}
    assert constant_totals(matrix[:2]) == {}
    assert constant_totals(sparse.csr_matrix(COUNTS)) == {}
    assert constant_totals(sparse.csr_matrix((5, 4))) == {}
    assert constant_totals(np.full((5, 4), 1e5)) == {}
    assert summarize_expression(sparse.csr_matrix(COUNTS)).constant_totals == {}
    with_empty = sparse.vstack([sparse.csr_matrix((2, 40)), matrix], format="csr")
    assert list(summarize_expression(with_empty).constant_totals) == ["natural"]


def without_note() -> ad.AnnData:
    adata = normalised()
    del adata.uns["log1p"]
    return adata


def in_a_layer() -> ad.AnnData:
    adata = normalised()
    adata.layers["log"] = adata.X
    return adata


def binary_beside_natural() -> ad.AnnData:
    adata = normalised()
    adata.layers["log2"] = normalised(base=2).X
    return adata


@pytest.mark.parametrize(
    "make",
    [normalised, lambda: normalised(base=2), lambda: normalised()[:, :20].copy(), lambda: normalised(6e3)],
    ids=["natural", "base 2", "part of the genes", "6,000 per cell"],
)
def test_what_is_as_it_is_taken_is_not_warned_of(make):
    Expression.from_anndata(make(), None, "auto")  # warnings are errors


def test_a_layer_is_in_the_logarithms_that_are_noted():
    adata = in_a_layer()
    assert Expression.from_anndata(adata, "log", "auto").to_log2 == Expression.from_anndata(adata, None, "auto").to_log2


@pytest.mark.parametrize(
    ("make", "layer", "words"),
    [
        (lambda: normalised(1e6), None, r"normalised to 1e\+06 per cell, but scBERT's bins are of 10,000"),
        (lambda: normalised(None), None, r"normalised to \d+(\.\d+)? per cell.*target_sum=1e4"),
        (without_note, None, r"natural logarithms.*base 2: there is no uns\[\"log1p\"\].*`adata\.uns\[\"log1p\"\] = "),
        (
            lambda: ad.AnnData(COUNTS / COUNTS.sum(axis=1, keepdims=True) * 25),
            None,
            r"sum to 25 in every cell.*Run `sc\.pp\.log1p`",
        ),
        (binary_beside_natural, "log2", r"base 2, but uns\[\"log1p\"\].*multiplied by 1\.443.*= {\"base\": 2}`"),
    ],
    ids=["per million", "median", "no note", "no logarithms", "base 2 in a layer"],
)
def test_what_is_taken_for_something_else_is_warned_of(make, layer, words):
    with pytest.warns(UserWarning, match=words):
        Expression.from_anndata(make(), layer, "auto")
