"""Files of every kind that is read, with bytes changed at random: they are read right, or refused by one clear error.

``--fuzz-minutes`` says how long each kind goes on; ``make fuzz`` has it go on for long.
"""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import anndata as ad
import numpy as np
import pytest
from public_calls import make_world

import scgrn_tl as sg
from scgrn_tl.cli import main
from scgrn_tl.models import ScBERT, ScTransNet, load_scbert

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from public_calls import World

pytestmark = [pytest.mark.fuzz, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    with sg.settings.override(progress=False):
        world = make_world(tmp_path_factory.mktemp("world"))
        adata = ad.AnnData(world.adata.X.copy(), obs=world.adata.obs[["state"]].copy(), var=world.adata.var[[]].copy())
        adata.write_h5ad(world.folder / "cells.h5ad")
        sg.tl.scbert_embed(
            adata,
            weights=world.folder / "encoder",
            batch_size=8,
            hidden_to=world.folder / "hidden.zarr",
            resume_from=world.folder / "resume",
        )
        np.save(world.folder / "embedding.npy", adata.varm["scbert"])
    return world


def damage(content: bytes, rng: np.random.Generator, *, only_cut: bool) -> bytes:
    """``content`` cut short, with some bytes changed, a stretch of it zeroed, doubled or left out, or nothing of it."""
    if not content:
        return bytes(rng.integers(0, 256, 8, dtype=np.uint8))
    changed = bytearray(content)
    kind = 0 if only_cut else rng.integers(0, 6)
    start, length = int(rng.integers(0, len(content))), int(rng.integers(1, 65))
    if kind == 0:
        del changed[start:]
    elif kind == 1:
        changed[start : start + length] = bytes(len(changed[start : start + length]))
    elif kind == 2:
        changed[start:start] = changed[start : start + length]
    elif kind == 3:
        del changed[start : start + length]
    else:
        for at in rng.integers(0, len(content), rng.integers(1, 9)):
            changed[at] = rng.integers(0, 256)
    return bytes(changed)


class Kind(NamedTuple):
    """What is damaged, below the world's folder, and a reader of it that returns or raises what users may see."""

    what: str
    read: Callable[[World, Path, Path], Any]
    only_cut: bool = False
    """Of HDF5 files: at some changed bytes the library itself never returns, of which no reader in Python learns."""


def embed_file(world: World, path: Path, out: Path) -> None:
    """By the command: an error is told on one line and leaves no output; what is written can be read."""
    written = out / "embedded.h5ad"
    status = main(["embed", str(path), "--weights", str(world.folder / "encoder"), "--out", str(written)])
    assert status in (0, 2)
    assert written.is_file() == (status == 0)
    assert [entry.name for entry in out.iterdir() if entry != written] == []


def fit_file(world: World, path: Path, out: Path) -> None:
    prior, written = out.parent / "prior.csv", out / "fitted.h5ad"
    world.prior.to_csv(prior, index=False)
    command = ["fit", str(path), "--prior", str(prior), "--use-rep", "none", "--method", "hub_floor", "--out"]
    status = main([*command, str(written)])
    assert status in (0, 2)
    assert written.is_file() == (status == 0)
    assert [entry.name for entry in out.iterdir() if entry != written] == []


def pool_hidden(world: World, path: Path, _: Path) -> None:
    sg.tl.attentive_pool(world.adata, weighting="mean", hidden=path, key="scbert", key_added="pooled", copy=True)


def resume(world: World, path: Path, _: Path) -> None:
    adata = ad.read_h5ad(world.folder / "cells.h5ad")
    sg.tl.scbert_embed(adata, weights=world.folder / "encoder", batch_size=8, resume_from=path)
    np.testing.assert_array_equal(adata.varm["scbert"], np.load(world.folder / "embedding.npy"))


KINDS = {
    "h5ad by embed": Kind("cells.h5ad", embed_file, only_cut=True),
    "h5ad by fit": Kind("cells.h5ad", fit_file, only_cut=True),
    "hidden states": Kind("hidden.zarr", pool_hidden),
    "resumed run": Kind("resume", resume),
    "network": Kind("network", lambda _world, path, _out: ScTransNet.load(path, device="cpu").scores()),
    "encoder": Kind("encoder", lambda _world, path, _out: ScBERT.load(path)),
    "encoder as weights": Kind("encoder", lambda _world, path, _out: load_scbert(path)),
    "results": Kind("results", lambda _world, path, _out: sg.bm.read_results(path)),
    "prior": Kind("prior.csv", lambda world, path, _out: sg.core.PriorNetwork.from_any(path, world.adata.var_names)),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_damaged_files_are_read_right_or_refused(
    world: World, tmp_path: Path, kind: Kind, pytestconfig: pytest.Config, record_property: Callable
) -> None:
    end = time.monotonic() + 60 * pytestconfig.getoption("--fuzz-minutes")
    original = world.folder / kind.what
    if kind.what == "prior.csv":
        world.prior.to_csv(original, index=False)
    seed = int(time.time()) if pytestconfig.getoption("--fuzz-minutes") >= 1 else 0
    n_examples = 0
    while time.monotonic() < end or not n_examples:
        rng = np.random.default_rng([seed, n_examples])
        place, out = tmp_path / "damaged" / kind.what, tmp_path / "out"
        shutil.rmtree(tmp_path / "damaged", ignore_errors=True)
        shutil.rmtree(out, ignore_errors=True)
        place.parent.mkdir()
        out.mkdir()
        if original.is_dir():
            shutil.copytree(original, place)
            files = sorted(path for path in place.rglob("*") if path.is_file())
            victim = files[rng.integers(0, len(files))]
        else:
            shutil.copy(original, place)
            victim = place
        victim.write_bytes(damage(victim.read_bytes(), rng, only_cut=kind.only_cut))
        try:
            kind.read(world, place, out)
        except (sg.ScgrnError, OSError):
            pass
        except Exception as error:
            kept = tmp_path / f"finding-{n_examples}"
            shutil.copytree(tmp_path / "damaged", kept)
            error.add_note(f"seed {seed}, example {n_examples}, {victim.name} damaged; kept in {kept}")
            raise
        n_examples += 1
    record_property("examples", n_examples)
    print(f"{kind.what}: {n_examples} examples")
