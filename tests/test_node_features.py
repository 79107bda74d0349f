"""Node features of the prior GNN."""

import numpy as np
import pytest
from scipy import sparse

from scgrn_tl.models import gene_features
from scgrn_tl.models.node_features import MAX_CELLS, MAX_COMPONENTS, gene_moments


@pytest.fixture
def expression():
    rng = np.random.default_rng(0)
    programs = rng.gamma(1.0, size=(40, 3)) @ rng.gamma(1.0, size=(3, 60))
    matrix = np.log1p(rng.poisson(programs)).astype(np.float32)
    matrix[5] = 2.0  # constant
    return matrix


def test_expression_is_the_z_score(expression):
    features = gene_features(expression, kind="expression")
    assert features.shape == (40, 60)
    others = np.delete(np.arange(40), 5)
    np.testing.assert_allclose(features[others].mean(1), 0, atol=1e-5)
    np.testing.assert_allclose(features[others].std(1), 1, atol=1e-5)
    np.testing.assert_array_equal(features[5], 0)


def test_pca_keeps_the_geometry_of_the_z_scores(expression):
    """With all components, distances between genes are those of the z-scored, cell-centred profiles."""
    z = gene_features(expression, kind="expression").astype(float)
    centred = z - z.mean(0)  # not what PCA centres: PCA's rows are cells, so genes are centred already
    components = gene_features(expression, n_components=39)[:, :-3].astype(float)
    scale = np.linalg.norm(z) / np.linalg.norm(components)
    np.testing.assert_allclose(components @ components.T * scale**2, z @ z.T, atol=0.05 * np.abs(z @ z.T).max())
    assert not np.allclose(centred, z)


def test_sparse_equals_dense(expression):
    for kind in ("pca", "expression"):
        dense = gene_features(expression, kind=kind, n_components=5)
        for container in (sparse.csr_matrix, sparse.csc_array):
            of_sparse = gene_features(container(expression), kind=kind, n_components=5)
            np.testing.assert_allclose(of_sparse, dense, atol=1e-4)
    for ours, reference in zip(gene_moments(sparse.csr_array(expression)), gene_moments(expression), strict=True):
        np.testing.assert_allclose(ours, reference, atol=1e-6)


def test_same_seed_same_bits_and_input_untouched(expression):
    before = expression.copy()
    np.testing.assert_array_equal(gene_features(expression, seed=3), gene_features(expression, seed=3))
    np.testing.assert_array_equal(expression, before)


def test_more_cells_than_the_limit_are_reduced():
    expression = np.random.default_rng(0).random((30, MAX_CELLS + 1), dtype=np.float32)
    features = gene_features(expression, kind="expression")
    assert features.shape == (30, min(MAX_COMPONENTS, 29))


@pytest.mark.parametrize("shape", [(1, 10), (10, 1), (1, 1), (2, 2)])
def test_tiny_data(shape):
    features = gene_features(np.ones(shape, dtype=np.float32))
    assert features.shape[0] == shape[0]
    assert np.isfinite(features).all()
