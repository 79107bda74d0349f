"""Images of gene pairs, against numpy.histogram2d."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scgrn_tl.core import ArgumentError, ExpressionError
from scgrn_tl.models import expression_images
from scgrn_tl.models.expression_images import ExpressionImages, check_bins, expression_bins


def image_of(expression: np.ndarray, a: int, b: int, n_bins: int) -> np.ndarray:
    """The image as its authors write it, one pair at a time."""
    u, v = np.log10(expression[a].astype(float) + 0.01), np.log10(expression[b].astype(float) + 0.01)
    counts = np.histogram2d(u, v, bins=n_bins)[0].T
    return (np.log10(counts / len(u) + 1e-4) + 4) / 4


@pytest.fixture
def expression() -> np.ndarray:
    """Random genes, genes with many zeros, counts (ties), a constant gene, an empty one, two values an ulp apart."""
    rng = np.random.default_rng(0)
    genes = [rng.gamma(2, size=70) for _ in range(4)]
    genes += [rng.gamma(2, size=70) * (rng.random(70) < 0.3) for _ in range(3)]
    genes += [rng.poisson(3, size=70), np.full(70, 2.5), np.zeros(70)]
    genes += [np.where(rng.random(70) < 0.5, 1, np.nextafter(np.float32(1), np.float32(2)))]
    return np.array(genes, dtype=np.float32)


@pytest.mark.parametrize("n_bins", [22, 32, 256])
def test_images_are_those_of_histogram2d(expression, n_bins):
    n_genes = len(expression)
    pairs = torch.cartesian_prod(torch.arange(n_genes), torch.arange(n_genes))
    images = ExpressionImages.of(expression, n_bins=n_bins)(pairs)
    assert images.shape == (n_genes**2, 1, n_bins, n_bins)
    assert images.dtype == torch.float32
    for (a, b), image in zip(pairs.tolist(), images, strict=True):
        np.testing.assert_allclose(image[0], image_of(expression, a, b, n_bins), atol=1e-6)


def test_values_on_an_edge_go_up_but_the_largest_stays():
    # log10(x + 0.01) = 0, 1, …, 32 stand on the edges of 32 bins
    on_edges = (10.0 ** np.arange(33) - 0.01)[None]
    logs = np.log10(on_edges[0] + 0.01)
    expected = [np.histogram(value, bins=np.linspace(logs.min(), logs.max(), 33))[0].argmax() for value in logs]
    assert expression_bins(on_edges, 32)[0].tolist() == expected
    assert expected[-2:] == [31, 31]


def test_a_constant_gene_stands_in_one_bin_and_all_cells_there_are_about_one():
    images = ExpressionImages.of(np.full((2, 9), 3.0, dtype=np.float32))
    image = images(torch.tensor([[0, 1]]))[0, 0]
    assert image[16, 16] == pytest.approx(1, abs=1e-4)
    assert image.count_nonzero() == 1


def test_rows_are_the_target_and_columns_the_regulator():
    regulator = np.array([0, 0, 0, 9.0])
    target = np.array([0, 1, 2, 3.0])
    image = ExpressionImages.of(np.array([regulator, target], dtype=np.float32))(torch.tensor([[0, 1]]))[0, 0]
    assert image[:, 0].count_nonzero() == 3  # three cells without the regulator, at three levels of the target
    assert image[:, 31].count_nonzero() == 1
    other = ExpressionImages.of(np.array([regulator, target], dtype=np.float32))(torch.tensor([[1, 0]]))[0, 0]
    torch.testing.assert_close(other, image.T)


def test_a_count_of_zero_is_zero_and_more_cells_are_brighter(expression):
    pixels = ExpressionImages.of(expression).pixels
    assert pixels[0] == 0
    assert (pixels.diff() > 0).all()
    assert len(pixels) == 71


def test_counting_in_blocks_is_the_same(expression, monkeypatch):
    images, pairs = ExpressionImages.of(expression), torch.randint(11, (40, 2), generator=torch.Generator())
    whole = images(pairs)
    monkeypatch.setattr(expression_images, "_BLOCK_CELLS", 200)
    assert torch.equal(images(pairs), whole)


def test_one_cell_makes_an_image():
    image = ExpressionImages.of(np.ones((2, 1), dtype=np.float32))(torch.tensor([[0, 1]]))
    assert image.sum() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("n_bins", [0, 21, 257, 32.5])
def test_senseless_bins_are_refused(n_bins):
    with pytest.raises(ArgumentError, match="n_bins is a whole number from 22 to 256"):
        check_bins(n_bins)


@pytest.mark.parametrize("bad", [-0.5, np.nan])
def test_scaled_expression_is_refused(bad):
    expression = np.ones((2, 5), dtype=np.float32)
    expression[1, 2] = bad
    with pytest.raises(ExpressionError, match="cannot be negative"):
        ExpressionImages.of(expression)
