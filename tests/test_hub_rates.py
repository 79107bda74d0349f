"""The two-way logistic model against general-purpose optimisation, and its limits."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from scgrn_tl.models import fit_hub_rates


def simulate(seed, *, spread=(1.5, 1.0), shape=(12, 80), labelled=0.8):
    rng = np.random.default_rng(seed)
    truth = -1.0 + spread[0] * rng.normal(size=(shape[0], 1)) + spread[1] * rng.normal(size=(1, shape[1]))
    return rng.random(shape) < expit(truth), rng.random(shape) < labelled, truth


def test_terms_maximise_the_penalised_likelihood():
    labels, mask, _ = simulate(0)
    rates = fit_hub_rates(labels, mask, n_iterations=200, newton_steps=5, tolerance=1e-10)
    n_regulators, n_genes = labels.shape

    def loss(theta):
        base, regulator, target = theta[0], theta[1 : 1 + n_regulators], theta[1 + n_regulators :]
        logits = base + regulator[:, None] + target
        likelihood = (np.logaddexp(0, logits) - labels * logits)[mask].sum()
        penalty = (regulator**2).sum() / rates.regulator_variance + (target**2).sum() / rates.target_variance
        probability = mask * (expit(logits) - labels)
        gradient = np.concatenate(
            [
                [probability.sum()],
                probability.sum(1) + regulator / rates.regulator_variance,
                probability.sum(0) + target / rates.target_variance,
            ]
        )
        return likelihood + penalty / 2, gradient

    best = minimize(loss, np.zeros(1 + n_regulators + n_genes), jac=True, method="L-BFGS-B", tol=1e-14).x
    found = np.concatenate([[rates.base], rates.regulator, rates.target])
    np.testing.assert_allclose(found, best, atol=2e-3)


def test_variances_are_recovered():
    found = [fit_hub_rates(*simulate(seed, shape=(40, 300), labelled=1.0)[:2]) for seed in range(3)]
    assert np.sqrt(np.mean([rates.regulator_variance for rates in found])) == pytest.approx(1.5, rel=0.25)
    assert np.sqrt(np.mean([rates.target_variance for rates in found])) == pytest.approx(1.0, rel=0.1)


def test_no_structure_shrinks_to_the_base_rate():
    labels = np.random.default_rng(0).random((20, 200)) < 0.3
    rates = fit_hub_rates(labels, np.ones_like(labels), n_iterations=200)
    assert expit(rates.matrix()).std() < 0.03
    assert expit(rates.base) == pytest.approx(labels.mean(), abs=0.02)


def test_genes_without_pairs_get_the_average():
    labels, mask, _ = simulate(1)
    mask[3], mask[:, 7] = False, False
    rates = fit_hub_rates(labels, mask)
    assert rates.regulator[3] == pytest.approx(0, abs=1e-12)
    assert rates.target[7] == pytest.approx(0, abs=1e-12)


def test_labels_outside_the_mask_are_not_read():
    labels, mask, _ = simulate(2)
    one, other = fit_hub_rates(labels, mask), fit_hub_rates(np.where(mask, labels, ~labels), mask)
    np.testing.assert_array_equal(one.matrix(), other.matrix())


@pytest.mark.parametrize("value", [False, True])
def test_one_class_stays_finite(value):
    labels = np.full((4, 30), value)
    rates = fit_hub_rates(labels, np.ones_like(labels))
    assert np.isfinite(rates.matrix()).all()
    assert (expit(rates.matrix()) > 0.5).all() == value


def test_tracks_the_truth_better_than_raw_rates():
    labels, mask, truth = simulate(3, shape=(15, 200), labelled=0.4)
    raw = (labels * mask).sum(1, keepdims=True) / mask.sum(1, keepdims=True) + (labels * mask).sum(0) / np.maximum(
        mask.sum(0), 1
    )
    held_out = ~mask
    fitted = fit_hub_rates(labels, mask).matrix()
    assert np.corrcoef(fitted[held_out], truth[held_out])[0, 1] > np.corrcoef(raw[held_out], truth[held_out])[0, 1]
