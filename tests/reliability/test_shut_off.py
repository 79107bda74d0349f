"""A machine without a network, and a cache that is mounted read-only, as a process of its own meets them.

An audit hook refuses whatever Python asks of the operating system there, and so binds root too.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

START = """
import contextlib, errno, json, os, socket, sys, warnings
import scgrn_tl as sg
from scgrn_tl.datasets._files import PinnedFile, Source, fetch

sg.settings.progress = False
warnings.simplefilter("ignore")


def message_of(call):
    try:
        call()
    except sg.ScgrnError as error:
        return type(error).__name__ + ": " + str(error)
    return "no error"
"""

OFFLINE = """
reached = []


def hook(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "urllib.Request"):
        reached.append(event)
        raise OSError(errno.ENETUNREACH, "Network is unreachable")


sys.addaudithook(hook)
adata = sg.datasets.simulated(30, 24, 6, mean_targets=6, rng=1)
sg.tl.infer_grn(adata, method="pearson")
at_work = list(reached)
d = sg.datasets
calls = {
    "tf_names": lambda: d.tf_names("human"),
    "gene_names": lambda: d.gene_names("mouse"),
    "gene_orthologs": lambda: d.gene_orthologs(),
    "beeline": lambda: d.beeline("hESC"),
    "scbert_vocabulary": d.scbert_vocabulary,
    "scbert_weights": d.scbert_weights,
    "trrust": d.trrust,
}
found = {name: message_of(call) for name, call in calls.items()}
print(json.dumps({"at_work": at_work, "reached": len(reached), "found": found}))
"""

READ_ONLY = """
number = getattr(errno, sys.argv[2])
cache = os.environ["SCGRN_TL_CACHE"]
pinned = [PinnedFile(name, "http://127.0.0.1:9/" + name, Source("Test", "CC0", "nobody"), 1, sys.argv[1])
          for name in ("there/a.txt", "there/absent.txt", "new/absent.txt", "there/changed.txt")]
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
refused = []


def hook(event, arguments):
    changes = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.chmod", "os.link", "os.symlink"}
    if event in changes or (event == "open" and arguments[2] & WRITES):
        if str(arguments[0]).startswith(cache):
            refused.append(event)
            raise OSError(number, os.strerror(number), arguments[0])


sys.addaudithook(hook)
path = fetch(pinned[0])
asked_for_the_good_one = list(refused)
found = [message_of(lambda file=file: fetch(file)) for file in pinned[1:]]
print(json.dumps({"path": str(path), "asked": asked_for_the_good_one, "found": found}))
"""


def run(script: str, *arguments: str) -> dict[str, Any]:
    """What a process prints as json that may take a minute, and not hang."""
    done = subprocess.run(
        [sys.executable, "-c", START + script, *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_offline(tmp_path: Path) -> None:
    outcome = run(OFFLINE)
    assert outcome["at_work"] == []  # nothing but data sets asks for the network
    assert outcome["reached"] >= len(outcome["found"])  # all of those did
    for name, message in outcome["found"].items():
        kind = "WeightsUnavailableError" if name == "scbert_weights" else "DownloadError"
        assert message.startswith(f"{kind}: "), name
        for word in ("https://", "SHA-256 ", "SCGRN_TL_MIRROR", str(tmp_path / "cache"), "Network is unreachable"):
            assert word in message, name
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.suffix != ".lock"]


@pytest.mark.parametrize("error", ["EROFS", "EACCES"])
def test_a_cache_mounted_read_only(tmp_path: Path, error: str) -> None:
    """What is there and right is used, though no lock can be made beside it; anything else is one clear error."""
    there = tmp_path / "cache" / "there"
    there.mkdir(parents=True)
    (there / "a.txt").write_text("a")
    (there / "changed.txt").write_text("b")
    outcome = run(READ_ONLY, "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb", error)
    assert outcome["path"] == str(there / "a.txt")
    assert outcome["asked"] == []
    for message, name in zip(outcome["found"], ("there/absent", "new/absent", "there/changed"), strict=True):
        words = ("DownloadError", f"{name}.txt", str(tmp_path / "cache" / name), "SCGRN_TL_CACHE", "SCGRN_TL_MIRROR")
        assert [word for word in words if word not in message] == []
        assert "Read-only file system" in message or "Permission denied" in message
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.txt", "cache", "changed.txt", "there"]
    assert (there / "changed.txt").read_text() == "b"
