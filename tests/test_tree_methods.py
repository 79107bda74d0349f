"""GENIE3 and GRNBoost2 against plain scikit-learn loops with arboreto's parameters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor

import scgrn_tl as sg
from scgrn_tl import methods
from scgrn_tl.core import ArgumentError, make_task


@pytest.fixture(scope="module")
def task():
    adata = sg.datasets.simulated(n_cells=80, n_genes=30, n_tfs=8, rng=0)
    return replace(make_task(adata, tf_names=adata.var_names[adata.var["is_tf"]], seed=7), n_jobs=1)


class EarlyStop:
    """Arboreto's rule: the mean of the last 25 out-of-bag improvements is negative."""

    def __init__(self, window: int = 25) -> None:
        self.window = window

    def __call__(self, current_round, regressor, _):
        if current_round >= self.window - 1:
            lower = max(0, current_round - self.window + 1)
            return np.mean(regressor.oob_improvement_[lower : current_round + 1]) < 0
        return False


def plain_loop(task, importance) -> np.ndarray:
    """One regression per target, as anybody would write it."""
    matrix = np.zeros((len(task.regulators), task.n_genes))
    for target in range(task.n_genes):
        kept = [row for row, regulator in enumerate(task.regulators) if regulator != target]
        x = np.stack([task.expression[task.regulators[row]] for row in kept], axis=1)
        for row, value in zip(kept, importance(x, task.expression[target]), strict=True):
            matrix[row, target] = value
    return matrix.astype(np.float32)


def boosted(x, y, seed):
    model = GradientBoostingRegressor(
        learning_rate=0.01, n_estimators=5000, max_features=0.1, subsample=0.9, random_state=seed
    )
    model.fit(x, y, monitor=EarlyStop())
    return model.feature_importances_ * model.estimators_.shape[0]


def test_grnboost2_is_the_plain_loop_bit_for_bit(task):
    scores = methods.get("grnboost2")(task)
    np.testing.assert_array_equal(scores.matrix, plain_loop(task, lambda x, y: boosted(x, y, 7)))
    assert scores.matrix.max() > 1


@pytest.mark.parametrize(("name", "params"), [("genie3", {"n_trees": 5}), ("grnboost2", {"n_trees": 30})])
def test_a_share_of_one_is_all_regulators_and_not_one(task, name, params):
    whole, share = (methods.get(name).run(task, max_features=value, **params).matrix for value in (1, 1.0))
    np.testing.assert_array_equal(whole, share)


def test_genie3_is_the_plain_loop_bit_for_bit(task):
    def forest(x, y):
        model = RandomForestRegressor(n_estimators=60, max_features="sqrt", n_jobs=1, random_state=7)
        return model.fit(x, y).feature_importances_

    scores = methods.get("genie3")(task, n_trees=60)
    np.testing.assert_array_equal(scores.matrix, plain_loop(task, forest))
    np.testing.assert_allclose(scores.matrix.sum(0), 1, rtol=1e-5)


def test_genie3_without_normalising_is_the_explained_variance(task):
    """The mean over trees of the impurity that the splits take away, of a target of unit variance."""
    scores = methods.get("genie3")(task, n_trees=20, normalize=False)
    target, row = 20, 0
    x = task.expression[task.regulators].T
    y = task.expression[target].astype(float)
    forest = RandomForestRegressor(n_estimators=20, max_features="sqrt", random_state=7).fit(x, y / y.std())
    decrease = np.zeros(x.shape[1])
    for tree in (member.tree_ for member in forest.estimators_):
        weight = tree.weighted_n_node_samples
        for node in range(tree.node_count):
            left, right = tree.children_left[node], tree.children_right[node]
            if left >= 0:
                gone = weight[node] * tree.impurity[node]
                gone -= weight[left] * tree.impurity[left] + weight[right] * tree.impurity[right]
                decrease[tree.feature[node]] += gone / weight[0]
    assert scores.matrix[row, target] == pytest.approx(decrease[row] / 20, rel=1e-5)
    assert 0.3 < scores.matrix[:, target].sum() < 1.5


@pytest.mark.parametrize(("name", "params"), [("grnboost2", {"n_trees": 50}), ("genie3", {"n_trees": 10})])
def test_jobs_make_no_difference_and_seeds_do(task, name, params):
    run = methods.get(name)
    one, two = (run(replace(task, n_jobs=n_jobs), **params).matrix for n_jobs in (1, 2))
    np.testing.assert_array_equal(one, two)
    assert (run(replace(task, seed=8), **params).matrix != one).any()


@pytest.mark.parametrize(("name", "params"), [("grnboost2", {}), ("genie3", {"n_trees": 5})])
def test_constant_genes_and_lonely_regulators(task, name, params):
    expression = task.expression.copy()
    expression[5] = 1.5
    expression[task.regulators[0]] = 0
    scores = methods.get(name)(replace(task, expression=expression), **params).matrix
    assert not scores[:, 5].any()  # nothing to explain
    assert not scores[0].any()  # explains nothing
    alone = replace(task, regulators=task.regulators[1:2])
    scores = methods.get(name)(alone, **params).matrix
    assert scores[0, alone.regulators[0]] == 0
    assert np.isfinite(scores).all()


def test_extra_trees_are_another_engine(task):
    forest, extra = (methods.get("genie3")(task, n_trees=10, trees=kind).matrix for kind in ("forest", "extra"))
    assert (forest != extra).any()


@pytest.mark.parametrize(
    ("name", "bad", "message"),
    [
        ("grnboost2", {"subsample": 1.0}, "left out"),
        ("grnboost2", {"max_features": 0}, "max_features"),
        ("genie3", {"n_trees": 0}, "n_trees"),
        ("genie3", {"max_features": "half"}, "max_features"),
        ("genie3", {"trees": "oak"}, "trees"),
    ],
)
def test_senseless_parameters_are_refused(task, name, bad, message):
    with pytest.raises(ArgumentError, match=message):
        methods.get(name)(task, **bad)


def test_averaging_steadies_grnboost2(task):
    """What the docs say of it: the ranks of one run change with the seed, those of averages less."""
    from scipy.stats import spearmanr

    run = methods.get("grnboost2")
    pairs = [[run(replace(task, seed=seed), n_models=k).matrix for seed in (1, 2)] for k in (1, 4)]
    alone, averaged = (
        np.mean([spearmanr(a[:, target], b[:, target]).statistic for target in range(10, 30)]) for a, b in pairs
    )
    assert averaged > alone + 0.05


@pytest.mark.slow
@pytest.mark.internet
def test_grnboost2_on_two_hundred_real_genes():
    adata = sg.datasets.beeline("hHEP")
    adata = adata[:, np.r_[np.flatnonzero(adata.var["is_tf"])[:60], np.flatnonzero(~adata.var["is_tf"])[:140]]].copy()
    task = make_task(adata, tf_names=adata.var_names[adata.var["is_tf"]], seed=11)
    scores = methods.get("grnboost2")(replace(task, n_jobs=2))
    np.testing.assert_array_equal(scores.matrix, plain_loop(task, lambda x, y: boosted(x, y, 11)))
