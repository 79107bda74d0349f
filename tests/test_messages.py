"""Every error and warning says what mends it: the call, the argument and what it takes, or a page of the documentation.

The messages are read in the source, so that one that is never raised in a test counts as well.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

import scgrn_tl as sg
from scgrn_tl.core import errors
from scgrn_tl.core.documentation import DOCUMENTATION, page_address
from scgrn_tl.core.user_warning import warn_user

PACKAGE = Path(sg.__file__).parent
DOCS = Path(__file__).parents[1] / "docs"
FAMILY = {name: getattr(errors, name) for name in errors.__all__}

PAGE_SUFFICES = {"PriorError", "SplitError", "WeightsError", "WeightsUnavailableError", "ProcessError", "DownloadError"}
"""Errors whose page is the way out: forms of priors, kinds of splits, where files come from."""

CALL = r"`[^`]+`"
ARGUMENT = r"\b[a-z_]+="
ADVICE = (
    r"(?:^|[.;:,(] |\b(?:or|and|then|first|must|to) )(?i:run|give|pass|name|use|set|choose|call|make|take|drop|leave|fit|"
    r"keep|rename|delete|download|upgrade|update|install|load|save|write|read|put|lower|raise|ask|change|add|bring|"
    r"merge|bin|mend|hand|resolve|divide|label)\b"
)
ALLOWED = (
    r"\b(?:is|are|lies?|goes|has|have|takes?|needs?|holds?|hold|ends?|begins?|expected|counts)\b.*"
    r"(?:\bnot (?:a |an |the |of |in |on )?[{'\"]|\bnot for\b|\bgot\b|; \{|, not )"
    r"|\bexpected (?:\{|a |one|int|0|tensor|two|dense|shape|\()|\bhave to satisfy\b|\bhas to satisfy\b"
    r"|\b(?:There are|there are|one of|Columns|Keys of [.\w]+|It is|are called)\b:? ?[^.]*\{"
)
BORNE = r"\{[^{}]*(?:remed|advice|mend|hint|why|way|mismatch|otherwise|case_remedy|did_you_mean|absent|_embed_with)[^{}]*\}"
HELPS = re.compile("|".join([CALL, ARGUMENT, ADVICE, ALLOWED, BORNE]))


@dataclass(frozen=True)
class Message:
    """What one ``raise`` or warning says, with ``{…}`` where values stand."""

    place: str
    kind: str
    text: str
    page: str | None


def text_of(node: ast.expr) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else f"{{{ast.unparse(part.value)}}}"
            for part in node.values
            if isinstance(part, (ast.Constant, ast.FormattedValue))
        )
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.BinOp):
        return text_of(node.left) + text_of(node.right)
    if isinstance(node, ast.IfExp):  # each must do, the shorter is looked at
        return min(text_of(node.body), text_of(node.orelse), key=len)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):  # msg.rstrip()
        return text_of(node.func.value)
    return f"{{{ast.unparse(node)}}}"


def messages_of(path: Path) -> list[Message]:
    """The messages of a file; a name is what it was last set to, in the lines above."""
    found = []
    place = str(path.relative_to(PACKAGE))
    for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(function, ast.FunctionDef):
            continue
        set_to: list[tuple[int, str, ast.expr]] = []
        calls: list[tuple[str, ast.Call]] = []
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                set_to.append((node.lineno, node.targets[0].id, node.value))
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
                calls.append((ast.unparse(node.exc.func), node.exc))
            elif isinstance(node, ast.Call) and ast.unparse(node.func) == "warn_user":
                calls.append(("warn_user", node))
        for kind, call in calls:
            if kind in FAMILY or kind == "warn_user":
                first = call.args[0]
                inner = first.func.value if isinstance(first, ast.Call) and isinstance(first.func, ast.Attribute) else first
                before = [
                    (line, value)
                    for line, name, value in set_to
                    if isinstance(inner, ast.Name) and name == inner.id and line < call.lineno
                ]
                text = text_of(max(before, key=lambda pair: pair[0])[1] if before else first)
                page = next((ast.literal_eval(word.value) for word in call.keywords if word.arg == "page"), None)
                found.append(Message(f"{place}:{call.lineno}", kind, text, page))
    return list(dict.fromkeys(found))


MESSAGES = [message for path in sorted(PACKAGE.rglob("*.py")) for message in messages_of(path)]


def test_messages_are_found() -> None:
    assert len(MESSAGES) > 600
    assert {message.kind for message in MESSAGES} > {"ArgumentError", "PriorError", "MissingKeyError", "warn_user"}


def test_every_message_says_what_mends_it() -> None:
    helpless = [
        f"{message.place} {message.kind}: {message.text}"
        for message in MESSAGES
        if not HELPS.search(message.text) and message.page is None and message.kind not in PAGE_SUFFICES
    ]
    assert helpless == []
