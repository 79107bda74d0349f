"""Bars show where they are wanted, and where they are not nothing of theirs is loaded."""

from __future__ import annotations

import sys

import pytest

import scgrn_tl as sg
from scgrn_tl.core.progress_bar import progress_bar


def test_without_progress_the_notebook_bar_is_not_touched(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)  # importing it raises, where it would warn in some notebooks
    with sg.settings.override(progress=False):
        assert list(progress_bar(range(3), desc="Loop")) == [0, 1, 2]
    with sg.settings.override(progress=True):
        assert list(progress_bar(range(3), hidden=True)) == [0, 1, 2]
        with pytest.raises(ImportError):
            progress_bar(range(3))
    assert capsys.readouterr().err == ""


def test_a_bar_is_drawn_once_it_takes_long(capsys):
    with sg.settings.override(progress=True), progress_bar(total=4, desc="Loop", unit="cell") as bar:
        bar.start_t -= 10  # seconds ago
        bar.update(4)
    assert "Loop: 100%" in capsys.readouterr().err
