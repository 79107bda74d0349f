"""Files pinned by hash, downloaded from a server on this machine that behaves well or badly."""

from __future__ import annotations

import gc
import hashlib
import logging
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from scgrn_tl import settings
from scgrn_tl._settings import Settings
from scgrn_tl.core.errors import DownloadError, ScgrnError
from scgrn_tl.datasets import _files
from scgrn_tl.datasets._files import PinnedFile, Source, fetch, find_local
from scgrn_tl.datasets._registry import beeline_file, beeline_paths, github_raw_url

CONTENT = bytes(range(256)) * 4096  # 1 MiB
SOURCE = Source("Test files", "CC0", "nobody")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Server:
    """Serves ``CONTENT`` under every path, in the manner its ``behaviour`` says; counts requests."""

    def __init__(self) -> None:
        self.behaviour = "good"
        self.requests: list[str] = []
        self.release = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.requests.append(self.path)
                if server.behaviour == "silent":
                    server.release.wait(30)
                    return
                if server.behaviour == "missing":
                    self.send_error(404)
                    return
                body = b"x" * len(CONTENT) if server.behaviour == "other content" else CONTENT
                self.send_response(200)
                if server.behaviour != "short without length":
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                half = len(body) // 2
                self.wfile.write(body[:half])
                if server.behaviour == "held":
                    self.wfile.flush()
                    server.release.wait(30)
                if server.behaviour in {"good", "held", "other content"}:
                    # A client that was killed meanwhile has closed the connection.
                    try:
                        self.wfile.write(body[half:])
                    except OSError:
                        self.close_connection = True

            def log_message(self, *args):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def file(self, path: str = "folder/file.bin", **hashes) -> PinnedFile:
        hashes = hashes or {"sha256": sha256(CONTENT), "n_bytes": len(CONTENT)}
        return PinnedFile(path=path, url=f"{self.url}/{path}", source=SOURCE, **hashes)

    def close(self) -> None:
        self.release.set()
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Server()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.delenv("SCGRN_TL_MIRROR", raising=False)
    monkeypatch.setenv("SCGRN_TL_CACHE", str(tmp_path / "cache"))
    with settings.override(progress=False):
        yield tmp_path / "cache"


def files_below(folder) -> list[str]:
    """What a listing shows; lock files are hidden ones, and empty."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock")


def test_downloads_once_and_then_reads_the_cache(server, cache):
    path = fetch(server.file())
    assert path == cache / "folder" / "file.bin"
    assert path.read_bytes() == CONTENT
    assert files_below(cache) == ["folder/file.bin"]
    assert fetch(server.file()) == path
    assert len(server.requests) == 1


def test_a_path_with_blanks_is_found_under_its_plain_name(server, cache):
    path = "STRING Dataset/TFs+500/file.bin"
    file = PinnedFile(path, f"{server.url}/STRING%20Dataset/TFs%2B500/file.bin", SOURCE, sha256=sha256(CONTENT))
    assert fetch(file) == cache / "STRING Dataset" / "TFs+500" / "file.bin"


def test_the_git_blob_hash_is_gits_own(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"hello\n")
    # `printf 'hello\n' | git hash-object --stdin`
    known = "ce013625030ba8dba906f756967f9e9ca394464a"
    assert PinnedFile("file", None, SOURCE, git_blob_sha1=known).mismatch(path) is None
    wrong = PinnedFile("file", None, SOURCE, git_blob_sha1="0" * 40).mismatch(path)
    assert known in wrong
    assert "git blob SHA-1" in wrong


def test_downloads_a_file_known_by_its_git_blob_hash_only(server, cache):
    known = hashlib.sha1(b"blob " + str(len(CONTENT)).encode() + b"\0" + CONTENT).hexdigest()
    assert fetch(server.file(git_blob_sha1=known)).read_bytes() == CONTENT
    (cache / "folder" / "file.bin").unlink()
    with pytest.raises(DownloadError, match="git blob SHA-1"):
        fetch(server.file(git_blob_sha1="0" * 40))
    assert files_below(cache) == []


def test_a_file_without_any_hash_is_refused():
    with pytest.raises(ValueError, match="neither"):
        PinnedFile("file", "http://127.0.0.1/file", SOURCE, n_bytes=3)


def failure_of(file: PinnedFile) -> str:
    """The message with which ``file`` cannot be had."""
    with pytest.raises(DownloadError) as caught:
        fetch(file)
    assert isinstance(caught.value, ScgrnError)
    assert isinstance(caught.value, OSError)
    return str(caught.value)


# A connection that breaks off is left to the garbage collector by pooch.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("missing", "404"),
        ("truncated", r"IncompleteRead|bytes instead of"),
        ("short without length", "524,288 bytes instead of 1,048,576"),
        ("other content", "SHA-256"),
    ],
)
def test_a_bad_answer_leaves_nothing_and_names_the_way_out(server, cache, behaviour, reason):
    server.behaviour = behaviour
    message = failure_of(server.file())
    gc.collect()
    assert re.search(reason, message)
    for part in (
        "folder/file.bin",
        server.url,
        sha256(CONTENT),
        "SCGRN_TL_MIRROR",
        "SCGRN_TL_CACHE",
        str(cache / "folder"),
    ):
        assert part in message
    assert files_below(cache) == []

    server.behaviour = "good"
    assert fetch(server.file()).read_bytes() == CONTENT


def test_a_failed_download_replaces_nothing(server, cache):
    """A damaged file stays where it is until a good one replaces it."""
    path = fetch(server.file())
    path.write_bytes(b"damaged")
    server.behaviour = "missing"
    with pytest.raises(DownloadError):
        fetch(server.file())
    assert path.read_bytes() == b"damaged"


@pytest.mark.parametrize("damaged", [CONTENT[:-1], b"", b"x" + CONTENT[1:]], ids=["truncated", "empty", "one byte"])
def test_a_damaged_file_in_the_cache_is_downloaded_again(server, cache, damaged, caplog):
    path = fetch(server.file())
    path.write_bytes(damaged)
    with caplog.at_level(logging.WARNING, logger="scgrn_tl"):
        assert fetch(server.file()).read_bytes() == CONTENT
    assert f"{path} is not used" in caplog.text
    assert len(server.requests) == 2


# A connection that breaks off is left to the garbage collector by pooch.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.parametrize("behaviour", ["silent", "held"], ids=["never answers", "stops half-way"])
def test_a_server_that_goes_silent_is_given_up(server, cache, behaviour, monkeypatch):
    monkeypatch.setattr(_files, "_TIMEOUT", 0.2)
    server.behaviour = behaviour
    started = time.monotonic()
    message = failure_of(server.file())
    assert time.monotonic() - started < 5
    gc.collect()
    assert "timed out" in message
    assert sha256(CONTENT) in message
    assert files_below(cache) == []
    server.release.set()


def test_no_network(cache):
    with address_without_server() as url:
        file = PinnedFile("file.bin", f"{url}/file.bin", SOURCE, sha256=sha256(CONTENT))
        with pytest.raises(DownloadError, match=r"file\.bin from http://127\.0\.0\.1"):
            fetch(file)
    assert files_below(cache) == []


@contextmanager
def address_without_server():
    """An address at which nobody answers."""
    server = Server()
    server.close()
    yield server.url


def test_a_cache_that_cannot_be_written(server, tmp_path):
    (tmp_path / "a file").write_text("")
    with (
        settings.override(cache_dir=tmp_path / "a file" / "cache"),
        pytest.raises(DownloadError, match="SCGRN_TL_CACHE"),
    ):
        fetch(server.file())
    assert server.requests == []


def test_the_mirror_comes_first_and_counts_only_with_the_right_hash(server, cache, tmp_path, caplog):
    mirrored = tmp_path / "mirror" / "folder" / "file.bin"
    mirrored.parent.mkdir(parents=True)
    mirrored.write_bytes(CONTENT)
    with settings.override(mirror=tmp_path / "mirror"):
        assert fetch(server.file()) == mirrored
        assert server.requests == []
        mirrored.write_bytes(b"something else")
        with caplog.at_level(logging.WARNING, logger="scgrn_tl"):
            assert fetch(server.file()) == cache / "folder" / "file.bin"
        assert str(mirrored) in caplog.text
    assert mirrored.read_bytes() == b"something else"


def test_a_file_without_address_comes_from_a_mirror_or_not_at_all(tmp_path):
    file = PinnedFile("file.bin", None, SOURCE, sha256=sha256(b"a"))
    assert find_local(file) is None
    with pytest.raises(DownloadError, match="no address"):
        fetch(file)
    (tmp_path / "file.bin").write_bytes(b"a")
    with settings.override(mirror=tmp_path):
        assert fetch(file) == tmp_path / "file.bin"


def test_licence_and_citation_are_logged_once(server, caplog, monkeypatch):
    monkeypatch.setattr(_files, "_announced", set())
    with caplog.at_level(logging.INFO, logger="scgrn_tl"):
        fetch(server.file())
        fetch(server.file("another.bin"))
    said = [record.getMessage() for record in caplog.records if "CC0" in record.getMessage()]
    assert said == [NOTICE]


NOTICE = "Test files. Licence: CC0. Please cite nobody."


def test_licence_and_citation_are_on_stderr_once_unless_silenced(server, capsys, monkeypatch):
    monkeypatch.setattr(_files, "_announced", set())
    with settings.override(notices=False):
        fetch(server.file("silenced.bin"))
    assert capsys.readouterr() == ("", "")
    _files._announced.clear()
    with settings.override(notices=True):
        fetch(server.file())
        fetch(server.file("another.bin"))
        fetch(server.file())
    assert capsys.readouterr() == ("", f"{NOTICE}\n")


def test_the_log_takes_the_place_of_stderr(server, capsys, monkeypatch):
    monkeypatch.setattr(_files, "_announced", set())
    with settings.override(verbosity="info", notices=True):
        fetch(server.file())
    err = capsys.readouterr().err
    assert err.count(NOTICE) == 1


@pytest.mark.parametrize(("value", "expected"), [("0", False), ("1", True), (None, True)])
def test_notices_by_the_environment(monkeypatch, value, expected):
    monkeypatch.delenv("SCGRN_TL_NOTICES", raising=False)
    if value is not None:
        monkeypatch.setenv("SCGRN_TL_NOTICES", value)
    assert Settings().notices is expected


FETCH_IN_ANOTHER_PROCESS = """
import sys
from scgrn_tl.datasets._files import PinnedFile, Source, fetch
url, digest = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
path = fetch(PinnedFile("folder/file.bin", url, Source("Test files", "CC0", "nobody"), sha256=digest))
print(path, len(path.read_bytes()), flush=True)
"""


@contextmanager
def processes(server: Server, n: int):
    """``n`` processes that have everything imported and fetch when they are sent a line."""
    command = [sys.executable, "-c", FETCH_IN_ANOTHER_PROCESS, f"{server.url}/folder/file.bin", sha256(CONTENT)]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(n)
    ]
    try:
        for process in started:
            assert process.stdout.readline() == "ready\n"
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def wait_until(condition, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_two_processes_share_one_download(server, cache):
    server.behaviour = "held"
    with processes(server, 2) as started:
        for process in started:
            process.stdin.write("go\n")
            process.stdin.flush()
        wait_until(lambda: server.requests)
        time.sleep(0.5)  # time for the second to ask the server too, if it did not wait
        assert files_below(cache) == ["folder/.file.bin.part"]
        server.release.set()
        answers = [process.communicate(timeout=30) for process in started]
    expected = f"{cache / 'folder' / 'file.bin'} {len(CONTENT)}\n"
    assert [answer[0] for answer in answers] == [expected, expected]
    assert len(server.requests) == 1
    assert files_below(cache) == ["folder/file.bin"]


def test_a_process_killed_in_a_download_leaves_no_file_and_no_lock(server, cache):
    server.behaviour = "held"
    with processes(server, 1) as (process,):
        process.stdin.write("go\n")
        process.stdin.flush()
        unfinished = cache / "folder" / ".file.bin.part"
        wait_until(lambda: unfinished.is_file() and unfinished.stat().st_size > 0)
    server.release.set()
    assert not (cache / "folder" / "file.bin").exists()
    server.behaviour = "good"
    assert fetch(server.file()).read_bytes() == CONTENT
    assert files_below(cache) == ["folder/file.bin"]


def test_ctrl_c_in_a_download_leaves_nothing(server, cache, monkeypatch):
    import pooch

    def interrupted(self, url, output_file, pooch):
        Path(output_file).write_bytes(CONTENT[:100])
        raise KeyboardInterrupt

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch(server.file())
    assert files_below(cache) == []


def test_registry_of_beeline_files():
    paths = beeline_paths()
    assert len(paths) == len(set(paths)) == 840
    for path in paths:
        file = beeline_file(path)
        assert (file.sha256 is None) != (file.git_blob_sha1 is None)
        assert len(file.sha256 or file.git_blob_sha1) == (64 if file.sha256 else 40)
        assert (file.n_bytes is None) == (file.sha256 is None)
        assert " " not in file.url
        assert "+" not in file.url
    assert sum(beeline_file(path).sha256 is None for path in paths) == 18


def test_addresses_are_percent_encoded():
    assert github_raw_url("owner/name", "abc", "a b/TFs+500/c-d.csv.gz") == (
        "https://raw.githubusercontent.com/owner/name/abc/a%20b/TFs%2B500/c-d.csv.gz"
    )
