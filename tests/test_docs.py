"""Code of the documentation runs as it stands."""

from __future__ import annotations

import re

import anndata as ad
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from page_code import DOCS, blocks_in, blocks_of, run_block, run_page
from reliability_world import HUMAN, ensembl
from scipy import sparse

import scgrn_tl as sg
from scgrn_tl.methods import _registry


@pytest.fixture
def _registry_as_before(monkeypatch):
    monkeypatch.setattr(_registry, "_REGISTRY", dict(_registry._REGISTRY))


@pytest.mark.usefixtures("_registry_as_before")
def test_adding_a_method_takes_what_the_page_says():
    names = run_page("add-a-method.md")
    assert {"spearman", "nearest_target"} <= set(sg.methods.names())
    table = names["table"]
    assert (table["error"] == "").all()
    assert table["method"].unique().tolist() == ["spearman", "pearson", "hub_floor"]
    assert names["adata"].uns["grn"]["params"]["method"] == "nearest_target"


def ten_minutes() -> str:
    """The code of the start on a file of one's own."""
    page = (DOCS / "getting-started.md").read_text(encoding="utf-8").partition("\n## Without a file\n")[0]
    return "\n".join(blocks_in(page, "python"))


def newcomers_file(organism: str) -> tuple[ad.AnnData, pd.DataFrame]:
    """Counts under human Ensembl ids, or scaled values with logarithms in ``raw`` under mouse symbols; known edges."""
    adata = sg.datasets.simulated(200, len(HUMAN), 8, mean_targets=8, rng=1)
    symbols = HUMAN if organism == "human" else [name.capitalize() for name in HUMAN]
    edges = adata.uns["ground_truth"].replace(dict(zip(adata.var_names, symbols, strict=True)))
    if organism == "human":
        adata = ad.AnnData(sparse.csr_matrix(adata.layers["counts"]), obs=adata.obs[[]])
        adata.var_names = ensembl()
    else:
        adata = ad.AnnData(np.log(2) * adata.X.toarray(), obs=adata.obs[[]])  # the simulator's are of base 2
        adata.var_names = symbols
        adata.uns["log1p"] = {"base": None}
        adata.raw = adata.copy()
        adata.X = (adata.X - adata.X.mean(axis=0)) / adata.X.std(axis=0).clip(1e-6)
    return adata, edges


@pytest.mark.parametrize("organism", ["human", "mouse"])
@pytest.mark.usefixtures("gene_tables")
def test_the_start_on_a_file_of_ones_own(organism, tmp_path, monkeypatch):
    """A newcomer changes the organism at most; known edges and names of TFs are here in place of what is downloaded."""
    adata, edges = newcomers_file(organism)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    monkeypatch.chdir(tmp_path)
    asked = []
    monkeypatch.setattr(sg.datasets, "collectri", lambda organism: asked.append(organism) or edges)
    monkeypatch.setattr(sg.datasets, "tf_names", lambda organism: asked.append(organism) or list(edges["source"]))
    code = ten_minutes().replace('organism = "human"', f'organism = "{organism}"')
    names: dict[str, object] = {"__name__": "a_notebook"}
    with sg.settings.override(progress=False), mpl.rc_context({"backend": "Agg"}):
        run_block(code, "getting-started.md", names)
        plt.close("all")
    assert asked == [organism] * 2
    network = ad.read_h5ad(tmp_path / "network.h5ad")
    assert network.uns["grn"]["prior_report"]["unknown_target"] == 0
    assert network.shape == adata.shape
    assert set(network.var["gene_names_status"]) <= {"renamed", "unchanged"}
    written = pd.read_csv(tmp_path / "network.csv")
    assert len(written) == len(names["net"]) > 10
    assert written["source"].isin(edges["source"]).all()
    assert (tmp_path / "network.png").stat().st_size > 1000


@pytest.mark.slow
def test_other_encoders():
    names = run_page("other-encoders.md")
    adata, table = names["adata"], names["table"]
    assert list(adata.uns["both"]["params"]["use_rep"]) == ["X_geneformer", "X_by_id"]
    assert list(adata.uns["both"]["params"]["n_genes_without_embedding"]) == [8, 0]
    assert np.isfinite(adata.varm["X_by_id"]).all()
    assert np.isfinite(adata.varm["X_gene2vec"]).all(axis=1).sum() == 2
    assert (table["error"] == "").all()


@pytest.mark.slow
def test_explaining_an_edge():
    names = run_page("explain.md")
    explanation = names["explanation"]
    assert explanation["absent"] == {}
    assert explanation["genes"]["effective_cells"].between(385, 400).all()  # as the page says of these data
    own = names["effects"].set_index(["source", "target"]).loc[(names["source"], names["target"])]
    assert np.isfinite(own["logit_change"])
    assert own["target_attention"] > 0  # its edge was trained on
    assert len(names["axes"]) == 3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:In . of 10 resamples:UserWarning")
def test_trusting_an_edge():
    names = run_page("trust.md")
    assert (names["table"]["low"] < names["table"]["high"]).all()
    assert not names["candidates"]["in_prior"].any()
    assert len(names["candidates"]) >= 5


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*edges are not tested:UserWarning")
def test_groups():
    adata = run_page("groups.md")["adata"]
    assert adata.uns["grn"]["group_fits"]["use_rep"].tolist() == ["scbert_state1", "scbert_state2", "scbert_state3"]
    assert adata.uns["differential_grn"]["params"]["reference"] == "condition1"
    assert adata.uns["differential_grn"]["table"]["pvalue"].notna().sum() > 100


@pytest.mark.slow
def test_own_encoders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with sg.settings.override(cache_dir=tmp_path / "cache", progress=False):
        names = run_page("own-encoders.md")
    assert names["adata"].uns["scbert"]["weights"]["path"] == "my_encoder/encoder"
    assert names["model"].is_trained
    assert set(names["by_state"]) == {"state1", "state2", "state3"}


@pytest.mark.slow
def test_joint_training(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    adata = run_page("joint-training.md")["adata"]
    np.testing.assert_allclose(adata.varm["tuned"], adata.varm["grn_scbert"], atol=1e-5)


@pytest.mark.slow
def test_batches():
    names = run_page("batches.md")
    adata = names["adata"]
    assert adata.uns["scbert"]["params"]["batch_key"] == "batch"
    assert adata.uns["batch_agreement"]["embeddings"]["cells"].tolist() == ["all", "half", "half", "half"]
    assert list(adata.uns["halves"]["groups"]) == ["batch1_0", "batch1_1", "batch2_0", "batch2_1"]


@pytest.mark.slow
def test_priors():
    names = run_page("priors.md")
    adata = names["adata"]
    assert adata.uns["grn"]["prior_sources"]["source"].tolist() == ["chip", "motifs"]
    assert names["overlap"].sum() == names["network"].n_edges
    assert set(names["overlap"].index) == {"prior_1", "prior_2", "prior_1;prior_2"}
    assert names["edges"].groupby("source").size().to_dict() == {"GATA1": 40, "TAL1": 20}


def test_priors_of_real_genes(mirror):
    """The table of the page is what its block gives."""
    page = (DOCS / "priors.md").read_text(encoding="utf-8")
    names: dict[str, object] = {"sg": sg}
    run_block("".join(blocks_of(DOCS / "priors.md", "{code-block} python")), "priors.md", names)
    network = names["both"]
    report = network.sources.report.set_index("source")
    regulators = [np.unique(network.edge_index[0, held]).size for held in network.sources.holds.T]
    for number, (row, name) in enumerate([("CollecTRI", "collectri"), ("TRRUST", "trrust")]):
        given, kept, shared, dropped = report.loc[name, ["edges_given", "edges", "shared", "conflicting_signs"]]
        assert f"| {row} | {given:,} | {kept:,} | {regulators[number]:,} | {shared} | {dropped} |" in page
    given, dropped = (network.report[name] for name in ("edges_given", "conflicting_between_sources"))
    assert f"| both | {given:,} | {network.n_edges:,} | {len(network.regulators)} | | {dropped} between them |" in page


@pytest.mark.slow
def test_figures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with mpl.rc_context({"backend": "Agg"}):
        names = run_page("figures.md")
        plt.close("all")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["networks.pdf", "networks.svg"]
    assert ">TF02</text>" in (tmp_path / "networks.svg").read_text(encoding="utf-8")
    edges = [str(patch.get_gid()).partition(":") for patch in names["largest"].patches]
    assert sum(kind in {"found", "new"} for kind, _, _ in edges) == 500


@pytest.mark.slow
def test_export(tmp_path, monkeypatch):
    pytest.importorskip("decoupler")
    monkeypatch.chdir(tmp_path)
    names = run_page("export.md")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adjacencies.tsv", "edges.csv", "rankedEdges.csv"]
    assert len(names["activities"]) == names["adata"].n_obs
    assert set(names["adjacencies"].columns) == {"TF", "target", "importance"}
    n_targets = sum(map(len, names["regulons"].values()))
    assert n_targets == names["graph"].number_of_edges() == len(sg.get.grn_df(names["adata"]))
    assert len(names["base_grn"]) == sg.get.grn_df(names["adata"])["target"].nunique()


@pytest.mark.usefixtures("gene_tables")
def test_gene_names():
    names = run_page("gene-names.md")
    page = (DOCS / "gene-names.md").read_text(encoding="utf-8")
    by_row = dict(
        re.findall(r"^\| `([^`]+)` \| `?([\w-]+)`? \| .*(?:rule|symbol|excel|dots|alias|ambiguous|unknown)", page, re.M)
    )
    table = sg.pp.resolve_names(list(by_row))
    becomes = table["resolved"].where(~table["status"].isin(["ambiguous", "unknown"]), "stays")
    assert dict(zip(by_row, becomes, strict=True)) == by_row
    assert len(by_row) == 8
    assert names["adata"].uns["selected"]["params"]["test"] == "spline"


@pytest.mark.slow
@pytest.mark.usefixtures("gene_tables")
@pytest.mark.filterwarnings("ignore:.*edges are not tested:UserWarning")
def test_why(capsys):
    with sg.settings.override(progress=False):
        names = run_page("why.md")
    assert "The prior's names look like" in capsys.readouterr().out
    assert names["n_changed"] == 0
    assert names["names"]["resolved"].tolist() == ["GATA1", "CCN2", "SEPTIN1", "1-Mar"]
    adata = names["adata"]
    assert {"grnboost2", "grn", "elsewhere", "more", "pearson"} <= set(adata.varp)
    assert adata.var["more_is_tf"].sum() == names["prior"]["source"].nunique() + 2
    assert adata.uns["more"]["prior_sources"]["shared"].tolist() == [20, 20]
    assert (names["table"]["error"] == "").all()
    assert adata.uns["differential_grn"]["table"]["pvalue"].notna().any()
    assert (names["new"]["low"] <= names["new"]["high"]).all()
    assert sum(map(len, names["regulons"].values())) == len(sg.get.grn_df(adata, min_probability=0.3)) > 0
    assert names["other"].uns["grn"]["transfer"]["n_genes_seen"] == adata.n_vars


def test_the_table_of_methods_has_a_row_for_each():
    rows = [row for row in (DOCS / "methods.md").read_text(encoding="utf-8").splitlines() if row.startswith("|")]
    listed = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert listed == set(sg.methods.names())


@pytest.mark.slow
def test_transfer(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = run_page("transfer.md")
    found = names["second"].uns["grn"]["transfer"]
    assert found["n_regulators_seen"] == 5  # of the 20, as the page says
    assert names["second"].var["grn_seen"].all()
    assert (tmp_path / "blood" / "README.md").read_text(encoding="utf-8") == names["model"].card()
