"""Bayesian blocks, mutual information and PIDC against loops written down from their definitions."""

from __future__ import annotations

import itertools
import math
import os

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import mutual_info_score

from scgrn_tl import methods
from scgrn_tl.core import ArgumentError, GRNTask
from scgrn_tl.methods.pidc import network_context
from scgrn_tl.models import bayesian_blocks, information
from scgrn_tl.models.bayesian_blocks import BinnedGenes, bin_genes
from scgrn_tl.models.information import mutual_information, proportional_unique_contribution, specific_information

needs_beeline = pytest.mark.skipif(
    "SCGRN_TL_MIRROR" not in os.environ, reason="needs BEELINE files: set SCGRN_TL_MIRROR to a folder that has them"
)


def expression(n_genes=6, n_cells=40, seed=0) -> np.ndarray:
    """Genes with a common cause, of several kinds: skewed, with many zeros, with few different values."""
    rng = np.random.default_rng(seed)
    cause = rng.gamma(1.0, size=n_cells)
    rows = []
    for gene in range(n_genes):
        row = rng.gamma(2.0, size=n_cells) ** 3 + (5 + gene % 3) * cause
        if gene % 4 == 1:
            row[rng.random(n_cells) < 0.4] = 0
        if gene % 4 == 2:
            row = np.round(row)
        rows.append(row)
    return np.array(rows, dtype=np.float32)


def make_task(values, regulators=(0, 3), **fields) -> GRNTask:
    names = tuple(f"G{index}" for index in range(len(values)))
    return GRNTask(np.asarray(values, dtype=np.float32), names, np.array(regulators), **fields)


def binned(*rows) -> BinnedGenes:
    codes = np.array(rows, dtype=np.int32)
    return BinnedGenes(codes, codes.max(axis=1).astype(np.int64) + 1)


# ---------------------------------------------------------------- Bayesian blocks


def literal_edges(values) -> tuple[list[float], list[float], list[int]]:
    unique = sorted(set(values))
    counts = [values.count(value) for value in unique]
    midpoints = [(a + b) / 2 for a, b in itertools.pairwise(unique)]
    return unique, [unique[0], *midpoints, unique[-1]], counts


def literal_gain(first, last, edges, counts) -> float:
    """Fitness of the block of the values first … last, less the prior of a block that ends there."""
    n_cells = sum(counts[first : last + 1])
    fitness = n_cells * math.log(n_cells / (edges[last + 1] - edges[first]))
    return fitness - (4 - math.log(73.53 * 0.05 * (last + 1) ** -0.478))


def literal_bins(values) -> list[int]:
    values = [float(value) for value in values]  # a float32 would round the bounds that it is compared with
    unique, edges, counts = literal_edges(values)
    if len(unique) == 1:
        return [0] * len(values)
    best, start = [0.0], []
    for last in range(len(unique)):
        gains = [best[first] + literal_gain(first, last, edges, counts) for first in range(last + 1)]
        start.append(gains.index(max(gains)))
        best.append(max(gains))
    bounds, end = [edges[-1]], len(unique)
    while end > 0:
        end = start[end - 1]
        bounds.insert(0, edges[end])
    n_bins = len(bounds) - 1
    return [
        next(k for k in range(n_bins) if bounds[k] <= value < bounds[k + 1] or (k == n_bins - 1)) for value in values
    ]


def test_bins_are_those_of_the_definition():
    values = expression(n_genes=24, n_cells=60, seed=1)
    genes = bin_genes(values)
    assert genes.codes.tolist() == [literal_bins(row) for row in values]
    assert genes.n_bins.tolist() == [max(row) + 1 for row in genes.codes.tolist()]
    assert len(set(genes.n_bins.tolist())) > 1  # the data are worth the test


def test_no_other_partition_of_a_gene_is_better():
    rng = np.random.default_rng(2)
    found = set()
    for _ in range(20):
        values = np.round(rng.gamma(0.5, 3, size=30) ** 2)
        values = np.minimum(values, np.sort(np.unique(values))[:9].max()).astype(np.float32)
        unique, edges, counts = literal_edges(values.tolist())
        partitions = (
            [0, *[cut for cut, is_cut in enumerate(cuts, 1) if is_cut], len(unique)]
            for cuts in itertools.product([False, True], repeat=len(unique) - 1)
        )
        best = max(
            partitions,
            key=lambda bounds: sum(literal_gain(a, b - 1, edges, counts) for a, b in itertools.pairwise(bounds)),
        )
        expected = [next(k for k, b in enumerate(best[1:]) if unique.index(v) < b) for v in values.tolist()]
        assert bin_genes(values[None]).codes[0].tolist() == expected
        found.add(len(best) - 1)
    assert len(found) > 1


def test_bins_follow_a_change_of_density():
    rng = np.random.default_rng(3)
    dense, wide = rng.uniform(0, 1, 300), rng.uniform(1, 21, 300)
    genes = bin_genes(np.concatenate([dense, wide]).astype(np.float32)[None])
    assert genes.n_bins.tolist() == [2]
    assert (genes.codes[0, :300] == 0).mean() > 0.97
    assert (genes.codes[0, 300:] == 1).mean() > 0.97


def test_bins_do_not_depend_on_units_batches_or_other_genes(monkeypatch):
    values = expression(n_genes=9, n_cells=50, seed=4)
    genes = bin_genes(values)
    assert np.array_equal(bin_genes(values * 8).codes, genes.codes)
    assert np.array_equal(bin_genes(values[[7]]).codes, genes.codes[[7]])
    monkeypatch.setattr(bayesian_blocks, "BATCH_VALUES", 1)
    assert np.array_equal(bin_genes(values).codes, genes.codes)


@pytest.mark.parametrize("row", [[0, 0, 0], [2.5], [1, 1e30, 1e-30], [1, np.nextafter(np.float32(1), 2), 7]])
def test_bins_of_unusual_genes(row):
    genes = bin_genes(np.array([row, row], dtype=np.float32))
    assert genes.codes.tolist() == [literal_bins(np.array(row, dtype=np.float32))] * 2


# ---------------------------------------------------------------- information


def literal_mi(x, z) -> float:
    return sum(p * i for p, i in literal_specific(x, z))


def literal_specific(x, z) -> list[tuple[float, float]]:
    """(share, specific information of x) of each bin of z."""
    n = len(z)
    result = []
    for k in range(max(z) + 1):
        p_z, total = z.count(k) / n, 0.0
        for j in range(max(x) + 1):
            p_x = x.count(j) / n
            p_both = sum(a == j and b == k for a, b in zip(x, z, strict=True)) / n
            if p_both > 0:
                total += p_both / p_z * math.log2(p_both / (p_x * p_z))
        result.append((p_z, total))
    return result


def test_specific_information_is_that_of_the_definition():
    genes = bin_genes(expression(n_genes=7, n_cells=45, seed=5))
    sources, targets = genes[np.array([6, 0, 3])], genes[1:4]
    expected = [
        [literal_specific(x, z)[k][1] for x in sources.codes.tolist()]
        for z in targets.codes.tolist()
        for k in range(max(z) + 1)
    ]
    assert np.allclose(specific_information(sources, targets), expected, rtol=1e-12, atol=1e-14)


def test_mutual_information_is_scikit_learns():
    values = expression(n_genes=12, n_cells=150, seed=6)
    scores = methods.get("mutual_information").run(make_task(values, (2, 3, 9)))
    genes = bin_genes(values)
    for row, regulator in enumerate((2, 3, 9)):
        for gene in range(12):
            expected = mutual_info_score(genes.codes[regulator], genes.codes[gene]) / math.log(2)
            assert scores.matrix[row, gene] == pytest.approx(0 if gene == regulator else expected, rel=1e-6, abs=1e-9)
    assert scores.matrix[0, 9] == scores.matrix[2, 2]  # symmetric
    assert scores.matrix.max() > 0.1


def test_mutual_information_by_hand():
    fair, half, same = [0, 0, 1, 1], [0, 1, 0, 1], [1, 1, 0, 0]
    result = mutual_information(binned(fair), binned(fair, half, same, [0, 0, 0, 0]))
    assert result.tolist() == [[1, 0, 1, 0]]


def test_blocks_change_nothing(monkeypatch):
    genes = bin_genes(expression(n_genes=11, n_cells=50, seed=7))
    whole = mutual_information(genes[:4], genes), proportional_unique_contribution(genes)
    monkeypatch.setattr(information, "BLOCK_VALUES", 100)
    monkeypatch.setattr(information, "MAX_BLOCK_BINS", 5)
    assert len(list(genes.blocks(5))) > 3
    assert np.array_equal(mutual_information(genes[:4], genes), whole[0])
    assert np.array_equal(proportional_unique_contribution(genes), whole[1])


def test_processes_change_nothing(monkeypatch):
    monkeypatch.setattr(bayesian_blocks, "BATCH_VALUES", 100)
    monkeypatch.setattr(information, "MAX_BLOCK_BINS", 8)
    values = expression(n_genes=10, n_cells=50, seed=8)
    alone = [methods.get(name).run(make_task(values, n_jobs=1)).matrix for name in ("mutual_information", "pidc")]
    monkeypatch.setattr(bayesian_blocks, "SMALL_WORK", 0)
    monkeypatch.setattr(information, "SMALL_WORK", 0)
    shared = [methods.get(name).run(make_task(values, n_jobs=2)).matrix for name in ("mutual_information", "pidc")]
    for one, two in zip(alone, shared, strict=True):
        assert np.array_equal(one, two)


# ---------------------------------------------------------------- PIDC


def literal_puc(codes) -> np.ndarray:
    n_genes = len(codes)
    puc = np.zeros((n_genes, n_genes))
    for triple in itertools.combinations(range(n_genes), 3):
        for z in triple:
            x, y = (gene for gene in triple if gene != z)
            of_x, of_y = literal_specific(codes[x], codes[z]), literal_specific(codes[y], codes[z])
            redundancy = sum(p * min(i, j) for (p, i), (_, j) in zip(of_x, of_y, strict=True))
            for source in (x, y):
                shared = literal_mi(codes[source], codes[z])
                unique = (shared - redundancy) / shared if shared > 1e-14 else 0
                puc[source, z] += max(unique, 0)
                puc[z, source] += max(unique, 0)
    return puc


@pytest.mark.parametrize("n_genes", [3, 6, 8])
def test_puc_is_that_of_the_definition(n_genes):
    genes = bin_genes(expression(n_genes, 40, seed=9))
    puc = proportional_unique_contribution(genes)
    assert np.allclose(puc, literal_puc(genes.codes.tolist()), rtol=1e-11, atol=1e-11)
    assert np.array_equal(puc, puc.T)
    assert puc.max() <= 2 * (n_genes - 2)


def test_puc_by_hand():
    fair, other, third = [0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 0, 0, 1, 1], [0, 1, 0, 1, 0, 1, 0, 1]
    # copies share all they know, with or without a third copy; independent genes have nothing to share
    assert proportional_unique_contribution(binned(fair, fair, fair)).tolist() == [[0, 0, 0]] * 3
    assert proportional_unique_contribution(binned(fair, fair, other)).tolist() == [[0, 2, 0], [2, 0, 0], [0, 0, 0]]
    assert not proportional_unique_contribution(binned(fair, other, third)).any()


def test_what_third_genes_know_better_is_exactly_nothing():
    rng = np.random.default_rng(13)
    target = np.repeat([0, 1, 2, 3], 15)
    for _ in range(8):
        weak = np.where(rng.random(60) < 0.5, target, rng.integers(0, 4, size=60))
        assert (proportional_unique_contribution(binned(*[target] * 30, weak))[-1] == 0).all()


def test_pidc_is_that_of_the_definition():
    values = expression(n_genes=7, n_cells=60, seed=10)
    scores = methods.get("pidc").run(make_task(values, (0, 2, 5)))
    puc = literal_puc([literal_bins(row) for row in values])
    others = [np.delete(row, gene) for gene, row in enumerate(puc)]
    fits = [stats.gamma(*stats.gamma.fit(row, floc=0)) for row in others]
    for row, regulator in enumerate((0, 2, 5)):
        for gene in range(7):
            weight = fits[regulator].cdf(puc[regulator, gene]) + fits[gene].cdf(puc[regulator, gene])
            assert scores.matrix[row, gene] == pytest.approx(0 if gene == regulator else weight, rel=1e-6)
    assert scores.details == {"context": "gamma"}


def test_context_of_genes_that_share_nothing():
    rng = np.random.default_rng(11)
    sums = rng.gamma(2.0, size=(6, 6))
    sums += sums.T
    np.fill_diagonal(sums, 0)
    padded = np.zeros((7, 7))
    padded[:6, :6] = sums
    alone, _ = network_context(sums, np.arange(6))
    weights, context = network_context(padded, np.arange(7))
    assert context == "gamma"
    assert np.array_equal(weights[:6, :6], alone)
    assert not weights[6].any()
    assert not weights[:, 6].any()


def test_context_without_a_gamma_fit():
    sums = np.array([[0, 3, 3, 3], [3, 0, 1, 6], [3, 1, 0, 2], [3, 6, 2, 0]], dtype=float)
    weights, context = network_context(sums, np.array([1, 3]))
    assert context == "z-score"

    def z(gene, score):
        others = np.delete(sums[gene], gene)
        spread = others.std(ddof=1)
        return max(0.0, (score - others.mean()) / spread) if spread else 0.0

    for row, a in enumerate((1, 3)):
        for b in range(4):
            expected = 0 if a == b else math.hypot(z(a, sums[a, b]), z(b, sums[a, b]))
            assert weights[row, b] == pytest.approx(expected, rel=1e-6)
    assert weights.max() > 1


def test_a_constant_gene_scores_nothing():
    values = expression(n_genes=6, n_cells=40, seed=12)
    values[2] = 1.5
    for name in ("mutual_information", "pidc"):
        scores = methods.get(name).run(make_task(values, (0, 2)))
        assert not scores.matrix[1].any()
        assert not scores.matrix[:, 2].any()
        assert (scores.matrix[0, [1, 3, 4, 5]] > 0).all()
    assert scores.details == {"context": "gamma"}


@pytest.mark.parametrize("name", ["mutual_information", "pidc"])
@pytest.mark.parametrize(
    "values",
    [
        np.ones((1, 5)),
        np.zeros((4, 6)),
        expression(4, 1),
        expression(4, 2),
        expression(2, 50),
        np.tile(expression(1, 50), (4, 1)),
        expression(3, 50),
    ],
    ids=["one gene", "zeros", "one cell", "two cells", "two genes", "copies", "three genes"],
)
def test_degenerate_input_gets_finite_scores(name, values):
    scores = methods.get(name).run(make_task(values, (0,)))
    assert scores.matrix.shape == (1, len(values))
    assert np.isfinite(scores.matrix).all()
    assert scores.matrix[0, 0] == 0


def test_traits_and_errors():
    for name in ("mutual_information", "pidc"):
        entry = methods.get(name)
        assert not entry.supervised
        assert not entry.directed
        assert not entry.stochastic
    task = make_task(expression(6, 30))
    with pytest.raises(ArgumentError, match=r"6 genes, more than max_genes=5, .*highly_variable.* raise max_genes"):
        methods.get("pidc").run(task, max_genes=5)
    with pytest.raises(ArgumentError, match=r"max_genes is a whole number, not 0\.5"):
        methods.get("pidc").run(task, max_genes=0.5)


@needs_beeline
def test_on_real_cells_they_are_near_random():
    from scgrn_tl import bm, datasets

    adata, split = datasets.beeline("mDC", 500), datasets.beeline_split("mDC", 500, 1)
    task = GRNTask(np.ascontiguousarray(adata.X.T), tuple(adata.var_names), split.regulators, n_jobs=1)
    for name in ("mutual_information", "pidc"):
        scores = methods.get(name).run(task)
        # published and re-run values of unsupervised methods on these genes: 0.47 to 0.54
        assert bm.evaluate(scores, split)["auroc"] == pytest.approx(0.505, abs=0.035)
