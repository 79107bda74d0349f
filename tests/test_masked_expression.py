from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from scgrn_tl.core import ArgumentError
from scgrn_tl.core.tokens import tokenize
from scgrn_tl.models.masked_expression import CellTokenizer, ExpressionMasker, mask_expressed
from scgrn_tl.models.skipgram import coexpressed_pairs, skipgram_vectors

# ------------------------------------------------------------------------------------------------------- masking


@given(seed=st.integers(0, 2**32), fraction=st.floats(0.01, 0.9), n_genes=st.integers(1, 60))
def test_masks_hit_the_given_share_of_expressed_positions(seed: int, fraction: float, n_genes: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, 6, (7, n_genes), generator=generator)
    masked, chosen = mask_expressed(tokens, generator, mask_fraction=fraction)
    expected = (torch.count_nonzero(tokens, dim=1) * fraction).ceil()
    torch.testing.assert_close(chosen.sum(1).float(), expected)
    assert not chosen[tokens == 0].any()
    assert torch.equal(masked[~chosen], tokens[~chosen])
    hidden = masked[chosen]
    assert ((hidden == 6) | (hidden == tokens[chosen])).all()


def test_masks_are_even_and_mostly_replaced() -> None:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.full((4000, 40), 3)
    tokens[:, ::2] = 0
    masked, chosen = mask_expressed(tokens, generator)
    per_gene = chosen.float().mean(0)[1::2]
    assert ((per_gene - 0.15).abs() < 0.03).all()
    assert abs((masked[chosen] == 6).float().mean() - 0.9) < 0.01


@pytest.mark.parametrize("normalize", [True, False])
def test_tokens_are_those_of_the_columns_with_totals_over_all(normalize: bool) -> None:
    counts = np.random.default_rng(0).poisson(3.0, (6, 10)).astype(np.float64)
    columns = np.array([7, 2, 5])
    tokens = CellTokenizer(columns, np.arange(3), normalize, 1.0 if normalize else 0.5)(counts)
    expected = tokenize(counts[:, columns], counts.sum(axis=1)) if normalize else tokenize(counts[:, columns] / 2)
    np.testing.assert_array_equal(tokens, expected)


def test_the_usual_bin_of_each_gene() -> None:
    masker = ExpressionMasker(np.arange(4))
    tokens = np.array([[1, 0, 5, 0], [2, 0, 5, 0], [2, 3, 0, 0], [0, 3, 5, 0]])
    masker.count([tokens[:2], tokens[2:]])
    assert masker.usual.tolist() == [2, 3, 5, 5]  # the last gene is not expressed: 5 is the most common bin of all
    batch = masker.mask(tokens, torch.Generator().manual_seed(0))
    assert batch.positions.tolist() == [0, 1, 2]  # nor is it fed
    assert batch.usual.tolist() == [2, 3, 5]
    chosen = batch.bins > 0
    assert torch.equal(batch.bins[chosen], torch.from_numpy(tokens[:, :3])[chosen])
    assert ((batch.tokens == 6) <= chosen).all()
    with pytest.raises(ArgumentError, match="express none of the encoder's genes"):
        masker.count([np.zeros((3, 4), dtype=int)])


def test_a_step_takes_a_random_part_of_many_genes() -> None:
    masker = ExpressionMasker(np.arange(100, 140), max_genes=15)
    tokens = np.random.default_rng(0).integers(0, 6, (5, 40))
    masker.count([tokens])
    generator = torch.Generator().manual_seed(0)
    steps = [masker.mask(tokens, generator) for _ in range(200)]
    counts = np.bincount(np.concatenate([step.positions.numpy() for step in steps]), minlength=140)
    assert not counts[:100].any()
    assert (np.abs(counts[100:] - 200 * 15 / 40) < 30).all()
    for step in steps[:5]:
        assert (np.diff(step.positions.numpy()) > 0).all()
        true = torch.from_numpy(tokens)[:, step.positions - 100]
        seen = step.tokens != 6
        assert torch.equal(step.tokens[seen], true[seen])


# ---------------------------------------------------------------------------------------------------- skip-grams


def modules(n_cells: int = 300, n_modules: int = 3, size: int = 8) -> np.ndarray:
    """Expression of genes that go up and down with their module."""
    rng = np.random.default_rng(0)
    level = rng.gamma(2.0, size=(n_cells, n_modules))
    return np.repeat(level, size, axis=1) + rng.gamma(1.0, 0.3, (n_cells, n_modules * size))


@pytest.mark.parametrize("as_sparse", [True, False])
def test_pairs_are_the_most_correlated_genes(as_sparse: bool) -> None:
    expression = modules()
    expression[:, 5] = 1.0  # constant: no partner
    pairs = coexpressed_pairs(sparse.csr_matrix(expression) if as_sparse else expression, n_neighbours=4, least=0.2)
    varies = np.delete(np.arange(24), 5)
    correlation = np.full((24, 24), -1.0)
    correlation[np.ix_(varies, varies)] = np.corrcoef(expression[:, varies].T)
    np.fill_diagonal(correlation, -1.0)
    expected = set()
    for gene in varies:
        for partner in np.argsort(-correlation[gene])[:4]:
            if correlation[gene, partner] > 0.2:
                expected |= {(gene, partner), (partner, gene)}
    assert set(map(tuple, pairs.tolist())) == expected
    assert (pairs[:, 0] // 8 == pairs[:, 1] // 8).all()


def test_skip_grams_bring_coexpressed_genes_together() -> None:
    expression = modules()
    expression[:, 5] = 1.0
    state = torch.get_rng_state()
    vectors = skipgram_vectors(expression, 8)
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(vectors, skipgram_vectors(expression, 8))
    assert not np.array_equal(vectors, skipgram_vectors(expression, 8, seed=1))
    assert not vectors[5].any()
    unit = np.delete(vectors, 5, axis=0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    module = np.delete(np.arange(24), 5) // 8
    same = module[:, None] == module
    np.fill_diagonal(same, val=False)
    cosine = unit @ unit.T
    assert cosine[same].mean() > cosine[module[:, None] != module].mean() + 0.4
    np.fill_diagonal(cosine, val=-1)
    assert (module[cosine.argmax(axis=1)] == module).all()


def test_skip_grams_without_pairs() -> None:
    assert not skipgram_vectors(np.ones((5, 4)), 3).any()
    assert skipgram_vectors(ad.AnnData(np.ones((1, 4))).X, 3).shape == (4, 3)
    with pytest.raises(ArgumentError, match="dim is at least 1"):
        skipgram_vectors(modules(), 0)
