"""Expression that stays in its file, attention that goes to disk, and runs that end early."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
import zarr
from anndata.experimental import read_lazy
from anndata.io import sparse_dataset
from scipy import sparse

import scgrn_tl as sg
from scgrn_tl.core import (
    ArgumentError,
    GeneVocabulary,
    available_memory,
    by_rows,
    iter_cells,
    matrix,
    peak_memory,
    row_store,
    summarize_expression,
)
from scgrn_tl.core.row_store import RowStore
from scgrn_tl.models import ScBERT, ScBERTConfig
from scgrn_tl.tl import _attention_rows, _token_stream

if TYPE_CHECKING:
    from pathlib import Path

N_CELLS, N_GENES = 47, 20

# anndata announces that reading chunked strings lazily will change
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:anndata")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    model = ScBERT(ScBERTConfig(n_genes=N_GENES, dim=8, depth=2, heads=2, dim_head=4))
    model.initialize(torch.Generator().manual_seed(0)).save(folder, GeneVocabulary(f"GENE{i}" for i in range(N_GENES)))
    return folder


@pytest.fixture
def adata() -> ad.AnnData:
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.gamma(0.5, 2.0, N_GENES), (N_CELLS, N_GENES)).astype(np.float32)
    counts[:, 0] += 1
    obs = pd.DataFrame(
        {"type": pd.Categorical(rng.choice(["A", "B"], N_CELLS))}, index=[f"cell{i}" for i in range(N_CELLS)]
    )
    return ad.AnnData(sparse.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=[f"GENE{i}" for i in range(N_GENES)]))


def embed(adata: ad.AnnData, weights: Path, **arguments) -> ad.AnnData | None:
    return sg.tl.scbert_embed(adata, weights=weights, device="cpu", groupby="type", batch_size=4, **arguments)


def assert_same(one: ad.AnnData, other: ad.AnnData) -> None:
    assert set(one.varm) == set(other.varm)
    for key in one.varm:
        np.testing.assert_array_equal(np.asarray(one.varm[key]), np.asarray(other.varm[key]))
    np.testing.assert_array_equal(np.asarray(one.obsm["scbert_attention"]), np.asarray(other.obsm["scbert_attention"]))


# ----------------------------------------------------------------------------------------------------- any storage


CONTAINERS = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix, "dense": lambda x: x.toarray()}


def _write(adata: ad.AnnData, path: Path, container: str) -> Path:
    stored = adata.copy()
    stored.X = CONTAINERS[container](adata.X)
    (stored.write_h5ad if path.suffix == ".h5ad" else stored.write_zarr)(path)
    return path


def _dataset(path: Path) -> ad.AnnData:
    group = zarr.open_group(path, mode="r")
    stored = group["X"] if isinstance(group["X"], zarr.Array) else sparse_dataset(group["X"])
    return ad.AnnData(stored, obs=ad.io.read_elem(group["obs"]), var=ad.io.read_elem(group["var"]))


OPENED = {
    "backed": (".h5ad", lambda path: ad.read_h5ad(path, backed="r")),
    "lazy h5ad": (".h5ad", read_lazy),
    "lazy zarr": (".zarr", read_lazy),
    "dataset": (".zarr", _dataset),
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("opened", OPENED)
def test_any_storage_gives_the_same(
    adata: ad.AnnData, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: str, container: str
) -> None:
    suffix, open_ = OPENED[opened]
    stored = open_(_write(adata, tmp_path / f"cells{suffix}", container))
    # blocks of a few cells, and column-stored entries in many pieces
    monkeypatch.setattr(_token_stream, "READ_VALUES", 5 * N_GENES)
    monkeypatch.setattr(row_store, "BLOCK_ENTRIES", 50)
    monkeypatch.setattr(row_store, "BUCKET_VALUES", 7 * N_GENES)
    embed(stored, weights)
    assert_same(stored, embed(adata, weights, copy=True))
    sg.tl.attentive_pool(stored, weighting="top_k", top_k=3, groupby="type")
    embed(adata, weights)
    sg.tl.attentive_pool(adata, weighting="top_k", top_k=3, groupby="type")
    np.testing.assert_array_equal(np.asarray(stored.varm["scbert_pool_top_k"]), adata.varm["scbert_pool_top_k"])
    if opened == "backed":
        stored.file.close()


@pytest.mark.parametrize("opened", ["lazy h5ad", "dataset"])
def test_views_of_stored_matrices(adata: ad.AnnData, weights: Path, tmp_path: Path, opened: str) -> None:
    suffix, open_ = OPENED[opened]
    stored = open_(_write(adata, tmp_path / f"cells{suffix}", "csr"))
    rows = np.random.default_rng(1).permutation(N_CELLS)[:20]
    view = stored[rows, 2:]
    embed(view, weights)
    assert_same(view, embed(adata[rows, 2:], weights, copy=True))


def test_a_view_of_a_backed_anndata_is_refused_at_once(adata: ad.AnnData, weights: Path, tmp_path: Path) -> None:
    backed = ad.read_h5ad(_write(adata, tmp_path / "cells.h5ad", "csr"), backed="r")
    with pytest.raises(ArgumentError, match=r"view of a backed AnnData.*read_lazy"):
        embed(backed[:5], weights)
    backed.file.close()


@pytest.mark.parametrize("chunks", [(7, 11), (N_CELLS, 3), (10, N_GENES)])
def test_each_chunk_is_computed_at_most_twice(
    adata: ad.AnnData, weights: Path, monkeypatch: pytest.MonkeyPatch, chunks: tuple[int, int]
) -> None:
    import dask.array as da

    seen: list[int] = []
    dense = adata.X.toarray()

    def noted(block: np.ndarray) -> np.ndarray:
        seen.append(block.size)
        return block

    stored = adata.copy()
    stored.X = da.from_array(dense, chunks=chunks).map_blocks(noted, meta=np.empty((0, 0), np.float32))
    monkeypatch.setattr(_token_stream, "READ_VALUES", 3 * N_GENES)
    monkeypatch.setattr(matrix, "CHUNK_VALUES", 12 * N_GENES)  # whole columns do not fit
    embed(stored, weights)
    assert sum(seen) == dense.size * (1 if chunks[0] == N_CELLS else 2)
    assert_same(stored, embed(adata, weights, copy=True))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.uint8, np.bool_])
def test_row_store(dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).poisson(0.3, (31, 13)).astype(dtype)
    values[7] = 0
    monkeypatch.setattr(row_store, "BUCKET_VALUES", 4 * 13)
    pieces = [(0, sparse.csc_matrix(values[:, :5])), (5, values[:, 5:9]), (9, sparse.csc_matrix(values[:, 9:]))]
    store = RowStore.from_columns(pieces, values.shape, dtype)
    assert store.dtype == dtype
    for rows in (slice(None), slice(0, 4), slice(3, 20), slice(31, 31), slice(25, 99)):
        block = store[rows]
        assert block.dtype == dtype
        np.testing.assert_array_equal(block.toarray(), values[rows])
    folder = store._folder
    assert folder.is_dir()
    del store
    assert not folder.exists()


def test_a_row_store_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def blocks():
        yield 0, np.ones((3, 1))
        msg = "damaged"
        raise OSError(msg)

    with pytest.raises(OSError, match="damaged"):
        RowStore.from_columns(blocks(), (3, 2), np.float64)
    assert not list(tmp_path.iterdir())


def test_chosen_cells_and_rows(adata: ad.AnnData) -> None:
    cells = np.array([3, 4, 30])
    blocks = list(iter_cells(adata.X, batch_size=5, cells=cells))
    assert [rows.start for rows, _ in blocks] == [0, 30]
    np.testing.assert_array_equal(blocks[1][1], adata.X[30:35].toarray())
    summary = summarize_expression(by_rows(adata.X.tocsc()), rows=slice(10, 20))
    expected = np.zeros(N_CELLS)
    expected[10:20] = adata.X[10:20].toarray().sum(1)
    np.testing.assert_array_equal(summary.totals, expected)


# ----------------------------------------------------------------------------------------------- attention on disk


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_attention_on_disk(adata: ad.AnnData, weights: Path, tmp_path: Path, suffix: str) -> None:
    import dask.array as da

    counts = adata.X.toarray()
    counts[3] = 0
    adata.X = sparse.csr_matrix(counts)
    with pytest.warns(UserWarning, match="no counts"):
        expected = embed(adata, weights, n_cells=30, copy=True)
    with pytest.warns(UserWarning, match="no counts"):
        embed(adata, weights, n_cells=30, attention_to=tmp_path / "attention.zarr", hidden_to=tmp_path / "hidden.zarr")
    assert isinstance(adata.obsm["scbert_attention"], da.Array)
    assert adata.obsm["scbert_attention"].dtype == np.float32
    assert_same(adata, expected)
    assert adata.uns["scbert"]["params"]["attention_to"] == str(tmp_path / "attention.zarr")

    for each in (adata, expected):
        for hidden in (None, tmp_path / "hidden.zarr"):
            sg.tl.attentive_pool(
                each, weighting="softmax", temperature=0.01, hidden=hidden, key_added=f"p{hidden is None}"
            )
    for key in ("pTrue", "pFalse"):
        np.testing.assert_array_equal(adata.varm[key], expected.varm[key])

    some = adata[10:20].copy()
    np.testing.assert_array_equal(np.asarray(some.obsm["scbert_attention"]), expected.obsm["scbert_attention"][10:20])
    path = tmp_path / f"written.{suffix}"
    getattr(adata, f"write_{suffix}")(path)
    assert_same((ad.read_h5ad if suffix == "h5ad" else ad.read_zarr)(path), expected)


def test_attention_that_does_not_fit(
    adata: ad.AnnData, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = embed(adata, weights, copy=True)
    monkeypatch.setattr(_attention_rows, "available_memory", lambda: 4 * N_CELLS * N_GENES)
    with sg.settings.override(cache_dir=tmp_path), caplog.at_level(logging.WARNING, logger="scgrn_tl"):
        embed(adata, weights)
        (folder,) = (tmp_path / "attention").iterdir()
        assert str(folder) in caplog.text
        assert "attention_to=" in caplog.text
        assert_same(adata, expected)

        # a run that fails takes its folder with it
        monkeypatch.setattr(ScBERT, "encode", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            embed(adata, weights)
        assert list((tmp_path / "attention").iterdir()) == [folder]
    assert_same(adata, expected)


def test_attention_of_a_resumable_run_is_read_in_if_it_fits(adata: ad.AnnData, weights: Path, tmp_path: Path) -> None:
    embed(adata, weights, resume_from=tmp_path / "resume")
    assert isinstance(adata.obsm["scbert_attention"], np.ndarray)
    assert (tmp_path / "resume" / "attention.zarr").is_dir()


def test_memory_that_is_there() -> None:
    import psutil

    assert 0 < available_memory() <= psutil.virtual_memory().total
    before = peak_memory()
    held = np.ones(2**25)  # 256 MiB
    assert peak_memory() > 2**27
    assert peak_memory() >= before
    del held
    assert peak_memory() >= psutil.Process().memory_info().rss - 2**22


def test_paths_that_cannot_be_used(adata: ad.AnnData, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ArgumentError, match=r"attention_to=.*holds no attention, so it is not overwritten"):
        embed(adata, weights, attention_to=tmp_path)
    with pytest.raises(ArgumentError, match="store_attention=False leaves it out"):
        embed(adata, weights, attention_to=tmp_path / "a", store_attention=False)
    with pytest.raises(ArgumentError, match="each needs a path of its own"):
        embed(adata, weights, attention_to=tmp_path / "a", hidden_to=tmp_path / "a")


# --------------------------------------------------------------------------------------------------- reading ahead


def test_errors_of_the_reading_thread_are_raised_and_it_ends(
    adata: ad.AnnData, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_token_stream, "READ_VALUES", 5 * N_GENES)
    tokenize, calls = _token_stream.tokenize, []

    def failing(*args):
        calls.append(threading.current_thread())
        if len(calls) == 4:
            msg = "the disk is gone"
            raise OSError(msg)
        return tokenize(*args)

    monkeypatch.setattr(_token_stream, "tokenize", failing)
    with pytest.raises(OSError, match="the disk is gone"):
        embed(adata, weights)
    assert threading.main_thread() not in calls
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("scgrn_tl-reader")]
    assert not adata.varm

    # and where the encoder fails while the thread reads
    monkeypatch.setattr(_token_stream, "tokenize", tokenize)
    monkeypatch.setattr(ScBERT, "encode", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        embed(adata, weights)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("scgrn_tl-reader")]


# ------------------------------------------------------------------------------------------------- killed, stopped


HANGING = """
    import json, signal, sys, threading, time
    import anndata as ad
    import scgrn_tl as sg
    from scgrn_tl.models import ScBERT
    from scgrn_tl.tl import _resume_folder

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    folder, weights, stop_after = sys.argv[1], sys.argv[2], int(sys.argv[3])
    _resume_folder.SAVE_SHARE = float("inf")
    encode, calls = ScBERT.encode, []

    def hanging(self, *args):
        calls.append(1)
        if len(calls) > stop_after:
            open(folder + "/hangs", "w").close()
            time.sleep(600)
        return encode(self, *args)

    ScBERT.encode = hanging
    sg.settings.verbosity = "warning"
    sg.settings.progress = False
    adata = ad.read_h5ad(folder + "/cells.h5ad", backed="r")
    try:
        sg.tl.scbert_embed(
            adata, weights=weights, device="cpu", groupby="type", batch_size=4, hidden_to=folder + "/hidden.zarr",
            resume_from=folder + "/resume",
        )
    except KeyboardInterrupt:
        left = [thread.name for thread in threading.enumerate() if "scgrn_tl" in thread.name]
        print(json.dumps([list(adata.varm), list(adata.obsm), list(adata.uns), list(adata.obs), left]))
        sys.exit(130)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
@pytest.mark.parametrize("stop", ["SIGKILL", "SIGINT"])
def test_a_stopped_process_can_be_continued(adata: ad.AnnData, weights: Path, tmp_path: Path, stop: str) -> None:
    adata.write_h5ad(tmp_path / "cells.h5ad")
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HANGING), str(tmp_path), str(weights), "5"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        deadline = time.monotonic() + 120
        while not (tmp_path / "hangs").exists():
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(getattr(signal, stop))
        out, err = process.communicate(timeout=60)
    if stop == "SIGINT":
        assert process.returncode == 130
        assert json.loads(out) == [[], [], [], ["type"], []]
        assert err.strip().splitlines() == [
            f"Interrupted after 20 of {N_CELLS} cells. The AnnData is as it was. The same call, with "
            f"resume_from='{tmp_path / 'resume'}', continues from there."
        ]
    else:
        assert process.returncode == -signal.SIGKILL

    encoded: list[int] = []
    encode = ScBERT.encode
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScBERT, "encode", lambda *args: encoded.append(len(args[1])) or encode(*args))
        resumed = ad.read_h5ad(tmp_path / "cells.h5ad")
        paths = {"hidden_to": str(tmp_path / "hidden.zarr"), "resume_from": str(tmp_path / "resume")}
        embed(resumed, weights, **paths)
    assert sum(encoded) == N_CELLS - 20
    expected = embed(adata, weights, hidden_to=tmp_path / "expected.zarr", copy=True)
    assert_same(resumed, expected)
    for name in ("hidden", "expected"):
        stored = zarr.open_group(tmp_path / f"{name}.zarr", mode="r")
        assert stored.attrs["complete"]
    np.testing.assert_array_equal(
        zarr.open_group(tmp_path / "hidden.zarr")["hidden"][:], zarr.open_group(tmp_path / "expected.zarr")["hidden"][:]
    )


# ---------------------------------------------------------------------------------------------------------- memory


PEAK = """
    import sys
    import anndata as ad
    import scgrn_tl as sg
    from scgrn_tl.core import peak_memory

    sg.settings.progress = False
    adata = ad.read_h5ad(sys.argv[1], backed="r")
    sg.tl.scbert_embed(adata, weights=sys.argv[2], device="cpu", attention_to=sys.argv[3])
    print(peak_memory() / 2**20)
"""


@pytest.mark.slow
@pytest.mark.parametrize("container", ["csr", "csc"])
def test_memory_does_not_grow_with_cells(tmp_path: Path, container: str) -> None:
    n_genes = 200
    genes = [f"GENE{i}" for i in range(n_genes)]
    model = ScBERT(ScBERTConfig(n_genes=n_genes, dim=8, depth=1, heads=1, dim_head=4, n_features=8))
    model.initialize(torch.Generator().manual_seed(0)).save(tmp_path / "encoder", GeneVocabulary(genes))
    peaks = []
    for n_cells in (10_000, 100_000):
        counts = sparse.random(n_cells, n_genes, 0.1, format=container, dtype=np.float32, random_state=0)
        counts.data[:] = np.ceil(counts.data * 20)
        path = tmp_path / f"{n_cells}.h5ad"
        ad.AnnData(counts, var=pd.DataFrame(index=genes)).write_h5ad(path)
        finished = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(PEAK), path, tmp_path / "encoder", tmp_path / f"{n_cells}.zarr"],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ,
        )
        assert finished.returncode == 0, finished.stderr
        peaks.append(float(finished.stdout))
    print(f"peaks {peaks} MiB, ratio {peaks[1] / peaks[0]:.3f}")
    assert peaks[1] / peaks[0] <= 1.1
