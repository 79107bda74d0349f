"""Downloads that break off, seen from the calls that need the file."""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING

import pytest

import scgrn_tl as sg
from scgrn_tl.core import (
    DownloadError,
)

if TYPE_CHECKING:
    from pathlib import Path

from reliability_world import HUMAN, World, contents, download, left_in

# -------------------------------------------------------------------------------------------- download interrupted


@pytest.fixture
def pinned(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """What the list of human TFs holds here."""
    from scgrn_tl.datasets import _priors
    from scgrn_tl.datasets._files import PinnedFile

    content = "\n".join(HUMAN[:16]).encode()
    source = _priors.TF_NAMES["human"].source
    digest = hashlib.sha256(content).hexdigest()
    file = PinnedFile("priors/tf.txt", "https://example.org/tf.txt", source, len(content), digest)
    monkeypatch.setitem(_priors.TF_NAMES, "human", file)
    return content


INTERRUPTIONS = {
    "connection lost": (ConnectionError("reset by peer"), DownloadError),
    "Ctrl-C": (KeyboardInterrupt(), KeyboardInterrupt),
    "a short answer": (None, DownloadError),
    "disk full": (OSError(28, "No space left on device"), DownloadError),
}


@pytest.mark.parametrize(("error", "raised"), INTERRUPTIONS.values(), ids=INTERRUPTIONS)
def test_download_interrupted(
    pinned: bytes,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    error: BaseException | None,
    raised: type[BaseException],
) -> None:
    download(monkeypatch, pinned[:20], error)
    with pytest.raises(raised) as caught:
        sg.datasets.tf_names("human")
    assert left_in(tmp_path) == []
    if raised is DownloadError:
        for word in ("tf.txt", "https://example.org", "SCGRN_TL_MIRROR", "SCGRN_TL_CACHE", str(tmp_path / "cache")):
            assert word in str(caught.value)
    asked = download(monkeypatch, pinned)
    assert sg.datasets.tf_names("human") == sg.datasets.tf_names("human") == HUMAN[:16]
    assert len(asked) == 1
    assert left_in(tmp_path) == ["tf.txt"]


def test_one_waits_for_the_other(pinned: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, names = download(monkeypatch, pinned), []
    threads = [threading.Thread(target=lambda: names.append(sg.datasets.tf_names("human"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names == [HUMAN[:16]] * 3
    assert len(asked) == 1


@pytest.mark.usefixtures("no_compute")
def test_download_of_weights_interrupted(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    download(monkeypatch, b"half", KeyboardInterrupt())
    adata = world.adata.copy()
    before = contents(adata)
    with pytest.raises(KeyboardInterrupt):
        sg.tl.scbert_embed(adata)
    assert left_in(tmp_path) == []
    assert contents(adata) == before
