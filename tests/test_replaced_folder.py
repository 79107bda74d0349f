"""A folder is replaced whole, whoever reads beside it, and whenever the process is killed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from scgrn_tl.core.replaced_folder import put_back, replaced_folder

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def write(folder: Path, text: str) -> None:
    with replaced_folder(folder) as beside:
        beside.mkdir()
        (beside / "file").write_text(text, encoding="utf-8")


def test_a_reader_waits_for_a_process_that_is_replacing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And does not take the old folder back, or the new one away, between the two renames."""
    folder, seen = tmp_path / "model", []
    write(folder, "old")
    between, rename = threading.Event(), type(folder).rename

    def read() -> None:
        between.wait(10)
        put_back(folder)
        seen.append((folder / "file").read_text(encoding="utf-8"))

    def renamed(path: Path, target: Path) -> Path:
        result = rename(path, target)
        if path == folder:
            between.set()
            reader.join(0.3)  # it has to wait
        return result

    reader = threading.Thread(target=read)
    reader.start()
    monkeypatch.setattr(type(folder), "rename", renamed)
    write(folder, "new")
    reader.join(10)
    assert seen == ["new"]
    assert (folder / "file").read_text(encoding="utf-8") == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_what_a_killed_process_left_is_put_back(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write(folder, "old")
    left = tmp_path / ".model-abc" / "old"
    left.mkdir(parents=True)
    folder.rename(left / "model")
    put_back(folder)
    assert (folder / "file").read_text(encoding="utf-8") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
