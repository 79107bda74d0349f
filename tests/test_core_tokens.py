from __future__ import annotations

import dataclasses
import logging
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from scgrn_tl.core import (
    MASK_TOKEN,
    N_BINS,
    N_TOKENS,
    ArgumentError,
    needs_normalization,
    summarize_expression,
    tokenize,
)

counts = hnp.arrays(np.int64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 5000))


def token_of(count: int, total: int) -> int:
    """Yang et al. 2022: log2(1 + 10⁴·count/total), cut down to a whole number, at most 5."""
    if total == 0:
        return 0
    return min(math.floor(math.log2(1 + count * (1e4 / total))), 5)


@given(block=counts)
def test_counts_agree_with_the_definition_value_by_value(block):
    totals = block.sum(axis=1)
    expected = [[token_of(int(count), int(total)) for count in row] for row, total in zip(block, totals, strict=True)]
    tokens = tokenize(block, totals)
    assert tokens.dtype == np.int64
    np.testing.assert_array_equal(tokens, expected)


def test_agrees_with_scanpy_as_scbert_preprocesses():
    import anndata as ad
    import scanpy as sc

    block = np.random.default_rng(0).negative_binomial(1, 0.2, (40, 300)).astype(np.float64)
    adata = ad.AnnData(block.copy())
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata, base=2)
    clear = np.abs(adata.X - np.rint(adata.X)) > 1e-9  # on a bin's edge the rounding of log1p decides
    expected = np.minimum(adata.X.astype(np.int64), 5)
    np.testing.assert_array_equal(tokenize(block, block.sum(axis=1))[clear], expected[clear])


@given(
    values=hnp.arrays(
        np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.floats(0, 40, width=32)
    )
)
def test_normalised_values_are_cut_and_capped(values):
    np.testing.assert_array_equal(tokenize(values), [[min(int(value), 5) for value in row] for row in values])


def test_bins_at_their_edges():
    values = np.array([[0, 0.999, 1, 1.999, 2, 3, 4, 4.999, 5, 6, 1e30]])
    np.testing.assert_array_equal(tokenize(values)[0], [0, 0, 1, 1, 2, 3, 4, 4, 5, 5, 5])
    # 10⁴·count/total = 1, 3, 7, 15, 31, 63 are the edges of the bins 1…5 and beyond
    edges = np.array([[1, 3, 7, 15, 31, 63]])
    np.testing.assert_array_equal(tokenize(edges, np.array([10_000]))[0], [1, 2, 3, 4, 5, 5])


def test_the_total_counts_genes_outside_the_block():
    block = np.array([[10, 20]])
    assert tokenize(block, np.array([30])).tolist() == [[5, 5]]
    assert tokenize(block, np.array([100_000])).tolist() == [[1, 1]]


def test_a_cell_without_counts_has_zeros_and_leaves_the_others_alone():
    tokens = tokenize(np.array([[0, 0], [1, 1]]), np.array([0, 2]))
    assert tokens.tolist() == [[0, 0], [5, 5]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8, np.uint16, np.int64])
def test_dtype_and_input_unchanged(dtype):
    block = np.array([[0, 1, 5], [3, 0, 100]], dtype=dtype)
    before = block.copy()
    tokens = tokenize(block, block.sum(axis=1, dtype=np.float64))
    assert tokens.dtype == np.int64
    np.testing.assert_array_equal(tokens, tokenize(before.astype(float), before.sum(axis=1, dtype=np.float64)))
    np.testing.assert_array_equal(block, before)


def test_vocabulary_of_tokens():
    assert (N_BINS, MASK_TOKEN, N_TOKENS) == (6, 6, 7)


WHOLE = summarize_expression(np.array([[0, 3.0], [2, 1]]))
FRACTIONS = summarize_expression(np.array([[0, 3.5], [2, 1]]))


def test_auto_takes_whole_numbers_as_counts_and_says_so(caplog):
    with caplog.at_level(logging.INFO, logger="scgrn_tl"):
        assert needs_normalization("auto", WHOLE) is True
        assert "taken as counts" in caplog.text
        assert needs_normalization("auto", FRACTIONS) is False
    assert "largest value 3.5" in caplog.text
    assert "Run `sc.pp.log1p` first" not in caplog.text


LINEAR = dataclasses.replace(FRACTIONS, maximum=277.5)


def test_values_that_no_logarithm_reaches_are_warned_of():
    assert needs_normalization("auto", FRACTIONS) is False
    with pytest.warns(UserWarning, match=r"value, 278, is more than logarithms of counts reach\. Run `sc\.pp\.log1p`"):
        assert needs_normalization("auto", LINEAR) is False


def test_of_several_processes_the_first_warns(monkeypatch, caplog):
    monkeypatch.setenv("RANK", "1")
    assert needs_normalization("auto", LINEAR) is False  # a warning would be an error
    assert "more than logarithms of counts reach" in caplog.text
    monkeypatch.setenv("RANK", "0")
    with pytest.warns(UserWarning, match="more than logarithms"):
        needs_normalization("auto", LINEAR)


@pytest.mark.parametrize("summary", [WHOLE, FRACTIONS])
def test_a_choice_is_taken_silently(summary, caplog):
    with caplog.at_level(logging.DEBUG, logger="scgrn_tl"):
        assert needs_normalization(True, summary) is True
        assert needs_normalization(False, summary) is False
    assert not caplog.records


@pytest.mark.parametrize("normalize", ["yes", None, "log"])
def test_unknown_choice(normalize):
    with pytest.raises(ArgumentError, match=r"normalize is 'auto'.* True or False"):
        needs_normalization(normalize, WHOLE)
