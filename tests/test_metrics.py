"""Metrics against scikit-learn, against brute force, and against cases worked out by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from scgrn_tl import bm
from scgrn_tl.core import ArgumentError, EdgeSplit, GRNScores, LabeledPairs
from scgrn_tl.core.bootstrap import weighted_ranking


def brute_force_auroc(labels: np.ndarray, scores: np.ndarray) -> float:
    wins = [(p > n) + 0.5 * (p == n) for p in scores[labels] for n in scores[~labels]]
    return float(np.mean(wins))


def brute_force_precision_at_k(labels: np.ndarray, scores: np.ndarray, k: int) -> float:
    """Mean over every order of the pairs that agrees with the scores."""
    orders = [
        order
        for order in itertools.permutations(range(len(labels)))
        if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order))
    ]
    return float(np.mean([labels[list(order[:k])].mean() for order in orders]))


rankings = st.integers(2, 60).flatmap(
    lambda n: st.tuples(
        st.lists(st.booleans(), min_size=n, max_size=n),
        st.lists(st.integers(-3, 3), min_size=n, max_size=n),
        st.lists(st.integers(0, 4), min_size=n, max_size=n),
    )
)


@given(rankings)
def test_all_metrics_agree_with_scikit_learn(ranking):
    labels, scores, regulators = (np.array(values) for values in ranking)
    assume(0 < labels.sum() < len(labels))
    metrics = bm.edge_metrics(labels, scores, regulators)
    assert metrics["auroc"] == pytest.approx(roc_auc_score(labels, scores))
    assert metrics["auroc"] == pytest.approx(brute_force_auroc(labels, scores))
    assert metrics["auprc"] == pytest.approx(average_precision_score(labels, scores))
    assert metrics["auprc_ratio"] == pytest.approx(metrics["auprc"] / labels.mean())
    assert metrics["prevalence"] == pytest.approx(labels.mean())
    assert (metrics["n_pairs"], metrics["n_edges"]) == (len(labels), labels.sum())

    usable = [tf for tf in np.unique(regulators) if 0 < labels[regulators == tf].sum() < (regulators == tf).sum()]
    assert metrics["n_tfs"] == len(usable)
    if usable:
        own = [regulators == tf for tf in usable]
        aurocs = [roc_auc_score(labels[of], scores[of]) for of in own]
        ratios = [average_precision_score(labels[of], scores[of]) / labels[of].mean() for of in own]
        assert metrics["tf_auroc"] == pytest.approx(np.mean(aurocs))
        assert metrics["tf_auprc_ratio"] == pytest.approx(np.mean(ratios))
    else:
        assert math.isnan(metrics["tf_auroc"])


def test_a_perfect_a_reversed_and_a_constant_ranking():
    labels = np.array([1, 1, 0, 0, 0, 0, 0, 0])
    perfect = bm.edge_metrics(labels, labels)
    assert (perfect["auroc"], perfect["auprc"], perfect["auprc_ratio"], perfect["epr"]) == (1, 1, 4, 4)
    reversed_ = bm.edge_metrics(labels, -labels)
    assert (reversed_["auroc"], reversed_["epr"]) == (0, 0)
    constant = bm.edge_metrics(labels, np.zeros(8))
    assert (constant["auroc"], constant["auprc"], constant["auprc_ratio"]) == (0.5, 0.25, 1)
    assert constant["epr"] == pytest.approx(1)


def test_precision_at_k_by_hand():
    #            above     tied          below
    scores = [9.0, 8.0, 5.0, 5.0, 5.0, 1.0]
    labels = [1, 0, 1, 0, 0, 1]
    assert bm.precision_at_k(labels, scores, 1) == 1
    assert bm.precision_at_k(labels, scores, 2) == 0.5
    # Third place is one of three tied pairs, one of them an edge: (1 + 1/3) / 3; k = 3 is the number of edges.
    assert bm.precision_at_k(labels, scores, 3) == pytest.approx(4 / 9)
    assert bm.precision_at_k(labels, scores) == pytest.approx(4 / 9)
    assert bm.precision_at_k(labels, scores, 4) == pytest.approx((1 + 2 / 3) / 4)
    assert bm.precision_at_k(labels, scores, 5) == pytest.approx(2 / 5)
    assert bm.precision_at_k(labels, scores, 6) == 0.5
    assert math.isnan(bm.precision_at_k(labels, scores, 7))
    assert math.isnan(bm.precision_at_k(labels, scores, 0))
    assert bm.edge_metrics(labels, scores)["epr"] == pytest.approx((4 / 9) / 0.5)


@given(
    st.integers(1, 6).flatmap(
        lambda n: st.tuples(
            st.lists(st.booleans(), min_size=n, max_size=n),
            st.lists(st.integers(0, 2), min_size=n, max_size=n),
            st.integers(1, n),
        )
    )
)
def test_precision_at_k_is_the_mean_over_all_orders_of_ties(case):
    labels, scores, k = np.array(case[0]), np.array(case[1]), case[2]
    assert bm.precision_at_k(labels, scores, k) == pytest.approx(brute_force_precision_at_k(labels, scores, k))


def test_top_k_names_the_metrics():
    metrics = bm.edge_metrics([1, 0, 1], [3, 2, 1], top_k=(1, 2))
    assert metrics["precision_at_1"] == 1
    assert metrics["precision_at_2"] == 0.5
    assert "precision_at_100" not in metrics


def test_metrics_do_not_depend_on_the_order_of_pairs_or_a_monotone_change_of_scores():
    rng = np.random.default_rng(0)
    labels, scores, tfs = rng.random(300) < 0.2, rng.integers(0, 50, 300) / 7, rng.integers(0, 8, 300)
    reference = bm.edge_metrics(labels, scores, tfs)
    order = rng.permutation(300)
    for changed in (
        bm.edge_metrics(labels[order], scores[order], tfs[order]),
        bm.edge_metrics(labels, np.exp(scores), tfs),
    ):
        assert changed == pytest.approx(reference, nan_ok=True)


@pytest.mark.parametrize("labels", [[1, 1, 1], [0, 0, 0]])
def test_one_class_gives_nan_where_two_are_needed(labels):
    metrics = bm.edge_metrics(labels, [0.1, 0.2, 0.3], [0, 0, 1], probability=[0.1, 0.2, 0.3])
    for name in ("auroc", "auprc", "auprc_ratio", "epr", "tf_auroc", "tf_auprc_ratio"):
        assert math.isnan(metrics[name])
    assert metrics["n_tfs"] == 0
    assert metrics["brier"] == pytest.approx(np.mean((np.array([0.1, 0.2, 0.3]) - labels) ** 2))


def test_no_pairs_at_all():
    metrics = bm.edge_metrics([], [], [], probability=[])
    assert metrics["n_pairs"] == 0
    assert math.isnan(metrics["auroc"])
    assert math.isnan(metrics["prevalence"])


def test_calibration_by_hand():
    # Bins of width 0.5: (0.1, 0.3) holds one edge of two, mean 0.2; (0.5, 0.9) two of two, mean 0.7.
    labels, probability = [0, 1, 1, 1], [0.1, 0.3, 0.5, 0.9]
    assert bm.expected_calibration_error(labels, probability, n_bins=2) == pytest.approx(0.5 * 0.3 + 0.5 * 0.3)
    assert bm.expected_calibration_error([0, 1], [0.0, 1.0]) == 0
    assert bm.expected_calibration_error([1, 0], [0.0, 1.0]) == 1
    # Calibrated on average but not sharp: no error, and a Brier score of the variance.
    metrics = bm.edge_metrics([0, 1, 0, 1], [0.4, 0.4, 0.6, 0.6], probability=[0.5] * 4)
    assert metrics["ece"] == 0
    assert metrics["brier"] == 0.25


def test_calibration_against_a_loop_over_bins():
    rng = np.random.default_rng(1)
    probability = rng.random(500)
    labels = rng.random(500) < probability**2
    expected = 0.0
    for b in range(10):
        inside = (probability >= b / 10) & (probability < (b + 1) / 10)
        if inside.any():
            expected += inside.mean() * abs(labels[inside].mean() - probability[inside].mean())
    assert bm.expected_calibration_error(labels, probability) == pytest.approx(expected)
    metrics = bm.edge_metrics(labels, probability, probability=probability)
    assert metrics["brier"] == pytest.approx(brier_score_loss(labels, probability))


def test_per_regulator_table_keeps_ids_and_leaves_out_single_class_regulators():
    labels = [1, 0, 1, 1, 0, 0, 1]
    scores = [2, 1, 5, 4, 3, 9, 1]
    table = bm.per_regulator_metrics(labels, scores, ["B", "B", "A", "A", "C", "D", "D"])
    assert table.index.tolist() == ["B", "D"]
    assert table["auroc"].tolist() == [1, 0]
    assert table["auprc_ratio"].tolist() == [2, 1]
    assert table["n_pairs"].tolist() == [2, 2]
    assert bm.per_regulator_metrics([], [], []).empty


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([0, 1], [0.0, np.nan]), "1 of 2 scores are NaN or infinite, the first at pair 1"),
        (([0, 1], [np.inf, 0.0]), "NaN or infinite"),
        (([0, 2], [0.0, 1.0]), r"Labels are 0 or 1"),
        (([0, 1], [0.0]), r"shapes \(2,\), \(1,\)"),
        (([0, 1], [0.0, 1.0], [3]), r"shapes \(2,\), \(2,\) and \(1,\)"),
    ],
)
def test_bad_rankings_are_refused(arguments, words):
    with pytest.raises(ArgumentError, match=words):
        bm.edge_metrics(*arguments)


def test_bad_probabilities_and_k_are_refused():
    with pytest.raises(ArgumentError, match="between 0 and 1; got -2 to 3"):
        bm.edge_metrics([0, 1], [0, 1], probability=[-2, 3])
    with pytest.raises(ArgumentError, match="n_bins is at least 1"):
        bm.expected_calibration_error([0, 1], [0, 1], n_bins=0)
    with pytest.raises(ArgumentError, match="number of pairs"):
        bm.precision_at_k([0, 1], [0, 1], -1)


# ---------------------------------------------------------------- the bootstrap


@given(rankings, st.integers(0, 2**32))
def test_weighted_ranking_agrees_with_scikit_learn_sample_weights(ranking, seed):
    labels, scores, codes = (np.array(values) for values in ranking)
    times = np.random.default_rng(seed).integers(0, 4, (6, 5))
    auroc, auprc = weighted_ranking(labels, scores.astype(float), codes, times)
    for row, weights in enumerate(times[:, codes]):
        if weights[labels].sum() == 0 or weights[~labels].sum() == 0:
            assert math.isnan(auroc[row])
            assert math.isnan(auprc[row])
        else:
            assert auroc[row] == pytest.approx(roc_auc_score(labels, scores, sample_weight=weights))
            assert auprc[row] == pytest.approx(average_precision_score(labels, scores, sample_weight=weights))


def make_ranking(n_tfs=12, n_genes=40, seed=0):
    rng = np.random.default_rng(seed)
    tfs = np.repeat(np.arange(n_tfs), n_genes)
    labels = rng.random(len(tfs)) < 0.2
    return rng, tfs, labels


def test_bootstrap_matches_resampling_the_pairs_themselves():
    rng, tfs, labels = make_ranking(n_tfs=6)
    better, worse = labels + rng.normal(size=len(tfs)), 0.3 * labels + rng.normal(size=len(tfs))
    table = bm.paired_bootstrap(labels, better, worse, regulators=tfs, n_resamples=400, rng=3)
    assert table.loc["auroc", "score"] == pytest.approx(roc_auc_score(labels, better))
    assert table.loc["auprc", "baseline"] == pytest.approx(average_precision_score(labels, worse))
    assert np.allclose(table["difference"], table["score"] - table["baseline"])

    reference = {name: [] for name in table.index}
    draw = np.random.default_rng(77)
    for _ in range(100):
        drawn = draw.integers(0, 6, 6)
        at = np.concatenate([np.flatnonzero(tfs == tf) for tf in drawn])
        copies = np.repeat(np.arange(6), 40)
        a, b = (bm.edge_metrics(labels[at], values[at], copies) for values in (better, worse))
        for name in reference:
            reference[name].append(a[name] - b[name])
    for name, values in reference.items():
        spread = np.std(values)
        assert abs(table.loc[name, "mean"] - np.mean(values)) < 0.3 * spread
        for column, percent in (("low", 2.5), ("high", 97.5)):
            assert abs(table.loc[name, column] - np.percentile(values, percent)) < 0.5 * spread


def test_bootstrap_of_a_method_with_itself_is_zero_and_of_a_better_one_excludes_zero():
    rng, tfs, labels = make_ranking()
    noise = rng.normal(size=len(tfs))
    same = bm.paired_bootstrap(labels, noise, noise, regulators=tfs)
    assert (same[["difference", "mean", "low", "high"]] == 0).all(axis=None)
    better = bm.paired_bootstrap(labels, 3 * labels + noise, noise, regulators=tfs)
    assert (better["low"] > 0).all()
    swapped = bm.paired_bootstrap(labels, noise, 3 * labels + noise, regulators=tfs)
    assert np.allclose(swapped["mean"], -better["mean"])


def test_bootstrap_is_seeded_and_does_not_depend_on_the_order_of_pairs():
    rng, tfs, labels = make_ranking()
    a, b = rng.normal(size=(2, len(tfs)))
    first = bm.paired_bootstrap(labels, a, b, regulators=tfs, n_resamples=50, rng=1)
    order = rng.permutation(len(tfs))
    again = bm.paired_bootstrap(labels[order], a[order], b[order], regulators=tfs[order], n_resamples=50, rng=1)
    assert np.allclose(first, again)
    assert not np.allclose(
        first["low"], bm.paired_bootstrap(labels, a, b, regulators=tfs, n_resamples=50, rng=2)["low"]
    )


def test_bootstrap_refuses_what_it_cannot_do():
    with pytest.raises(ArgumentError, match="at least 2"):
        bm.paired_bootstrap([0, 1], [0, 1], [0, 1], regulators=[5, 5])
    with pytest.raises(ArgumentError, match="n_resamples"):
        bm.paired_bootstrap([0, 1], [0, 1], [0, 1], regulators=[5, 6], n_resamples=0)
    table = bm.paired_bootstrap([1, 1], [0, 1], [0, 1], regulators=[5, 6])
    assert table[["mean", "low", "high"]].isna().all(axis=None)


# ---------------------------------------------------------------- scores and splits


def make_scored_split():
    rng = np.random.default_rng(5)
    regulators = np.array([7, 2, 4])  # rows in no order
    scores = GRNScores(regulators, rng.normal(size=(3, 10)))
    pairs = np.array([(r, g) for r in (2, 4, 7) for g in range(10) if g != r])
    labels = rng.random(len(pairs)) < 0.4
    test = np.arange(len(pairs)) % 2 == 0
    split = EdgeSplit(
        LabeledPairs(pairs[~test], labels[~test]), LabeledPairs.empty(), LabeledPairs(pairs[test], labels[test])
    )
    return scores, split


def test_evaluate_looks_up_the_scores_of_the_test_part():
    scores, split = make_scored_split()
    row_of = {7: 0, 2: 1, 4: 2}
    values = [float(scores.matrix[row_of[r], g]) for r, g in split.test.pairs.tolist()]
    expected = bm.edge_metrics(split.test.labels, values, split.test.pairs[:, 0])
    assert bm.evaluate(scores, split).to_dict() == pytest.approx(expected, nan_ok=True)
    assert bm.evaluate(scores, split.test).to_dict() == pytest.approx(expected, nan_ok=True)
    assert bm.evaluate(scores, split, part="train")["n_pairs"] == len(split.train)


def test_evaluate_with_probabilities_and_a_baseline():
    scores, split = make_scored_split()
    probability = 1 / (1 + np.exp(-scores.matrix))
    baseline = GRNScores(scores.regulators, -scores.matrix)
    metrics = bm.evaluate(scores, split, probability=probability, baseline=baseline, n_bootstrap=20)
    at = [probability[{7: 0, 2: 1, 4: 2}[r], g] for r, g in split.test.pairs.tolist()]
    assert metrics["brier"] == pytest.approx(brier_score_loss(split.test.labels, at))
    assert metrics["auroc_baseline"] == pytest.approx(1 - metrics["auroc"])
    assert metrics["auroc_difference"] == pytest.approx(2 * metrics["auroc"] - 1)
    assert metrics["auprc_low"] <= metrics["auprc_high"]
    assert metrics.dtype == np.float64


def test_evaluate_refuses_what_cannot_be_judged():
    scores, split = make_scored_split()
    with pytest.raises(ArgumentError, match="validation part is empty"):
        bm.evaluate(scores, split, part="validation")
    with pytest.raises(ArgumentError, match="part is"):
        bm.evaluate(scores, split, part="all")
    with pytest.raises(ArgumentError, match="regulator that was not scored"):
        bm.evaluate(scores, LabeledPairs([[3, 1]], [True]))
    with pytest.raises(ArgumentError, match="laid out as the scores"):
        bm.evaluate(scores, split, probability=np.zeros(4))
    hole = scores.matrix.copy()
    hole[0, split.test.pairs[split.test.pairs[:, 0] == 7][0, 1]] = np.nan
    with pytest.raises(ArgumentError, match="NaN"):
        bm.evaluate(GRNScores(scores.regulators, hole), split)
