"""What a release is made of: the recipe for conda-forge, the lists of dependencies, the files in the sdist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
RECIPE = yaml.safe_load((ROOT / "recipe" / "recipe.yaml").read_text(encoding="utf-8"))

CONDA_NAMES = {
    "dask[array]": "dask-core",  # numpy, which the extra adds, is a requirement of its own
    "matplotlib": "matplotlib-base",  # without the window system
    "torch": "pytorch",
    "torch-geometric": "pytorch_geometric",
}
"""What conda-forge calls differently."""


def constraints(requirements: list[str]) -> dict[str, str]:
    """Names and the versions they allow, of lines such as ``numpy>=2`` and ``numpy >=2``."""
    found = (re.fullmatch(r"([\w\[\].-]+?)\s*((?:[<>=!~].*)?)", line) for line in requirements)
    return {match[1]: match[2].replace(" ", "") for match in found if match}


def test_the_recipe_requires_what_the_package_does():
    required = constraints(PROJECT["project"]["dependencies"])
    assert len(required) == len(PROJECT["project"]["dependencies"])
    in_recipe = constraints(RECIPE["requirements"]["run"][1:])
    assert in_recipe == {CONDA_NAMES.get(name, name): versions for name, versions in required.items()}


def test_the_recipe_says_what_the_package_does():
    project = PROJECT["project"]
    assert project["requires-python"] == f">={RECIPE['context']['python_min']}"
    assert RECIPE["context"]["name"] == project["name"]
    assert RECIPE["about"]["license"] == project["license"]
    assert RECIPE["about"]["homepage"] == project["urls"]["Source"]
    assert RECIPE["about"]["documentation"] == project["urls"]["Documentation"]
    assert (ROOT / RECIPE["about"]["license_file"]).is_file()
    assert RECIPE["build"]["python"]["entry_points"] == [
        f"{name} = {entry}" for name, entry in project["scripts"].items()
    ]
    # the version under way is that of the recipe, or a pre-release of it
    assert re.fullmatch(rf"{re.escape(RECIPE['context']['version'])}(\.dev\d+|rc\d+)?", project["version"])
    assert any(line.startswith("hatchling") for line in RECIPE["requirements"]["host"])


def test_the_entry_for_scverse_says_what_the_package_does():
    page = (ROOT / "docs" / "ecosystem.md").read_text(encoding="utf-8")
    entry = yaml.safe_load(re.search(r"^```yaml\n(.*?)^```", page, re.M | re.S)[1])
    project = PROJECT["project"]
    assert (entry["name"], entry["license"]) == (project["name"], project["license"])
    assert entry["install"] == {"pypi": project["name"]}
    assert (entry["project_home"], entry["documentation_home"]) == (
        project["urls"]["Source"],
        project["urls"]["Documentation"],
    )


@pytest.mark.parametrize(("extra", "group"), [("dev", "dev"), ("docs", "doc"), ("test", "test")])
def test_extras_and_groups_are_the_same_lists(extra, group):
    lines = [line for line in PROJECT["dependency-groups"][group] if isinstance(line, str)]
    assert PROJECT["project"]["optional-dependencies"][extra] == lines


def test_the_sdist_has_what_its_tests_and_pages_read():
    """Pages include files of the repository, and tests read scripts and pages."""
    listed = {line.strip("/") for line in PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]}
    assert all((ROOT / name).exists() for name in listed)
    included = {
        path
        for page in (ROOT / "docs").glob("*.md")
        for path in re.findall(r"\{include\} \.\./(\S+)", page.read_text(encoding="utf-8"))
    }
    assert included == {"CHANGELOG.md", "CONTRIBUTING.md"}
    assert listed >= included | {"README.md", "LICENSE", "benchmarks", "docs", "recipe", "src", "tests", "tutorials"}
