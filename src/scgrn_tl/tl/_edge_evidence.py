"""``tl.edge_evidence``: how far an edge depends on which cells were sequenced."""

from __future__ import annotations

import logging
import time
import warnings
from collections import Counter
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import sparse

from scgrn_tl._settings import settings
from scgrn_tl.core import ArgumentError, GRNTask, make_task, parallel_map, resolve_device, spawn_seeds
from scgrn_tl.core.argument_types import typed_arguments
from scgrn_tl.core.calibration import calibrate
from scgrn_tl.core.edge_evidence import codetected_cells, expected_edges, summarize_resamples
from scgrn_tl.core.parallel import check_n_jobs
from scgrn_tl.core.slots import Slots, check_key, open_anndata, run_record, write_slots
from scgrn_tl.core.user_warning import warn_user

from ._cell_resamples import CellResampling
from ._resampled_embedding import ResampledEmbedding
from ._stored_fit import StoredFit, read_stored_fit

if TYPE_CHECKING:
    import os

    from anndata import AnnData
    from mudata import MuData

    from scgrn_tl.core import EdgeSplit, RNGLike

__all__ = ["edge_evidence"]

LOGGER = logging.getLogger(__name__)

_LEAST = 2
"""Resamples without which there is no interval."""


@typed_arguments
def edge_evidence(
    adata: AnnData | MuData,
    *,
    key: str = "grn",
    split: EdgeSplit | None = None,
    n_bootstraps: int = 20,
    confidence: float = 0.95,
    unit: str | None = None,
    strata: str | None = None,
    hidden: str | os.PathLike[str] | None = None,
    n_jobs: int | None = None,
    device: str | None = None,
    rng: RNGLike = 0,
    modality: str = "rna",
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | MuData | None:
    """How far each edge of a network depends on which cells were sequenced, and on the seed: a bootstrap of cells.

    Every resample draws as many cells as there are, with replacement, pools the gene embedding over them, fits the
    method of :func:`fit_grn` from another seed and calibrates it (Efron 1979). What was fitted, and how, is read from
    ``uns[key]``. Known edges, split, hyper-parameters and the encoder stay the same: their uncertainty is in none of
    the numbers. :doc:`/trust` says what they mean, and how often intervals hold what they should.

    The embedding costs one pass of the encoder over the cells, however many resamples there are: a resample is other
    weights of the same hidden states.

    Parameters
    ----------
    adata
        An AnnData that :func:`fit_grn` was run on, or a MuData whose ``modality`` is one. Cells, genes and embedding
        have to be those of the fit.
    key
        Where the network is stored.
    split
        The split that the fit was given; not needed where it made its own from a seed.
    n_bootstraps
        Resamples, at least 2. Each takes about as long as the fit did; the ends of a 95 % interval want 20 or more.
    confidence
        Share of the resamples inside the interval.
    unit
        Column of ``obs`` with donors, or other units that are drawn with all of their cells. Cells of one donor are
        alike: where a claim is about donors to come, drawing single cells makes intervals too short.
    strata
        Column of ``obs``, such as batch or condition: drawn is within each of its groups, which so keep their numbers
        of cells (or units). ``None`` where these numbers would be others in another experiment.
    hidden
        The zarr store that ``scbert_embed(hidden_to=…)`` wrote. Without it, cells are encoded again in a stream.
    n_jobs
        Resamples fitted at a time, each in a process with one thread (``-1``: one a core);
        :attr:`scgrn_tl.settings.n_jobs` if ``None``, and 1 on a GPU. The result does not depend on it.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"``, …; ``sg.settings.device`` if ``None``.
    rng
        Seed or generator, of the cells drawn and of the fits. More resamples begin with the same ones.
    modality
        Which modality, if ``adata`` is a MuData.
    key_added
        Prefix of what is written, if it is not to stand beside the network, where :func:`scgrn_tl.get.grn_df` and
        :func:`scgrn_tl.pl.edge_evidence` look for it.
    copy
        Write into a copy and return it.

    Returns
    -------
    ``None``, or the copy with ``copy=True``. With ``key_added`` being ``key`` if ``None``, sets for every pair that
    ``varp[key]`` stores:

    ``adata.varp[f"{key_added}_stability"]`` : :class:`scipy.sparse.csr_matrix` (G × G, float32)
        Share of the resamples in which the pair is among the k likeliest, k being how many edges the probabilities of
        the network add up to.
    ``adata.varp[f"{key_added}_low"]``, ``…_high`` : :class:`scipy.sparse.csr_matrix` (G × G, float32)
        Percentile interval of the probability over the resamples. The probability of the network itself, a single fit,
        may lie outside: it then owes to its seed what other seeds and cells do not repeat.
    ``adata.varp[f"{key_added}_n_cells"]`` : :class:`scipy.sparse.csr_matrix` (G × G, int32)
        Cells in which both genes are found (expression above 0). Only these show how the two go together beyond who
        is there and who is not: a pair of few is read off the prior and off other genes.
    ``adata.uns[key_added]["evidence"]`` : dict
        ``params``, ``version``, ``n_called`` (k), ``embedding`` (for each of ``use_rep``, ``"pooled anew"``, or why it
        stayed the same), ``seconds``. The rest of ``uns[key_added]`` stays.

    Raises
    ------
    ArgumentError
        If an argument cannot be used; if the network is not of :func:`fit_grn`, of a group, or of a joint fit; if
        cells, genes, expression or embedding are not those of the fit; or if another network is where a result would
        go.
    MissingKeyError
        If there is no such network, record, column, layer or modality.
    SplitError
        If the split of the fit cannot be drawn again and is not given, or another one is.

    Warns
    -----
    UserWarning
        If an embedding cannot be pooled anew, so that only expression is resampled; if fits warn.

    Examples
    --------
    >>> import scgrn_tl as sg
    >>> adata = sg.datasets.simulated()
    >>> sg.tl.fit_grn(adata, adata.uns["ground_truth"])
    >>> sg.tl.edge_evidence(adata, n_bootstraps=20)  # doctest: +SKIP
    >>> sg.get.grn_df(adata, top_n=5)[["source", "target", "probability", "low", "high"]]  # doctest: +SKIP
    """
    started = time.perf_counter()
    data = open_anndata(adata, modality=modality, copy=copy)
    key_added = key if key_added is None else key_added
    check_key("key_added", key_added)
    _check(n_bootstraps, confidence)
    check_n_jobs(n_jobs)
    where = resolve_device(device)
    fitted = read_stored_fit(data, key, split)
    _check_free(data, key, key_added)
    resampling = CellResampling(data, unit=unit, strata=strata)
    pairs = _Pairs.of(fitted.network)
    if not len(pairs.rows):
        msg = f".varp[{key!r}] holds no pair. Run `sg.tl.fit_grn` again."
        raise ArgumentError(msg)
    task = make_task(
        data, layer=fitted.layer, prior=fitted.prior, split=fitted.split, tf_names=fitted.regulators, device=where
    )
    fitted.check_expression(task)
    if n_jobs is None and where.startswith("cuda"):
        n_jobs = 1
    draw_seed, fit_seed = spawn_seeds(rng, 2)
    counts = resampling.draw(spawn_seeds(draw_seed, n_bootstraps))
    _announce(fitted, task, n_bootstraps, len(pairs.rows))
    embedding = ResampledEmbedding.pool(data, fitted.reps, counts, hidden=hidden, device=where)
    job = _Job(fitted, task, counts, embedding, pairs, spawn_seeds(fit_seed, n_bootstraps))
    log_odds = _log_odds(job, n_bootstraps, n_jobs)

    n_called = min(expected_edges(fitted.network.data), len(pairs.rows))
    evidence = summarize_resamples(log_odds, n_called=n_called, confidence=confidence)
    slots = Slots()
    for name, values in evidence._asdict().items():
        slots.varp[f"{key_added}_{name}"] = pairs.matrix(values)
    slots.varp[f"{key_added}_n_cells"] = pairs.matrix(codetected_cells(task.expression, pairs.rows, pairs.columns))
    record = run_record(
        {
            "key": key,
            "n_bootstraps": n_bootstraps,
            "confidence": confidence,
            "unit": unit,
            "strata": strata,
            "hidden": None if hidden is None else str(hidden),
            "device": where,
            "rng": rng if isinstance(rng, (int, np.integer)) else None,
        },
        n_called=n_called,
        n_units=resampling.n_units,
        embedding={name: embedding.held.get(name, "pooled anew") for name in fitted.reps},
        seconds=time.perf_counter() - started,
    )
    beside = data.uns.get(key_added, {})
    slots.uns[key_added] = {**(deepcopy(beside) if copy else beside), "evidence": record}
    return write_slots(adata, slots, modality=modality, copy=copy)


class _Pairs(NamedTuple):
    """The pairs that a network stores, in its order."""

    rows: np.ndarray
    columns: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, network: sparse.csr_matrix) -> _Pairs:
        rows = np.repeat(np.arange(network.shape[0]), np.diff(network.indptr))
        return cls(rows, network.indices.astype(np.int64), network.indptr.copy())

    def matrix(self, values: np.ndarray) -> sparse.csr_matrix:
        """``values`` ``(P,)`` at the places of the pairs, zeros among them."""
        n_genes = len(self.starts) - 1
        return sparse.csr_matrix((values, self.columns, self.starts), shape=(n_genes, n_genes))


class _Job(NamedTuple):
    """All that a resample needs; arrays are laid down once for all processes."""

    fitted: StoredFit
    task: GRNTask
    counts: np.ndarray
    embedding: ResampledEmbedding
    pairs: _Pairs
    seeds: list[int]


def _check(n_bootstraps: int, confidence: float) -> None:
    if n_bootstraps < _LEAST:
        msg = f"n_bootstraps is a whole number of at least {_LEAST}, not {n_bootstraps!r}."
        raise ArgumentError(msg)
    if not 0 < confidence < 1:
        msg = f"confidence is a share between 0 and 1, such as 0.95, not {confidence!r}."
        raise ArgumentError(msg)


def _check_free(adata: AnnData, key: str, key_added: str) -> None:
    """Raise where results would be taken for another network's, or take the place of one, of a group called "low"."""
    if key_added != key and key_added in adata.varp:
        msg = (
            f".varp[{key_added!r}] is another network, whose evidence that of .varp[{key!r}] would be taken for: "
            "choose a key_added that is no network's."
        )
        raise ArgumentError(msg)
    record = adata.uns.get(key_added)
    if key_added in adata.uns and not hasattr(record, "get"):
        msg = f".uns[{key_added!r}] holds something else than a record: choose another key_added."
        raise ArgumentError(msg)
    groups = {str(name) for name in (record or {}).get("groups", ())}
    if taken := sorted(groups & {"stability", "low", "high", "n_cells"}):
        msg = (
            f".varp[{f'{key_added}_{taken[0]}'!r}] is the network of a group of that name. Pass "
            f"key_added={f'{key_added}_evidence'!r}, or another name, for the evidence to go under."
        )
        raise ArgumentError(msg)


def _announce(fitted: StoredFit, task: GRNTask, n_bootstraps: int, n_pairs: int) -> None:
    """Say what the run will cost, before it starts."""
    own = 4 * np.prod(task.expression.shape) if isinstance(task.expression, np.ndarray) else 12 * task.expression.nnz
    LOGGER.info(
        "%d resamples of a fit that took %.0f s, in parallel as n_jobs= says. Held are %.2f GB of log-odds, and in "
        "each process %.2f GB of resampled expression beside what the method takes.",
        n_bootstraps,
        fitted.seconds,
        4e-9 * n_bootstraps * n_pairs,
        1e-9 * own,
    )


def _log_odds(job: _Job, n_bootstraps: int, n_jobs: int | None) -> np.ndarray:
    """``float32 (K, P)``, calibrated, of every pair in every resample."""
    log_odds = np.empty((n_bootstraps, len(job.pairs.rows)), dtype=np.float32)
    said: Counter[str] = Counter()
    resamples = parallel_map(
        _fit_resample, range(n_bootstraps), job, n_jobs=n_jobs, description="Edge evidence (resamples)"
    )
    for number, (values, messages) in enumerate(resamples):
        log_odds[number] = values
        said.update(messages)
    for message, times in said.items():
        warn_user(f"In {times} of {n_bootstraps} resamples: {message}")
    return log_odds


def _fit_resample(number: int, job: _Job) -> tuple[np.ndarray, set[str]]:
    """Log-odds of one resample, ``float32 (P,)``, and what the fit warned of."""
    from scgrn_tl.models.threads import threads_for

    fitted, task = job.fitted, job.task
    cells = np.repeat(np.arange(job.counts.shape[1]), job.counts[number])
    drawn = task.expression[:, cells]
    task = replace(task, expression=np.ascontiguousarray(drawn) if isinstance(drawn, np.ndarray) else drawn)
    if fitted.reps:
        embedding = job.embedding.of(number)
        task = replace(task, embedding=embedding.values, embedding_widths=embedding.widths)
    task = replace(task, seed=job.seeds[number])
    # A thread each, so that a resample has the same bits however many are fitted beside it.
    with warnings.catch_warnings(record=True) as caught, settings.override(progress=False, n_threads=1), threads_for(0):
        warnings.simplefilter("always", UserWarning)
        # joblib lays large arrays down for processes to read; torch says so of each, and writes into none
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        scores = fitted.entry.run(task, n_models=fitted.n_models, **fitted.params)
        scaling, _ = calibrate(scores, task)
    score = scores.at(np.column_stack([job.pairs.rows, job.pairs.columns])).astype(np.float64)
    log_odds = (scaling.slope * score + scaling.intercept).astype(np.float32)
    return log_odds, {str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)}
