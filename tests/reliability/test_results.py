"""The same seed gives the same bits, and results come back from files as they were."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import reliability_world
from scipy import sparse

import scgrn_tl as sg

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

from reliability_world import World, contents, embed, fit, pool, pretrain, whole_chain

# ------------------------------------------------------------- same seed, same machine, same threads: the same bits


@pytest.fixture(scope="module", autouse=True)
def other_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    """A process that goes through the whole chain while the tests before run."""
    folder = str(tmp_path_factory.mktemp("weights"))
    command = f"import runpy; print(runpy.run_path({reliability_world.__file__!r})['whole_chain']({folder!r}))"
    with subprocess.Popen(
        [sys.executable, "-c", command],
        env=os.environ | {"PYTHONHASHSEED": "1", "TQDM_DISABLE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()


def test_same_seed_same_bits_in_another_process(other_process: subprocess.Popen[str], tmp_path: Path) -> None:
    """Another process, with other hashes of its strings and nothing done before, comes to the same bits."""
    printed, errors = other_process.communicate()
    assert other_process.returncode == 0, errors
    assert printed.strip() == whole_chain(str(tmp_path))


# --------------------------------------------------------------------------- results round-trip through h5ad and zarr


def read_back(value: Any) -> Any:
    """``contents`` of a result, in what files keep: a list is an array, text comes in one type."""
    if isinstance(value, pd.DataFrame):
        return {str(name): read_back(column.to_numpy()) for name, column in value.items()}
    if hasattr(value, "items") and not sparse.issparse(value):
        return {key: read_back(inner) for key, inner in value.items() if key is not None}
    if isinstance(value, list):
        value = np.asarray(value)
    if isinstance(value, np.ndarray) and value.dtype.kind in "OTU":
        return [str(text) for text in value]
    return contents(value)


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_everything_round_trips(world: World, tmp_path: Path, suffix: str) -> None:
    adata = world.adata.copy()
    pretrain(adata, world, weights_dir=tmp_path / "weights")
    embed(adata, world, groupby="type", n_cells=20, rng=4, hidden_to=tmp_path / "hidden.zarr")
    pool(adata, world, groupby="type", batch_key="batch", hidden=tmp_path / "hidden.zarr")
    pool(adata, world, weighting="top_k", top_k=3, key_added="top")
    fit(adata, world, n_models=2, tf_names=["CD34"], rng=np.random.default_rng(0))
    sg.tl.fit_grn(adata, world.prior, method="hub_floor", key_added="floor")
    path = tmp_path / f"adata.{suffix}"
    getattr(adata, f"write_{suffix}")(path)
    back = getattr(ad, f"read_{suffix}")(path)
    assert set(adata.uns) >= {"scbert_training", "scbert", "pooled", "top", "grn", "floor"}
    for slot in ("X", "obs", "var", "obsm", "varm", "varp", "uns"):
        assert read_back(getattr(back, slot)) == read_back(getattr(adata, slot)), slot
    for key in ("grn", "floor"):
        pd.testing.assert_frame_equal(sg.get.grn_df(back, key=key), sg.get.grn_df(adata, key=key))
        pd.testing.assert_frame_equal(sg.get.grn_metrics(back, key=key), sg.get.grn_metrics(adata, key=key))
    for each in (adata, back):  # what was read is as good to go on from
        pool(each, world, weighting="softmax", temperature=0.01, key_added="soft")
        fit(each, world, use_rep="soft", key_added="again")
    assert contents(back.varm) == contents(adata.varm)
    assert contents(back.varp["again"]) == contents(adata.varp["again"])
