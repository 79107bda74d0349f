"""What architecture.md and the conventions of the ecosystem ask of the package as a whole."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import scgrn_tl as sg

PACKAGE = Path(sg.__file__).parent
ROOT = Path(__file__).parents[1]
NAMESPACES = ("bm", "core", "datasets", "get", "io", "methods", "models", "pl", "pp", "tl")

# A folder imports only from folders that stand after it here.
HOUSE = ("__main__", "cli", "bm", "tl", "pp", "pl", "io", "get", "methods", "models", "datasets", "core", "_settings")
# What a folder must not know, not even inside a function.
UNKNOWN_TO = {
    "bm": {"torch", "torch_geometric"},
    "datasets": {"torch", "torch_geometric"},
    "methods": {"anndata", "mudata", "scanpy"},
    "core": {"scanpy", "torch_geometric", "scvi"},
}
HEAVY = ("torch", "torch_geometric", "scvi", "lightning", "scanpy", "matplotlib", "performer_pytorch", "sklearn")


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def folder_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def in_python(code: str) -> dict:
    """What ``code`` leaves in ``result``, in a Python that has imported nothing yet."""
    run = subprocess.run(
        [sys.executable, "-c", f"import json, sys, time\n{code}\nprint(json.dumps(result))"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


# --- what importing costs ---------------------------------------------------------------------------------------------


def test_import_brings_nothing_heavy():
    loaded = in_python(f"import scgrn_tl\nresult = [m for m in {HEAVY} if m in sys.modules]")
    assert loaded == []


@pytest.mark.parametrize("namespace", [name for name in NAMESPACES if name != "models"])
def test_a_namespace_brings_no_torch(namespace):
    code = f"import scgrn_tl\ndir(scgrn_tl.{namespace})\nresult = [m for m in {HEAVY} if m in sys.modules]"
    assert in_python(code) == []


def test_looking_at_models_brings_no_torch():
    assert in_python("import scgrn_tl\nscgrn_tl.models\nresult = 'torch' in sys.modules") is False


def test_import_is_fast():
    code = "import anndata\nstart = time.perf_counter()\nimport scgrn_tl\nresult = time.perf_counter() - start"
    assert min(in_python(code) for _ in range(3)) < 1.0  # about 0.02 s on an idle machine


def test_import_leaves_logging_warnings_and_seeds_alone():
    code = """
import logging, random, warnings
import anndata, numpy
state, filters = random.getstate(), list(warnings.filters)
numpy_state = numpy.random.get_state()[1].tolist()
import scgrn_tl
for name in dir(scgrn_tl):
    getattr(scgrn_tl, name)
result = [
    logging.getLogger().handlers == [],
    random.getstate() == state,
    numpy.random.get_state()[1].tolist() == numpy_state,
    [f for f in warnings.filters if f not in filters] == [],
]
"""
    assert in_python(code) == [True, True, True, True]


# --- the house --------------------------------------------------------------------------------------------------------


def package_imports(path: Path) -> set[str]:
    """The other folders of the package that a file imports from, at any depth of its code."""
    here = ("scgrn_tl", *path.relative_to(PACKAGE).parent.parts)
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*here[: len(here) - node.level + 1]] if node.level else [])
            base = ".".join(filter(None, [base, node.module]))
            modules |= {f"{base}.{alias.name}" for alias in node.names}
    folders = {parts[1] for parts in (module.split(".") for module in modules) if parts[0] == "scgrn_tl" and parts[1:]}
    return folders - {folder_of(path), "__version__"}


def third_party_imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("path", [path for path in sources() if folder_of(path) != "__init__"], ids=name_of)
def test_a_folder_imports_only_from_folders_below_it(path):
    below = HOUSE[HOUSE.index(folder_of(path)) + 1 :]
    assert package_imports(path) <= set(below)


@pytest.mark.parametrize("path", sources(), ids=name_of)
def test_a_folder_does_not_know_what_is_not_its_business(path):
    assert not third_party_imports(path) & UNKNOWN_TO.get(folder_of(path), set())


def test_no_circles_inside_a_folder():
    """Modules of one folder import each other in one direction, so that each can be read after those it names."""
    graph: dict[str, set[str]] = {}
    for path in sources():
        here = path.relative_to(PACKAGE).parent
        siblings = {other.stem for other in path.parent.glob("*.py")} - {"__init__"}
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if path.name != "__init__.py" and isinstance(node, ast.ImportFrom) and node.level == 1 and node.module:
                first = node.module.split(".")[0]
                if first in siblings:
                    graph.setdefault(str(here / path.stem), set()).add(str(here / first))

    def reachable(start: str) -> set[str]:
        seen, waiting = set(), list(graph.get(start, ()))
        while waiting:
            if (node := waiting.pop()) not in seen:
                seen.add(node)
                waiting.extend(graph.get(node, ()))
        return seen

    assert [node for node in graph if node in reachable(node)] == []


@pytest.mark.parametrize("path", sources(), ids=name_of)
def test_a_file_has_one_job(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 450
    assert path.stem not in {"utils", "helpers", "common", "misc"}
    calls = {
        node.func.id
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not calls & {"eval", "exec", "breakpoint"}
    if folder_of(path) != "cli":
        assert "print" not in calls


# --- the public functions ---------------------------------------------------------------------------------------------


def public_objects() -> list[tuple[str, object]]:
    found = []
    for namespace in NAMESPACES:
        module = importlib.import_module(f"scgrn_tl.{namespace}")
        found += [(f"{namespace}.{name}", getattr(module, name)) for name in sorted(module.__all__)]
    return found


PUBLIC = public_objects()
FUNCTIONS = [pytest.param(obj, id=name) for name, obj in PUBLIC if inspect.isfunction(obj)]
CLASSES = [pytest.param(obj, id=name) for name, obj in PUBLIC if inspect.isclass(obj)]


def is_ours(function) -> bool:
    """Whether the function stands in a file of the package (torch-geometric writes further ones into our classes)."""
    return Path(function.__code__.co_filename).is_relative_to(PACKAGE)


def public_methods(cls: type) -> list[tuple[str, object]]:
    """Functions written in the class itself, under the names that users call."""
    found = []
    for name, member in vars(cls).items():
        function = getattr(member, "__func__", member)
        if not name.startswith("_") and inspect.isfunction(function) and is_ours(function):
            found.append((name, function))
    return found


def parameters(function) -> list[inspect.Parameter]:
    return [
        parameter
        for parameter in inspect.signature(inspect.unwrap(function)).parameters.values()
        if parameter.name not in {"self", "cls"}
    ]


def assert_calling_conventions(function) -> None:
    positional = [p for p in parameters(function) if p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD}]
    assert len(positional) <= 3, f"positional: {[p.name for p in positional]}"
    for parameter in positional:
        assert not isinstance(parameter.default, bool), f"{parameter.name} is a flag: keyword-only, please"
        assert parameter.annotation not in {"bool", bool}, f"{parameter.name} is a flag: keyword-only, please"


@pytest.mark.parametrize("function", FUNCTIONS)
def test_calling_conventions(function):
    assert_calling_conventions(function)
    if not function.__module__.startswith(("scgrn_tl.core", "scgrn_tl.models")):  # below, one seed has been drawn
        for parameter in parameters(function):
            assert parameter.name not in {"seed", "random_state"}, "randomness comes in by `rng`"


@pytest.mark.parametrize("cls", CLASSES)
def test_calling_conventions_of_methods(cls):
    hooks = {"forward", "message", "aggregate"}  # torch and torch-geometric call these, in their way
    for name, method in public_methods(cls):
        if name not in hooks:
            assert_calling_conventions(method)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_docstring_names_every_parameter(function):
    text = inspect.getdoc(function)
    assert text, "no docstring"
    given = [p.name for p in parameters(function)]
    section = re.search(r"^Parameters\n-+\n(.*?)(?=^\w[\w ]*\n-{3,}$|\Z)", text, flags=re.MULTILINE | re.DOTALL)
    if section is None:
        # one line says all that there is to say about a short function
        missing = [name for name in given if not re.search(rf"`+{name}`+|\b{name}\b", text)]
        assert not missing, f"neither a Parameters section nor a mention of {missing}"
        return
    headings = re.findall(r"^(\*{0,2}\w[\w, *]*?)(?: ?:.*)?$", section.group(1), flags=re.MULTILINE)
    named = {name.strip(" *") for heading in headings for name in heading.split(",")}
    missing = [name for name in given if name not in named]
    assert not missing, f"the Parameters section leaves out {missing}"


@pytest.mark.parametrize("cls", CLASSES)
def test_classes_and_their_methods_are_documented(cls):
    assert inspect.getdoc(cls)
    undocumented = [name for name, method in public_methods(cls) if not inspect.getdoc(getattr(cls, name))]
    assert undocumented == []


@pytest.mark.parametrize(
    "verb",
    [param for param in FUNCTIONS if param.id.startswith("tl.") or param.id in {"pp.resolve_genes", "pp.select_genes"}],
)
def test_verbs_say_where_they_write_and_can_leave_the_anndata_alone(verb):
    given = inspect.signature(verb).parameters
    assert next(iter(given)) == "adata"
    assert given["key_added"].kind is inspect.Parameter.KEYWORD_ONLY
    if "AnnData" in str(inspect.signature(verb).return_annotation):  # others return a path or a table
        assert given["copy"].kind is inspect.Parameter.KEYWORD_ONLY
        assert given["copy"].default is False


# --- documentation and packaging --------------------------------------------------------------------------------------


def test_every_public_name_is_in_the_api_pages():
    pages = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs" / "api").glob("*.md")))
    listed = {line.strip() for line in pages.splitlines()}
    missing = [name for name, obj in PUBLIC if (callable(obj)) and name not in listed]
    assert missing == []


def test_the_api_pages_list_nothing_that_is_not_there():
    public = {name for name, _ in PUBLIC}
    for namespace in NAMESPACES:
        page = (ROOT / "docs" / "api" / f"{namespace}.md").read_text(encoding="utf-8")
        listed = re.findall(rf"^\s*({namespace}\.\w+)\s*$", page, flags=re.MULTILINE)
        assert [name for name in listed if name not in public] == []
        assert len(listed) == len(set(listed))


def test_extras_and_dependency_groups_are_the_same():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras, groups = project["project"]["optional-dependencies"], project["dependency-groups"]
    for extra, group in {"test": "test", "docs": "doc", "dev": "dev"}.items():
        assert extras[extra] == [requirement for requirement in groups[group] if isinstance(requirement, str)]


def test_version_and_typing_marker():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert sg.__version__ == project["version"]
    assert (PACKAGE / "py.typed").exists()
    for requirement in project["dependencies"]:
        assert "<" not in requirement, f"{requirement}: no upper caps"
