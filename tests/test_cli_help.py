"""What the command line says of itself: complete, with examples that are accepted and pages that are there."""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from scgrn_tl.cli._help import ABOUT, DOCUMENTATION
from scgrn_tl.cli._parser import make_parser

DOCS = Path(__file__).parents[1] / "docs"


def commands() -> dict[str, argparse.ArgumentParser]:
    (subparsers,) = (action for action in make_parser()._actions if isinstance(action, argparse._SubParsersAction))
    return dict(subparsers.choices)


def command_of(call: str) -> str:
    """The command that an example is of, once the parser has taken it."""
    words = shlex.split(call)
    if words[0] == "torchrun":  # … -m scgrn_tl embed …
        words = words[words.index("-m") + 1 :]
    assert words[0] in {"scgrn-tl", "scgrn_tl"}
    assert callable(make_parser().parse_args(words[1:]).run)
    return words[1]


def test_every_command_is_explained_and_no_other():
    assert set(ABOUT) == set(commands())


@pytest.mark.parametrize("name", list(ABOUT))
def test_examples_are_accepted_and_pages_are_there(name):
    about = ABOUT[name]
    assert about.examples
    assert {command_of(call) for call in about.examples} == {name}
    assert (DOCS / f"{about.page}.md").is_file()
    assert max(map(len, about.description.splitlines())) <= 80


@pytest.mark.parametrize("name", list(ABOUT))
def test_help_names_every_argument(name, capsys):
    parser = commands()[name]
    assert all(action.help for action in parser._actions)
    with pytest.raises(SystemExit):
        make_parser().parse_args([name, "--help"])
    shown = capsys.readouterr().out
    assert ABOUT[name].description in shown
    assert f"more: {DOCUMENTATION}{ABOUT[name].page}.html" in shown
    flags = {flag for action in parser._actions for flag in action.option_strings}
    assert {"--debug", "--verbose"} <= flags
    assert all(re.search(rf"(?<![\w-]){flag}\b", shown) for flag in flags)
    assert shown.index("options:") < shown.index("in general:") < shown.index("examples:")


def test_the_first_help_leads_on(capsys):
    with pytest.raises(SystemExit):
        make_parser().parse_args(["--help"])
    shown = capsys.readouterr().out
    assert DOCUMENTATION in shown
    examples = re.findall(r"^  ((?:scgrn-tl|torchrun) .+?)(?: {3,}.*)?$", shown, re.M)
    assert {command_of(call) for call in examples} == set(ABOUT)


def test_a_reader_that_has_seen_enough_is_no_error():
    """As in ``scgrn-tl methods | head -n 1``."""
    process = subprocess.Popen(
        [sys.executable, "-m", "scgrn_tl", "methods"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 0
