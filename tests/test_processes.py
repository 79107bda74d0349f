"""Several processes that share one run, started as users start them."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

import scgrn_tl as sg
from scgrn_tl.core import ArgumentError, GeneVocabulary
from scgrn_tl.models import ScBERT, ScBERTConfig
from scgrn_tl.models.processes import Processes, launched_rank, processes_of_launcher

if TYPE_CHECKING:
    from pathlib import Path

N_CELLS, N_GENES = 61, 20
LAUNCHER = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Cells, some of them empty, in ``cells.h5ad``, and an encoder of their genes in ``encoder``."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(rng.gamma(0.5, 2.0, N_GENES), (N_CELLS, N_GENES)).astype(np.float32)
    counts[:, 0] += 1
    counts[[2, 50]] = 0
    names = [f"GENE{i}" for i in range(N_GENES)]
    obs = pd.DataFrame(
        {"type": pd.Categorical(rng.choice(["A", "B"], N_CELLS)), "donor": ["one"] * 40 + ["two"] * (N_CELLS - 40)},
        index=[f"cell{i}" for i in range(N_CELLS)],
    )
    ad.AnnData(sparse.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=names)).write_h5ad(tmp_path / "cells.h5ad")
    model = ScBERT(ScBERTConfig(n_genes=N_GENES, dim=8, depth=2, heads=2, dim_head=4))
    model.initialize(torch.Generator().manual_seed(0)).save(tmp_path / "encoder", GeneVocabulary(names))
    return tmp_path


def launch(folder: Path, script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a script in two processes; both find ``folder`` in their first argument."""
    path = folder / "script.py"
    path.write_text(textwrap.dedent(script))
    return subprocess.run(
        [*LAUNCHER, path, folder, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


SHARED = """
    import logging, sys
    from pathlib import Path
    import anndata as ad
    import numpy as np
    import scgrn_tl as sg
    from scgrn_tl.models.processes import launched_rank

    folder, rank = Path(sys.argv[1]), launched_rank()
    sg.settings.progress = False
    sg.settings.verbosity = "info"

    def embed(name, **arguments):
        adata = ad.read_h5ad(folder / "cells.h5ad", backed="r")
        sg.tl.scbert_embed(
            adata, **{"weights": folder / "encoder", "device": "cpu", "groupby": "type", "batch_size": 4} | arguments
        )
        arrays = {key: np.asarray(value) for key, value in [*adata.varm.items(), *adata.obsm.items()]}
        np.savez(folder / f"{name}-{rank}.npz", pooled=adata.obs["scbert_pooled"], **arrays)
        assert adata.uns["scbert"]["processes"] == (1 if arguments.get("distributed") is False else 2)

    embed("memory")
    embed("again")
    embed("disk", attention_to=folder / "attention.zarr", hidden_to=folder / "hidden.zarr")
    embed("batches", batch_key="donor")
    embed("resumable", resume_from=folder / "resume", n_cells=40)
    embed("resumed", resume_from=folder / "resume", n_cells=40)
    if rank == 0:
        embed("alone", distributed=False)
"""


def test_two_processes_give_what_one_gives(folder: Path) -> None:
    finished = launch(folder, SHARED)
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr.count("Wrote obs") == 7  # by the first process only
    assert finished.stderr.count("have no counts") == 7
    runs = ("memory", "again", "disk", "batches", "resumable", "resumed")
    given = {run: [dict(np.load(folder / f"{run}-{rank}.npz")) for rank in (0, 1)] for run in runs}
    for one, other in given.values():  # each has the whole result
        assert set(one) == set(other)
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])
    for key, values in given["memory"][0].items():
        np.testing.assert_array_equal(given["again"][0][key], values)
        np.testing.assert_allclose(given["disk"][0][key], values, atol=1e-6)  # cells are divided otherwise
        np.testing.assert_array_equal(given["resumed"][0][key], given["resumable"][0][key])
    assert given["resumable"][0]["pooled"].sum() == 40

    alone = ad.read_h5ad(folder / "cells.h5ad")
    with pytest.warns(UserWarning, match="2 of 61 cells have no counts"):
        sg.tl.scbert_embed(
            alone, weights=folder / "encoder", device="cpu", groupby="type", hidden_to=folder / "alone.zarr"
        )
    for run in ("memory", "disk"):
        for key in ("scbert", "scbert_mean", "scbert_A", "scbert_B"):
            np.testing.assert_allclose(given[run][0][key], alone.varm[key], rtol=0, atol=1e-5)
        np.testing.assert_allclose(given[run][0]["scbert_attention"], alone.obsm["scbert_attention"], rtol=0, atol=1e-6)
    sg.tl.attentive_pool(alone, groupby="type", batch_key="donor", hidden=folder / "alone.zarr", key_added="z")
    for suffix in ("", "_A", "_B"):  # the second process alone sees the second donor
        np.testing.assert_allclose(given["batches"][0][f"scbert{suffix}"], alone.varm[f"z{suffix}"], rtol=0, atol=1e-5)
    by_one, by_two = (
        sg.tl.attentive_pool(alone, hidden=folder / f"{name}.zarr", copy=True).varm["scbert_pool_attention"]
        for name in ("alone", "hidden")
    )
    np.testing.assert_allclose(by_two, by_one, rtol=0, atol=1e-5)
    with (
        pytest.warns(UserWarning, match="have no counts"),
        pytest.raises(ArgumentError, match=r"another run, which differs in .*processes"),
    ):
        sg.tl.scbert_embed(
            alone, weights=folder / "encoder", device="cpu", groupby="type", n_cells=40, resume_from=folder / "resume"
        )


@pytest.mark.slow
def test_an_encoder_is_trained_once_for_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCGRN_TL_CACHE", str(folder / "cache"))
    finished = launch(
        folder,
        """
        import sys
        from pathlib import Path
        import anndata as ad
        import scgrn_tl as sg
        from scgrn_tl.models.processes import launched_rank
        from scgrn_tl.tl import _fit_encoder

        train, folder, rank = _fit_encoder._train, Path(sys.argv[1]), launched_rank()
        _fit_encoder._train = lambda *args: (folder / f"trained-{rank}").touch() or train(*args)
        adata = ad.read_h5ad(folder / "cells.h5ad")
        sg.tl.scbert_embed(adata, weights="fit", device="cpu")
        adata.write_h5ad(folder / f"fit-{rank}.h5ad")
        """,
    )
    assert finished.returncode == 0, finished.stderr
    assert [path.name for path in folder.glob("trained-*")] == ["trained-0"]
    one, other = (ad.read_h5ad(folder / f"fit-{rank}.h5ad") for rank in (0, 1))
    np.testing.assert_array_equal(one.varm["scbert"], other.varm["scbert"])
    alone = ad.read_h5ad(folder / "cells.h5ad")
    with pytest.warns(UserWarning, match="have no counts"):
        sg.tl.scbert_embed(alone, weights=one.uns["scbert"]["weights"]["path"], device="cpu")
    np.testing.assert_allclose(one.varm["scbert"], alone.varm["scbert"], rtol=0, atol=1e-5)


FAILING = """
    import sys, time
    from pathlib import Path
    import anndata as ad
    import scgrn_tl as sg
    from scgrn_tl.models import ScBERT
    from scgrn_tl.models.processes import launched_rank

    folder, rank = Path(sys.argv[1]), launched_rank()
    adata = ad.read_h5ad(folder / "cells.h5ad")
    if rank == 1:
        def encode(*_):
            raise OSError("the disk of process 1 is full")
        ScBERT.encode = encode
    try:
        sg.tl.scbert_embed(adata, weights=folder / "encoder", device="cpu")
    except (sg.ScgrnError, OSError) as error:
        Path(folder, f"error-{rank}").write_text(f"{type(error).__name__}: {error}")
        assert not adata.varm
    time.sleep(1)  # the process goes on, and the others are told nevertheless
"""


def test_an_error_in_one_process_ends_the_run_of_all(folder: Path) -> None:
    launch(folder, FAILING)
    assert (folder / "error-1").read_text() == "OSError: the disk of process 1 is full"
    assert (folder / "error-0").read_text().startswith("ProcessError: Another process of this run has ended")


@pytest.mark.slow
def test_processes_with_other_cells_are_told_apart(folder: Path) -> None:
    finished = launch(
        folder,
        """
        import sys
        from pathlib import Path
        import anndata as ad
        import scgrn_tl as sg
        from scgrn_tl.models.processes import launched_rank

        folder, rank = Path(sys.argv[1]), launched_rank()
        adata = ad.read_h5ad(folder / "cells.h5ad")[rank:].copy()
        try:
            sg.tl.scbert_embed(adata, weights=folder / "encoder", pool=["attention", "mean"][rank])
        except sg.core.ArgumentError as error:
            Path(folder, f"error-{rank}").write_text(str(error))
        """,
    )
    assert finished.returncode == 0, finished.stderr
    for rank in (0, 1):
        message = (folder / f"error-{rank}").read_text()
        assert message.startswith("The 2 processes were given different pool and cells. ")
        assert "distributed=False" in message


KILLED = """
    import os, signal, sys, time
    from pathlib import Path
    from scgrn_tl.cli import main
    from scgrn_tl.models import ScBERT
    from scgrn_tl.models.processes import launched_rank
    from scgrn_tl.tl import _resume_folder

    _resume_folder.SAVE_SHARE = float("inf")
    encode, calls, folder, rank = ScBERT.encode, [], Path(sys.argv[1]), launched_rank()

    def killed(self, *args):
        calls.append(1)
        if len(calls) > 3 + rank:
            (folder / f"stopped-{rank}").touch()
            while not all((folder / f"stopped-{other}").exists() for other in (0, 1)):
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)
        return encode(self, *args)

    ScBERT.encode = killed
    main(sys.argv[2:])
"""


@pytest.mark.slow
def test_the_command_line_is_killed_and_continues(folder: Path) -> None:
    out, run = folder / "out.h5ad", folder / "run"
    arguments = [
        "embed", folder / "cells.h5ad", "--out", out, "--weights", folder / "encoder", "--batch-size", 4,
        "--device", "cpu", "--resume-from", run, "-v",
    ]  # fmt: skip
    killed = launch(folder, KILLED, *arguments)
    assert killed.returncode != 0
    assert not out.exists()
    done = [int(np.load(run / f"progress-{rank}.npz")["n_done"]) for rank in (0, 1)]
    assert done == [12, 16]

    finished = launch(folder, "from scgrn_tl.cli import main; import sys; sys.exit(main(sys.argv[2:]))", *arguments)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.count("Wrote") == 1
    whole = launch(
        folder,
        "from scgrn_tl.cli import main; import sys; sys.exit(main(sys.argv[2:]))",
        *arguments[:3], folder / "whole.h5ad", *arguments[4:-3], "--resume-from", folder / "other",
    )  # fmt: skip
    assert whole.returncode == 0, whole.stderr
    written, expected = (ad.read_h5ad(path) for path in (out, folder / "whole.h5ad"))
    for key in ("scbert", "scbert_mean"):
        np.testing.assert_array_equal(written.varm[key], expected.varm[key])
    np.testing.assert_array_equal(written.obsm["scbert_attention"], expected.obsm["scbert_attention"])
    assert not expected.obs["scbert_pooled"].all()


# ------------------------------------------------------------------------------------------------ without a launcher


def test_one_process_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with processes_of_launcher() as processes:
        assert (processes.rank, processes.size, processes.is_first, launched_rank()) == (0, 1, True, 0)
        assert processes.gather(3) == [3]
        assert list(processes.each("a")) == ["a"]
        assert processes.once(lambda: 5) == 5
        assert processes.first_then(lambda: 1, lambda: 2) == 1
        assert processes.device("cuda") == "cuda"
        assert processes.bounds(np.array([3, 4]), 9) == [0, 9]
        array = np.ones((2, 2))
        processes.share(array, [0, 2])
        assert (array == 1).all()
        processes.check_same({"cells": 1}, "")


@pytest.mark.parametrize(("size", "align"), [(2, 1), (3, 1), (3, 4), (5, 16), (7, 64)])
def test_bounds_divide_the_work(size: int, align: int) -> None:
    chosen = np.sort(np.random.default_rng(0).choice(1000, 300, replace=False))
    bounds = Processes(size=size).bounds(chosen, 1000, align=align)
    assert (bounds[0], bounds[-1], len(bounds)) == (0, 1000, size + 1)
    assert bounds == sorted(bounds)
    assert all(bound % align == 0 for bound in bounds[:-1])
    shares = np.diff(np.searchsorted(chosen, bounds))
    assert shares.sum() == 300
    assert abs(shares - 300 / size).max() <= align + 1


def test_a_machine_s_gpus_are_dealt_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [Processes(rank, 4, rank).device("cuda") for rank in range(4)] == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]
    assert Processes(1, 4, 1).device("cpu") == "cpu"
    assert Processes(1, 4, 1).device("cuda:3") == "cuda:3"
