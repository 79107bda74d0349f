"""Splits: no pair twice, no pair lost, and groups truly held out."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scgrn_tl import bm
from scgrn_tl.core import ArgumentError, PriorNetwork, SplitError

KINDS = ("random", "tf", "target", "both")


def make_prior(edges: np.ndarray, n_genes: int) -> PriorNetwork:
    edges = np.unique(np.asarray(edges), axis=0)
    genes = tuple(f"G{index}" for index in range(n_genes))
    return PriorNetwork(genes, edges.T, np.zeros(len(edges)), np.ones(len(edges)))


def make_random_prior(n_tfs=12, n_genes=60, density=0.15, seed=0, *, symmetric=False) -> PriorNetwork:
    """Regulators are every third gene, of very unequal out-degree; the last one has a single target."""
    rng = np.random.default_rng(seed)
    tfs = np.arange(n_tfs) * 3
    labels = rng.random((n_tfs, n_genes)) < density * rng.uniform(0.2, 2, (n_tfs, 1))
    labels[-1] = False
    labels[-1, 1] = True
    edges = np.column_stack([tfs[np.nonzero(labels)[0]], np.nonzero(labels)[1]])
    if symmetric:
        edges = np.vstack([edges, edges[np.isin(edges[:, 1], tfs)][:, ::-1]])
    return make_prior(edges[edges[:, 0] != edges[:, 1]], n_genes)


def as_set(pairs: np.ndarray) -> set[tuple[int, int]]:
    return set(map(tuple, pairs.tolist()))


def universe(prior: PriorNetwork, regulators=None) -> set[tuple[int, int]]:
    regulators = prior.regulators if regulators is None else regulators
    return {(int(r), g) for r in regulators for g in range(len(prior.genes)) if g != r}


priors = st.tuples(
    st.integers(8, 14), st.integers(45, 60), st.floats(0.15, 0.5), st.integers(0, 10**6), st.booleans()
).map(lambda a: make_random_prior(*a[:4], symmetric=a[4]))


@given(priors, st.sampled_from(KINDS), st.integers(0, 2), st.booleans(), st.integers(0, 10**6))
def test_invariants_of_every_kind(prior, kind, fold, hold_out_reverse, seed):
    arguments = {"kind": kind, "hold_out_reverse": hold_out_reverse, "rng": seed}
    if kind != "random":
        arguments |= {"fold": fold, "n_folds": 3, "validation_fraction": 0.3}
    split = bm.split_edges(prior, **arguments)
    train, validation, test = (as_set(part.pairs) for part in split.parts)
    edges = as_set(prior.pairs)

    assert split.kind == kind
    assert len(train) + len(validation) + len(test) == sum(map(len, split.parts))
    assert not train & validation
    assert not train & test
    assert not validation & test
    assert train | validation | test <= universe(prior)  # self pairs are not in it
    for part in split.parts:
        assert as_set(part.positives) == as_set(part.pairs) & edges
        assert len(part) > 0

    exposed = {(b, a) for part in (split.validation, split.test) for a, b in part.pairs.tolist()} & universe(prior)
    if hold_out_reverse:
        assert not exposed & train
    missing = universe(prior) - train - validation - test
    if kind == "random":
        assert not missing
    elif kind != "both":
        assert missing <= (exposed if hold_out_reverse else set())

    tfs, targets = ([set(part.pairs[:, side].tolist()) for part in split.parts] for side in (0, 1))
    for held in (1, 2):
        if kind in ("tf", "both"):
            assert not tfs[held] & tfs[0]
        if kind in ("target", "both"):
            assert not targets[held] & targets[0]
    if kind == "tf":
        assert not tfs[1] & tfs[2]
    if kind == "target":
        assert not targets[1] & targets[2]
    if kind == "both":
        assert not tfs[1] & tfs[2] or not targets[1] & targets[2]

    again = bm.split_edges(prior, **arguments)
    for first, second in zip(split.parts, again.parts, strict=True):
        assert np.array_equal(first.pairs, second.pairs)
        assert np.array_equal(first.labels, second.labels)


@pytest.mark.parametrize("symmetric", [False, True])
def test_random_split_keeps_proportions_and_density(symmetric):
    prior = make_random_prior(40, 300, 0.2, 1, symmetric=symmetric)
    split = bm.split_edges(prior, rng=2)
    n_edges, n_pairs = prior.n_edges, len(universe(prior))
    for part, share in zip(split.parts, (0.6, 2 / 3 * 0.1, 1 / 3), strict=True):
        assert len(part) / n_pairs == pytest.approx(share, abs=0.012)
        assert part.labels.sum() / n_edges == pytest.approx(share, abs=0.025)
        assert part.prevalence == pytest.approx(n_edges / n_pairs, abs=0.02)


def test_random_split_divides_the_pairs_of_every_tf():
    prior = make_random_prior(20, 200, 0.3, 3)
    split = bm.split_edges(prior, hold_out_reverse=False, rng=0)
    for tf in prior.regulators:
        for positive in (True, False):
            of_tf = [int(((part.pairs[:, 0] == tf) & (part.labels == positive)).sum()) for part in split.parts]
            total = sum(of_tf)
            if total == 1:
                assert of_tf == [1, 0, 0]
            else:
                assert abs(of_tf[2] - total / 3) < 1
                assert abs(of_tf[1] - (total - of_tf[2]) * 0.1) < 1
                assert of_tf[0] >= 1


def test_tfs_with_one_and_two_targets(caplog):
    big = [(0, g) for g in range(1, 20)]
    edges = [*big, (20, 1), (21, 5), (22, 6), (22, 7), (23, 8), (23, 9)]
    prior = make_prior(np.array(edges), 30)
    for seed in range(10):
        with caplog.at_level(logging.INFO, logger="scgrn_tl"):
            split = bm.split_edges(prior, rng=seed)
        train, validation, test = (as_set(part.positives) for part in split.parts)
        assert {(20, 1), (21, 5)} <= train
        for tf in (22, 23):
            assert [sum(pair[0] == tf for pair in part) for part in (train, validation, test)] == [1, 0, 1]
    assert "2 TFs with a single target" in caplog.text


def test_the_only_target_of_a_tf_stays_in_training_with_its_reverse():
    # Gene 1 is a TF with gene 0 as its only target, and 0 → 1 is an edge as well.
    edges = [(0, g) for g in range(1, 20)] + [(1, 0)] + [(2, g) for g in range(5, 20)]
    for seed in range(20):
        split = bm.split_edges(make_prior(np.array(edges), 25), rng=seed)
        assert {(1, 0), (0, 1)} <= as_set(split.train.positives)


@pytest.mark.parametrize("kind", ["random", "tf", "target", "both"])
def test_what_is_missing_from_training_tells_no_label(kind):
    """Whether the reverse of a held-out pair is in training has nothing to do with that pair's label."""
    prior = make_random_prior(n_tfs=12, n_genes=40, density=0.4)
    arguments = {} if kind == "random" else {"n_folds": 3, "validation_fraction": 0.3}
    split = bm.split_edges(prior, kind=kind, **arguments)
    train = as_set(split.train.pairs)
    assert not any((b, a) in train for a, b in split.test.pairs.tolist())


def test_reverse_pairs_share_a_part_in_a_random_split():
    prior = make_random_prior(15, 50, 0.4, 8, symmetric=True)
    split = bm.split_edges(prior, rng=1)
    part_of = {pair: number for number, part in enumerate(split.parts) for pair in as_set(part.pairs)}
    edges = as_set(prior.pairs)
    n_reversed = 0
    for a, b in edges:
        if (b, a) in part_of:
            assert part_of[a, b] == part_of[b, a]
            n_reversed += 1
    assert n_reversed > 50
    free = bm.split_edges(prior, rng=1, hold_out_reverse=False)
    test, train = as_set(free.test.positives), as_set(free.train.positives)
    assert {(b, a) for a, b in test} & train  # which is what the argument is there to prevent


@pytest.mark.parametrize("kind", ["tf", "target", "both"])
def test_folds_partition_the_groups_and_are_balanced(kind):
    prior = make_random_prior(20, 80, 0.3, 4)
    splits = [bm.split_edges(prior, kind=kind, fold=fold, hold_out_reverse=False) for fold in range(5)]
    tests = [as_set(split.test.pairs) for split in splits]
    assert len(set.union(*tests)) == sum(map(len, tests))
    if kind == "both":
        for side, n in ((0, 20), (1, 80)):
            groups = [set(split.test.pairs[:, side].tolist()) for split in splits]
            assert len(set.union(*groups)) == sum(map(len, groups)) == n
    else:
        assert set.union(*tests) == universe(prior)
        edges = np.array([split.test.labels.sum() for split in splits])
        assert edges.max() <= 1.15 * edges.min()


def test_both_holds_out_blocks_and_leaves_the_mixed_ones_out():
    prior = make_random_prior(12, 60, 0.3, 5)
    split = bm.split_edges(prior, kind="both", validation_fraction=0, hold_out_reverse=False)
    tfs, genes = (set(split.test.pairs[:, side].tolist()) for side in (0, 1))
    everything = universe(prior)
    assert as_set(split.test.pairs) == {(r, g) for r, g in everything if r in tfs and g in genes}
    assert as_set(split.train.pairs) == {(r, g) for r, g in everything if r not in tfs and g not in genes}
    assert len(split.validation) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_regulators_may_be_names_or_indices_and_need_no_edge(kind):
    prior = make_random_prior(12, 60, 0.4, 6)
    chosen = [0, 3, 6, 9, 12, 15, 50]  # 50 is no regulator of the prior
    arguments = {"kind": kind} | ({} if kind == "random" else {"n_folds": 3, "validation_fraction": 0.25})
    by_index = bm.split_edges(prior, regulators=np.array(chosen), **arguments)
    by_name = bm.split_edges(prior, regulators=[f"G{index}" for index in reversed(chosen)], **arguments)
    for first, second in zip(by_index.parts, by_name.parts, strict=True):
        assert np.array_equal(first.pairs, second.pairs)
    assert by_index.regulators.tolist() == chosen if kind != "both" else set(by_index.regulators) <= set(chosen)
    if kind == "random":
        assert set.union(*(as_set(part.pairs) for part in by_index.parts)) == universe(prior, chosen)


def test_seeds_differ_and_generators_advance():
    prior = make_random_prior()
    one, other = (bm.split_edges(prior, rng=seed) for seed in (0, 1))
    assert not np.array_equal(one.test.pairs, other.test.pairs)
    generator = np.random.default_rng(0)
    first, second = (bm.split_edges(prior, rng=generator) for _ in range(2))
    assert np.array_equal(first.test.pairs, one.test.pairs)
    assert not np.array_equal(first.test.pairs, second.test.pairs)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"kind": "given"}, r"datasets\.beeline_split"),
        ({"kind": "edges"}, "kind is one of 'random', 'tf', 'target', 'both'"),
        ({"validation_fraction": 1.0}, "validation_fraction"),
        ({"validation_fraction": float("nan")}, "validation_fraction"),
        ({"kind": "tf", "validation_fraction": 0.7}, "at most half"),
        ({"test_fraction": -0.1}, "test_fraction"),
        ({"test_fraction": 1.0}, "test_fraction"),
        ({"fold": 1}, "random split has no folds"),
        ({"kind": "tf", "fold": 5}, "fold counts from 0"),
        ({"kind": "tf", "n_folds": 1}, "at least 2 folds"),
        ({"regulators": ["G0", "Sox2"]}, "1 regulators are not among the prior's 60 genes, such as 'Sox2'"),
        ({"regulators": [0, 60]}, "such as 60"),
        ({"regulators": []}, "at least one"),
    ],
)
def test_bad_arguments(arguments, words):
    with pytest.raises(ArgumentError, match=words):
        bm.split_edges(make_random_prior(), **arguments)


def test_without_a_test_part_everything_is_training_and_validation():
    prior = make_random_prior(20, 200, 0.3, 3, symmetric=True)
    split = bm.split_edges(prior, test_fraction=0.0)
    assert len(split.test) == 0
    assert as_set(split.train.pairs) | as_set(split.validation.pairs) == universe(prior)
    assert len(split.validation) / len(universe(prior)) == pytest.approx(0.1, abs=0.01)
    assert split.validation.labels.sum() / prior.n_edges == pytest.approx(0.1, abs=0.02)
    assert set(split.train.positives[:, 0].tolist()) == set(prior.regulators.tolist())


def test_impossible_splits():
    prior = make_random_prior()
    with pytest.raises(SplitError, match="12 TFs cannot make 13 folds"):
        bm.split_edges(prior, kind="tf", n_folds=13)
    with pytest.raises(SplitError, match="has a known target"):
        bm.split_edges(prior, regulators=["G1", "G2"])
    two = make_prior(np.array([(r, g) for r in (0, 1) for g in range(2, 12)]), 20)
    with pytest.raises(SplitError, match="1 training TFs cannot make 2 folds"):
        bm.split_edges(two, kind="tf", n_folds=2)
    assert len(bm.split_edges(two, kind="tf", n_folds=2, validation_fraction=0).validation) == 0
    # Every pair of the training genes is an edge: nothing to validate on.
    full = make_prior(np.array([(r, g) for r in range(4) for g in range(4, 30)]), 30)
    with pytest.raises(SplitError, match="both edges and non-edges"):
        bm.split_edges(full, kind="both", n_folds=2, validation_fraction=0.05)
