"""Splits as values, tasks that no test label can enter, and scores."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scgrn_tl.core import (
    ArgumentError,
    EdgeSplit,
    GRNScores,
    GRNTask,
    LabeledPairs,
    PriorNetwork,
    SplitError,
)

GENES = tuple("ABCDEFGH")
ALL_PAIRS = np.array([(r, g) for r in (0, 2, 5) for g in range(8) if g != r])


def make_split(labels, kind="random") -> EdgeSplit:
    parts = [LabeledPairs(ALL_PAIRS[start::3], labels[start::3]) for start in range(3)]
    return EdgeSplit(*parts, kind=kind)


def make_prior(labels) -> PriorNetwork:
    edges = ALL_PAIRS[np.asarray(labels, dtype=bool)]
    return PriorNetwork(GENES, edges.T, np.ones(len(edges)), np.full(len(edges), 3.0))


def make_task(labels, **changes) -> GRNTask:
    arguments = {
        "expression": np.ones((8, 4), dtype=np.float32),
        "genes": GENES,
        "regulators": np.array([0, 2, 5]),
        "prior": make_prior(labels),
        "split": make_split(labels),
    } | changes
    return GRNTask(**arguments)


label_lists = st.lists(st.booleans(), min_size=len(ALL_PAIRS), max_size=len(ALL_PAIRS)).map(np.array)


# ---------------------------------------------------------------- no test label gets in


@given(label_lists)
@settings(max_examples=50, deadline=None)
def test_a_task_is_the_same_whatever_the_test_labels_are(labels):
    flipped = labels.copy()
    flipped[2::3] ^= True
    one, other = make_task(labels), make_task(flipped)
    for task in (one, other):
        assert len(task.split.test) == 0
        assert np.array_equal(task.prior.pairs, np.unique(task.split.train.positives, axis=0))
        assert (task.prior.sign == 1).all()
        assert (task.prior.weight == 3).all()
    assert pickle.dumps(one) == pickle.dumps(other)  # bit for bit, all there is to see


def test_validation_edges_carry_no_messages():
    labels = np.ones(len(ALL_PAIRS), dtype=bool)
    task = make_task(labels)
    assert task.prior.n_edges == len(task.split.train)
    codes = {tuple(pair) for pair in task.prior.pairs.tolist()}
    assert not codes & {tuple(pair) for pair in task.split.validation.pairs.tolist()}


def test_the_split_and_prior_given_are_left_as_they_are():
    labels = np.arange(len(ALL_PAIRS)) % 2 == 0
    split, prior = make_split(labels), make_prior(labels)
    make_task(labels, split=split, prior=prior)
    assert len(split.test) == 7
    assert prior.n_edges == labels.sum()


# ---------------------------------------------------------------- tasks


def test_regulators_are_sorted_and_unique():
    task = make_task(np.zeros(len(ALL_PAIRS)), regulators=[5, 0, 2, 5], split=None, prior=None)
    assert task.regulators.tolist() == [0, 2, 5]
    assert task.n_genes == 8
    assert "3 regulators" in repr(task)


def test_supervision():
    labels = np.arange(len(ALL_PAIRS)) % 2 == 0
    train, validation = make_task(labels).supervision()
    assert len(train) == len(validation) == 7
    with pytest.raises(SplitError, match="learns from a prior network"):
        make_task(labels, split=None).supervision()


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"expression": np.ones((4, 8))}, ArgumentError, r"genes × cells: got shape \(4, 8\) for 8 genes"),
        ({"expression": np.ones(8)}, ArgumentError, "genes × cells"),
        ({"embedding": np.ones((7, 2))}, ArgumentError, r"genes × dimensions: got shape \(7, 2\)"),
        ({"regulators": []}, ArgumentError, "at least one"),
        ({"regulators": [0, 8]}, ArgumentError, "below 8"),
        ({"regulators": [-1, 0]}, ArgumentError, "below 8"),
        ({"regulators": [0, 2]}, SplitError, "not among those to score"),
        (
            {"split": EdgeSplit(LabeledPairs([[0, 9]], [1]), LabeledPairs.empty(), LabeledPairs.empty())},
            SplitError,
            "names gene index 9, but the data has 8 genes",
        ),
    ],
)
def test_tasks_that_do_not_fit_together(changes, error, words):
    with pytest.raises(error, match=words):
        make_task(np.ones(len(ALL_PAIRS)), **changes)


# ---------------------------------------------------------------- pairs and splits


def test_labeled_pairs():
    pairs = LabeledPairs([(0, 1), (2, 3), (2, 4)], [1, 0, 1])
    assert pairs.pairs.dtype == np.int64
    assert pairs.labels.dtype == bool
    assert pairs.positives.tolist() == [[0, 1], [2, 4]]
    assert pairs.prevalence == pytest.approx(2 / 3)
    assert len(pairs) == 3
    assert repr(pairs) == "LabeledPairs(3 pairs, 2 edges)"
    assert len(LabeledPairs.empty()) == 0
    assert np.isnan(LabeledPairs.empty().prevalence)
    with pytest.raises(SplitError, match="3 pairs but 2 labels"):
        LabeledPairs(pairs.pairs, [1, 0])


def test_a_split_knows_its_parts():
    split = make_split(np.arange(len(ALL_PAIRS)) % 2 == 0, kind="given")
    assert split.parts == (split.train, split.validation, split.test)
    assert split.regulators.tolist() == [0, 2, 5]
    assert repr(split) == "EdgeSplit(given: train 7 (4 edges), validation 7 (3 edges), test 7 (4 edges))"
    split.check_genes([f"g{number}" for number in range(8)])
    without = split.without_test()
    assert without.kind == "given"
    assert without.train is split.train
    assert len(without.test) == 0


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (([(0, 1)], [(0, 2)], [(0, 1)]), "1 pairs stand more than once"),
        (([(0, 1), (0, 1)], [], []), "1 pairs stand more than once"),
        (([(0, -1)], [], []), "negative"),
    ],
)
def test_splits_that_overlap_or_count_below_zero(parts, words):
    with pytest.raises(SplitError, match=words):
        EdgeSplit(*(LabeledPairs(pairs, [True] * len(pairs)) for pairs in parts))


def test_the_reverse_of_a_pair_is_another_pair():
    EdgeSplit(LabeledPairs([(0, 1)], [1]), LabeledPairs.empty(), LabeledPairs([(1, 0)], [0]))


def test_kinds_are_checked():
    with pytest.raises(SplitError, match="kind is one of random, given, tf, target, both, not 'edge'"):
        make_split(np.zeros(len(ALL_PAIRS)), kind="edge")


def test_an_empty_split_is_a_value():
    split = EdgeSplit(*[LabeledPairs.empty()] * 3)
    assert len(split.regulators) == 0
    split.check_genes([])


def test_values_travel_to_other_processes():
    labels = np.arange(len(ALL_PAIRS)) % 2 == 0
    task = pickle.loads(pickle.dumps(make_task(labels)))
    original = make_task(labels)
    assert np.array_equal(task.split.train.pairs, original.split.train.pairs)
    assert np.array_equal(task.prior.edge_index, original.prior.edge_index)
    assert task.genes == GENES


# ---------------------------------------------------------------- scores


def test_scores_are_found_whatever_the_order_of_rows():
    matrix = np.arange(24.0).reshape(3, 8)
    scores = GRNScores(np.array([5, 0, 2]), matrix)
    assert scores.matrix.dtype == np.float32
    assert scores.at(np.array([(0, 1), (5, 7), (2, 0), (0, 0)])).tolist() == [9, 7, 16, 8]
    assert scores.rows_of(np.array([2, 5])).tolist() == [2, 0]
    assert len(scores.at(np.empty((0, 2), dtype=np.int64))) == 0
    assert repr(scores) == "GRNScores(3 regulators × 8 genes)"
    for unknown in (1, 6):
        with pytest.raises(ArgumentError, match="not scored"):
            scores.at(np.array([(unknown, 0)]))


@pytest.mark.parametrize(
    "changes",
    [
        {"matrix": np.ones((2, 8))},
        {"matrix": np.ones(3)},
        {"hub": np.ones((3, 7))},
        {"std": np.ones((2, 8))},
    ],
)
def test_scores_have_one_shape(changes):
    with pytest.raises(ArgumentError, match="regulators × genes"):
        GRNScores(**({"regulators": np.array([0, 2, 5]), "matrix": np.ones((3, 8))} | changes))
