"""Independent parts of a job over processes."""

from __future__ import annotations

import os

import joblib
import numpy as np
import pytest

import scgrn_tl as sg
from scgrn_tl import settings
from scgrn_tl.core import ArgumentError
from scgrn_tl.core.parallel import parallel_map


def _part(number: int, shared: np.ndarray, factor: int) -> tuple[int, int, bool]:
    return factor * number + int(shared[number]), os.getpid(), isinstance(shared, np.memmap)


def _fail(number: int) -> int:
    msg = f"part {number}"
    raise ValueError(msg)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_results_come_in_order(n_jobs):
    shared = np.arange(20)
    results = list(parallel_map(_part, range(20), shared, 10, n_jobs=n_jobs))
    assert [value for value, *_ in results] == [11 * number for number in range(20)]
    assert (os.getpid() in {pid for _, pid, _ in results}) == (n_jobs == 1)


def test_a_backend_without_generators_serves_too():
    with joblib.parallel_config(backend="multiprocessing", n_jobs=2):
        results = list(parallel_map(_part, range(6), np.arange(6), 10))
    assert [value for value, *_ in results] == [11 * number for number in range(6)]
    assert os.getpid() not in {pid for _, pid, _ in results}


@pytest.fixture(scope="module")
def cluster():
    """A dask cluster of two processes; gives how much its workers have done so far."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield lambda: sum(client.run(lambda dask_worker: dask_worker.state.transition_counter).values())


@pytest.mark.slow
@pytest.mark.parametrize("method", ["genie3", "grnboost2"])
@pytest.mark.filterwarnings("ignore")  # of the cluster's own packages
def test_a_dask_cluster_serves_as_it_is(method, cluster):
    adata = sg.datasets.simulated(n_cells=60, n_genes=20, n_tfs=5, rng=0)
    sg.tl.infer_grn(adata, method=method, n_trees=5, n_jobs=1, key_added="alone")
    before = cluster()
    with joblib.parallel_config(backend="dask"):
        sg.tl.infer_grn(adata, method=method, n_trees=5, key_added="cluster")
    assert (adata.varp["cluster"] != adata.varp["alone"]).nnz == 0
    assert cluster() > before  # the work was the workers'


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the cluster's own packages
def test_resamples_of_a_network_go_to_a_cluster_too(cluster):
    adata = sg.datasets.simulated(n_cells=60, n_genes=20, n_tfs=5, rng=0)
    sg.tl.fit_grn(adata, adata.uns["ground_truth"])
    alone = sg.tl.edge_evidence(adata, n_bootstraps=2, n_jobs=1, copy=True)
    before = cluster()
    with joblib.parallel_config(backend="dask"):
        sg.tl.edge_evidence(adata, n_bootstraps=2)
    assert (adata.varp["grn_low"] != alone.varp["grn_low"]).nnz == 0
    assert cluster() > before


def test_large_arrays_are_shared_and_not_copied():
    shared = np.zeros(2**18)  # 2 MiB
    assert all(is_mapped for *_, is_mapped in parallel_map(_part, range(4), shared, 1, n_jobs=2))


def test_who_says_how_many(monkeypatch):
    asked = []

    class Recorder(joblib.Parallel):
        def __init__(self, n_jobs=None, **kwargs):
            asked.append(n_jobs)
            super().__init__(n_jobs=1, **kwargs)

    monkeypatch.setattr(joblib, "Parallel", Recorder)
    shared = np.arange(3)
    list(parallel_map(_part, range(3), shared, 1))
    with settings.override(n_jobs=5):
        list(parallel_map(_part, range(3), shared, 1))
        list(parallel_map(_part, range(3), shared, 1, n_jobs=7))
    with joblib.parallel_config(n_jobs=3):
        list(parallel_map(_part, range(3), shared, 1))
    assert asked == [-1, 5, 7, None]


def test_an_error_of_a_part_is_raised():
    with pytest.raises(ValueError, match="part 0"):
        list(parallel_map(_fail, range(3), n_jobs=1))


@pytest.mark.parametrize("n_jobs", [0, 1.5, True])
def test_senseless_numbers_are_refused(n_jobs):
    with pytest.raises(ArgumentError, match="n_jobs"):
        list(parallel_map(_part, range(3), np.arange(3), 1, n_jobs=n_jobs))
