"""A disk that is full while something is saved: the old file survives."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import scgrn_tl as sg
from scgrn_tl.models import ScBERT, ScTransNet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import anndata as ad

from reliability_world import World, contents, copy_of, embed, files_in, left_in, pretrain

# -------------------------------------------------------------------------------------------- disk full while saving


@contextmanager
def full_disk() -> Iterator[None]:
    """No file grows beyond 100 bytes: the system refuses, as it does on a full disk, whatever writes."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def save_encoder(folder: Path, world: World, _: ad.AnnData) -> None:
    model, vocabulary = ScBERT.load(world.encoder)
    model.save(folder / "encoder", vocabulary)


def save_network(folder: Path, world: World, _: ad.AnnData) -> None:
    ScTransNet.load(world.network, device="cpu").save(folder / "network", overwrite=True)


def save_edges(suffix: str) -> Callable:
    def save(folder: Path, _: World, expected: ad.AnnData) -> None:
        sg.io.write_edges(expected, folder / f"edges.{suffix}", min_probability=None)

    return save


SAVES = {
    "ScBERT.save": save_encoder,
    "ScTransNet.save": save_network,
    **{f"write_edges, {suffix}": save_edges(suffix) for suffix in ("csv", "tsv", "csv.gz", "graphml")},
}


@pytest.mark.parametrize("save", SAVES.values(), ids=SAVES)
def test_disk_full_while_saving(world: World, expected: ad.AnnData, tmp_path: Path, save: Callable) -> None:
    save(tmp_path, world, expected)
    before = files_in(tmp_path)
    assert all(len(content) > 100 for content in before.values())
    with pytest.raises(OSError, match=r"File too large|No space"), full_disk():
        save(tmp_path, world, expected)
    assert files_in(tmp_path) == before  # the old file is whole, and nothing lies beside it
    save(tmp_path, world, expected)


def test_disk_full_while_an_encoder_is_kept(world: World, tmp_path: Path) -> None:
    """The weights of before are whole, and without a record of training: the next call trains again."""
    adata, folder = world.adata.copy(), tmp_path / "weights"
    pretrain(adata, world, weights_dir=folder)
    before, weights = contents(adata), (folder / "model.safetensors").read_bytes()
    with pytest.raises(OSError, match=r"File too large|No space"), full_disk():
        pretrain(adata, world, weights_dir=folder, rng=1)
    assert contents(adata) == before
    assert (folder / "model.safetensors").read_bytes() == weights
    assert left_in(folder) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("argument", ["hidden_to", "resume_from"])
def test_disk_full_while_embedding(world: World, tmp_path: Path, argument: str) -> None:
    adata = world.adata.copy()
    before = contents(adata)
    with pytest.raises(OSError, match=r"File too large|No space"), full_disk():
        embed(adata, world, **{argument: tmp_path / "there"})
    assert contents(adata) == before
    embed(adata, world, **{argument: tmp_path / "there"})
    np.testing.assert_array_equal(adata.varm["scbert"], world.embedded.varm["scbert"])


def test_a_network_that_cannot_take_its_place_leaves_the_old_one(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy_of(world.network, tmp_path / "network")
    model, before = ScTransNet.load(folder, device="cpu"), files_in(tmp_path)
    rename = Path.rename

    def fail(path: Path, target: Path) -> Path:
        if Path(target) == folder and path.parent.name == "new":
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(KeyboardInterrupt):
        model.save(folder, overwrite=True)
    assert files_in(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["network"]
