"""GRNBoost2: gradient boosting per target, stopped when the cells left out of a tree gain no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scgrn_tl.core.errors import ArgumentError

from ._registry import method
from ._regression import regression_scores

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scgrn_tl.core.task import GRNScores, GRNTask

__all__ = ["grnboost2"]


def _check(
    *, n_trees: int = 1, learning_rate: float = 1, max_features: float = 1, subsample: float = 0.5, window: int = 1
) -> None:
    rules = [
        ("n_trees >= 1", n_trees >= 1),
        ("learning_rate > 0", learning_rate > 0),
        ("0 < max_features <= 1", 0 < max_features <= 1),
        ("0 < subsample < 1 (the cells left out stop the boosting)", 0 < subsample < 1),
        ("window >= 1", window >= 1),
    ]
    if broken := [rule for rule, holds in rules if not holds]:
        msg = f"grnboost2's parameters have to satisfy: {'; '.join(broken)}."
        raise ArgumentError(msg)


@method(
    name="grnboost2",
    supervised=False,
    directed=True,
    stochastic=True,
    reference="Moerman et al. 2019",
    check=_check,
)
def grnboost2(
    task: GRNTask,
    *,
    n_trees: int = 5000,
    learning_rate: float = 0.01,
    max_features: float = 0.1,
    subsample: float = 0.9,
    window: int = 25,
) -> GRNScores:
    """Gradient boosting of each target on the regulators, stopped early (GRNBoost2).

    The engine is :class:`sklearn.ensemble.GradientBoostingRegressor` with arboreto's parameters, in joblib's processes
    in place of Dask's: the importances are those of arboreto, bit for bit, given the same seed. They change much from
    seed to seed; ``n_models=`` averages several.

    Parameters
    ----------
    task
        Expression and regulators are read; targets are spread over ``n_jobs`` processes.
    n_trees
        Most trees of a target.
    learning_rate
        Weight of each tree.
    max_features
        Share of the regulators that a split may choose from.
    subsample
        Share of the cells that a tree is grown on; the rest tell when to stop.
    window
        Stop once the mean gain of so many trees in a row on the cells left out is negative.

    Returns
    -------
    Normalised impurity decrease × number of trees grown: 0 for a regulator that is never used. Scores of different
    targets compare, as a target that is explained well grows more trees.
    """
    settings = {
        "random_state": task.seed % 2**32,
        "n_estimators": n_trees,
        "learning_rate": learning_rate,
        "max_features": float(max_features),  # 1 would be a count
        "subsample": subsample,
        "window": window,
    }
    return regression_scores(task, _importance, settings, label="GRNBoost2")


def _importance(x: np.ndarray, y: np.ndarray, settings: Mapping[str, Any]) -> np.ndarray:
    from sklearn.ensemble import GradientBoostingRegressor

    boosting = {name: value for name, value in settings.items() if name != "window"}
    window = settings["window"]

    def gains_no_more(tree: int, model: GradientBoostingRegressor, _: object) -> bool:
        return tree + 1 >= window and bool(np.mean(model.oob_improvement_[tree + 1 - window : tree + 1]) < 0)

    model = GradientBoostingRegressor(**boosting).fit(x, y, monitor=gains_no_more)
    return model.feature_importances_ * len(model.estimators_)
