from __future__ import annotations

import logging
from pathlib import Path

import pooch
import pytest

from scgrn_tl import settings
from scgrn_tl._settings import Settings

LOGGER = logging.getLogger("scgrn_tl")


def test_defaults_come_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("SCGRN_TL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SCGRN_TL_MIRROR", "~/mirror")
    fresh = Settings()
    assert fresh.cache_dir == tmp_path / "cache"
    assert fresh.mirror == Path.home() / "mirror"
    monkeypatch.delenv("SCGRN_TL_CACHE")
    monkeypatch.delenv("SCGRN_TL_MIRROR")
    assert fresh.cache_dir == Path(pooch.os_cache("scgrn_tl"))
    assert fresh.mirror is None


@pytest.mark.parametrize("name", ["cache_dir", "mirror"])
def test_a_folder_set_wins_over_the_environment_until_none(monkeypatch, tmp_path, name):
    monkeypatch.setenv("SCGRN_TL_CACHE", str(tmp_path / "environment"))
    monkeypatch.setenv("SCGRN_TL_MIRROR", str(tmp_path / "environment"))
    fresh = Settings()
    setattr(fresh, name, str(tmp_path / "set"))
    assert getattr(fresh, name) == tmp_path / "set"
    setattr(fresh, name, None)
    assert getattr(fresh, name) == tmp_path / "environment"


def test_nothing_is_made_on_disk_by_asking(monkeypatch, tmp_path):
    monkeypatch.setenv("SCGRN_TL_CACHE", str(tmp_path / "cache"))
    assert not Settings().cache_dir.exists()


def test_override_puts_back_what_it_changed(tmp_path):
    before = (settings.device, settings.progress, settings.cache_dir, settings.verbosity)
    with settings.override(device="cpu", cache_dir=tmp_path, verbosity="debug") as inside:
        assert inside is settings
        assert (settings.device, settings.cache_dir) == ("cpu", tmp_path)
        assert LOGGER.level == logging.DEBUG
    assert (settings.device, settings.progress, settings.cache_dir, settings.verbosity) == before


def test_override_puts_back_after_an_error_and_the_logger_too():
    level, handlers = LOGGER.level, list(LOGGER.handlers)
    with pytest.raises(ZeroDivisionError), settings.override(device="nowhere", verbosity="info"):
        _ = 1 / 0
    assert settings.device != "nowhere"
    assert LOGGER.level == level
    assert LOGGER.handlers == handlers


def test_override_of_an_unknown_setting_changes_nothing():
    before = settings.device
    with pytest.raises(AttributeError, match="no setting 'jobs'"), settings.override(device="nowhere", jobs=2):
        pass
    assert settings.device == before


def test_verbosity_sends_messages_to_stderr_once(capsys):
    with settings.override(verbosity="info"):
        settings.verbosity = "debug"
        settings.verbosity = "info"
        LOGGER.info("written")
        LOGGER.debug("not shown")
    assert capsys.readouterr().err == "written\n"


def test_verbosity_unknown():
    with pytest.raises(ValueError, match="'warning', 'info', 'debug', not 'loud'"):
        settings.verbosity = "loud"


@pytest.mark.parametrize("value", [0, -1, 1.5, "2"])
def test_threads_are_counted(value):
    with pytest.raises(ValueError, match="n_threads is a whole number"):
        settings.n_threads = value
    assert settings.n_threads is None


def test_silent_until_asked(capsys):
    assert any(isinstance(handler, logging.NullHandler) for handler in LOGGER.handlers)
    LOGGER.warning("for the application's own handlers")
    assert capsys.readouterr() == ("", "")
