"""From scores to probabilities (Platt 1999)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit, logit

from .errors import ArgumentError
from .user_warning import warn_user

if TYPE_CHECKING:
    from .split import LabeledPairs
    from .task import GRNScores, GRNTask

__all__ = ["PlattScaling", "calibrate"]

_LEAST_SLOPE = 1e-3
"""Of scores of spread 1."""


@dataclass(frozen=True)
class PlattScaling:
    """``P(edge) = 1 / (1 + exp(−(slope · score + intercept)))``, with a positive slope, so that ranks stay.

    Attributes
    ----------
    slope, intercept
        Of the logistic curve; 1 and 0 leave a logit as it is.
    """

    slope: float = 1.0
    intercept: float = 0.0

    @classmethod
    def fit(cls, scores: np.ndarray, labels: np.ndarray) -> PlattScaling:
        """Fit to labelled scores by maximum likelihood, with Platt's targets.

        An edge counts as one with probability (N₊ + 1)/(N₊ + 2) and a non-edge with 1/(N₋ + 2), as if one more of the
        other class had been seen, so that few pairs, or pairs that scores separate perfectly, give no certainty.

        Parameters
        ----------
        scores
            ``(P,)``.
        labels
            ``bool (P,)``, with both classes.

        Raises
        ------
        ArgumentError
            If the labels are of one class.
        """
        from sklearn.linear_model import LogisticRegression

        labels = np.asarray(labels, dtype=bool)
        if labels.all() or not labels.any():
            msg = (
                f"Calibration needs edges and non-edges; all {len(labels)} pairs are of one class. "
                "Hold out more pairs: a larger `validation_fraction=`."
            )
            raise ArgumentError(msg)
        scores = np.asarray(scores, dtype=np.float64)
        center, spread = float(scores.mean()), float(scores.std()) or 1.0
        n_edges, n_others = int(labels.sum()), int((~labels).sum())
        target = np.where(labels, (n_edges + 1) / (n_edges + 2), 1 / (n_others + 2))
        # A target between the classes is both of them, by weight.
        fitted = LogisticRegression(C=np.inf, max_iter=1000).fit(
            np.tile((scores - center) / spread, 2)[:, None],
            np.repeat([True, False], len(labels)),
            sample_weight=np.concatenate([target, 1 - target]),
        )
        steepness, level = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
        if steepness < _LEAST_SLOPE:
            warn_user(
                "Scores do not separate the validation edges; probabilities say little beyond prevalence. "
                "Take the best edges by `top_n=` in place of a probability, and look at `sg.pl.calibration`.",
                page="trust#calibration",
            )
            steepness, level = _LEAST_SLOPE, float(logit(labels.mean()))
        slope = steepness / spread
        return cls(slope, level - slope * center)

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Probabilities ``float32`` of scores of any shape."""
        return expit(self.slope * np.asarray(scores, dtype=np.float64) + self.intercept).astype(np.float32)


def calibrate(scores: GRNScores, task: GRNTask) -> tuple[PlattScaling, str]:
    """Probabilities of a supervised method's scores, fitted to validation pairs, which it has not learned from.

    Without such pairs, scores that are no logits are fitted to the training pairs, and come out too sure.

    Parameters
    ----------
    scores
        What the method returned.
    task
        What it was given.

    Returns
    -------
    The scaling, and what it was fitted on: ``"validation"``; ``"train"`` where validation has not both classes and the
    scores are no logits; ``"nothing"`` for logits that stay as they are, or where training has not both classes either.
    """
    train, validation = task.supervision()

    def usable(part: LabeledPairs) -> bool:
        return bool(part.labels.any()) and not bool(part.labels.all())

    if usable(validation):
        return PlattScaling.fit(scores.at(validation.pairs), validation.labels), "validation"
    if scores.is_logit or not usable(train):
        return PlattScaling(), "nothing"
    return PlattScaling.fit(scores.at(train.pairs), train.labels), "train"
