"""Ctrl-C: the AnnData is as before or complete, and what was finished is resumed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import scgrn_tl as sg
from scgrn_tl.core import (
    ArgumentError,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

from reliability_world import (
    ENCODE,
    World,
    contents,
    embed,
    every_verb,
    fit,
    interrupt,
    left_in,
    pool,
    pretrain,
    ready,
    refused,
)

# ---------------------------------------------------------------------------------------------- Ctrl-C in a long run


TRAIN_ENCODER = "scgrn_tl.models.scbert_model.ScBERTModel.train"
TRAIN_EPOCH = "scgrn_tl.models.link_training.LinkTrainer._draw"
TRAIN_NETWORK = "scgrn_tl.models.link_training.LinkTrainer.run"
LONG_WORK = {
    "scbert_embed, at the start": (embed, ENCODE, 0, {"batch_size": 5}),
    "scbert_embed, in the middle": (embed, ENCODE, 3, {"batch_size": 5}),
    "attentive_pool": (pool, ENCODE, 0, {}),
    "scbert_pretrain": (pretrain, TRAIN_ENCODER, 0, {}),
    "fit_grn, first epoch": (fit, TRAIN_EPOCH, 0, {}),
    "fit_grn, second epoch": (fit, TRAIN_EPOCH, 1, {}),
    "fit_grn, second model": (fit, TRAIN_NETWORK, 1, {"n_models": 2}),
}


@pytest.mark.parametrize(("verb", "where", "after", "arguments"), LONG_WORK.values(), ids=LONG_WORK)
def test_ctrl_c(
    world: World, monkeypatch: pytest.MonkeyPatch, verb: Callable, where: str, after: int, arguments: dict[str, Any]
) -> None:
    adata, untouched = ready(world, verb), ready(world, verb)
    before = contents(adata)
    with monkeypatch.context() as patch:
        interrupt(patch, where, after)
        with pytest.raises(KeyboardInterrupt):
            verb(adata, world, **arguments)
    assert contents(adata) == before
    assert left_in(sg.settings.cache_dir) == []
    for each in (adata, untouched):
        verb(each, world, **arguments)
    for slot in ("varm", "varp", "obsm"):
        assert contents(getattr(adata, slot)) == contents(getattr(untouched, slot))


@every_verb
def test_ctrl_c_while_results_are_written(world: World, monkeypatch: pytest.MonkeyPatch, verb: Callable) -> None:
    """At whichever slot: all of the results or none, those of an earlier run included."""
    adata = ready(world, verb)
    arguments = {"groupby": "type"} if verb in (embed, pool) else {}
    verb(adata, world, **arguments)
    before = contents(adata)
    arguments = {"rng": 1} if verb in (fit, pretrain) else {"groupby": "batch"}
    for number in range(100):
        with monkeypatch.context() as patch:
            calls = interrupt(patch, "scgrn_tl.core.slots._put", number)
            try:
                verb(adata, world, **arguments)
            except KeyboardInterrupt:
                assert contents(adata) == before
                continue
        assert len(calls) == number > 0
        break
    assert contents(adata) != before


def test_ctrl_c_in_the_fit_keeps_the_finished_embedding(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCGRN_TL_WEIGHTS", str(world.encoder))
    adata = world.adata.copy()
    with monkeypatch.context() as patch:
        interrupt(patch, "scgrn_tl.models.link_training.LinkTrainer.run")
        with pytest.raises(KeyboardInterrupt):
            fit(adata, world)
    assert contents(adata.varm) == contents(world.embedded.varm)
    assert contents(adata.obsm) == contents(world.embedded.obsm)
    assert not adata.varp
    assert "grn" not in adata.uns
    encoded = interrupt(monkeypatch, ENCODE, after=1000)
    fit(adata, world)
    assert not encoded


def test_ctrl_c_resumes(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    adata = world.adata.copy()
    arguments = {"batch_size": 4, "resume_from": tmp_path / "resume", "hidden_to": tmp_path / "hidden.zarr"}
    monkeypatch.setattr("scgrn_tl.tl._resume_folder.SAVE_SHARE", np.inf)  # save after every batch
    with monkeypatch.context() as patch:
        interrupt(patch, ENCODE, after=4)
        with pytest.raises(KeyboardInterrupt):
            embed(adata, world, **arguments)
    embedded = world.embedded.copy()
    with refused(embedded, ArgumentError, "did not finish", "`sg.tl.scbert_embed`"):
        pool(embedded, world, hidden=tmp_path / "hidden.zarr")
    encoded = interrupt(monkeypatch, ENCODE, after=1000)
    embed(adata, world, **arguments)
    assert len(encoded) == 2  # of six batches
    whole = world.adata.copy()
    embed(whole, world, batch_size=4)
    assert contents(adata.varm) == contents(whole.varm)
    assert contents(adata.obsm) == contents(whole.obsm)
    pool(adata, world, hidden=tmp_path / "hidden.zarr")
    np.testing.assert_allclose(adata.varm["pooled"], whole.varm["scbert_mean"], atol=1e-6)
