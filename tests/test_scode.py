"""SCODE against its steps written down one by one, and on dynamics that are known."""

from __future__ import annotations

import numpy as np
import pytest

from scgrn_tl import methods
from scgrn_tl.core import ArgumentError, GRNTask, MissingKeyError, spawn_seeds
from scgrn_tl.methods import scode as module
from scgrn_tl.methods.scode import fit_dynamics

SHORT = {"n_components": 3, "n_iterations": 30, "n_repeats": 2}


def make_task(n_genes=5, n_cells=40, regulators=(0, 3), n_lineages=1, seed=0, **fields) -> GRNTask:
    rng = np.random.default_rng(1)
    time = rng.uniform(0, 7, size=(n_cells, n_lineages))
    values = rng.gamma(1.0, size=(n_genes, n_cells)) + np.outer(np.arange(n_genes), time[:, 0])
    if n_lineages > 1:
        time[rng.random(time.shape) < 0.3] = np.nan
    names = tuple(f"G{index}" for index in range(n_genes))
    fields = {"pseudotime": time} | fields
    return GRNTask(values.astype(np.float32), names, np.array(regulators), seed=seed, **fields)


def literal_scode(X, t, n_components, n_iterations, seed):
    """A of one search, gene by gene and step by step."""
    rng = np.random.default_rng(seed)
    t = t / max(t)
    b = [rng.uniform(-10, 2) for _ in range(n_components)]
    best_b, best = list(b), float("inf")
    for iteration in range(1, n_iterations + 1):
        if iteration == n_iterations:
            b = list(best_b)
        else:
            k = rng.integers(n_components)
            b[k] = rng.uniform(-10, 2)
        Z = np.array([[np.exp(b[k] * time) + rng.uniform(-0.001, 0.001) for k in range(n_components)] for time in t])
        W = np.array([np.linalg.lstsq(Z, gene, rcond=None)[0] for gene in X])
        rss = sum((X[g, c] - W[g] @ Z[c]) ** 2 for g in range(len(X)) for c in range(len(t)))
        if rss < best:
            best, best_b = rss, list(b)
        elif iteration < n_iterations:
            b[k] = best_b[k]
    return W @ np.diag(b) @ np.linalg.pinv(W), rss


@pytest.mark.parametrize("n_genes", [5, 60])
@pytest.mark.parametrize("n_lineages", [1, 2])
def test_it_is_the_published_procedure(n_genes, n_lineages):
    task = make_task(n_genes, n_lineages=n_lineages)
    scores = methods.get("scode").run(task, **SHORT)
    seeds = spawn_seeds(0, 2 * n_lineages)
    expected = np.zeros((n_genes, n_genes))
    for lineage in range(n_lineages):
        time = task.pseudotime[:, lineage]
        cells = ~np.isnan(time)
        X = task.expression[:, cells].astype(float)
        repeats = [literal_scode(X, time[cells], 3, 30, seed) for seed in seeds[lineage::n_lineages]]
        expected = np.maximum(expected, np.abs((repeats[0][0] + repeats[1][0]) / 2))
        assert scores.details["rss"][lineage] == pytest.approx((repeats[0][1] + repeats[1][1]) / 2, rel=1e-9)
    assert np.allclose(scores.matrix, expected.T[[0, 3]], rtol=1e-4, atol=1e-6)


def test_known_dynamics_are_found():
    rng = np.random.default_rng(2)
    weights, rates = rng.normal(size=(4, 2)), np.array([-6.0, 1.0])
    time = rng.uniform(size=300)
    expression = weights @ np.exp(np.outer(rates, time))
    effects = weights @ np.diag(rates) @ np.linalg.pinv(weights)
    found = fit_dynamics(expression, time / time.max(), n_components=2, n_iterations=1500, seed=0)
    assert np.sort(found.rates) == pytest.approx(rates * time.max(), abs=0.15)
    assert found.rss < 1e-4 * (expression**2).sum()
    names = tuple("ABCD")
    task = GRNTask(expression.astype(np.float32), names, np.arange(4), pseudotime=time)
    scores = methods.get("scode").run(task, n_components=2, n_iterations=1500, n_repeats=2)
    assert np.allclose(scores.matrix, np.abs(effects).T, atol=0.15)  # row: regulator, column of A


def test_orientations_are_each_others_transpose():
    task = make_task(regulators=range(5))
    ours = methods.get("scode").run(task, **SHORT).matrix
    beeline = methods.get("scode").run(task, **SHORT, beeline_orientation=True).matrix
    assert np.allclose(ours, beeline.T, rtol=1e-5)
    assert not np.allclose(ours, ours.T, rtol=0.1)
    few = methods.get("scode").run(make_task(), **SHORT, beeline_orientation=True).matrix
    assert np.allclose(few, beeline[[0, 3]], rtol=1e-5)


def test_same_seed_same_scores():
    first = methods.get("scode").run(make_task(), **SHORT).matrix
    assert np.array_equal(methods.get("scode").run(make_task(), **SHORT).matrix, first)
    assert not np.allclose(methods.get("scode").run(make_task(seed=1), **SHORT).matrix, first, rtol=1e-2)


def test_processes_change_nothing(monkeypatch):
    alone = methods.get("scode").run(make_task(60, n_lineages=2, n_jobs=1), **SHORT).matrix
    monkeypatch.setattr(module, "SMALL_WORK", 0)
    shared = methods.get("scode").run(make_task(60, n_lineages=2, n_jobs=2), **SHORT).matrix
    assert np.array_equal(alone, shared)


def test_the_unit_of_pseudotime_and_cells_off_the_lineage_do_not_count():
    task = make_task(n_lineages=1)
    time = task.pseudotime.copy()
    time[::4] = np.nan
    first = methods.get("scode").run(make_task(pseudotime=time), **SHORT).matrix
    assert np.allclose(methods.get("scode").run(make_task(pseudotime=time * 30), **SHORT).matrix, first, rtol=1e-3)
    other = task.expression.copy()
    other[:, ::4] = 100
    changed = GRNTask(other, task.genes, task.regulators, pseudotime=time)
    assert np.array_equal(methods.get("scode").run(changed, **SHORT).matrix, first)


def test_search_lowers_the_residual():
    task = make_task(n_cells=100)
    time = task.pseudotime[:, 0] / task.pseudotime.max()
    rss = [
        fit_dynamics(task.expression.astype(float), time, n_components=2, n_iterations=n, seed=3).rss
        for n in (1, 20, 500)
    ]
    assert rss[0] > rss[1] > rss[2] * 0.999  # fresh noise in the last step


@pytest.mark.parametrize(
    ("n_genes", "n_cells", "n_components"), [(1, 30, 10), (5, 2, 10), (30, 6, 10), (4, 50, 10), (12, 12, 1)]
)
def test_few_genes_or_cells_get_finite_scores(n_genes, n_cells, n_components):
    task = make_task(n_genes, n_cells, regulators=(0,))
    scores = methods.get("scode").run(task, n_components=n_components, n_iterations=20, n_repeats=2)
    assert scores.matrix.shape == (1, n_genes)
    assert np.isfinite(scores.matrix).all()
    assert scores.matrix.max() < 1e6


def test_constant_genes():
    task = make_task(6)
    task.expression[1] = 0
    task.expression[2] = 4
    scores = methods.get("scode").run(task, **SHORT).matrix
    assert np.isfinite(scores).all()
    assert np.allclose(scores[:, 1], 0, atol=1e-9)
    task.expression[:] = 0
    assert not methods.get("scode").run(task, **SHORT).matrix.any()
    task.expression[:] = 3
    assert np.isfinite(methods.get("scode").run(task, **SHORT).matrix).all()


def test_errors():
    with pytest.raises(MissingKeyError, match="'scode' needs the cells' pseudotime"):
        methods.get("scode").run(make_task(pseudotime=None))
    for name in ("n_components", "n_iterations", "n_repeats"):
        for value in (0, 1.5, True):
            with pytest.raises(ArgumentError, match=f"{name} is a whole number.*, not {value}"):
                methods.get("scode").run(make_task(), **{name: value})


def test_traits():
    entry = methods.get("scode")
    assert entry.directed
    assert entry.stochastic
    assert entry.uses_pseudotime
    assert not entry.supervised
