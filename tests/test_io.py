"""``sg.io``: exports, and files that are whole or not there."""

from __future__ import annotations

import logging

import anndata as ad
import networkx as nx
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scgrn_tl as sg
from scgrn_tl.core import ArgumentError, MissingDependencyError
from scgrn_tl.io._atomic import replaced_when_complete

GENES = ["SOX2", "KLF4", "NANOG", "LIN28A", "MYC"]


@pytest.fixture
def adata() -> ad.AnnData:
    probability = np.zeros((5, 5), np.float32)
    probability[0, 1:4], probability[1, 0], probability[1, 4] = (0.95, 0.8, 0.3), 0.6, 0.75
    made = ad.AnnData(np.ones((2, 5), np.float32), var=pd.DataFrame(index=GENES))
    made.varp["grn"] = sparse.csr_matrix(probability)
    made.var["grn_is_tf"] = [True, True, False, False, True]
    made.uns["grn"] = {"prior": pd.DataFrame({"source": ["KLF4"], "target": ["MYC"], "sign": [-1]})}
    return made


@pytest.mark.parametrize(("name", "separator"), [("e.csv", ","), ("e.tsv", "\t"), ("e.csv.gz", ","), ("e.TSV", "\t")])
def test_tables_round_trip(adata, tmp_path, name, separator):
    sg.io.write_edges(adata, tmp_path / name)
    read = pd.read_csv(tmp_path / name, sep=separator)
    pd.testing.assert_frame_equal(read, sg.get.grn_df(adata), check_dtype=False, rtol=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_prior_reads_what_was_written(adata, tmp_path):
    sg.io.write_edges(adata, tmp_path / "edges.csv", min_probability=None)
    network = sg.core.PriorNetwork.from_any(tmp_path / "edges.csv", GENES, min_edges=1, min_regulators=1)
    frame = network.to_frame().set_index(["source", "target"])
    assert network.n_edges == 5
    assert frame.loc[("KLF4", "MYC"), "sign"] == -1
    assert frame.loc[("SOX2", "KLF4"), "sign"] == 0


def test_parquet(adata, tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    sg.io.write_edges(adata, tmp_path / "e.parquet", top_n=2)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "e.parquet"), sg.get.grn_df(adata, top_n=2))

    def refuse(*_args, **_kwargs):
        raise ImportError

    monkeypatch.setattr(pd.DataFrame, "to_parquet", refuse)
    with pytest.raises(MissingDependencyError, match="pip install pyarrow"):
        sg.io.write_edges(adata, tmp_path / "f.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["e.parquet"]


def test_graph(adata, tmp_path):
    graph = sg.io.to_networkx(adata)
    assert isinstance(graph, nx.DiGraph)
    assert set(graph.edges) == {("SOX2", "KLF4"), ("SOX2", "NANOG"), ("KLF4", "SOX2"), ("KLF4", "MYC")}
    assert "LIN28A" not in graph
    assert graph.nodes["MYC"] == {"is_tf": True}
    edge = graph.edges["KLF4", "MYC"]
    assert edge["probability"] == 0.75
    assert (edge["sign"], edge["weight"], edge["in_prior"]) == (-1, -0.75, True)
    assert {type(value) for value in edge.values()} <= {float, int, bool}
    assert "specificity" not in edge  # not stored

    sg.io.write_edges(adata, tmp_path / "net.graphml")
    read = nx.read_graphml(tmp_path / "net.graphml")
    assert {(s, t): a for s, t, a in read.edges(data=True)} == {(s, t): a for s, t, a in graph.edges(data=True)}


def test_graph_without_edges(adata):
    assert len(sg.io.to_networkx(adata, min_probability=0.99)) == 0


def test_decoupler(adata):
    net = sg.io.to_decoupler(adata)
    assert list(net.columns) == ["source", "target", "weight"]
    assert not net.duplicated(["source", "target"]).any()
    assert net.set_index(["source", "target"]).loc[("KLF4", "MYC"), "weight"] == np.float32(-0.75)


def test_decoupler_takes_it():
    decoupler = pytest.importorskip("decoupler")
    rng = np.random.default_rng(0)
    genes = [f"g{number}" for number in range(30)]
    adata = ad.AnnData(rng.normal(size=(12, 30)).astype(np.float32), var=pd.DataFrame(index=genes))
    probability = np.zeros((30, 30), np.float32)
    probability[:3] = rng.uniform(0.3, 1, size=(3, 30))
    adata.varp["grn"] = sparse.csr_matrix(probability)
    decoupler.mt.ulm(adata, sg.io.to_decoupler(adata), tmin=3)
    assert adata.obsm["score_ulm"].shape == (12, 3)


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        ("edges", {}, r"'edges' does not tell the format.*\.csv.*format="),
        ("edges.xlsx", {}, "does not tell the format"),
        ("edges.csv", {"format": "xlsx"}, "format is one of 'csv', 'tsv'.*not 'xlsx'"),
        ("net.graphml.gz", {}, r"Drop '\.gz'"),
        ("not/there/edges.csv", {}, "there is no folder"),
    ],
)
def test_bad_paths(adata, tmp_path, name, kwargs, message):
    with pytest.raises(ArgumentError, match=message):
        sg.io.write_edges(adata, tmp_path / name, **kwargs)
    assert list(tmp_path.iterdir()) == []


def test_format_beats_suffix_and_the_log_tells(adata, tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="scgrn_tl"):
        sg.io.write_edges(adata, tmp_path / "edges.dat", format="tsv")
    assert "4 edges" in caplog.text
    assert (tmp_path / "edges.dat").read_text().splitlines()[0].split("\t")[:2] == ["source", "target"]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_the_old_file_survives_a_failure(adata, tmp_path, monkeypatch, error):
    path = tmp_path / "edges.csv"
    path.write_text("old")

    def fail(_frame, beside, **_kwargs):
        beside.write_text("half")
        raise error

    monkeypatch.setattr(pd.DataFrame, "to_csv", fail)
    with pytest.raises(type(error)):
        sg.io.write_edges(adata, path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_replaced_when_complete(tmp_path):
    path = tmp_path / "a.h5ad"
    with replaced_when_complete(path) as beside:
        assert beside.suffix == ".h5ad"
        assert beside.parent == tmp_path
        beside.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    with pytest.raises(ArgumentError, match="it is a folder"), replaced_when_complete(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == [path]
