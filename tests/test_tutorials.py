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
SLOW = {"genelink", "gnnlink", "sctransnet_paper"}

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
    embed, pretrain, fit, bench = sg.tl.scbert_embed, sg.tl.scbert_pretrain, sg.tl.fit_grn, sg.bm.run

    def small_embed(adata, *, weights, **arguments):
        if weights == "fit":
            weights = pretrain(adata, layer=arguments.get("layer"), **SMALL)
        return embed(adata, weights=weights, **arguments)

    def small_fit(adata, prior, **arguments):
        return fit(adata, prior, **arguments, epochs=10)

    def small_pretrain(adata, **arguments):
        return pretrain(adata, **(arguments | SMALL))

    def small_bench(datasets, methods, *, splits, **arguments):
        if isinstance(methods, list):
            methods = {name: {"method": name} for name in methods if name not in SLOW}
        short = {
            label: settings | ({"epochs": 2} if "epochs" in sg.methods.get(settings["method"]).parameters else {})
            for label, settings in methods.items()
        }
        if isinstance(splits, list):
            cells = sg.datasets.beeline(datasets.removesuffix("500"))
            prior = sg.core.PriorNetwork.from_any(cells.uns["ground_truth"], cells.var_names)
            splits = {kind: sg.bm.split_edges(prior, kind=kind, n_folds=3) for kind in splits}
        elif isinstance(splits, dict):
            splits = {kind: several[0] for kind, several in splits.items()}
        return bench(datasets, short, splits=splits, **arguments | {"seeds": 1})

    monkeypatch.setattr(sg.tl, "scbert_embed", small_embed)
    monkeypatch.setattr(sg.tl, "scbert_pretrain", small_pretrain)
    monkeypatch.setattr(sg.bm, "run", small_bench)
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
def test_paper_experiment():
    names = run("02_paper_experiment.ipynb")
    both = names["both"]
    assert (both["error"] == "").all()
    of = both.groupby(["split", "method"])[["auroc", "tf_auroc"]].mean()
    # what the text says of the floor holds whatever the fits do
    assert of.loc[("given", "hub_floor"), "auroc"] > 0.88
    assert abs(of.loc[("given", "pearson"), "auroc"] - 0.5) < 0.05
    assert of.loc[("given", "tf_rate"), "tf_auroc"] == 0.5
    assert of.loc[("target", "hub_floor"), "tf_auroc"] == of.loc[("both", "hub_floor"), "auroc"] == 0.5
    assert names["tfs"].loc["EZH2", "floor"] < 0.5
    # and what expression is good for
    new = of.loc["target", "tf_auroc"]
    assert new["sctransnet"] > 0.6
    assert new["permuted_expression"] < 0.55


@pytest.mark.internet
@pytest.mark.usefixtures("_small")
def test_mouse_encoder():
    names = run("04_mouse_encoder.ipynb")
    alike = names["alike_table"]
    assert (alike.loc[["change, LT_HSC to Prog", "mean expression"], "own encoder"] > 0.3).all()
    assert (alike["random genes"].abs() < 0.15).all()
    assert alike.loc["which regulators", "own encoder"] < alike.loc["number of known regulators", "own encoder"]
    table = names["table"]
    assert (table["error"] == "").all()
    uses = table.groupby("method")["params"].first().str.contains('"use_rep": "scbert"')
    assert uses.to_dict() == {"default": False, "hub_floor": False, "own encoder": True, "random encoder": False}
    assert names["gene_map"].obsm["X_umap"].shape == (names["adata"].n_vars, 2)


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
