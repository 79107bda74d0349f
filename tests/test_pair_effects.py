"""Effects of pairs: against a dense covariance over all pairs, on planted structure, and at the limits of its input."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from scgrn_tl.core import ArgumentError
from scgrn_tl.models import fit_hub_rates, pair_effects
from scgrn_tl.models.gene_kernel import GeneKernel
from scgrn_tl.models.pair_effects import (
    FACTOR_VARIANCES,
    PairEffects,
    clearly_better,
    fit_pair_effects,
    held_out_effects,
)

R, G = 7, 24


def simulate(seed, *, labelled=0.8, shape=(R, G)):
    """Labels that go by two programmes of genes and by hubs, the pairs that are labelled, and features of genes."""
    rng = np.random.default_rng(seed)
    programmes = rng.normal(size=(shape[1], 2))
    log_odds = (
        rng.normal(size=(shape[0], 1))
        + rng.normal(size=shape[1])
        + 1.5 * rng.normal(size=(shape[0], 2)) @ (programmes.T)
    )
    features = np.hstack([programmes, rng.normal(size=(shape[1], 2))]).astype(np.float32)
    return rng.random(shape) < expit(log_odds - 1), rng.random(shape) < labelled, features


# --- against the formula ----------------------------------------------------------------------------------------------


def similarity(features):
    """K of the genes, float64."""
    squared = ((features[:, None].astype(float) - features.astype(float)) ** 2).sum(2)
    return np.exp(-squared / (0.5 * np.median(squared[np.triu_indices(len(features), 1)])))


def shared_targets(labels, mask, rates, n_factors):
    """LLᵀ: of every two regulators the mean product of Pearson residuals, its leading eigenvectors."""
    together = np.zeros((len(labels), len(labels)))
    for i in range(len(labels)):
        for j in range(len(labels)):
            products = []
            for gene in range(labels.shape[1]):
                if mask[i, gene] and mask[j, gene]:
                    p_i, p_j = (expit(rates.base + rates.regulator[row] + rates.target[gene]) for row in (i, j))
                    first = (labels[i, gene] - p_i) / np.sqrt(p_i * (1 - p_i))
                    products.append(first * (labels[j, gene] - p_j) / np.sqrt(p_j * (1 - p_j)))
            together[i, j] = np.mean(products) if products else 0
    values, vectors = np.linalg.eigh(together)
    kept = np.argsort(-values)[:n_factors]
    return (vectors[:, kept] * np.maximum(values[kept], 0)) @ vectors[:, kept].T


def dense_mode(labels, mask, features, n_factors, variance):
    """Rasmussen & Williams 2006, algorithm 3.1, with the covariance of all pairs as one matrix: log-odds ``(R, G)``.

    A step is halved while it leads down; the search ends where none leads up.
    """
    n_regulators, n_genes = labels.shape
    rates = fit_hub_rates(labels, mask)
    kernel = np.zeros((n_genes, n_genes)) if features is None else similarity(features)
    one = np.eye(n_genes)
    covariance = (
        np.kron(np.eye(n_regulators), np.full((n_genes, n_genes), 0.5 * rates.regulator_variance))
        + np.kron(np.ones((n_regulators, n_regulators)), rates.target_variance * (one + 0.25 * kernel))
        + np.kron(shared_targets(labels, mask, rates, n_factors), variance * one + 0.5 * kernel)
    )
    seen = mask.ravel()
    y, among = labels.ravel()[seen].astype(float), covariance[np.ix_(seen, seen)]

    def objective(a):
        f = among @ a
        return -a @ f / 2 + (y * (rates.base + f) - np.logaddexp(0, rates.base + f)).sum()

    a = np.zeros(len(y))
    for _ in range(100):
        f = among @ a
        p = expit(rates.base + f)
        root = np.sqrt(p * (1 - p))
        b = root**2 * f + y - p
        inner = np.eye(len(y)) + root[:, None] * among * root
        step = b - root * np.linalg.solve(inner, root * (among @ b)) - a
        while objective(a + step) <= objective(a) and np.abs(step).max() > 1e-12:
            step /= 2
        if objective(a + step) <= objective(a):
            break
        a += step
    return (rates.base + covariance[:, seen] @ a).reshape(labels.shape)


def without_some(labels, mask):
    mask = mask.copy()
    mask[2], mask[:, 3:7] = False, False
    return labels, mask


CASES = {
    "all": lambda labels, mask: (labels, mask),
    "every pair labelled": lambda labels, mask: (labels, np.ones_like(mask)),
    "regulators and genes without labels": without_some,
    "a single regulator": lambda labels, mask: (labels[:1], mask[:1]),
    "regulators alike": lambda labels, mask: (np.tile(labels[:1], (R, 1)), mask),
    "no edge": lambda labels, mask: (np.zeros_like(labels), mask),
    "edges only": lambda labels, mask: (np.ones_like(labels), mask),
    "one edge": lambda labels, mask: (np.arange(R * G).reshape(R, G) == 40, mask | True),
    "one labelled pair": lambda labels, mask: (labels, np.arange(R * G).reshape(R, G) == 40),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize(
    ("expressed", "n_factors", "variance"),
    [(True, 12, 3.0), (True, 12, 0.3), (True, 2, 3.0), (False, 12, 3.0), (True, 0, 3.0)],
)
def test_the_mode_is_that_of_the_dense_model(case, expressed, n_factors, variance):
    labels, mask, features = simulate(0)
    labels, mask = case(labels, mask)
    kernel = GeneKernel(features) if expressed else None
    found = fit_pair_effects(labels, mask, kernel=kernel, n_factors=n_factors, factor_variance=variance)
    assert found.matrix().dtype == np.float32
    assert found.loadings.shape == (len(labels), min(n_factors, len(labels)))
    expected = dense_mode(labels & mask, mask, features if expressed else None, n_factors, variance)
    np.testing.assert_allclose(found.matrix(), expected, atol=5e-3)
    assert expected.std() > 0.05 or labels.all() or not labels.any() or mask.sum() == 1  # something was there to find


def test_newton_converges_where_much_is_explained():
    """Steps solved less closely than these lost nats close to the mode; each gains, and they are few."""
    labels, mask, features = simulate(0, shape=(60, 500))
    gains = []
    penalised = pair_effects._penalised
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pair_effects, "_penalised", lambda *args: gains.append(quality := penalised(*args)) or quality)
        first = fit_pair_effects(labels, mask, kernel=GeneKernel(features))
        assert len(gains) <= 8
        assert (np.diff(gains) > -1e-2).all()
        patch.setattr(pair_effects, "_CG_TOLERANCE", 1e-13)
        patch.setattr(pair_effects, "_ENOUGH", 1e-6)
        closer = fit_pair_effects(labels, mask, kernel=GeneKernel(features))
    np.testing.assert_allclose(first.matrix(), closer.matrix(), atol=1e-2)


def test_without_kernel_and_factors_they_are_the_hub_rates():
    labels, mask, _ = simulate(1)
    found, rates = fit_pair_effects(labels, mask, n_factors=0), fit_hub_rates(labels, mask)
    np.testing.assert_allclose(found.matrix(), rates.matrix(), atol=1e-6)
    np.testing.assert_array_equal(found.regulator, rates.regulator.astype(np.float32))
    np.testing.assert_array_equal(found.target, rates.target.astype(np.float32))
    assert found.by_expression is None


def test_nothing_labelled_is_an_error():
    labels, mask, features = simulate(1)
    with pytest.raises(ArgumentError, match="0 pairs"):
        fit_pair_effects(labels, np.zeros_like(mask), kernel=GeneKernel(features))


# --- what they consist of ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted():
    labels, mask, features = simulate(2)
    return fit_pair_effects(labels, mask, kernel=GeneKernel(features)), labels, mask, features


def test_centring_moves_averages_to_the_terms(fitted):
    effects, centred = fitted[0], fitted[0].centred()
    np.testing.assert_allclose(centred.matrix(), effects.matrix(), atol=1e-5)
    product = centred.loadings @ centred.factors.T
    assert np.abs(product).max() > 0.1
    np.testing.assert_allclose(product.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(product.mean(1), 0, atol=1e-5)
    assert np.abs(effects.loadings @ effects.factors.T).mean(0).max() > 1e-2  # before, they were not
    twice = centred.centred()
    np.testing.assert_allclose(twice.factor_mean, centred.factor_mean, atol=1e-5)


def test_what_expression_tells_is_the_part_of_the_terms_that_is_not_a_genes_own(fitted):
    """t = own + by_expression K, in either parametrisation, and so for a gene that is known by expression alone."""
    effects, labels, mask, features = fitted
    rates, kernel = fit_hub_rates(labels, mask), GeneKernel(features)
    # both parts are read from the same sums: own is σ², the other ¼σ² (factors: 3 and ½) times these
    ratio = np.array([1 / 0.25] + [3 / 0.5] * effects.loadings.shape[1])[:, None]
    told = kernel.times(effects.by_expression)
    whole = np.vstack([effects.target, effects.factors.T])
    np.testing.assert_allclose(ratio * effects.by_expression + told, whole, atol=1e-4)
    centred = effects.centred()
    told_centred = kernel.times(centred.by_expression)
    expected = effects.loadings @ told[1:] + told[0] + effects.regulator[:, None]
    found = (
        centred.loadings @ (told_centred[1:] - centred.factor_mean[:, None])
        + told_centred[0]
        + centred.regulator[:, None]
    )
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert rates.base == effects.base == centred.base


def test_no_effects_are_zeros_of_every_shape():
    none = PairEffects.none(3, 5)
    np.testing.assert_array_equal(none.matrix(), np.zeros((3, 5)))
    assert set(none.tensors()) == {"regulator_rate", "target_rate"}


# --- planted structure ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def modules():
    """Two kinds of regulators, each with its own half of the genes; a gene's kind shows in its expression."""
    rng = np.random.default_rng(3)
    kind_of_tf, kind_of_gene = np.arange(20) % 2, np.arange(120) % 2
    labels = rng.random((20, 120)) < np.where(kind_of_tf[:, None] == kind_of_gene, 0.5, 0.1)
    features = (kind_of_gene[:, None] * 2 + rng.normal(size=(120, 3)) * 0.5).astype(np.float32)
    return labels, rng.random(labels.shape) < 0.7, features


def test_factors_tell_which_regulators_share_targets(modules):
    labels, mask, _ = modules
    effects = fit_pair_effects(labels, mask, n_factors=12)
    held_out = ~mask
    factors = roc_auc_score(labels[held_out], effects.matrix()[held_out])
    hubs = roc_auc_score(labels[held_out], fit_hub_rates(labels, mask).matrix()[held_out])
    assert factors > hubs + 0.1
    first = effects.loadings[:, 0]
    assert abs(first[::2].mean() - first[1::2].mean()) > 4 * (first[::2].std() + first[1::2].std()) / 2
    # without a module there is nothing to share: no worse than hubs by much
    shuffled = np.random.default_rng(0).permuted(labels, axis=1)
    noise = fit_pair_effects(shuffled, mask, n_factors=12).matrix()[held_out]
    assert abs(roc_auc_score(shuffled[held_out], noise) - 0.5) < 0.1


def test_a_gene_without_labels_is_read_from_genes_that_are_expressed_alike(modules):
    labels, mask, features = modules
    mask = mask.copy()
    mask[:, 90:] = False
    effects = fit_pair_effects(labels, mask, kernel=GeneKernel(features))
    unseen = effects.matrix()[:, 90:]
    assert roc_auc_score(labels[:, 90:].ravel(), unseen.ravel()) > 0.7
    within = [roc_auc_score(labels[:, gene], effects.matrix()[:, gene]) for gene in range(90, 120)]
    assert np.mean(within) > 0.7  # by which regulator, and not only how often
    without = fit_pair_effects(labels, mask).matrix()[:, 90:]
    np.testing.assert_allclose(without, np.repeat(without[:, :1], 30, axis=1), atol=1e-6)
    # a gene that is not in the fit at all reads the same
    rest = fit_pair_effects(labels[:, :90], mask[:, :90], kernel=(kernel := GeneKernel(features[:90]))).centred()
    told = kernel.predict(features[90:], rest.by_expression)
    predicted = rest.loadings @ (told[1:] - rest.factor_mean[:, None]) + told[0] + rest.regulator[:, None] + rest.base
    np.testing.assert_allclose(predicted, unseen, atol=0.05)


def test_a_targets_rate_is_read_from_genes_that_are_expressed_alike():
    rng = np.random.default_rng(4)
    level = rng.normal(size=(200, 1))
    labels = rng.random((15, 200)) < expit(2 * level.T - 1)
    mask = np.broadcast_to(np.arange(200) < 150, labels.shape)
    effects = fit_pair_effects(labels, mask, kernel=GeneKernel(level.astype(np.float32)), n_factors=0)
    assert np.corrcoef(effects.target[150:], level[150:, 0])[0, 1] > 0.7


# --- nothing of a pair's own label ------------------------------------------------------------------------------------


def test_a_held_out_effect_does_not_read_the_label_of_its_pair():
    labels, mask, features = simulate(5)
    fold = np.random.default_rng(0).integers(3, size=labels.shape)
    kernel = GeneKernel(features)
    before = held_out_effects(labels, mask, fold, kernel=kernel)
    assert before.shape == (len(FACTOR_VARIANCES), *labels.shape)
    np.testing.assert_array_equal(before[:, ~mask], 0)
    part = mask & (fold == 1)
    turned = np.where(part, ~labels, labels)
    after = held_out_effects(turned, mask, fold, kernel=kernel)
    np.testing.assert_array_equal(after[:, part], before[:, part])  # the same bits
    others = mask & ~part
    assert np.abs(after[:, others] - before[:, others]).max(axis=1).min() > 0.1  # which do read these labels
    for variance, found in zip(FACTOR_VARIANCES, before, strict=True):
        rest = fit_pair_effects(labels, mask & ~part, kernel=kernel, factor_variance=variance)
        np.testing.assert_array_equal(found[part], rest.matrix()[part])


def test_a_part_without_which_nothing_is_labelled_gets_the_base_rate():
    labels, mask, _ = simulate(5)
    found = held_out_effects(labels, mask, np.zeros(mask.shape, dtype=int))
    np.testing.assert_array_equal(found, np.zeros((2, *labels.shape)))
    assert clearly_better(found, labels, mask) == 0


# --- the variance of factors ------------------------------------------------------------------------------------------


def test_clearly_better_is_by_two_standard_errors():
    """Against a t statistic by scipy, of differences that are planted around the limit."""
    from scipy.stats import ttest_1samp

    rng = np.random.default_rng(0)
    labels, mask = rng.random((20, 50)) < 0.3, rng.random((20, 50)) < 0.8
    first = rng.normal(size=labels.shape) - 1
    outcomes = set()
    for shift in np.linspace(-0.4, 0.4, 41):
        other = first + shift * (2 * labels - 1) + rng.normal(size=labels.shape)
        likelihood = [np.log(expit(np.where(labels, at, -at)))[mask] for at in (first, other)]
        t = ttest_1samp(likelihood[1] - likelihood[0], 0).statistic * np.sqrt(mask.sum() / (mask.sum() - 1))
        chosen = clearly_better(np.stack([first, other]), labels, mask)
        assert chosen == (t > 2), shift
        outcomes.add((t > 0, chosen))
    assert outcomes == {(False, 0), (True, 0), (True, 1)}
    # of several, the best by likelihood; never one that is worse than the first, however certainly
    right = np.where(labels, 1.0, -1.0)
    assert clearly_better(np.stack([first, 0.1 * right, right, -right]), labels, mask) == 2
    assert clearly_better(np.stack([right, first, -right]), labels, mask) == 0
    outside = np.where(mask, 0, 1e3)  # pairs that are not labelled do not count
    assert clearly_better(np.stack([first, right + outside]), labels, mask) == 1


@pytest.mark.parametrize(("n_edges", "programmes", "expected"), [("few", 0.0, 0.3), ("many", 3.0, 3.0)])
def test_few_edges_ask_for_a_small_variance_and_shared_targets_for_a_large_one(n_edges, programmes, expected):
    rng = np.random.default_rng(1)
    shape = (20, 120)
    specific = rng.normal(size=(shape[0], 3)) @ rng.normal(size=(3, shape[1]))
    base = -2.5 if n_edges == "few" else -0.5
    log_odds = base + rng.normal(size=(shape[0], 1)) + rng.normal(size=shape[1]) + programmes * specific
    labels, mask = rng.random(shape) < expit(log_odds), rng.random(shape) < 0.8
    fold = rng.integers(5, size=shape)
    assert FACTOR_VARIANCES[clearly_better(held_out_effects(labels, mask, fold), labels, mask)] == expected


def test_labels_outside_the_mask_are_not_read():
    labels, mask, features = simulate(6)
    kernel = GeneKernel(features)
    one, other = (fit_pair_effects(given, mask, kernel=kernel) for given in (labels, np.where(mask, labels, ~labels)))
    np.testing.assert_array_equal(one.matrix(), other.matrix())


# --- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["constant", "copies", "huge"])
def test_degenerate_features_stay_finite(given):
    labels, mask, features = simulate(7)
    if given == "constant":
        features = np.ones_like(features)
    elif given == "copies":
        features = np.repeat(features[: G // 2], 2, axis=0)
    else:
        features = features * np.float32(1e12)
    effects = fit_pair_effects(labels, mask, kernel=GeneKernel(features))
    assert np.isfinite(effects.matrix()).all()
    assert np.isfinite(effects.by_expression).all()
    if given == "copies":  # genes that are told apart by their labels alone: without any they are one gene
        mask[:, :2] = False
        alike = fit_pair_effects(labels, mask, kernel=GeneKernel(features)).matrix()
        np.testing.assert_allclose(alike[:, 0], alike[:, 1], atol=1e-5)
        assert np.abs(alike[:, :1] - alike[:, 2:]).max() > 0.1


def test_the_same_bits_every_time():
    labels, mask, features = simulate(8)
    one, other = (fit_pair_effects(labels, mask, kernel=GeneKernel(features)) for _ in range(2))
    for name in ("regulator", "target", "loadings", "factors", "by_expression"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert getattr(one, name).dtype == np.float32
