"""Examples of docstrings run: those that show a result give it; those marked to be skipped run on stand-ins."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import matplotlib.pyplot as plt
import pytest
from page_stand_ins import cells, make_small

import scgrn_tl as sg
from scgrn_tl.core import PriorNetwork
from scgrn_tl.methods import _registry

ELSEWHERE = {
    "oracle": "an Oracle of CellOracle's, which does not install beside this package's requirements",
    "modules_from_adjacencies": "pySCENIC, which fails at import on numpy 2",
    "GeneSignature": "ctxcore, of pySCENIC",
    "pyscenic": "pySCENIC",
    "ablat": "minutes of runs; tests/test_bm_run.py and tests/test_pl_benchmark.py have small ones",
    "hg38.rankings.feather": "a file of gigabytes; tests/test_prior_formats.py reads a small one",
}
"""What only other tools, large files or minutes make run, and why."""


def modules_with_examples() -> list[str]:
    found = pkgutil.walk_packages(sg.__path__, f"{sg.__name__}.")
    # what needs no import is read first: kernels cannot be imported everywhere
    with_source = [
        (module.name, module.module_finder.find_spec(module.name).loader.get_source(module.name)) for module in found
    ]
    return [sg.__name__, *(name for name, source in with_source if ">>>" in source)]


def examples_of(name: str) -> list[doctest.DocTest]:
    module = importlib.import_module(name)
    return [test for test in doctest.DocTestFinder(exclude_empty=True).find(module, name) if test.examples]


@pytest.fixture
def names(tmp_path, monkeypatch, gene_tables):
    """What examples take for granted, in a folder of its own."""
    known = cells()
    prior = known.uns["ground_truth"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_registry, "_REGISTRY", dict(_registry._REGISTRY))
    run = sg.bm.run
    make_small(monkeypatch, known)
    adata, mouse = known.copy(), known.copy()
    mouse.var_names = mouse.var_names.str.capitalize()
    network = PriorNetwork.from_any(prior, adata.var_names)
    split = sg.bm.split_edges(network, rng=0)
    sg.tl.scbert_embed(adata, weights="fit")
    sg.tl.fit_grn(adata, prior, use_rep="scbert", split=split, epochs=30)
    given = {"sg": sg, "adata": adata, "mouse": mouse, "prior": prior, "split": split, "other_adata": known[:60].copy()}
    with sg.settings.override(cache_dir=tmp_path / "cache"):
        splits = {"given": [split, sg.bm.split_edges(network, rng=1)]}
        given["results"] = run({"hHEP500": known}, ["pearson"], splits=splits)
        yield given
    plt.close("all")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*edges are not tested:UserWarning", "ignore:FigureCanvasAgg is non-interactive")
def test_examples(names):
    names["dc"] = pytest.importorskip("decoupler")
    modules = modules_with_examples()
    assert len(modules) >= 30
    for module, test in ((importlib.import_module(name), test) for name in modules for test in examples_of(name)):
        here = {**vars(module), **names, "adata": names["adata"].copy()}
        for example in test.examples:
            skipped = example.options.pop(doctest.SKIP, False)
            if any(word in example.source for word in ELSEWHERE):
                assert skipped
            elif skipped:
                exec(compile(example.source, test.name, "exec"), here)
            else:
                shown = doctest.DocTest([example], here, test.name, test.filename, test.lineno, None)
                runner = doctest.DocTestRunner(verbose=False)
                runner.run(shown, clear_globs=False)
                here = shown.globs
                assert runner.failures == 0, f"{test.name}: {example.source}"
