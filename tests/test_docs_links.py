"""Links, anchors, roles and calls in the documentation lead somewhere, without a network.

Sphinx is told to leave links alone that it does not know, since pages of the repository are included in the
documentation, and without a network it does not look for the names in roles. What it lets through is looked at here.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import json
import re
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import scgrn_tl as sg

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "docs/api/*.md", "tutorials/*.md", "tutorials/*.ipynb")
    for path in ROOT.glob(pattern)
)
BLOCKS = re.compile(r"^(`{3,})([^\n]*)\n(.*?)^\1[ ]*$", re.M | re.S)
CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.S)
LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
ROLE = re.compile(r"\{(?:func|class|meth|attr|mod|exc)\}`[^`<]*?<?~?(scgrn_tl[\w.]*)>?`")


@cache
def text_of(path: Path) -> str:
    """A page as Markdown; of a notebook its Markdown cells."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    cells = json.loads(text)["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


@cache
def prose_of(path: Path) -> str:
    """A page without its blocks of code."""
    return BLOCKS.sub("", text_of(path))


def slug(heading: str) -> str:
    """The anchor that GitHub and MyST give to a heading."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


@cache
def anchors_of(path: Path) -> frozenset[str]:
    """What `#…` may be of a page: its headings of three levels, and labels."""
    prose = prose_of(path)
    headings = [slug(heading) for heading in re.findall(r"^#{1,3} +(.+?)\s*$", prose, re.M)]
    repeated = [f"{name}-{headings[:at].count(name)}" for at, name in enumerate(headings) if name in headings[:at]]
    return frozenset([*headings, *repeated, *re.findall(r"^\(([\w-]+)\)=$", prose, re.M)])


def wrong_with(link: str, page: Path) -> str | None:
    """Why a link of a page leads nowhere."""
    parts = urlsplit(link)
    if parts.scheme:
        fine = parts.scheme in {"http", "https"} and "." in parts.netloc
        return None if fine or parts.scheme == "mailto" else "no address"
    target = page
    if parts.path:
        # pages of `tutorials/` and the repository's own are copied or included below `docs/`
        places = [page.parent / parts.path, page.parent / f"{parts.path}.md", ROOT / parts.path]
        target = next((place.resolve() for place in places if place.is_file()), page / "nowhere")
        if not target.exists():
            return "no such file"
    readable = target.suffix in {".md", ".ipynb"}
    if parts.fragment and readable and parts.fragment not in anchors_of(target):
        return f"no such heading; there are {', '.join(sorted(anchors_of(target)))}"
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    prose = CODE.sub("", prose_of(page))
    links = [*LINK.findall(prose), *re.findall(r"^```\{image\} (\S+)", text_of(page), re.M)]
    wrong = {link: reason for link in links if (reason := wrong_with(link, page))}
    assert not wrong


@pytest.mark.parametrize("name", ["CHANGELOG.md", "CONTRIBUTING.md"])
def test_pages_that_the_documentation_includes_link_by_address(name):
    """The files that stand beside them are not in the documentation."""
    assert [link for link in LINK.findall(CODE.sub("", prose_of(ROOT / name))) if not urlsplit(link).scheme] == []


def test_what_is_wrong_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# A `title`, twice\n\n(label)=\n## Again\n\n## Again\n\n```text\n# no heading\n```\n", encoding="utf-8"
    )
    assert anchors_of(page) == {"a-title-twice", "again", "again-1", "label"}
    fine = ["https://example.org/a#b", "#label", "page.md#again-1", "page", "mailto:a@example.org", "docs/concepts.md"]
    assert [wrong_with(link, page) for link in fine] == [None] * 6
    assert wrong_with("none.md", page) == "no such file"
    assert wrong_with("#no-heading", page).startswith("no such heading")
    assert wrong_with("https://nowhere", page) == "no address"
    assert LINK.findall('[a](b.md#c) and [![d](e.png)](f.md "title")') == ["b.md#c", "e.png", "f.md"]


def resolved(name: str) -> object:
    """What a dotted name stands for: a module, or something in one."""
    parts = name.split(".")
    for n_modules in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:n_modules]))
        except ModuleNotFoundError:
            continue
        for part in parts[n_modules:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(name)


def test_roles_name_what_there_is():
    names = {name for page in PAGES for name in ROLE.findall(text_of(page))}
    assert len(names) > 25
    for name in sorted(names):
        assert resolved(name) is not None


def python_of(page: Path) -> list[str]:
    """Python of a page, a program a block or cell."""
    if page.suffix == ".ipynb":
        cells = json.loads(page.read_text(encoding="utf-8"))["cells"]
        return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    kinds = {"python", "{code-block} python"}
    return [code for _, kind, code in BLOCKS.findall(text_of(page)) if kind.strip() in kinds]


def called(call: ast.Call) -> str | None:
    """``sg.tl.fit_grn`` of a call of it; ``None`` for calls of other things."""
    parts, node = [], call.func
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join(["sg", *reversed(parts)]) if isinstance(node, ast.Name) and node.id == "sg" else None


def unknown_arguments(call: ast.Call, name: str) -> list[str]:
    """Keywords that a call of the package gives, and that nothing takes."""
    parameters = inspect.signature(resolved(name.replace("sg", "scgrn_tl", 1))).parameters
    takes = set(parameters)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        takes |= {known for method in sg.methods.names() for known in sg.methods.get(method).parameters}
        takes |= {known for setting in vars(sg.settings) if (known := setting.removeprefix("_"))}
    return [keyword.arg for keyword in call.keywords if keyword.arg and keyword.arg not in takes]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_calls_are_those_of_the_package(page):
    for code in python_of(page):
        calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
        for call in calls:
            if (name := called(call)) is not None:
                assert unknown_arguments(call, name) == [], f"{name} in {page.name}"


def test_a_wrong_call_is_found():
    call = ast.parse("sg.tl.fit_grn(adata, prior, n_model=2, epochs=3)").body[0].value
    assert unknown_arguments(call, called(call)) == ["n_model"]
    assert called(ast.parse("sc.pp.log1p(adata)").body[0].value) is None


def test_broken_links_of_a_built_site_are_found(tmp_path):
    spec = importlib.util.spec_from_file_location("check_site", ROOT / "docs" / "check_site.py")
    check_site = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(check_site)
    (tmp_path / "a.html").write_text(
        '<h1 id="top">A</h1><a href="sub/b%20c.html#place">fine</a><a href="#top">fine</a><a href="https://e.org/x#y">out</a>'
        '<a href="#gone">1</a><a href="none.html">2</a><a href="sub/b%20c.html#gone">3</a><img src="no.png">',
        encoding="utf-8",
    )
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b c.html").write_text('<a href="../a.html"></a><p id="place">', encoding="utf-8")
    n_links, broken = check_site.broken_links(tmp_path)
    assert n_links == 7
    assert broken == [f"a.html: {link}" for link in ("#gone", "none.html", "sub/b%20c.html#gone", "no.png")]
