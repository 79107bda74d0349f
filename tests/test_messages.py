"""Every error and warning says what mends it: the call, the argument and what it takes, or a page of the documentation.

The messages are read in the source, so that one that is never raised in a test counts as well.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pickle
import re
import traceback
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
VERBS = (
    "add|ask|bin|bring|call|change|check|choose|compare|convert|delete|divide|download|draw|drop|fit|give|hand|hold|"
    "install|keep|label|leave|load|look|lower|make|merge|name|normalise|order|pass|pool|put|raise|read|rename|resolve|"
    "run|save|set|take|train|update|upgrade|use|write"
)
ADVICE = rf"(?:^|[.;:,(] |\b(?:or|and|then|first|must) )(?i:{VERBS})\b"
ALLOWED = (
    r"\b(?:is|are|lies?|goes|has|have|takes?|needs?|holds?|ends?|counts|should be)\b.*"
    r"(?:\bnot (?:a |an |of )?[{'\"]|\bnot for\b|\bgot\b|; \{|[,;] not )"
    r"|\bexpected\b|\bha(?:ve|s) to satisfy\b|\blies? between \{|, such as \["
    r"|\b(?:[Tt]here are|one of|Columns|Keys of [.\w]+)\b:? ?[^.]*\{"
)
GIVEN_ON = (
    "remed|advice|mend|hint|why|way|mismatch|otherwise|did_you_mean|absent|_embed_with|ACCEPTED|WRITE_AGAIN|_failure"
)
"""Names of what a message takes from elsewhere that says what to do."""
BORNE = rf"\{{[^{{}}]*(?:{GIVEN_ON})[^{{}}]*\}}|: \{{(?:message|part)\}}$|\. \{{reason\}}$"
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
                inner = (
                    first.func.value if isinstance(first, ast.Call) and isinstance(first.func, ast.Attribute) else first
                )
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


def headings(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub and MyST make them."""
    found = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in found}


PAGES = {cls.page for cls in FAMILY.values()} | {message.page for message in MESSAGES}


@pytest.mark.parametrize("page", sorted(PAGES - {None}))
def test_pages_that_messages_name_are_there(page: str) -> None:
    name, _, heading = page.partition("#")
    assert (DOCS / f"{name}.md").is_file()
    assert not heading or heading in headings(DOCS / f"{name}.md")


def calls_in(text: str) -> list[ast.Call]:
    """The calls of the package that stand in backticks in a message."""
    found = []
    for quoted in re.findall(CALL, re.sub(r"\{[^{}]*\}", "_value", text)):
        code = quoted.strip("`").replace(", …", "").replace("(…)", "()").replace("…", "None")
        if code.startswith("sg."):
            tree = ast.parse(code, mode="eval")
            inner = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
            found += inner or [ast.Call(tree.body, [], [])]
    return found


def test_calls_that_messages_name_exist() -> None:
    """Each with the arguments that it is given."""
    n_checked = 0
    for message in MESSAGES:
        for call in calls_in(message.text):
            parts = ast.unparse(call.func).split(".")
            if not re.fullmatch(r"sg\.\w+\.[a-zA-Z]\w+", ast.unparse(call.func)):
                continue  # a method of what another call returned, or a name that is filled in
            function = getattr(importlib.import_module(f"scgrn_tl.{parts[1]}"), parts[2], None)
            assert function is not None, f"{message.place}: {ast.unparse(call)}"
            taken = inspect.signature(function).parameters
            if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values()):
                given = {word.arg for word in call.keywords if word.arg != "_value"}
                assert given <= set(taken), f"{message.place}: {ast.unparse(call)}"
            n_checked += 1
    assert n_checked > 80


@pytest.mark.parametrize("name", sorted(FAMILY))
def test_a_traceback_ends_with_the_page(name: str) -> None:
    error = FAMILY[name]("What is wrong.")
    assert str(error) == "What is wrong."
    shown = "".join(traceback.format_exception_only(error)).splitlines()
    assert shown[1:] == ([f"More: {page_address(error.page)}"] if error.page else [])
    assert isinstance(FAMILY[name].__new__(FAMILY[name], "What is wrong."), FAMILY[name])  # as Dask unpickles
    again = pickle.loads(pickle.dumps(error))
    assert "".join(traceback.format_exception_only(again)).splitlines() == shown


def test_a_page_of_its_own() -> None:
    error = errors.PriorError("What is wrong.", page="faq#what-goes-in")
    assert error.__notes__ == [f"More: {DOCUMENTATION}faq.html#what-goes-in"]
    with pytest.warns(UserWarning, match=re.escape(f"It is so. More: {DOCUMENTATION}trust.html")):
        warn_user("It is so.", page="trust")


@pytest.mark.parametrize(
    "text",
    ["The table is empty.", "The file {path} is not there.", "No gene varies.", "{name} holds NaN: nothing to draw."],
)
def test_what_only_complains_does_not_pass(text: str) -> None:
    assert not HELPS.search(text)
