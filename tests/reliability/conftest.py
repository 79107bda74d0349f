"""What all tests here share; none of them changes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import scgrn_tl as sg
from scgrn_tl.models import ScBERT

if TYPE_CHECKING:
    from pathlib import Path

    import anndata as ad

from reliability_world import World, download, embed, fit, make_world, pool


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("reliability"))


@pytest.fixture(scope="session")
def expected(world: World) -> ad.AnnData:
    adata = world.adata.copy()
    with sg.settings.override(progress=False):
        for verb in (embed, pool, fit):
            verb(adata, world)
    return adata


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No mirror, no weights, an empty cache, and a network that is down."""
    for name in ("SCGRN_TL_MIRROR", "SCGRN_TL_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SCGRN_TL_CACHE", str(tmp_path / "cache"))
    download(monkeypatch, error=ConnectionError("the network is down"))


@pytest.fixture
def no_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Encoding and training are not reached."""

    def reached(*_args: object, **_kwargs: object) -> None:
        pytest.fail("long work had begun")

    monkeypatch.setattr(ScBERT, "encode", reached)
    monkeypatch.setattr("scgrn_tl.models.scbert_model.ScBERTModel.train", reached)
    monkeypatch.setattr("scgrn_tl.models.link_training.LinkTrainer.run", reached)
