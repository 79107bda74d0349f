"""Code of tutorials runs from top to bottom, with small encoders, few epochs and fewer cells.

The workflow of the documentation executes all of them as they stand.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import scanpy as sc

import scgrn_tl as sg

TUTORIALS = Path(__file__).parents[1] / "tutorials"
SMALL = {"dim": 16, "depth": 1, "heads": 2, "dim_head": 8, "max_epochs": 1, "max_cells": 64, "max_genes": 256}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive"),
    # a file, and scanpy's colour maps, are older than what reads them
    pytest.mark.filterwarnings("ignore:.*was written without encoding metadata"),
    pytest.mark.filterwarnings("ignore:The set_bad function:PendingDeprecationWarning"),
]


def code_of(notebook: Path) -> str:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


@pytest.fixture
def _small(monkeypatch, tmp_path):
    """Encoders and fits of seconds; what else the notebooks call is as they call it."""
    embed, pretrain, fit = sg.tl.scbert_embed, sg.tl.scbert_pretrain, sg.tl.fit_grn

    def small_embed(adata, *, weights, **arguments):
        if weights == "fit":
            weights = pretrain(adata, layer=arguments.get("layer"), **SMALL)
        return embed(adata, weights=weights, **arguments)

    def small_fit(adata, prior, **arguments):
        return fit(adata, prior, **arguments, epochs=10)

    monkeypatch.setattr(sg.tl, "scbert_embed", small_embed)
    monkeypatch.setattr(sg.tl, "fit_grn", small_fit)
    monkeypatch.chdir(tmp_path)
    with sg.settings.override(cache_dir=tmp_path / "cache"):
        yield
    plt.close("all")


def run(name: str, **smaller: str) -> dict:
    """What the code of a notebook leaves, where the right-hand sides of some assignments are others."""
    code = code_of(TUTORIALS / name)
    for variable, value in smaller.items():
        code, n_found = re.subn(rf"^{variable} = .+$", f"{variable} = {value}", code, flags=re.MULTILINE)
        assert n_found == 1, variable
    names: dict[str, object] = {"__name__": "a_notebook"}
    exec(compile(code, name, "exec"), names)
    return names


@pytest.mark.internet
@pytest.mark.usefixtures("_small")
def test_pbmc(capsys):
    names = run("03_pbmc.ipynb")
    assert "then pass `layer='log'`" in capsys.readouterr().out
    scores = names["activity"].to_df()["SPI1"].groupby(names["adata"].obs["bulk_labels"], observed=True).mean()
    assert set(scores.nlargest(2).index) == {"CD14+ Monocyte", "Dendritic"}
    assert sg.get.grn_df(names["back"], min_probability=0.1).equals(names["net"])


@pytest.mark.internet
@pytest.mark.usefixtures("_small")
def test_counts_and_mudata(mirror):
    shutil.copy(mirror / "counts" / "pbmc_10k_protein_v3.h5ad", ".")
    names = run("08_counts_and_mudata.ipynb")
    fitted = names["scores"]["fitted"]
    assert fitted["SPI1"].corr(names["protein"]["CD14"]) > 0.5
    assert len(names["edges"]) == 500


@pytest.mark.usefixtures("_small")
def test_two_conditions(monkeypatch):
    monkeypatch.setattr(sc.pp, "neighbors", lambda _: None)  # compiled for longer than all else takes
    monkeypatch.setattr(sc.tl, "umap", lambda adata: adata.obsm.update(X_umap=adata.obsm["X_pca"][:, :2]))
    with sg.settings.override(n_jobs=1):
        names = run("05_two_conditions.ipynb", n_cells="2000", n_splits="2")
    for test in names["tests"].values():
        found = test[test["found"]]
        assert found["change"].notna().sum() > 15
        assert found["change"].notna().mean() > 0.8
    assert names["auroc"]["strengths in the cells"] > 0.9
    for design in ("like states", "unlike states"):
        assert 0.02 < names["errors"][design, 0.0]["share of p < 0.05"] < 0.09
        assert names["errors"][design, 0.05]["edges found"] == 0
    assert names["errors"]["unlike, no strata", 0.0]["edges found"] > 0


@pytest.mark.usefixtures("_small")
@pytest.mark.filterwarnings("ignore")  # of the cluster's own packages
def test_atlas_on_a_cluster():
    pytest.importorskip("distributed")
    # one worker, no torchrun: processes take longest to start; test_processes.py and test_parallel.py have several
    fewer = {"sizes": "[]", "torchrun": "()", "n_workers": "1", "n_resamples": "2"}
    names = run("06_atlas_on_a_cluster.ipynb", n_cells="4000", **fewer)
    assert 2000 <= names["n_kept"] < 4000
    assert np.array_equal(names["whole"], names["resumed"])
    assert np.array_equal(names["attention"], names["attention_resumed"])
    assert names["difference"] < 1e-5
    assert (names["here"].varp["grn_low"] != names["adata"].varp["grn_low"]).nnz == 0
    assert not names["folder"].exists()
