from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scgrn_tl.core.errors import ArgumentError
from scgrn_tl.models import GenePool
from scgrn_tl.models.pooling import mean_of_pools


def cells(n: int, n_genes: int = 4, dim: int = 3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, n_genes, dim, generator=generator), torch.rand(n, n_genes, generator=generator)


def pooled(hidden: torch.Tensor, weights: torch.Tensor | None, batches: list[np.ndarray]) -> GenePool:
    pool = GenePool(*hidden.shape[1:])
    for rows in batches:
        pool.update(hidden[rows], None if weights is None else weights[rows])
    return pool


def test_is_the_weighted_mean_of_every_gene() -> None:
    hidden, weights = cells(7)
    expected = np.stack(
        [np.average(hidden[:, t].numpy().astype(float), axis=0, weights=weights[:, t].numpy()) for t in range(4)]
    )
    pool = pooled(hidden, weights, [np.arange(7)])
    np.testing.assert_allclose(pool.result(np.float64), expected, rtol=1e-12)
    assert pool.result().dtype == np.float32
    assert pool.n_cells == 7


def test_without_weights_is_the_mean() -> None:
    hidden, _ = cells(5)
    np.testing.assert_allclose(
        pooled(hidden, None, [np.arange(5)]).result(np.float64), hidden.double().mean(dim=0).numpy(), rtol=1e-12
    )


@settings(max_examples=50, deadline=None)
@given(data=st.data(), n=st.integers(1, 20), seed=st.integers(0, 1000))
def test_neither_batches_nor_order_nor_shards_matter(data: st.DataObject, n: int, seed: int) -> None:
    hidden, weights = cells(n, seed=seed)
    expected = pooled(hidden, weights, [np.arange(n)]).result(np.float64)
    order = np.array(data.draw(st.permutations(range(n))))
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=4)))
    batches = np.split(order, cuts)
    np.testing.assert_allclose(pooled(hidden, weights, batches).result(np.float64), expected, rtol=1e-10, atol=1e-12)
    merged = GenePool(4, 3)
    for rows in batches:
        merged.merge(pooled(hidden, weights, [rows]))
    np.testing.assert_allclose(merged.result(np.float64), expected, rtol=1e-10, atol=1e-12)
    assert merged.n_cells == n


def test_many_small_weights_lose_nothing() -> None:
    hidden = torch.full((20_000, 1, 1), 3.0)
    hidden[0] = 1e4
    weights = torch.full((20_000, 1), 1e-7)
    weights[0] = 1.0
    expected = (1e4 + 19_999 * float(weights[1]) * 3.0) / (1 + 19_999 * float(weights[1]))
    batches = np.split(np.arange(20_000), 200)
    assert pooled(hidden, weights, batches).result(np.float64)[0, 0] == pytest.approx(expected, rel=1e-12)


def test_gene_without_weight_is_nan() -> None:
    hidden, weights = cells(3)
    weights[:, 1] = 0
    result = pooled(hidden, weights, [np.arange(3)]).result()
    assert np.isnan(result[1]).all()
    assert np.isfinite(result[[0, 2, 3]]).all()
    assert np.isnan(GenePool(2, 2).result()).all()


def test_state_round_trip_goes_on_where_it_was() -> None:
    hidden, weights = cells(9)
    whole = pooled(hidden, weights, [np.arange(5), np.arange(5, 9)])
    half = pooled(hidden, weights, [np.arange(5)])
    state = half.state()
    resumed = GenePool.from_state(state)
    resumed.update(hidden[5:], weights[5:])
    np.testing.assert_array_equal(resumed.result(np.float64), whole.result(np.float64))
    assert resumed.n_cells == 9
    np.testing.assert_array_equal(half.result(), GenePool.from_state(state).result())  # the state is a copy


def test_inference_tensors_are_accepted() -> None:
    with torch.inference_mode():
        hidden, weights = (tensor * 1 for tensor in cells(3))
    pool = GenePool(4, 3)
    pool.update(hidden, weights)
    assert np.isfinite(pool.result()).all()


@pytest.mark.parametrize(
    ("hidden", "weights", "match"),
    [
        (torch.zeros(2, 5, 3), torch.ones(2, 5), r"\(2, 5, 3\).*\(cells, 4, 3\)"),
        (torch.zeros(2, 4, 3), torch.ones(2, 3), r"\(2, 3\).*\(2, 4\)"),
        (torch.zeros(2, 4, 3), -torch.ones(2, 4), "negative"),
        (torch.zeros(2, 4, 3), torch.full((2, 4), torch.nan), "NaN"),
    ],
)
def test_refuses_what_does_not_fit_and_stays_as_it_was(hidden: torch.Tensor, weights: torch.Tensor, match: str) -> None:
    pool = pooled(*cells(2), [np.arange(2)])
    before = pool.state()
    with pytest.raises(ArgumentError, match=match):
        pool.update(hidden, weights)
    for name, array in pool.state().items():
        np.testing.assert_array_equal(array, before[name])


def test_refuses_pools_and_states_of_another_shape() -> None:
    with pytest.raises(ArgumentError, match="same number of genes"):
        GenePool(4, 3).merge(GenePool(5, 3))
    with pytest.raises(ArgumentError, match="lacks n_cells"):
        GenePool.from_state({"weighted_sum": np.zeros((4, 3)), "weight_sum": np.zeros(4)})
    with pytest.raises(ArgumentError, match="expected"):
        GenePool.from_state({"weighted_sum": np.zeros((4, 3)), "weight_sum": np.zeros(3), "n_cells": np.array(1)})
    with pytest.raises(ArgumentError, match="at least one"):
        GenePool(0, 3)


def test_repr_says_what_it_holds() -> None:
    assert repr(pooled(*cells(2), [np.arange(2)])) == "GenePool(4 genes × 3, 2 cells so far)"


def test_pools_count_alike_where_they_know_a_gene() -> None:
    hidden, weights = cells(9)
    weights[:6, 1] = 0  # gene 1 in the second pool only, gene 2 in none
    weights[:, 2] = 0
    parts = [np.arange(6), np.arange(6, 9)]
    mean = mean_of_pools(pooled(hidden, weights, [part]) for part in parts)
    for gene in range(4):
        of_parts = [
            np.average(hidden[part, gene].numpy().astype(float), axis=0, weights=weights[part, gene].numpy())
            for part in parts
            if weights[part, gene].any()
        ]
        expected = np.mean(of_parts, axis=0) if of_parts else np.full(3, np.nan)
        np.testing.assert_allclose(mean[gene], expected, rtol=1e-12)
    assert mean.dtype == np.float64
