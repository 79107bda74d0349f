"""What is written for other tools: read by them where they can be installed, else by what their readers do."""

from __future__ import annotations

import warnings

import anndata as ad
import networkx as nx
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mudata import MuData
from scipy import sparse, stats

import scgrn_tl as sg
from scgrn_tl.core import ArgumentError, PriorNetwork

GENES = [f"G{number}" for number in range(12)]
SIGN = {"G0": {"G4": 1, "G5": -1, "G6": 1}, "G1": {"G4": -1, "G7": -1}, "G2": {"G8": 0, "G9": 0}}


def stored(probability: np.ndarray, signs: list[tuple[str, str, int]], genes=GENES) -> ad.AnnData:
    made = ad.AnnData(
        np.random.default_rng(0).normal(size=(30, len(genes))).astype(np.float32), var=pd.DataFrame(index=list(genes))
    )
    made.varp["grn"] = sparse.csr_matrix(probability.astype(np.float32))
    made.uns["grn"] = {"prior": pd.DataFrame(signs, columns=["source", "target", "sign"]), "values": "probability"}
    return made


@pytest.fixture(scope="module")
def adata() -> ad.AnnData:
    rng = np.random.default_rng(1)
    probability = np.zeros((12, 12))
    probability[:3, 4:] = rng.uniform(0.2, 0.99, size=(3, 8))
    return stored(probability, [(tf, target, sign) for tf, of in SIGN.items() for target, sign in of.items()])


SUFFIX = {
    "csv": ".csv", "tsv": ".tsv.gz", "parquet": ".parquet", "graphml": ".graphml", "sif": ".sif", "gmt": ".gmt",
    "pyscenic": ".tsv", "decoupler": ".csv", "celloracle": ".parquet", "beeline": ".csv",
}  # fmt: skip
# what each can hold: the weight, and the sign (or that an edge of unknown sign counts as activating)
HOLDS = {
    "csv": (True, "sign"), "tsv": (True, "sign"), "parquet": (True, "sign"), "graphml": (True, "sign"),
    "sif": (False, "sign"), "gmt": (False, "sign"), "pyscenic": (True, None), "decoupler": (True, "signed weight"),
    "celloracle": (False, None), "beeline": (True, "signed weight"),
}  # fmt: skip


def read_back(path, genes=GENES) -> dict:
    network = PriorNetwork.from_any(path, genes, min_edges=0, min_regulators=0).to_frame()
    return {(s, t): (int(sign), float(w)) for s, t, w, sign in network.itertuples(index=False)}


def check_round_trip(adata, kind, path, genes=GENES) -> None:
    sg.io.write_edges(adata, path, format=kind, min_probability=None)
    edges = sg.get.grn_df(adata, min_probability=None)
    holds_weight, holds_sign = HOLDS[kind]
    signed = holds_sign == "sign" or (holds_sign == "signed weight" and (edges["sign"] < 0).any())
    unsigned_as = 1 if signed and holds_sign == "signed weight" else 0
    wanted = {
        (s, t): ((int(sign) or unsigned_as) if signed else 0, abs(weight) if holds_weight else 1.0)
        for s, t, weight, sign in edges[["source", "target", "weight", "sign"]].itertuples(index=False)
    }
    got = read_back(path, genes)
    assert {edge: sign for edge, (sign, _) in got.items()} == {edge: sign for edge, (sign, _) in wanted.items()}
    assert [got[edge][1] for edge in wanted] == pytest.approx([weight for _, weight in wanted.values()], rel=1e-5)


@pytest.mark.parametrize("kind", SUFFIX)
def test_everything_written_is_read_as_a_prior(adata, kind, tmp_path):
    check_round_trip(adata, kind, tmp_path / f"net{SUFFIX[kind]}")
    assert len(list(tmp_path.iterdir())) == 1


names = st.text(st.characters(categories=("Lu", "Nd")), min_size=1, max_size=6).map(lambda name: f"{name}-a.1")
networks = st.lists(names, min_size=4, max_size=8, unique=True).flatmap(
    lambda genes: st.tuples(
        st.just(genes),
        st.dictionaries(
            st.tuples(st.sampled_from(genes), st.sampled_from(genes)).filter(lambda pair: pair[0] != pair[1]),
            st.tuples(st.floats(0.0625, 1, width=32), st.sampled_from([-1, 0, 1])),
            min_size=1,
        ),
    )
)


@given(networks)
@settings(max_examples=12)
def test_any_network_in_any_format_is_read_back(tmp_path_factory, network):
    genes, edges = network
    probability = np.zeros((len(genes), len(genes)))
    for (s, t), (value, _) in edges.items():
        probability[genes.index(s), genes.index(t)] = value
    made = stored(probability, [(s, t, sign) for (s, t), (_, sign) in edges.items()], genes)
    for kind, suffix in SUFFIX.items():
        check_round_trip(made, kind, tmp_path_factory.getbasetemp() / f"any_network{suffix}", genes)


def test_suffixes_that_tell_the_format(adata, tmp_path):
    sg.io.write_edges(adata, tmp_path / "net.sif", top_n=3)
    assert {line.split("\t")[1] for line in (tmp_path / "net.sif").read_text().splitlines()} <= {
        "activates", "represses", "regulates"
    }  # fmt: skip
    sg.io.write_edges(adata, tmp_path / "net.GMT", top_n=3)
    assert len((tmp_path / "net.GMT").read_text().splitlines()[0].split("\t")) >= 3
    for name in ("net.gmt.gz", "net.parquet.gz"):
        with pytest.raises(ArgumentError, match=r"Drop '\.gz'"):
            sg.io.write_edges(adata, tmp_path / name)
    with pytest.raises(ArgumentError, match=r"Drop '\.gz'"):
        sg.io.write_edges(adata, tmp_path / "net.gz", format="celloracle")
    with pytest.raises(ArgumentError, match=r"'net.json' does not tell the format.*\.sif.*'celloracle'"):
        sg.io.write_edges(adata, tmp_path / "net.json")


# ---------------------------------------------------------------- decoupler


@pytest.mark.parametrize("mudata", [False, True])
def test_decoupler_takes_the_table_as_it_is_and_fits_least_squares(adata, mudata):
    decoupler = pytest.importorskip("decoupler")
    data = MuData({"rna": adata.copy()}) if mudata else adata.copy()
    net = sg.get.grn_df(data, min_probability=None)
    decoupler.mt.ulm(data["rna"] if mudata else data, net, tmin=3)
    scores = (data["rna"] if mudata else data).obsm["score_ulm"]
    assert scores.shape == (30, 3)
    # ulm: the t value of the slope of a cell's expression on a TF's weights, over all genes
    for tf in scores.columns:
        of_tf = net[net["source"] == tf]
        weights = pd.Series(0.0, index=GENES)
        weights[of_tf["target"]] = of_tf["weight"].to_numpy()
        for cell in (0, 17):
            fit = stats.linregress(weights, adata.X[cell].astype(float))
            assert scores.loc[str(cell), tf] == pytest.approx(fit.slope / fit.stderr, rel=1e-3)


def test_decoupler_reads_the_gmt(adata, tmp_path):
    decoupler = pytest.importorskip("decoupler")
    sg.io.write_edges(adata, tmp_path / "net.gmt", min_probability=None)
    net = decoupler.pp.read_gmt(str(tmp_path / "net.gmt"))
    wanted = {(name, t) for name, of in sg.io.to_regulons(adata, min_probability=None).items() for t in of}
    assert set(net.itertuples(index=False, name=None)) == wanted


# ---------------------------------------------------------------- pySCENIC


def test_adjacencies(adata, tmp_path):
    sg.io.write_edges(adata, tmp_path / "adj.tsv", format="pyscenic", min_probability=None)
    # pyscenic.cli.utils.load_adjacencies (0.12.1)
    read = pd.read_csv(tmp_path / "adj.tsv", sep="\t", dtype={0: str, 1: str, 2: np.float64}, keep_default_na=False)
    assert list(read.columns) == ["TF", "target", "importance"]
    assert read["importance"].is_monotonic_decreasing
    assert (read["importance"] > 0).all()
    table = sg.io.to_pyscenic(adata, min_probability=None)
    pd.testing.assert_frame_equal(read, table, check_dtype=False, rtol=1e-6)
    edges = sg.get.grn_df(adata, min_probability=None)
    assert table["importance"].to_numpy() == pytest.approx(edges["probability"].to_numpy())


def test_regulons(adata):
    regulons = sg.io.to_regulons(adata, min_probability=None)
    assert set(regulons) == {"G0(+)", "G0(-)", "G0", "G1(-)", "G1", "G2"}
    assert set(regulons["G0(+)"]) == {"G4", "G6"}
    assert regulons["G1(-)"]["G7"] == pytest.approx(float(adata.varp["grn"][1, 7]))


def test_ctxcore_reads_the_gmt_and_takes_the_regulons(adata, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it imports pkg_resources, which warns
        genesig = pytest.importorskip("ctxcore.genesig", exc_type=ImportError)
    sg.io.write_edges(adata, tmp_path / "net.gmt", min_probability=None)
    signatures = genesig.GeneSignature.from_gmt(str(tmp_path / "net.gmt"))
    regulons = sg.io.to_regulons(adata, min_probability=None)
    assert {s.name: set(s.genes) for s in signatures} == {name: set(of) for name, of in regulons.items()}
    made = [genesig.GeneSignature(name, of) for name, of in regulons.items()]
    assert [dict(signature.gene2weight) for signature in made] == list(regulons.values())
    network = PriorNetwork.from_any(made, GENES)
    sg.io.write_edges(adata, tmp_path / "net.csv", min_probability=None)
    assert network.sha256() == PriorNetwork.from_any(tmp_path / "net.csv", GENES).sha256()
    genesig.GeneSignature.to_gmt(str(tmp_path / "theirs.gmt"), made)
    assert PriorNetwork.from_any(tmp_path / "theirs.gmt", GENES).sha256() == network.sha256()


# ---------------------------------------------------------------- CellOracle


@pytest.mark.parametrize("name", ["base.parquet", "base.csv"])
def test_base_grn(adata, name, tmp_path):
    sg.io.write_edges(adata, tmp_path / name, format="celloracle", min_probability=None)
    matrix = pd.read_parquet(tmp_path / name) if name.endswith("parquet") else pd.read_csv(tmp_path / name)
    pd.testing.assert_frame_equal(matrix, sg.io.to_celloracle(adata, min_probability=None), check_dtype=False)
    # celloracle.Oracle.import_TF_data (0.20.0)
    tmp = matrix.copy()
    tmp = tmp.drop(["peak_id"], axis=1)
    tmp = tmp.groupby(by="gene_short_name").sum()
    tf_dict = dict(tmp.apply(lambda x: x[x > 0].index.values, axis=1))
    edges = sg.get.grn_df(adata, min_probability=None)
    assert {target: set(tfs) for target, tfs in tf_dict.items()} == {
        target: set(of["source"]) for target, of in edges.groupby("target")
    }


# ---------------------------------------------------------------- BEELINE


def test_ranked_edges(adata, tmp_path):
    sg.io.write_beeline(adata, tmp_path)  # a folder of BEELINE's outputs
    sg.io.write_beeline(adata, tmp_path / "other.csv", top_n=5)
    # BLEval.computeEarlyPrec, of Beeline's master branch
    ranked = pd.read_csv(tmp_path / "rankedEdges.csv", sep="\t", header=0, index_col=None)
    ranked = ranked.loc[(ranked["Gene1"] != ranked["Gene2"])]
    assert len(ranked) == 24  # every edge stored, also the improbable
    weight = ranked.EdgeWeight.round(6).abs()
    assert weight.is_monotonic_decreasing  # BEELINE takes the k-th row for the k-th weight
    edges = sg.get.grn_df(adata, min_probability=None)
    assert list(zip(ranked.Gene1, ranked.Gene2, strict=True)) == list(zip(edges.source, edges.target, strict=True))
    assert len(pd.read_csv(tmp_path / "other.csv", sep="\t")) == 5
    with pytest.raises(ArgumentError, match="there is no folder"):
        sg.io.write_beeline(adata, tmp_path / "no" / "rankedEdges.csv")


# ---------------------------------------------------------------- Cytoscape, scores, nothing


def test_sif_as_cytoscape_reads_it(adata, tmp_path):
    sg.io.write_edges(adata, tmp_path / "net.sif", min_probability=None)
    graph = nx.DiGraph()
    for line in (tmp_path / "net.sif").read_text().splitlines():
        source, relation, *targets = line.split("\t")
        graph.add_edges_from((source, target, {"interaction": relation}) for target in targets)
    assert graph.edges["G0", "G5"]["interaction"] == "represses"
    assert graph.edges["G0", "G4"]["interaction"] == "activates"
    assert graph.edges["G2", "G8"]["interaction"] == "regulates"
    assert graph.number_of_edges() == 24


def test_scores_keep_their_size(tmp_path):
    made = stored(np.triu(np.full((12, 12), 7.0), 1), [("G0", "G1", -1)])
    made.uns["grn"]["values"] = "score"
    assert (sg.io.to_pyscenic(made)["importance"] == 7).all()
    assert sg.io.to_regulons(made)["G0(-)"] == {"G1": 7.0}


@pytest.mark.parametrize("kind", SUFFIX)
def test_a_network_without_edges(adata, kind, tmp_path):
    path = tmp_path / f"net{SUFFIX[kind]}"
    sg.io.write_edges(adata, path, format=kind, min_probability=1.0)
    assert path.is_file()
    assert sg.io.to_regulons(adata, min_probability=1.0) == {}
    assert len(sg.io.to_celloracle(adata, min_probability=1.0)) == 0
