from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scgrn_tl.core import spawn_seeds


@given(seed=st.integers(0, 2**64), n=st.integers(0, 40), more=st.integers(0, 40))
def test_the_first_seeds_do_not_depend_on_how_many_are_asked_for(seed, n, more):
    assert spawn_seeds(seed, n) == spawn_seeds(seed, n + more)[:n]


def test_seeds_differ_and_fit_torch():
    seeds = spawn_seeds(0, 10_000)
    assert len(set(seeds)) == len(seeds)
    assert all(type(seed) is int and 0 <= seed < 2**63 for seed in seeds)
    # spread over the whole range, not its lower part
    assert np.mean(np.array(seeds) > 2**62) == pytest.approx(0.5, abs=0.02)


def test_different_seeds_give_different_streams():
    assert not set(spawn_seeds(0, 100)) & set(spawn_seeds(1, 100))


def test_a_generator_moves_on_and_no_seed_is_fresh():
    generator = np.random.default_rng(3)
    first, second = spawn_seeds(generator, 2), spawn_seeds(generator, 2)
    assert first == spawn_seeds(3, 2)
    assert [*first, *second] == spawn_seeds(3, 4)
    assert spawn_seeds(None, 2) != spawn_seeds(None, 2)


def test_global_state_is_untouched():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    spawn_seeds(None, 5)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
