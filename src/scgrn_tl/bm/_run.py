"""``bm.run``: methods × datasets × splits × seeds, each in a process of its own, kept as they finish."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scgrn_tl._settings import settings
from scgrn_tl.core import ArgumentError, resolve_device
from scgrn_tl.core.argument_types import typed_arguments
from scgrn_tl.core.parallel import check_n_jobs
from scgrn_tl.tl._encoder_source import check_weights

from ._datasets import named_splits, resolve_datasets
from ._results_folder import ResultsFolder, row_key
from ._runner import Runner
from ._units import make_units
from ._variants import resolve_methods

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from scgrn_tl.core import EdgeSplit

__all__ = ["run"]


@typed_arguments
def run(
    datasets: Any,
    methods: Any = "all",
    *,
    splits: str | Sequence[str] | Mapping[str, EdgeSplit | Sequence[EdgeSplit]] | None = None,
    seeds: int | Sequence[int] = 1,
    n_samples: int = 3,
    n_folds: int = 5,
    weights: str = "fit",
    n_jobs: int | None = 1,
    timeout: float | None = None,
    out: str | os.PathLike[str] | None = None,
    device: str | None = "cpu",
) -> pd.DataFrame:
    """Run methods on datasets and judge them on test pairs that they have not seen.

    Every run has a process of its own, on one thread: one that crashes, or is killed for its memory, is a row with its
    error and not the end of the others. Finished rows are kept in ``out`` as they come, and are not run again when the
    same call is made after an interruption; failed ones are.

    Parameters
    ----------
    datasets
        ``"hHEP500"``, ``"mDC1000"``, ``"hESC500-string"``, … (BEELINE), ``"simulated"``, an AnnData or an ``.h5ad``
        file with ``uns["ground_truth"]`` (DataFrame of ``source`` and ``target``), a list of these, or a mapping from
        names to them. Unsupervised methods score the genes of ``var["is_tf"]`` as regulators, where there is such a
        column; those that need a pseudotime take ``obs["dpt_pseudotime"]``, or the order of an ordered
        ``obs["stage"]``.
    methods
        ``"all"``, a name of :func:`scgrn_tl.methods.show`, a list of names, or a mapping from labels to names or to
        settings: ``{"ours, 4 models": {"method": "sctransnet", "n_models": 4}}`` with the method's parameters,
        ``n_models`` and ``use_rep``. The hub floor is always run too.
    splits
        A kind, or several: ``"given"`` (published, samples 1 to ``n_samples``), ``"random"`` (``n_samples`` of them),
        ``"tf"``, ``"target"`` and ``"both"`` (``n_folds`` folds each), see :func:`split_edges`; or a mapping from names
        to your own splits. If ``None``, ``"given"`` for each dataset that has published splits (BEELINE), and
        ``"random"`` for each that has none.
    seeds
        Seeds of the methods, or how many (0, 1, …): what :mod:`scgrn_tl.tl` calls ``rng``. What is deterministic runs
        with the first alone.
    n_samples, n_folds
        See ``splits``.
    weights
        Of the gene embedding, where ``varm`` has none yet: see :func:`scgrn_tl.tl.scbert_embed`. Genes are embedded
        once for each dataset and seed.
    n_jobs
        Runs at a time; ``-1`` for one a core, ``None`` for :attr:`scgrn_tl.settings.n_jobs`.
    timeout
        Seconds after which a run is ended, and counts as failed.
    out
        Folder for results. In a temporary one, which goes with the session, if ``None``.
    device
        Where methods that use torch compute.

    Returns
    -------
    One row for each dataset, method, split, fold and seed, in the order of the call.

    ``dataset``, ``method``, ``split``, ``fold``, ``seed``
        What was run: the method's label; kind of split and its number.
    ``role``, ``supervised``
        See :class:`scgrn_tl.methods.Method`.
    ``error``
        What went wrong; empty if nothing did. Metrics are NaN then.
    ``auroc``, ``auprc``, …
        Every metric of :func:`edge_metrics` on the test pairs; ``brier`` and ``ece`` of supervised methods, whose
        scores are calibrated on validation pairs, where those are of both classes.
    ``fit_seconds``, ``cpu_seconds``
        Time of the method alone. A method that does not learn runs once for all splits of a dataset.
    ``prepare_seconds``, ``embed_seconds``
        Time of what it shares with other rows: what it computes before it sees a label, and the gene embedding.
    ``peak_memory_mb``
        Most memory of its process, Python and libraries included.
    ``params``, ``weights``, ``data``, ``inputs``, ``version``
        Settings as JSON, source of the embedding, hash of the data, hash of all else that the result depends on (the
        split's pairs, regulators, defaults, what was read of ``varm`` and ``obs``), version of this package.
    ``predictions``
        Path of an ``.npz`` file: ``labels``, ``scores``, ``regulators``, ``targets`` and ``probability`` of the test
        pairs.

    Raises
    ------
    ArgumentError
        If an argument cannot be used, before anything runs.
    MissingKeyError
        If an AnnData has no known edges, or not the embedding that a variant names.
    SplitError
        If a split is impossible or of other genes.
    WeightsUnavailableError
        If ``weights`` are not there.

    See Also
    --------
    summary : means, intervals and differences from the hub floor.
    report : a page with tables and figures.

    Examples
    --------
    >>> import scgrn_tl as sg
    >>> table = sg.bm.run("hHEP500", ["sctransnet", "genelink"], out="results")  # doctest: +SKIP
    >>> sg.bm.summary(table)  # doctest: +SKIP
    """
    variants = resolve_methods(methods)
    chosen = _seeds(seeds)
    check_n_jobs(n_jobs)
    check_weights(weights)
    where = resolve_device(device)
    if timeout is not None and not timeout > 0:
        msg = f"timeout is a number of seconds above 0, not {timeout!r}."
        raise ArgumentError(msg)
    for name, number in (("n_samples", n_samples), ("n_folds", n_folds)):
        if number < 1:
            msg = f"{name} is a whole number of at least 1, not {number!r}."
            raise ArgumentError(msg)
    units = []
    for dataset in resolve_datasets(datasets):
        of_dataset = named_splits(dataset, splits, n_samples=n_samples, n_folds=n_folds)
        if not of_dataset:
            msg = f"splits={splits!r} asks for no split: name at least one kind."
            raise ArgumentError(msg)
        units += make_units(dataset, variants, of_dataset, seeds=chosen, weights=weights)
    folder = ResultsFolder(_temporary() if out is None else out)  # last: nothing is left of a call that is refused
    Runner(folder, where, _workers(n_jobs), timeout).run(units)
    order = [row_key(row) for unit in units for row in unit.rows()]
    table = folder.table()
    table.index = pd.Index([row_key(row) for row in table.to_dict("records")])
    return table.loc[order].reset_index(drop=True)


def _seeds(seeds: int | Sequence[int]) -> list[int]:
    chosen = list(range(seeds)) if isinstance(seeds, (int, np.integer)) else [int(seed) for seed in seeds]
    if not chosen or len(set(chosen)) != len(chosen) or min(chosen) < 0:
        msg = f"seeds is how many there are, at least 1, or different whole numbers from 0 on; not {seeds!r}."
        raise ArgumentError(msg)
    return chosen


def _workers(n_jobs: int | None) -> int:
    from joblib import effective_n_jobs

    n_jobs = settings.n_jobs if n_jobs is None else n_jobs
    return int(effective_n_jobs(-1 if n_jobs is None else n_jobs))


def _temporary() -> str:
    folder = tempfile.mkdtemp(prefix="scgrn_tl-benchmark-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
