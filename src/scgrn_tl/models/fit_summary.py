"""How good a fit is on the pairs that it was not fitted to, and the calibration that these pairs give."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from scgrn_tl.core.calibration import PlattScaling, calibrate
from scgrn_tl.core.metrics import edge_metrics

from .fit_inputs import labelled_table
from .hub_rates import fit_hub_rates

if TYPE_CHECKING:
    from scgrn_tl.core.task import GRNScores, GRNTask

__all__ = ["FitSummary"]

_KEPT = ("auroc", "auprc", "auprc_ratio", "epr", "tf_auroc", "brier", "ece")


@dataclass(frozen=True)
class FitSummary:
    """What validation pairs say of a fit.

    Attributes
    ----------
    calibration
        Logit → probability.
    fitted_on
        What the calibration was fitted on, ``"validation"`` or ``"nothing"`` (logits stay as they are); ``"unknown"``
        for a model of a file that does not tell.
    validation
        ``n_pairs``, ``n_edges``, and the metrics of the model (``"sctransnet"``) and of hub rates alone
        (``"hub_rates"``): the two-way logistic model of :mod:`~scgrn_tl.models.hub_rates`, fitted to the training
        pairs. Empty where the validation pairs are of one class.
    """

    calibration: PlattScaling = field(default_factory=PlattScaling)
    fitted_on: str = "unknown"
    validation: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def judge(cls, scores: GRNScores, task: GRNTask) -> FitSummary:
        """Of a fit to the training pairs of ``task``; its expression and embedding are not read."""
        calibration, fitted_on = calibrate(scores, task)
        train, validation = task.supervision()
        labels, regulators = validation.labels, validation.pairs[:, 0]
        if not labels.any() or labels.all():
            return cls(calibration, fitted_on)
        at_pairs = scores.at(validation.pairs)
        own = edge_metrics(labels, at_pairs, regulators, probability=calibration(at_pairs))
        rates = fit_hub_rates(*labelled_table(train, task.regulators, task.n_genes))
        rows = np.searchsorted(task.regulators, regulators)
        floor = edge_metrics(labels, rates.matrix()[rows, validation.pairs[:, 1]], regulators)
        found: dict[str, Any] = {"n_pairs": len(labels), "n_edges": int(labels.sum())}
        found |= {"sctransnet": _finite(own), "hub_rates": _finite(floor)}
        return cls(calibration, fitted_on, found)

    def record(self) -> dict[str, Any]:
        """What goes into the model's json."""
        of_scaling = {"slope": self.calibration.slope, "intercept": self.calibration.intercept}
        return {"calibration": of_scaling | {"fitted_on": self.fitted_on}, "validation": self.validation}

    @classmethod
    def restore(cls, record: dict[str, Any]) -> FitSummary:
        """What :meth:`record` gave; what can be told of a model whose file has none."""
        if "calibration" not in record:
            return cls()
        of_scaling = record["calibration"]
        scaling = PlattScaling(float(of_scaling["slope"]), float(of_scaling["intercept"]))
        if not (math.isfinite(scaling.intercept) and 0 < scaling.slope < math.inf):
            msg = f"a calibration has a positive slope and a finite intercept, not {of_scaling}."
            raise ValueError(msg)
        return cls(scaling, str(of_scaling["fitted_on"]), dict(record["validation"]))


def _finite(metrics: dict[str, float]) -> dict[str, float]:
    return {name: float(metrics[name]) for name in _KEPT if math.isfinite(metrics[name])}
