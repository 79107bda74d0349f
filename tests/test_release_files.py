"""What a release is made of: recipe, lists of dependencies, files in the sdist, the page on PyPI, the changelog."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from check_wheel import relative_links

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
    builds = [line for line in RECIPE["requirements"]["host"] if not line.startswith(("python ", "pip"))]
    assert constraints(builds) == constraints(PROJECT["build-system"]["requires"])


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


def long_description() -> str:
    """The README as PyPI shows it: the substitutions of pyproject.toml, as hatch-fancy-pypi-readme makes them."""
    hook = PROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    assert PROJECT["project"]["dynamic"] == ["readme"]
    text = "".join((ROOT / fragment["path"]).read_text(encoding="utf-8") for fragment in hook["fragments"])
    for rule in hook["substitutions"]:
        text = re.sub(rule["pattern"], rule["replacement"], text)
    return text.replace("$HFPR_VERSION", PROJECT["project"]["version"])


def test_the_description_on_pypi_has_no_relative_links():
    """``make wheel-check`` says so of the wheel that is built."""
    assert len(relative_links((ROOT / "README.md").read_text(encoding="utf-8"))) > 10
    assert relative_links(long_description()) == []


def test_links_of_the_description_lead_to_what_the_readme_names():
    """Pages of the site are those of docs/, and files of the tag are in the repository."""
    text = long_description()
    pages = re.findall(r"\]\(https://scgrn-tl\.readthedocs\.io/en/stable/([\w/-]+)\.html", text)
    tag = rf"scgrn-tl/scgrn_tl/(?:blob/)?v{re.escape(PROJECT['project']['version'])}"
    files = re.findall(rf"\]\(https://(?:github|raw\.githubusercontent)\.com/{tag}/([^)#]+)", text)
    assert len(pages) > 10
    assert "docs/_static/network.png" in files
    assert [name for name in pages if not (ROOT / "docs" / f"{name}.md").is_file()] == []
    assert [name for name in files if not (ROOT / name).is_file()] == []


def test_relative_links_are_found():
    text = "[a](b.md#c) [d](https://e.org/f) [g](#h) ![i](j.png) <img src='k.png'> [![l](https://m.org)](n)"
    assert relative_links(text) == ["b.md#c", "j.png", "n", "k.png"]


def test_the_changelog_has_the_version():
    """Its heading with a date below an empty or a growing "Unreleased", and the links of both."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", text, re.M)
    assert headings[0] == ("Unreleased", "")
    assert headings[1][0] == PROJECT["project"]["version"]
    assert all(date for _, date in headings[1:])
    links = dict(re.findall(r"^\[(.+?)\]: (https://\S+)$", text, re.M))
    assert list(links) == [name.lower() for name, _ in headings]
    source = PROJECT["project"]["urls"]["Source"]
    assert links["unreleased"] == f"{source}/compare/v{headings[1][0]}...HEAD"
    assert links[headings[-1][0]] == f"{source}/releases/tag/v{headings[-1][0]}"


def test_every_tutorial_has_a_row():
    rows = re.findall(r"^\| \[(\S+\.ipynb)\]", (ROOT / "tutorials" / "README.md").read_text(encoding="utf-8"), re.M)
    assert sorted(rows) == sorted(path.name for path in (ROOT / "tutorials").glob("*.ipynb"))


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
