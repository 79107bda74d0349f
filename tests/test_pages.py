"""Every block of code of every page runs: here those that need stand-ins, in ``test_docs.py`` the others.

Commands of shell blocks are read: the parser takes them, and the scripts, flags and targets that they name are there.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from page_code import DOCS, ROOT, blocks_of, python_blocks, run_block, run_page, shell_commands
from page_stand_ins import cells, make_small

import scgrn_tl as sg
from scgrn_tl.cli._parser import make_parser

TESTS = Path(__file__).parent
PAGES = [*ROOT.glob("*.md"), *DOCS.glob("*.md"), *DOCS.glob("api/*.md"), ROOT / "tutorials" / "README.md"]
TFS = ["GATA1", "TAL1", "SPI1"]


def as_seen_from_docs(page: Path) -> str:
    return page.relative_to(DOCS).as_posix() if DOCS in page.parents else f"../{page.relative_to(ROOT).as_posix()}"


def pages_that_tests_run() -> set[str]:
    """Pages that a test hands to what runs them."""
    calls = (
        node
        for path in TESTS.glob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    )
    named = (call.args[0] for call in calls if call.func.id in {"run_page", "python_blocks"} and call.args)
    return {argument.value for argument in named if isinstance(argument, ast.Constant)}


def test_every_page_with_code_is_run():
    with_code = {as_seen_from_docs(page) for page in PAGES if blocks_of(page, "python")}
    assert len(with_code) >= 20
    assert with_code - pages_that_tests_run() == set()


def test_no_code_is_overlooked():
    """Blocks that are indented, or called otherwise than ``python``, would not be found."""
    fence = re.compile(
        r"^[ \t>]*(?:`{3,}|~{3,}|:{3,})[ \t]*(?:\{[\w-]+\}[ \t]*)?(?:python|py|ipython|pycon)\b", re.M | re.I
    )
    for page in PAGES:
        # those of real data, which are run where the data are, are marked as Sphinx has it
        found = blocks_of(page, "python") + (blocks_of(page, "{code-block} python") if page.name == "priors.md" else [])
        assert len(fence.findall(page.read_text(encoding="utf-8"))) == len(found), page.name


def test_what_is_read_of_a_page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "```python\na = 1\n```\n\n```bash\nmake demo  # all\nx \\\n  'y z'\n```\n\n```python\nb = 2\n```\n",
        encoding="utf-8",
    )
    assert blocks_of(page, "python") == ["a = 1\n", "b = 2\n"]
    assert shell_commands(page) == [["make", "demo"], ["x", "y z"]]


def wrong_with(words: list[str]) -> str | None:
    """Why a command of a page cannot be as it stands."""
    program, *arguments = words
    if "-m" in words and program in {"torchrun", "srun"}:
        program, *arguments = words[words.index("-m") + 1 :]
    if program in {"scgrn-tl", "scgrn_tl"}:
        try:
            make_parser().parse_args(arguments)
        except SystemExit as end:
            return f"not accepted: {' '.join(words)}" if end.code else None
    elif program == "python":
        script = ROOT / arguments[0]
        text = script.read_text(encoding="utf-8") if script.is_file() else ""
        missing = [word for word in arguments if word.startswith("--") and f'"{word}"' not in text]
        return f"{script.name} has no {', '.join(missing)}" if missing or not text else None
    elif program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
        return None if set(arguments) <= set(targets) else "no such target"
    elif program == "pytest":
        return None if all((ROOT / word).is_file() for word in arguments if word.endswith(".py")) else "no such test"
    elif program == "pip":
        packages = {word for word in arguments[1:] if word.isidentifier()}
        return None if packages and packages <= {"torch", "decoupler", sg.__name__} else "not ours to install"
    elif program not in {"cd", "git", "export"} and not re.match(r"\w+=", program):
        return f"what is {program}?"
    return None


@pytest.mark.parametrize("page", [page for page in PAGES if shell_commands(page)], ids=as_seen_from_docs)
def test_commands_are_as_they_stand(page, capsys):
    assert [reason for words in shell_commands(page) if (reason := wrong_with(words))] == []


def test_a_wrong_command_is_found(capsys):
    fine = [
        "scgrn-tl methods",
        "scgrn-tl --help",
        "make demo",
        "python benchmarks/trust.py --out trust",
        "x=1",
        "cd here",
    ]
    assert [wrong_with(command.split()) for command in fine] == [None] * len(fine)
    wrong = [
        "scgrn-tl infere",
        "torchrun -m scgrn_tl embed",
        "make all",
        "python benchmarks/trust.py --in x",
        "python a.py",
    ]
    wrong += ["pytest tests/none.py", "pip install numpi", "scgrn methods"]
    assert all(wrong_with(command.split()) for command in wrong)


@pytest.fixture(scope="module")
def known():
    return cells()


@pytest.fixture
def adata(known):
    return known.copy()


@pytest.fixture
def prior(known):
    return known.uns["ground_truth"].sample(frac=0.7, random_state=0)


@pytest.fixture
def _small(monkeypatch, tmp_path, known):
    """In a folder of its own, with verbs that take seconds."""
    monkeypatch.chdir(tmp_path)
    make_small(monkeypatch, known)
    with sg.settings.override(cache_dir=tmp_path / "cache"):
        yield
    plt.close("all")


@pytest.mark.slow
@pytest.mark.usefixtures("_small", "gene_tables")
@pytest.mark.filterwarnings("ignore:.*edges are not tested:UserWarning")
def test_readme(adata, prior, tmp_path):
    first, *others = python_blocks("../README.md")
    names: dict[str, object] = {}
    run_block(first, "README.md", names)
    assert "grn" in ad.read_h5ad("network.h5ad").varp
    assert names["adata"].uns["grn"]["params"]["use_rep"] == "scbert"

    adata.varm["X_geneformer"] = np.random.default_rng(0).normal(size=(adata.n_vars, 8))
    prior.to_csv("chip.csv")
    names |= {"adata": adata, "prior": prior, "other": adata[:60].copy()}
    for block in others:
        run_block(block, "README.md", names)
    assert set(adata.uns["edge_explanation"]["edges"]["source"]) == {"GATA1"}
    assert names["other"].uns["grn"]["transfer"]["n_genes_seen"] == adata.n_vars
    assert {"grnboost2", "genelink"} <= set(adata.varp)
    assert (names["table"]["error"] == "").all()
    assert (tmp_path / "adjacencies.tsv").stat().st_size > 0
    assert "<table" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("_small")
def test_front_pages():
    assert run_page("index.md")["adata"].uns["grn"]["params"]["method"] == "sctransnet"
    assert run_page("api/index.md")["sg"] is sg


@pytest.mark.slow
@pytest.mark.usefixtures("_small", "gene_tables")
def test_getting_started(known, tmp_path):
    known.write_h5ad("cells.h5ad")
    names = run_page("getting-started.md")
    assert len(names["net"]) > 0
    assert (tmp_path / "my_network" / "README.md").is_file()
    assert {"grn", "with_scbert", "genelink", "grnboost2"} <= set(names["adata"].varp)
    assert (names["table"]["error"] == "").all()
    assert (tmp_path / "network.csv").stat().st_size > 0


@pytest.mark.slow
@pytest.mark.usefixtures("_small")
def test_parts_of_pages(adata, prior):
    """Pages whose blocks go on from an AnnData and a prior of the reader's."""
    run_page("concepts.md", sg=sg, adata=adata, prior=prior)
    assert {"validation", "test"} <= set(sg.get.grn_metrics(adata)["part"])
    run_page("methods.md", sg=sg, adata=adata, prior=prior, tfs=TFS)
    assert adata.uns["grn"]["params"]["method"] == "genelink"
    run_page("plan-an-atlas.md", sg=sg, adata=adata)
    assert {"sample0", "sample1"} <= set(adata.varm)
    run_page("benchmark.md", sg=sg)
    table = sg.bm.read_results("full")
    assert (table["error"] == "").all()
    assert set(table["method"]) == {"genie3", "cnnc", "deepdrim", "hub_floor"}


@pytest.mark.slow
@pytest.mark.usefixtures("_small")
def test_many_machines(adata, monkeypatch):
    """One process in the place of torchrun's, and a cluster in this one."""
    distributed = pytest.importorskip("distributed")
    adata.write_h5ad("atlas.h5ad")
    monkeypatch.setenv("RANK", "0")
    here = {"n_workers": 1, "threads_per_worker": 1, "processes": False, "dashboard_address": None}
    with distributed.LocalCluster(**here) as cluster:
        monkeypatch.setattr(distributed, "Client", lambda _address, of=distributed.Client: of(cluster))
        names = run_page("many-machines.md", tfs=TFS)
        names["client"].close()
    embedded = names["adata"]
    np.testing.assert_array_equal(np.fromfile("embedding.f32", np.float32), embedded.varm["scbert"].ravel())
    assert embedded.uns["grn"]["params"]["method"] == "grnboost2"


@pytest.mark.slow
@pytest.mark.usefixtures("_small", "gene_tables")
@pytest.mark.filterwarnings("ignore:.*edges are not tested:UserWarning")
def test_faq(adata, prior):
    """Every answer starts from the same cells."""
    dc = pytest.importorskip("decoupler")
    sg.tl.infer_grn(adata, method="grnboost2", key_added="grnboost2")
    sg.tl.fit_grn(adata, adata.uns["ground_truth"], epochs=15)
    prior.to_csv("my_chip.csv")
    adata.write_h5ad("atlas.h5ad")
    sg.io.to_celloracle(adata).to_parquet("base_grn.parquet")
    given = {
        "sg": sg,
        "ad": ad,
        "dc": dc,
        "prior": prior,
        "y_true": np.array([1, 0, 0, 1]),
        "regulators": np.zeros(4, int),
    }
    given["y_score"] = np.array([3.0, 2.0, 1.0, 0.0])
    given["vectors"] = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 8)), index=adata.var_names[:40])
    named = {"sox10": ["sox10", "mitfa", "tfec", *adata.var_names[3:]], "mouse": adata.var_names.str.capitalize()}
    left = []
    for block in python_blocks("faq.md"):
        names = {**given, "adata": adata.copy()}
        for word in named:
            if word in block:
                names["adata"].var_names = named[word]
        run_block(block, "faq.md", names)
        left.append(names)
    assert any("low" in sg.get.grn_df(names["adata"]) for names in left)
    ended = {key for names in left for key in names["adata"].uns}
    assert {"gene_names", "differential_grn", "selected"} <= ended
