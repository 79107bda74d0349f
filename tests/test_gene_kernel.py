"""The similarity of genes: against scikit-learn, and its approximation against itself without."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import pairwise_distances
from sklearn.metrics.pairwise import rbf_kernel

from scgrn_tl.models import gene_kernel
from scgrn_tl.models.gene_kernel import GeneKernel

N_GENES = 90


@pytest.fixture(scope="module")
def features():
    """Genes on a curve: of few degrees of freedom, as expression is."""
    rng = np.random.default_rng(0)
    return (rng.normal(size=(N_GENES, 2)) @ rng.normal(size=(2, 7)) + 0.05 * rng.normal(size=(N_GENES, 7))).astype("f4")


@pytest.fixture(scope="module")
def values():
    return np.random.default_rng(1).normal(size=(3, N_GENES)).astype(np.float32)


def half_median(features):
    """Of the squared distances of every two genes."""
    squared = pairwise_distances(features.astype(np.float64), metric="sqeuclidean")
    return 0.5 * np.median([squared[i, j] for i in range(len(features)) for j in range(i)])


def reference(one, other, of):
    return rbf_kernel(one.astype(np.float64), other.astype(np.float64), gamma=1 / half_median(of))


def test_it_is_the_gaussian_kernel_of_half_the_median(features, values):
    kernel, new = GeneKernel(features), features[:11] + 0.3
    np.testing.assert_allclose(kernel.times(values), values @ reference(features, features, features), atol=2e-5)
    np.testing.assert_allclose(kernel.predict(new, values), values @ reference(features, new, features), atol=2e-5)


@pytest.mark.parametrize("exact_genes", [N_GENES, 10], ids=["exact", "approximate"])
def test_own_genes_are_predicted_what_they_have(monkeypatch, features, values, exact_genes):
    """So is a gene that is a copy of one; in whatever order genes come, and how many at a time."""
    monkeypatch.setattr(gene_kernel, "EXACT_GENES", exact_genes)
    monkeypatch.setattr(gene_kernel, "N_LANDMARKS", 30)
    kernel = GeneKernel(features)
    expected = kernel.times(values)
    assert expected.dtype == np.float32
    np.testing.assert_allclose(kernel.predict(features, values), expected, atol=1e-4)
    copies = np.array([5, 80, 5, 17])
    np.testing.assert_allclose(kernel.predict(features[copies], values), expected[:, copies], atol=1e-4)
    monkeypatch.setattr(gene_kernel, "_BLOCK_GENES", 7)
    np.testing.assert_allclose(GeneKernel(features).times(values), expected, atol=1e-4)


def test_the_approximation_is_close_and_exact_with_every_gene_a_landmark(monkeypatch, features, values):
    exact = values @ reference(features, features, features)
    monkeypatch.setattr(gene_kernel, "EXACT_GENES", 10)
    errors = []
    for n_landmarks in (10, 40, N_GENES):
        monkeypatch.setattr(gene_kernel, "N_LANDMARKS", n_landmarks)
        kernel = GeneKernel(features)
        kernel._width = half_median(features)  # of all genes, not of the landmarks, to compare
        errors.append(np.abs(kernel.times(values) - exact).max() / np.abs(exact).max())
    assert errors[0] > errors[1] > errors[2]
    assert errors[1] < 0.2
    assert errors[2] < 1e-3


@pytest.mark.parametrize("exact_genes", [N_GENES, 10], ids=["exact", "approximate"])
@pytest.mark.parametrize("given", ["constant", "one gene", "copies", "huge", "tiny"])
def test_extreme_features_stay_finite(monkeypatch, features, values, given, exact_genes):
    monkeypatch.setattr(gene_kernel, "EXACT_GENES", 0 if given == "one gene" and exact_genes == 10 else exact_genes)
    rows = {
        "constant": np.ones_like(features),
        "one gene": features[:1],
        "copies": np.repeat(features[:9], 10, axis=0),
        "huge": features * np.float32(1e15),
        "tiny": features * np.float32(1e-15),
    }[given]
    kernel, values = GeneKernel(rows), values[:, : len(rows)]
    found = kernel.times(values)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(kernel.predict(rows, values), found, atol=1e-3)
    if given in {"constant", "one gene"}:  # all genes alike
        np.testing.assert_allclose(found, np.repeat(values.sum(1, keepdims=True), len(rows), axis=1), atol=1e-3)
    if given in {"huge", "tiny"}:  # what counts are distances over the median
        np.testing.assert_allclose(found, GeneKernel(features).times(values), atol=1e-2)
    if given == "copies":
        np.testing.assert_allclose(found[:, ::10], found[:, 9::10], atol=1e-3)
