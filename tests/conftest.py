"""Shared by all tests: which marks run here, a cache of their own, settings put back, the mirror of real data."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

from scgrn_tl import settings

# a first example that imports torch is slow, which says nothing about the code under test
hypothesis.settings.register_profile("scgrn_tl", deadline=None, derandomize=True, max_examples=30)
EXAMPLES_PER_FUZZ_MINUTE = 1000


def pytest_configure(config: pytest.Config) -> None:
    # the long one, which looks somewhere else every time: HYPOTHESIS_PROFILE=fuzz
    hypothesis.settings.register_profile(
        "fuzz",
        deadline=None,
        max_examples=max(30, round(EXAMPLES_PER_FUZZ_MINUTE * config.getoption("--fuzz-minutes"))),
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )
    hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "scgrn_tl"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fuzz-minutes", type=float, default=0.05, help="how long each fuzzer goes on")
    parser.addoption("--internet", action="store_true", help="also run tests that download files")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)
    if not config.getoption("--internet") and "SCGRN_TL_MIRROR" not in os.environ:
        reason = "needs --internet, or the files in the folder SCGRN_TL_MIRROR"
        for item in items:
            if item.get_closest_marker("internet"):
                item.add_marker(pytest.mark.skip(reason=reason))
    if on_gpu := [item for item in items if item.get_closest_marker("gpu")]:
        import torch

        if not torch.cuda.is_available():
            for item in on_gpu:
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory):
    """Downloads of the tests stay out of the user's cache, unless ``SCGRN_TL_CACHE`` names a folder to keep them in."""
    with pytest.MonkeyPatch.context() as patch:
        if "SCGRN_TL_CACHE" not in os.environ:
            patch.setenv("SCGRN_TL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _settings_put_back():
    with settings.override(progress=False, notices=False):
        yield


@pytest.fixture(scope="session")
def mirror() -> Path:
    """Folder of real data files, in the layout of their addresses."""
    if "SCGRN_TL_MIRROR" not in os.environ:
        pytest.skip("needs real data: SCGRN_TL_MIRROR names no folder")
    return Path(os.environ["SCGRN_TL_MIRROR"])


@pytest.fixture
def gene_tables(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small tables of gene names in the format of the real ones; ids are invented, but for that of CCN2."""
    folder = Path(__file__).parent / "gene_names"
    monkeypatch.setattr("scgrn_tl.datasets._gene_names.fetch", lambda file: folder / Path(file.path).name)
    return folder
