"""SCODE: linear dynamics of expression along pseudotime."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scgrn_tl.core.errors import ArgumentError
from scgrn_tl.core.parallel import parallel_map
from scgrn_tl.core.random import spawn_seeds
from scgrn_tl.core.task import GRNScores

from ._registry import method

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from scgrn_tl.core.task import GRNTask

__all__ = ["LinearDynamics", "fit_dynamics", "scode"]

RATES = (-10.0, 2.0)
"""Range that rates are drawn from; pseudotime runs up to 1."""

NOISE = 1e-3
"""Half the range of the noise on the components, which keeps two of like rates apart."""

SMALL_WORK = 2**34
"""Multiplications up to which other processes take longer to start than the work itself."""


def _check(*, n_components: int = 10, n_iterations: int = 1_000, n_repeats: int = 6, **_flags: bool) -> None:
    given = {"n_components": n_components, "n_iterations": n_iterations, "n_repeats": n_repeats}
    for name, value in given.items():
        if value < 1:
            msg = f"{name} is a whole number of at least 1, not {value!r}."
            raise ArgumentError(msg)


@method(
    name="scode",
    supervised=False,
    directed=True,
    stochastic=True,
    uses_pseudotime=True,
    reference="Matsumoto et al. 2017",
    check=_check,
)
def scode(
    task: GRNTask,
    *,
    n_components: int = 10,
    n_iterations: int = 1_000,
    n_repeats: int = 6,
    beeline_orientation: bool = False,
) -> GRNScores:
    r"""Linear differential equation of expression along pseudotime (SCODE).

    Expression is held to follow :math:`dx = A x\, dt`. With :math:`x = W z` for a few components
    :math:`z_k = \exp(b_k t)`, :math:`A = W\, \mathrm{diag}(b)\, W^+`, where :math:`A_{ij}` is the effect of gene j on
    gene i. The score of TF a and target b is :math:`|A_{ba}|`, with A the mean over repeats; of several lineages, each
    fitted to its own cells, the largest counts.

    Where this differs from the original: nothing in the search; only those entries of A are computed that are asked
    for, and the residual of a step comes from an orthogonal basis of its components, without the fitted matrix.

    Parameters
    ----------
    task
        Only ``expression``, ``regulators``, ``pseudotime``, ``seed`` and ``n_jobs`` are read. Each lineage's
        pseudotime is divided by its largest value.
    n_components
        Number of components; the default is BEELINE's, the authors' example has 4.
    n_iterations
        Steps of the random search for the rates b; the authors' example has 100.
    n_repeats
        Searches from different seeds, over which A is averaged.
    beeline_orientation
        Score TF a and target b by :math:`|A_{ab}|`, as BEELINE does, which reads the rows of A as regulators. For
        holding results against those published with it.

    Returns
    -------
    :math:`|A|`, with ``details["rss"]`` the residual sum of squares of each lineage, a mean over repeats.

    Raises
    ------
    ArgumentError
        If a number is below 1.
    MissingKeyError
        If the task has no pseudotime.
    """
    pseudotime = task.pseudotime
    assert pseudotime is not None  # the registry has seen to it
    n_lineages = pseudotime.shape[1]
    seeds = spawn_seeds(task.seed, n_repeats * n_lineages)
    # seeds go round the lineages, so that more repeats add to those there were
    parts = [
        (lineage, seeds[repeat * n_lineages + lineage]) for lineage in range(n_lineages) for repeat in range(n_repeats)
    ]
    work = len(parts) * n_iterations * n_components * min(task.expression.shape) * len(pseudotime)
    n_jobs = 1 if work <= SMALL_WORK else task.n_jobs
    shared = (task.expression, pseudotime, n_components, n_iterations)
    fits = list(parallel_map(_fit_lineage, parts, *shared, n_jobs=n_jobs, description="SCODE"))
    matrix = np.zeros((len(task.regulators), task.n_genes), dtype=np.float32)
    rss = []
    for lineage in range(n_lineages):
        of_lineage = fits[lineage * n_repeats : (lineage + 1) * n_repeats]
        rss.append(float(np.mean([fit.rss for fit in of_lineage])))
        effects = _mean_effects(of_lineage, task.regulators, regulators_as_rows=beeline_orientation)
        np.maximum(matrix, np.abs(effects), out=matrix, casting="same_kind")
    return GRNScores(task.regulators, matrix, details={"rss": rss})


class LinearDynamics(NamedTuple):
    r"""Linear dynamics :math:`A = W\, \mathrm{diag}(b)\, W^+` of some genes.

    Attributes
    ----------
    weights
        ``float64[G, D]``, W: what each gene has of each component.
    rates
        ``float64[D]``, b.
    rss
        Residual sum of squares of the fit.
    """

    weights: NDArray[np.float64]
    rates: NDArray[np.float64]
    rss: float


def fit_dynamics(
    expression: NDArray[np.float64], time: NDArray[np.float64], *, n_components: int, n_iterations: int, seed: int
) -> LinearDynamics:
    """Search for the rates at random, one at a time, keeping what lowers the residual sum of squares.

    Parameters
    ----------
    expression
        ``float64[G, N]``.
    time
        ``float64[N]``, pseudotime from 0 to 1.
    n_components
        Number of components D.
    n_iterations
        Steps. The last one draws no rate: it fits the best ones again.
    seed
        Seed of the search.

    Returns
    -------
    The dynamics of the last step.
    """
    rng = np.random.default_rng(seed)
    n_genes, n_cells = expression.shape
    # Any rotation of the genes leaves a residual as it is, so that no more rows than cells are needed to compute it.
    rotated = expression
    if n_genes > n_cells:
        rotated = np.asarray(np.linalg.qr(expression, mode="r"))  # (N, N)
    total = float((rotated**2).sum())
    best = rng.uniform(*RATES, size=n_components)
    lowest = np.inf
    for step in range(n_iterations):
        rates = best.copy()
        if step < n_iterations - 1:
            changed = rng.integers(n_components)
            rates[changed] = rng.uniform(*RATES)
        components = np.exp(np.outer(time, rates))  # (N, D)
        components += rng.uniform(-NOISE, NOISE, size=components.shape)
        basis = np.linalg.qr(components).Q  # (N, min(N, D))
        rss = max(0.0, total - float(((rotated @ basis) ** 2).sum()))
        if rss < lowest:
            lowest, best = rss, rates
    weights = np.linalg.lstsq(components, expression.T, rcond=None)[0].T  # (G, D)
    return LinearDynamics(weights.astype(np.float64, copy=False), rates, rss)


def _fit_lineage(
    part: tuple[int, int], expression: np.ndarray, pseudotime: NDArray[np.float64], n_components: int, n_iterations: int
) -> LinearDynamics:
    from threadpoolctl import threadpool_limits

    lineage, seed = part
    time = pseudotime[:, lineage]
    on_it = ~np.isnan(time)
    time = time[on_it] / time[on_it].max()
    cells = expression[:, on_it].astype(np.float64)
    # One thread: the matrices of a step are small, and sums split over threads would differ with their number.
    with threadpool_limits(1):
        return fit_dynamics(cells, time, n_components=n_components, n_iterations=n_iterations, seed=seed)


def _mean_effects(
    fits: list[LinearDynamics], regulators: NDArray[np.int64], *, regulators_as_rows: bool
) -> NDArray[np.float64]:
    """Mean over repeats of A, as regulators × genes: its columns of the regulators transposed, or its rows."""
    from scipy.linalg import pinv

    left = np.hstack([fit.weights * fit.rates for fit in fits]) / len(fits)  # (G, repeats · D)
    right = np.vstack([pinv(fit.weights) for fit in fits])  # (repeats · D, G)
    return left[regulators] @ right if regulators_as_rows else (left @ right[:, regulators]).T  # (R, G)
