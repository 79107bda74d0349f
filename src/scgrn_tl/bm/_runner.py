"""Doing what a benchmark has to do: what is shared first, then every run, each kept as it ends."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from scgrn_tl.core import GRNScores
from scgrn_tl.core.progress_bar import progress_bar

from ._isolation import Outcome, run_isolated
from ._results_folder import ResultsFolder, row_key
from ._work import embed, infer, judge, prepare, run_and_judge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from scgrn_tl.core import GRNTask

    from ._units import Unit

__all__ = ["Runner"]

LOGGER = logging.getLogger(__name__)

_COST = "cost_"
_COSTS = ("seconds", "cpu_seconds", "peak_memory_mb")
"""Fields of an :class:`Outcome` that are kept beside arrays, under names that start so."""


@dataclass(frozen=True, eq=False)
class Runner:
    """Runs units and keeps their rows.

    Attributes
    ----------
    folder
        Where rows are kept.
    device
        Where torch computes.
    n_jobs
        Runs at a time.
    timeout
        Seconds after which a run is ended.
    """

    folder: ResultsFolder
    device: str
    n_jobs: int
    timeout: float | None

    def run(self, units: Iterable[Unit]) -> None:
        """Run what is not done yet."""
        units = list(units)
        table = self.folder.table()
        done = {row_key(row) for row in table.to_dict("records") if row["error"] == ""}
        left = []
        for unit in units:
            missing = [s for s, row in zip(unit.splits, unit.rows(), strict=True) if row_key(row) not in done]
            if missing:
                left.append(replace(unit, splits=tuple(missing)))
        n_rows, n_left = (sum(len(unit.splits) for unit in some) for some in (units, left))
        LOGGER.info(
            "%d runs asked for, %d of them done before; results in %s.", n_rows, n_rows - n_left, self.folder.path
        )

        ready = self._shared(left, "embedding_name", embed, _embedding_job, "Embedding genes")
        ready = self._shared(ready, "preparation_name", prepare, self._preparation_job, "Preparing methods")
        ready = self._shared(ready, "scores_name", infer, self._inference_job, "Unsupervised methods")
        learning = []
        for unit in ready:
            if unit.scores_name is None:
                learning.append(unit)
            else:
                try:
                    self._judge(unit)
                except Exception as error:  # noqa: BLE001  (a row of its own, as of one in another process)
                    self._keep_failure(unit, Outcome.of_error(error))
        for number, outcome in self._isolated(run_and_judge, self._job, learning, "Benchmark"):
            if outcome.error:
                self._keep_failure(learning[number], outcome)
            else:
                self._keep(learning[number], outcome.value["judged"], self._costs(learning[number], outcome))

    # ------------------------------------------------------------ what several rows share

    def _shared(
        self,
        units: list[Unit],
        name_of: str,
        function: Callable[..., dict[str, np.ndarray]],
        job_of: Callable[[Unit], tuple[Any, ...]],
        label: str,
    ) -> list[Unit]:
        """Compute the arrays of that name that units need and are not kept yet; the units for which they are there."""
        needed: dict[str, Unit] = {}
        for unit in units:
            name = getattr(unit, name_of)
            if name is not None and name not in needed and not self.folder.has_arrays(name):
                needed[name] = unit
        names, failed = list(needed), {}
        for number, outcome in self._isolated(function, job_of, list(needed.values()), label):
            if outcome.error:
                failed[names[number]] = outcome
            else:
                costs = {f"{_COST}{name}": np.array(getattr(outcome, name)) for name in _COSTS}
                self.folder.save_arrays(names[number], outcome.value | costs)
        for unit in units:
            if (name := getattr(unit, name_of)) in failed:
                self._keep_failure(unit, failed[name])
        return [unit for unit in units if getattr(unit, name_of) not in failed]

    def _preparation_job(self, unit: Unit) -> tuple[Any, ...]:
        return unit.variant.entry, unit.task(self.device).without_supervision(), dict(unit.variant.params)

    def _inference_job(self, unit: Unit) -> tuple[Any, ...]:
        return unit.variant.entry, self._task(unit), dict(unit.variant.params), unit.variant.n_models

    def _task(self, unit: Unit) -> GRNTask:
        task = unit.task(self.device)
        if unit.embedding_name is not None:
            embedding = unit.embedding(self.folder.arrays(unit.embedding_name))
            task = replace(task, embedding=embedding.values, embedding_widths=embedding.widths)
        if unit.preparation_name is not None:
            kept = self.folder.arrays(unit.preparation_name).items()
            task = replace(task, prepared={name: value for name, value in kept if not name.startswith(_COST)})
        return task

    # ------------------------------------------------------------ runs and their rows

    def _job(self, unit: Unit) -> tuple[Any, ...]:
        variant = unit.variant
        return variant.entry, self._task(unit), dict(variant.params), variant.n_models, unit.splits[0].pairs

    def _judge(self, unit: Unit) -> None:
        """Judge kept scores of a method that does not learn."""
        arrays = self.folder.arrays(str(unit.scores_name))
        scores = GRNScores(arrays["regulators"], arrays["matrix"])
        seconds, cpu_seconds, peak = (float(arrays[f"{_COST}{name}"]) for name in _COSTS)
        outcome = Outcome(seconds=seconds, cpu_seconds=cpu_seconds, peak_memory_mb=peak)
        self._keep(unit, [judge(scores, split.pairs) for split in unit.splits], self._costs(unit, outcome))

    def _costs(self, unit: Unit, outcome: Outcome) -> dict[str, float]:
        fit = outcome.value or {}
        costs = {
            "fit_seconds": fit.get("fit_seconds", outcome.seconds),
            "cpu_seconds": fit.get("cpu_seconds", outcome.cpu_seconds),
            "peak_memory_mb": outcome.peak_memory_mb,
        }
        for name, of_what in ((unit.embedding_name, "embed"), (unit.preparation_name, "prepare")):
            shared = {} if name is None else self.folder.arrays(name, prefix=_COST)
            costs[f"{of_what}_seconds"] = float(shared.get(f"{_COST}seconds", 0.0))
            if of_what == "prepare" and shared:
                costs["peak_memory_mb"] = float(np.fmax(costs["peak_memory_mb"], shared[f"{_COST}peak_memory_mb"]))
        return costs

    def _keep(
        self, unit: Unit, judged: Iterable[tuple[dict[str, float], dict[str, np.ndarray]]], costs: Mapping[str, float]
    ) -> None:
        rows = []
        for row, (metrics, predictions) in zip(_described(unit), judged, strict=True):
            path = self.folder.save_predictions(row_key(row), predictions)
            rows.append(row | metrics | dict(costs) | {"error": "", "predictions": path})
        self.folder.add(rows)

    def _keep_failure(self, unit: Unit, outcome: Outcome) -> None:
        LOGGER.warning("%s on %s failed: %s", unit.variant.label, unit.dataset.name, outcome.error)
        rows = [row | {"error": outcome.error, "predictions": ""} for row in _described(unit)]
        self.folder.save_trace(row_key(rows[0]), outcome.trace)
        self.folder.add(rows)

    def _isolated(
        self, function: Callable[..., Any], job_of: Callable[[Unit], tuple[Any, ...]], units: Sequence[Unit], label: str
    ) -> Iterator[tuple[int, Outcome]]:
        def job_or_error(unit: Unit) -> tuple[Any, ...] | Exception:
            try:
                return job_of(unit)
            except Exception as error:  # noqa: BLE001  (it is the outcome)
                return error

        outcomes = run_isolated(function, map(job_or_error, units), n_jobs=self.n_jobs, timeout=self.timeout)
        yield from progress_bar(outcomes, total=len(units), desc=label)


def _embedding_job(unit: Unit) -> tuple[Any, ...]:
    return unit.dataset.adata, unit.weights, unit.seed


def _described(unit: Unit) -> list[dict[str, Any]]:
    from scgrn_tl import __version__

    entry = unit.variant.entry
    about = {"role": entry.role, "supervised": entry.supervised, "version": __version__}
    return [row | about for row in unit.rows()]
