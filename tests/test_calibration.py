"""Platt scaling against general-purpose optimisation of Platt's own likelihood."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from scgrn_tl.core import ArgumentError, PlattScaling


def draw(n, *, slope=0.7, intercept=-1.0, seed=0):
    rng = np.random.default_rng(seed)
    scores = rng.normal(1.0, 2.0, n)
    return scores, rng.random(n) < expit(slope * scores + intercept)


def test_maximises_platts_likelihood():
    scores, labels = draw(300)
    target = np.where(labels, (labels.sum() + 1) / (labels.sum() + 2), 1 / ((~labels).sum() + 2))

    def loss(theta):
        logits = theta[0] * scores + theta[1]
        return (np.logaddexp(0, logits) - target * logits).sum()

    best = minimize(loss, [1.0, 0.0], method="BFGS").x
    fitted = PlattScaling.fit(scores, labels)
    np.testing.assert_allclose([fitted.slope, fitted.intercept], best, atol=2e-3)


def test_recovers_the_curve():
    fitted = PlattScaling.fit(*draw(20_000))
    assert fitted.slope == pytest.approx(0.7, abs=0.05)
    assert fitted.intercept == pytest.approx(-1.0, abs=0.07)


def test_perfect_separation_gives_no_certainty():
    scores = np.linspace(-1, 1, 20)
    probability = PlattScaling.fit(scores, scores > 0)(scores)
    assert 0.01 < probability.min() < probability.max() < 0.99
    assert (np.diff(probability) > 0).all()


def test_ranks_stay_even_where_scores_mislead():
    scores, labels = draw(500)
    with pytest.warns(UserWarning, match="do not separate the validation edges"):
        misleading = PlattScaling.fit(-scores, labels)
    assert misleading.slope > 0
    assert misleading(np.array([-5.0, 5.0])).mean() == pytest.approx(labels.mean(), abs=0.05)


def test_the_unit_of_scores_makes_no_difference():
    scores, labels = draw(500)
    for values in (scores, -scores):
        expected = PlattScaling.fit(values, labels)(values)
        for unit in (1e-4, 1e4):
            np.testing.assert_allclose(PlattScaling.fit(unit * values, labels)(unit * values), expected, atol=1e-5)


@pytest.mark.parametrize("value", [True, False])
def test_one_class_is_an_error(value):
    with pytest.raises(ArgumentError, match="one class"):
        PlattScaling.fit(np.arange(5.0), np.full(5, value))
