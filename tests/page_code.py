"""Code of the documentation: the blocks of a page, run as one program, and the commands of its shell blocks."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def blocks_in(text: str, language: str) -> list[str]:
    """What stands in the blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def blocks_of(path: Path, language: str) -> list[str]:
    """What stands in a page's blocks of a language."""
    return blocks_in(path.read_text(encoding="utf-8"), language)


def python_blocks(page: str) -> list[str]:
    """The programs of a page; its name is as seen from ``docs/``."""
    return blocks_of(DOCS / page, "python")


def run_block(code: str, page: str, names: dict[str, object]) -> None:
    """Run a program among the names that it takes as given, and leaves."""
    exec(compile(code, page, "exec"), names)


def run_page(page: str, **given: object) -> dict[str, object]:
    """What the names stand for once all programs of a page have run as one."""
    names = {"__name__": "a_notebook", **given}
    run_block("\n".join(python_blocks(page)), page, names)
    return names


def shell_commands(path: Path) -> list[list[str]]:
    """The words of each command in a page's shell blocks, without comments."""
    scripts = "\n".join(blocks_of(path, "bash")).replace("\\\n", "")
    return [words for line in scripts.splitlines() if (words := shlex.split(line, comments=True))]
