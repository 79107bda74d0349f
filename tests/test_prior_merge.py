"""Several priors at once: the union of their edges, and where each comes from."""

from __future__ import annotations

import anndata as ad
import networkx as nx
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scgrn_tl as sg
from scgrn_tl.core import PriorError, PriorNetwork

GENES = tuple(f"G{index}" for index in range(12))
CHIP = [("G0", f"G{i}", 0, 1.0) for i in range(1, 8)] + [("G2", "G3", 1, 4.0), ("X", "G1", 1, 1.0)]
COLLECTRI = [("G0", "G1", -1, 0.5), ("G0", "G9", 1, 2.0), ("G2", "G3", -1, 5.0), ("G2", "G4", 1, 3.0)]


def frame(edges, name=None) -> pd.DataFrame:
    made = pd.DataFrame(edges, columns=["source", "target", "sign", "weight"])
    if name is not None:
        made.attrs["name"] = name
    return made


def merged(prior, **kwargs) -> PriorNetwork:
    return PriorNetwork.from_any(prior, GENES, **{"min_edges": 0, "min_regulators": 0} | kwargs)


def rows(network) -> dict:
    columns = [name for name in ("sign", "weight", "sources") if name in network.to_frame()]
    table = network.to_frame().set_index(["source", "target"])[columns]
    return dict(zip(table.index, table.itertuples(index=False, name=None), strict=True))


def test_edges_signs_weights_and_sources():
    network = merged({"chip": frame(CHIP), "collectri": frame(COLLECTRI)})
    assert rows(network) == {
        ("G0", "G1"): (-1, 1.0, "chip;collectri"),  # the sign that is known, the larger weight
        **{("G0", f"G{i}"): (0, 1.0, "chip") for i in range(2, 8)},
        ("G0", "G9"): (1, 2.0, "collectri"),
        ("G2", "G3"): (0, 5.0, "chip;collectri"),  # they contradict each other
        ("G2", "G4"): (1, 3.0, "collectri"),
    }
    assert network.sources.names == ("chip", "collectri")
    assert network.sources.holds.sum(axis=0).tolist() == [8, 4]
    assert network.report == {
        "edges_given": 13, "unnamed": 0, "unknown_regulator": 1, "unknown_target": 0, "self_loops": 0, "duplicates": 0,
        "conflicting_signs": 0, "shared_edges": 2, "conflicting_between_sources": 1,
    }  # fmt: skip
    report = network.sources.report.set_index("source")
    assert report.loc["chip", ["edges_given", "unknown_regulator", "edges", "shared"]].tolist() == [9, 1, 8, 2]
    assert report.loc["collectri", ["edges_given", "unknown_regulator", "edges", "shared"]].tolist() == [4, 0, 4, 2]
    assert report.loc["collectri", "sha256"] == merged(frame(COLLECTRI)).sha256()
    assert "out of chip (8), collectri (4)" in network.describe()


def test_the_hash_is_that_of_the_edges_alone():
    network = merged([frame(CHIP), frame(COLLECTRI)])
    plain = network.to_frame().drop(columns="sources")
    assert merged(plain).sha256() == network.sha256()


def test_names_of_the_members_of_a_list(tmp_path):
    frame(CHIP).to_csv(tmp_path / "chip.v2.csv.gz", index=False)
    matrix = np.zeros((12, 12))
    matrix[0, 1] = 1
    adata = ad.AnnData(np.ones((2, 12), np.float32), var=pd.DataFrame(index=list(GENES)), varp={"motifs": matrix})
    graph = nx.DiGraph([("G0", "G1")], name="graph")
    members = ["motifs", tmp_path / "chip.v2.csv.gz", frame(COLLECTRI, "collectri"), frame(CHIP), graph,
               frame(CHIP, "collectri"), {"G0": ["G1"]}, frame(CHIP, "a;b")]  # fmt: skip
    network = merged(members, adata=adata)
    assert network.sources.names == (
        "motifs", "chip.v2", "collectri", "prior_4", "graph", "collectri_6", "prior_7", "a_b"
    )  # fmt: skip
    label = network.sources.labels()[rows_index(network, "G0", "G1")]
    assert label == "motifs;chip.v2;collectri;prior_4;graph;collectri_6;prior_7;a_b"


def rows_index(network, source, target) -> int:
    return network.pairs.tolist().index([GENES.index(source), GENES.index(target)])


def test_no_prior_of_a_list_takes_the_place_of_another():
    """Each is there with its own edge, whatever the names look like that places give."""
    for names in (["x_3", "x", "x"], ["x", "x", "x_2"], ["x", "x", "x", "x_3"], ["prior_2", None], [None, "prior_1"]):
        priors = [frame([("G0", f"G{at}", 0, 1.0)], name) for at, name in enumerate(names, start=1)]
        network = merged(priors)
        assert network.n_edges == len(names)
        assert len(set(network.sources.names)) == len(names)
        assert network.sources.holds.tolist() == np.eye(len(names), dtype=bool).tolist()
        assert {name for name in names if name} <= set(network.sources.names)


def test_sources_follow_the_edges():
    network = merged({"chip": frame(CHIP), "collectri": frame(COLLECTRI)})
    some = network.restrict_to(np.array([(0, 1), (0, 9), (5, 6)]))
    assert some.to_frame()["sources"].tolist() == ["chip;collectri", "collectri", ""]
    over = PriorNetwork.from_any(network, GENES[::-1][2:], min_edges=0, min_regulators=0)
    kept = {edge: row for edge, row in rows(network).items() if not {"G10", "G11"} & set(edge)}
    assert rows(over) == kept
    one = merged([frame(CHIP)])
    assert one.sources is None
    assert "sources" not in one.to_frame()


def test_a_source_without_edges_is_warned_of():
    lost = frame([("A", "B", 1, 1.0)])
    with pytest.warns(UserWarning, match="No edge of the prior 'lost' is among the genes: 0 edges"):
        network = merged({"chip": frame(CHIP), "lost": lost})
    assert network.sources.report.set_index("source").loc["lost", "edges"] == 0
    with (
        pytest.warns(UserWarning, match="prior 'of another case' .*differ only in case, such as 'g0' and 'G0'"),
        pytest.raises(PriorError, match="0 edges of 0 regulators"),
    ):
        PriorNetwork.from_any({"of another case": frame([("g0", "g1", 1, 1.0)]), "empty": frame([])}, GENES)


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ([], "empty list"),
        ({}, "empty dict"),
        ({"a;b": frame(CHIP), "c": frame(CHIP)}, "cannot be called 'a;b'"),
        ({"": frame(CHIP)}, "cannot be called ''"),
        ({1: frame(CHIP), "1": frame(COLLECTRI)}, "have the same name"),
        ([frame(CHIP), "absent.csv"], "'absent.csv' is neither a file"),
        ([frame(CHIP), 7], "type int cannot be read"),
        ([frame(CHIP), [frame(CHIP)]], "type list cannot be read"),
    ],
)
def test_what_is_refused(prior, message):
    with pytest.raises(PriorError, match=message):
        merged(prior)


edge = st.tuples(
    st.sampled_from(GENES[:4]),
    st.sampled_from(GENES[4:]),
    st.sampled_from([-1, 0, 1]),
    st.sampled_from([0.5, 1.0, 3.0]),
)
tables = st.lists(edge, max_size=15, unique_by=lambda row: row[:2]).map(frame)


@given(tables, tables, tables)
@settings(max_examples=30)
@pytest.mark.filterwarnings("ignore:No edge of the prior:UserWarning")
def test_a_merge_is_a_union(a, b, c):
    def edges(network):
        return {
            (s, t): (sign, weight, frozenset(sources.split(";")))
            for s, t, weight, sign, sources in network.to_frame().itertuples(index=False)
        }

    network = merged({"a": a, "b": b, "c": c})
    wanted: dict = {}
    for name, table in (("a", a), ("b", b), ("c", c)):
        for s, t, sign, weight in table.itertuples(index=False):
            signs, weights, sources = wanted.setdefault((s, t), (set(), set(), set()))
            signs.add(sign)
            weights.add(weight)
            sources.add(name)
    expected = {
        e: (0 if {1, -1} <= signs else sum(signs), max(weights), frozenset(sources))
        for e, (signs, weights, sources) in wanted.items()
    }
    assert edges(network) == expected
    assert network.report["shared_edges"] == sum(len(sources) > 1 for *_, sources in expected.values())
    assert network.report["conflicting_between_sources"] == sum({1, -1} <= signs for signs, *_ in wanted.values())
    # in any order, of members or of their rows
    turned = merged({"c": c.iloc[::-1], "a": a.sample(frac=1, random_state=0), "b": b})
    assert edges(turned) == expected
    assert turned.sha256() == network.sha256()
    # a second time changes nothing
    again = merged({"one": network, "two": network})
    assert again.sha256() == network.sha256()
    assert np.array_equal(again.weight, network.weight)


# ---------------------------------------------------------------- through the package


@pytest.fixture(scope="module")
def fitted() -> ad.AnnData:
    adata = sg.datasets.simulated(n_cells=60, n_genes=40, n_tfs=6, rng=0)
    truth = adata.uns["ground_truth"]
    half = len(truth) // 2
    priors = {"chip": truth.iloc[: half + 10], "motifs": truth.iloc[half:].assign(sign=1)}
    sg.tl.fit_grn(adata, priors, method="gene_identity", use_rep=None, key_added="net")
    return adata


def test_fit_grn_keeps_the_sources(fitted, tmp_path):
    path = tmp_path / "fitted.h5ad"
    fitted.write_h5ad(path)
    adata = ad.read_h5ad(path)
    table = adata.uns["net"]["prior_sources"]
    assert table["source"].tolist() == ["chip", "motifs"]
    assert (table["shared"] == 10).all()
    assert adata.uns["net"]["prior_report"]["shared_edges"] == 10
    truth = fitted.uns["ground_truth"]
    half = len(truth) // 2
    wanted = {
        tuple(pair): ";".join(["chip"] * (at < half + 10) + ["motifs"] * (at >= half))
        for at, pair in enumerate(truth[["source", "target"]].to_numpy())
    }
    edges = sg.get.grn_df(adata, key="net", min_probability=None)
    found = dict(zip(zip(edges["source"], edges["target"], strict=True), edges["prior_sources"], strict=True))
    assert {edge: sources for edge, sources in found.items() if sources} == wanted
    assert set(edges["prior_sources"] == "") == {True, False}
    assert (edges["in_prior"] == (edges["prior_sources"] != "")).all()
    sg.io.write_edges(adata, tmp_path / "net.graphml", key="net", top_n=20)
    read = nx.read_graphml(tmp_path / "net.graphml")
    assert {a["prior_sources"] for *_, a in read.edges(data=True)} <= {"", "chip", "motifs", "chip;motifs"}


def test_one_prior_has_no_sources(fitted):
    adata = fitted[:, :].copy()
    sg.tl.fit_grn(adata, [adata.uns["ground_truth"]], method="gene_identity", use_rep=None, key_added="net")
    assert "prior_sources" not in adata.uns["net"]
    assert "prior_sources" not in sg.get.grn_df(adata, key="net")


def test_the_command_line_joins_priors(fitted, tmp_path, capsys):
    from scgrn_tl.cli import main

    adata = fitted.copy()
    del adata.uns["net"]
    adata.write_h5ad(tmp_path / "cells.h5ad")
    truth = adata.uns["ground_truth"][["source", "target"]]
    truth.iloc[:40].to_csv(tmp_path / "a.csv", index=False)
    truth.iloc[30:].to_csv(tmp_path / "b.tsv", index=False, sep="\t")
    arguments = [
        "fit", tmp_path / "cells.h5ad", "--prior", tmp_path / "a.csv", "--prior", tmp_path / "b.tsv", "--out",
        tmp_path / "o.h5ad", "--method", "gene_identity", "--use-rep", "none", "--key", "net", "--edges",
        tmp_path / "net.sif",
    ]  # fmt: skip
    assert main([str(argument) for argument in arguments]) == 0
    assert ad.read_h5ad(tmp_path / "o.h5ad").uns["net"]["prior_sources"]["source"].tolist() == ["a", "b"]
    assert (tmp_path / "net.sif").read_text().splitlines()[0].split("\t")[1] == "regulates"
    assert "net.sif" in capsys.readouterr().out


def test_models_and_ablations_take_several(fitted):
    from scgrn_tl.bm._ablate import _with_prior

    truth = fitted.uns["ground_truth"]
    priors = [truth.iloc[:50], truth.iloc[40:]]
    model = sg.models.ScTransNet.from_anndata(fitted, priors, use_rep=None)
    assert model._task.prior.sources.names == ("prior_1", "prior_2")
    assert set(model._task.prior.sources.labels()) == {"prior_1", "prior_2", "prior_1;prior_2"}
    known = _with_prior(fitted, priors).uns["ground_truth"]
    pairs = set(known[["source", "target"]].itertuples(index=False, name=None))
    assert pairs == set(truth[["source", "target"]].itertuples(index=False, name=None))
