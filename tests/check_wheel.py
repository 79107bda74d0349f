"""Check an installed wheel as its users will meet it: the commands, the code and the tutorials of its pages.

``python tests/check_wheel.py dist/scgrn_tl-0.1.0.tar.gz``, by the Python of an environment that has nothing but the
wheel, its extra ``test``, ipykernel and nbclient; ``make wheel-check`` makes one. Pages and tests come out of the
sdist, whose ``src`` is left out: the package can be had from the wheel alone. Data are downloaded, or come from the
folder ``SCGRN_TL_MIRROR``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
import traceback
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING

from page_code import blocks_of, shell_commands

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE_TESTS = ("test_docs.py", "test_docs_links.py", "test_docstrings.py", "test_pages.py")
"""What runs code of the pages, with stand-ins for files and clusters that only a reader has."""
SECONDS_A_CELL = 900


def relative_links(text: str) -> list[str]:
    """Targets of links and images in Markdown or HTML that mean something only beside the page."""
    targets = re.findall(r"\]\(\s*<?([^)\s>]+)", text) + re.findall(r"(?:href|src)=[\"']([^\"']+)", text)
    return [target for target in targets if not re.match(r"(https?://|mailto:|#)", target)]


def check_origin(version: str) -> None:
    """The package is the wheel's, of the sdist's version."""
    import scgrn_tl

    places = {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")}
    found = Path(scgrn_tl.__file__)
    assert places & set(found.parents), f"scgrn_tl comes from {found}, not from the environment's site-packages"
    assert sys.prefix != sys.base_prefix, "not a virtual environment"
    assert scgrn_tl.__version__ == version, f"scgrn_tl {scgrn_tl.__version__} is installed, the sdist is {version}"


def check_description() -> None:
    """What PyPI shows has links that lead somewhere from there."""
    text = distribution("scgrn_tl").metadata.get_payload()
    assert "## " in text, "the wheel has no long description"
    assert relative_links(text) == []


def run(*command: str | Path, folder: Path) -> None:
    """Run a command in a folder; what it prints is seen."""
    subprocess.run([str(word) for word in command], cwd=folder, check=True)


def check_commands(readme: Path, folder: Path) -> None:
    """The README's commands, as they stand."""
    called = [words for words in shell_commands(readme) if words[0] == "scgrn-tl"]
    assert called, "the README has no command"
    program = Path(sysconfig.get_path("scripts")) / "scgrn-tl"
    for words in [*called, ["scgrn-tl", "info"]]:
        run(program, *words[1:], folder=folder)


def check_first_block(readme: Path, folder: Path) -> None:
    """The README's first program, with the real encoder and all epochs."""
    (folder / "readme.py").write_text(blocks_of(readme, "python")[0], encoding="utf-8")
    run(sys.executable, "readme.py", folder=folder)


def check_pages(root: Path) -> None:
    """Every block of every page."""
    tests = [f"tests/{name}" for name in PAGE_TESTS]
    run(sys.executable, "-m", "pytest", "-m", "not fuzz", "--internet", "--durations=5", *tests, folder=root)


def check_notebook(path: Path) -> None:
    """A tutorial, from top to bottom."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    if mirror := os.environ.get("SCGRN_TL_MIRROR"):
        text = path.read_text(encoding="utf-8")
        for file in Path(mirror).glob("counts/*"):  # which notebooks look for beside themselves first
            if file.name in text:
                shutil.copy(file, path.parent)
    resources = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=SECONDS_A_CELL, resources=resources).execute()


def unpacked(sdist: Path, folder: Path) -> Path:
    """The sdist's files without the package."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (root,) = folder.iterdir()
    shutil.rmtree(root / "src")
    return root


def steps(sdist: Path, folder: Path) -> dict[str, Callable[[], None]]:
    """What is checked, by name."""
    root = unpacked(sdist, folder / "sdist")
    work = folder / "work"
    work.mkdir()
    readme = root / "README.md"
    notebooks = sorted((root / "tutorials").glob("*.ipynb"))
    assert notebooks, "the sdist has no tutorials"
    return {
        "origin": lambda: check_origin(root.name.rpartition("-")[2]),
        "description": check_description,
        "README, commands": lambda: check_commands(readme, work),
        "README, first block": lambda: check_first_block(readme, work),
        **{f"tutorials/{path.name}": lambda path=path: check_notebook(path) for path in notebooks},
        "blocks of all pages": lambda: check_pages(root),
    }


def main() -> int:
    sdist = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ.pop("PYTHONPATH", None)
        os.environ.setdefault("MPLBACKEND", "Agg")
        os.environ.setdefault("SCGRN_TL_CACHE", str(folder / "cache"))
        results: dict[str, tuple[bool, float]] = {}
        for what, check in steps(sdist, folder).items():
            print(f"== {what}", flush=True)
            start = time.monotonic()
            try:
                check()
            except Exception:  # noqa: BLE001  the others are checked all the same
                traceback.print_exc()
                results[what] = (False, time.monotonic() - start)
            else:
                results[what] = (True, time.monotonic() - start)
    for what, (passed, seconds) in results.items():
        print(f"{'ok' if passed else 'FAILED':6} {seconds:7.1f} s  {what}")
    return 0 if all(passed for passed, _ in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
