"""GENIE3: a random forest per target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from scgrn_tl.core.errors import ArgumentError

from ._registry import method
from ._regression import regression_scores

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scgrn_tl.core.task import GRNScores, GRNTask

__all__ = ["genie3"]


def _check(*, n_trees: int = 1, max_features: str | float = 1.0, trees: str = "forest", **_flags: bool) -> None:
    if n_trees < 1:
        msg = f"n_trees is at least 1, not {n_trees!r}."
        raise ArgumentError(msg)
    if max_features not in {"sqrt", "log2"} and not (isinstance(max_features, (int, float)) and 0 < max_features <= 1):
        msg = f"max_features is 'sqrt', 'log2' or a share between 0 and 1, not {max_features!r}."
        raise ArgumentError(msg)
    if trees not in {"forest", "extra"}:
        msg = f"trees is 'forest' (random forest) or 'extra' (extremely randomised trees), not {trees!r}."
        raise ArgumentError(msg)


@method(
    name="genie3",
    supervised=False,
    directed=True,
    stochastic=True,
    reference="Huynh-Thu et al. 2010",
    check=_check,
)
def genie3(
    task: GRNTask,
    *,
    n_trees: int = 1000,
    max_features: Literal["sqrt", "log2"] | float = "sqrt",
    trees: Literal["forest", "extra"] = "forest",
    normalize: bool = True,
) -> GRNScores:
    """Random forest of each target on the regulators (GENIE3).

    The engine is :class:`sklearn.ensemble.RandomForestRegressor` with arboreto's parameters, in joblib's processes in
    place of Dask's: the importances are those of arboreto, bit for bit, given the same seed.

    Parameters
    ----------
    task
        Expression and regulators are read; targets are spread over ``n_jobs`` processes.
    n_trees
        Trees of a target. 200 take a fifth of the time, and rank much the same from seed to seed (see the docs on
        stability).
    max_features
        Regulators that a split may choose from: their square root or logarithm, or a share of them.
    trees
        ``"forest"``, or ``"extra"`` for :class:`sklearn.ensemble.ExtraTreesRegressor`.
    normalize
        ``True``: importances of each target sum to 1, as in arboreto and BEELINE. ``False``: the target is scaled to
        unit variance and importances are the mean impurity decrease, as the authors of GENIE3 have it: a target that is
        explained better has higher ones.

    Returns
    -------
    Impurity decreases; 0 for a regulator that is never used.
    """
    settings = {
        "random_state": task.seed % 2**32,
        "n_estimators": n_trees,
        "max_features": max_features if isinstance(max_features, str) else float(max_features),  # 1 would be a count
        "trees": trees,
        "normalize": normalize,
    }
    return regression_scores(task, _importance, settings, label="GENIE3")


def _importance(x: np.ndarray, y: np.ndarray, settings: Mapping[str, Any]) -> np.ndarray:
    from sklearn.ensemble import ExtraTreesRegressor, RandomForestRegressor

    growing = dict(settings)
    engine = {"forest": RandomForestRegressor, "extra": ExtraTreesRegressor}[growing.pop("trees")]
    normalize = growing.pop("normalize")
    model = engine(n_jobs=1, **growing).fit(x, y if normalize else y / y.std())
    if normalize:
        return model.feature_importances_
    return np.mean([tree.tree_.compute_feature_importances(normalize=False) for tree in model.estimators_], axis=0)
