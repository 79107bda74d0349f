"""Prior networks: every form they come in, what is dropped and counted, and what is refused."""

from __future__ import annotations

import gzip
import logging

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from scgrn_tl.core import DuplicateGenesError, PriorError, PriorNetwork

GENES = tuple(f"G{index}" for index in range(20))
EDGES = [("G0", f"G{i}") for i in range(1, 9)] + [("G3", f"G{i}") for i in (0, 7, 9, 10)]


def frame(edges=EDGES, source="source", target="target", **columns) -> pd.DataFrame:
    return pd.DataFrame(edges, columns=[source, target]).assign(**columns)


def names_of(network: PriorNetwork) -> set[tuple[str, str]]:
    return {(GENES[s], GENES[t]) for s, t in network.pairs.tolist()}


def dense(edges=EDGES, dtype=float) -> np.ndarray:
    matrix = np.zeros((len(GENES), len(GENES)), dtype=dtype)
    for s, t in edges:
        matrix[GENES.index(s), GENES.index(t)] = 1
    return matrix


def adata_with(matrix) -> AnnData:
    return AnnData(np.ones((2, 20), dtype=np.float32), var=pd.DataFrame(index=list(GENES)), varp={"known": matrix})


FORMS = {
    "frame": lambda path: frame(),
    "digraph": lambda path: nx.DiGraph(EDGES),
    "multidigraph": lambda path: nx.MultiDiGraph(EDGES),
    "array": lambda path: dense(),
    "bool array": lambda path: dense(dtype=bool),
    "csr": lambda path: sparse.csr_matrix(dense()),
    "csc array": lambda path: sparse.csc_array(dense()),
    "coo": lambda path: sparse.coo_matrix(dense()),
    "network": lambda path: PriorNetwork.from_any(frame(), GENES),
    "network of other genes": lambda path: PriorNetwork.from_any(frame(), GENES[::-1]),
    "csv": lambda path: write(path / "prior.csv", sep=","),
    "csv as str": lambda path: str(write(path / "prior.csv", sep=",")),
    "csv.gz": lambda path: write(path / "prior.csv.gz", sep=","),
    "tsv": lambda path: write(path / "prior.tsv", sep="\t"),
    "tsv.gz": lambda path: write(path / "prior.tsv.gz", sep="\t"),
    "txt": lambda path: write(path / "prior.txt", sep="\t"),
}


def write(path, sep, table=None):
    (frame() if table is None else table).to_csv(path, sep=sep, index=False)
    return path


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_network(form, tmp_path):
    network = PriorNetwork.from_any(FORMS[form](tmp_path), GENES)
    assert names_of(network) == set(EDGES)
    assert network.genes == GENES
    assert network.edge_index.dtype == np.int64
    assert network.edge_index.shape == (2, 12)
    assert network.regulators.tolist() == [0, 3]
    assert network.n_edges == 12
    assert (network.weight == 1).all()
    assert (network.sign == 0).all()
    assert network.sha256() == PriorNetwork.from_any(frame(), GENES).sha256()


@pytest.mark.parametrize("matrix", [dense(), sparse.csr_matrix(dense())], ids=["dense", "csr"])
def test_a_varp_key(matrix):
    assert names_of(PriorNetwork.from_any("known", GENES, adata=adata_with(matrix))) == set(EDGES)
    with pytest.raises(PriorError, match=r"'knwon' is neither a file nor a key of adata\.varp.*\['known'\]"):
        PriorNetwork.from_any("knwon", GENES, adata=adata_with(matrix))


@pytest.mark.parametrize("source", ["source", "TF", "tf", "Gene1", "regulator", "SOURCE", "Regulator"])
@pytest.mark.parametrize("target", ["target", "Target", "Gene2", "gene", "GENE2"])
def test_every_column_name(source, target):
    assert names_of(PriorNetwork.from_any(frame(source=source, target=target), GENES)) == set(EDGES)


def test_columns_may_stand_in_any_order_beside_others_and_source_wins():
    table = frame(TF="not used", note=1.0)[["note", "target", "TF", "source"]]
    assert names_of(PriorNetwork.from_any(table, GENES)) == set(EDGES)


def test_categorical_names_are_read():
    assert names_of(PriorNetwork.from_any(frame().astype("category"), GENES)) == set(EDGES)


def test_what_is_dropped_is_counted_and_logged(caplog):
    extra = [
        ("G0", "G1"), ("G0", "G1"),  # twice more: two duplicates
        ("G5", "G5"),  # self loop
        ("XYZ", "G1"), ("G0", "ABC"), ("XYZ", "ABC"),
        ("G0", None),
    ]  # fmt: skip
    with caplog.at_level(logging.INFO, logger="scgrn_tl"):
        network = PriorNetwork.from_any(frame(EDGES + extra), GENES)
    assert names_of(network) == set(EDGES)
    assert network.report == {
        "edges_given": 19,
        "unnamed": 1,
        "unknown_regulator": 2,
        "unknown_target": 2,
        "self_loops": 1,
        "duplicates": 2,
        "conflicting_signs": 0,
    }
    told = "12 edges of 2 regulators over 20 genes (of what was given: 19 edges given, 1 unnamed, 2 unknown regulator"
    assert told in network.describe()
    assert told in repr(network)
    assert told in caplog.text


def test_signs_of_duplicates():
    #       agree            contradict        known beats unknown
    extra = [("G1", "G2")] * 2 + [("G1", "G3")] * 2 + [("G1", "G4")] * 2 + [("G1", "G6")] * 2
    signs = [-1, -1, 1, -1, 0, 1, -1, 0]
    table = frame(EDGES + extra, sign=[1] * 12 + signs, weight=[1.0] * 12 + [2.0, 5.0] + [1.0] * 6)
    network = PriorNetwork.from_any(table, GENES)
    sign = dict(zip(map(tuple, network.pairs.tolist()), network.sign.tolist(), strict=True))
    assert [sign[1, t] for t in (2, 3, 4, 6)] == [-1, 0, 1, -1]
    assert network.report["conflicting_signs"] == 1
    assert network.report["duplicates"] == 4
    weight = dict(zip(map(tuple, network.pairs.tolist()), network.weight.tolist(), strict=True))
    assert weight[1, 2] == 5


@pytest.mark.parametrize("column", ["sign", "mor", "mode", "effect", "MOR"])
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, -1, 0] * 4, [1, -1, 0] * 4),
        ([0.5, -2.0, 0.0] * 4, [1, -1, 0] * 4),
        (["Activation", " repression ", "Unknown"] * 4, [1, -1, 0] * 4),
        (["+", "-", "?"] * 4, [1, -1, 0] * 4),
        (["1", "-1", ""] * 4, [1, -1, 0] * 4),
        ([None] * 12, [0] * 12),
        (pd.Categorical(["activation", "inhibition", "both"] * 4), [1, -1, 0] * 4),
    ],
    ids=["int", "float", "words", "symbols", "number strings", "nothing", "categorical"],
)
def test_signs(column, values, expected):
    network = PriorNetwork.from_any(frame(**{column: values}), GENES)
    sign = dict(zip(map(tuple, network.to_frame()[["source", "target"]].to_numpy()), network.sign, strict=True))
    assert [int(sign[edge]) for edge in EDGES] == expected


def test_negative_weights_are_signs_as_in_decoupler():
    weights = np.array([1.5, -2.0, 0.5] * 4)
    network = PriorNetwork.from_any(frame(weight=weights), GENES).to_frame().set_index(["source", "target"])
    assert network.loc[EDGES, "weight"].to_numpy() == pytest.approx(np.abs(weights))
    assert network.loc[EDGES, "sign"].tolist() == [1, -1, 1] * 4
    positive = PriorNetwork.from_any(frame(weight=np.abs(weights)), GENES)
    assert (positive.sign == 0).all()  # a confidence, not a sign


def test_signed_matrices_and_graph_attributes():
    matrix = dense()
    matrix[0, 1] = -0.5
    network = PriorNetwork.from_any(matrix, GENES)
    assert network.sign.tolist() == [-1] + [1] * 11
    graph = nx.DiGraph()
    graph.add_edges_from([(s, t, {"sign": -1, "weight": 2.0}) for s, t in EDGES])
    network = PriorNetwork.from_any(graph, GENES)
    assert set(network.sign) == {-1}
    assert set(network.weight) == {2.0}


gene_numbers = st.integers(-3, 19)
edge_tables = st.lists(st.tuples(gene_numbers, gene_numbers, st.sampled_from([-1, 0, 1])), min_size=0, max_size=120)


@given(edge_tables)
def test_any_table_is_read_into_clean_edges_or_refused(rows):
    table = pd.DataFrame(
        {
            "source": [f"G{s}" for s, _, _ in rows],
            "target": [f"G{t}" for _, t, _ in rows],
            "sign": pd.array([sign for *_, sign in rows], dtype="int64"),
        }
    )
    expected: dict[tuple[int, int], set[int]] = {}
    for s, t, sign in rows:
        if s >= 0 and t >= 0 and s != t:
            expected.setdefault((s, t), set()).add(sign)
    if len(expected) < 10 or len({s for s, _ in expected}) < 2:
        with pytest.raises(PriorError):
            PriorNetwork.from_any(table, GENES)
        return
    network = PriorNetwork.from_any(table, GENES)
    got = dict(zip(map(tuple, network.pairs.tolist()), network.sign.tolist(), strict=True))
    assert got == {edge: 0 if {-1, 1} <= signs else sum(signs) for edge, signs in expected.items()}
    assert network.n_edges == len(got)
    report = network.report
    usable = sum(s >= 0 and t >= 0 and s != t for s, t, _ in rows)
    assert report["edges_given"] == len(rows)
    assert report["duplicates"] == usable - len(got)
    assert report["self_loops"] == sum(s == t >= 0 for s, t, _ in rows)
    assert report["conflicting_signs"] == sum({-1, 1} <= signs for signs in expected.values())

    shuffled = PriorNetwork.from_any(table.sample(frac=1, random_state=0), GENES)
    assert shuffled.sha256() == network.sha256()
    again = PriorNetwork.from_any(network.to_frame(), GENES)
    assert np.array_equal(again.edge_index, network.edge_index)
    assert np.array_equal(again.sign, network.sign)


def test_restrict_to():
    network = PriorNetwork.from_any(frame(sign=[1, -1] * 6, weight=np.arange(1.0, 13)), GENES)
    pairs = np.array([(3, 7), (0, 2), (0, 2), (5, 6)])
    kept = network.restrict_to(pairs)
    assert kept.pairs.tolist() == [[0, 2], [3, 7], [5, 6]]
    assert kept.sign.tolist() == [-1, -1, 0]
    assert kept.weight.tolist() == [2, 10, 1]
    assert network.n_edges == 12
    assert network.restrict_to(np.empty((0, 2))).n_edges == 0


def test_the_hash_is_of_names_and_signs():
    network = PriorNetwork.from_any(frame(), GENES)
    assert network.sha256() == PriorNetwork.from_any(frame(), GENES[::-1]).sha256()
    assert network.sha256() != PriorNetwork.from_any(frame(EDGES[:-1]), GENES).sha256()
    assert network.sha256() != PriorNetwork.from_any(frame(sign=1), GENES).sha256()


# ---------------------------------------------------------------- what is refused


def test_missing_columns_are_answered_with_the_accepted_names():
    with pytest.raises(
        PriorError, match=r"columns \['from', 'to'\]; it needs one of source, TF, Gene1.*rename"
    ) as error:
        PriorNetwork.from_any(frame(source="from", target="to"), GENES)
    assert isinstance(error.value, ValueError)


def test_too_few_edges_or_regulators():
    with pytest.raises(PriorError, match=r"9 edges of 2 regulators.*at least 10 edges and 2 regulators"):
        PriorNetwork.from_any(frame(EDGES[:5] + EDGES[-4:]), GENES)
    with pytest.raises(PriorError, match="10 edges of 1 regulators"):
        PriorNetwork.from_any(frame([("G0", f"G{i}") for i in range(1, 11)]), GENES)
    assert PriorNetwork.from_any(frame(EDGES[:6] + EDGES[-4:]), GENES).n_edges == 10
    few = frame([("G0", "G1"), ("G0", "G2")])
    assert PriorNetwork.from_any(few, GENES, min_edges=2, min_regulators=1).n_edges == 2
    with pytest.raises(PriorError, match=r"2 edges of 1 regulators.*at least 3 edges and 1 regulators"):
        PriorNetwork.from_any(few, GENES, min_edges=3, min_regulators=1)
    with pytest.raises(PriorError, match="0 edges"):
        PriorNetwork.from_any(frame([]), GENES)
    with pytest.raises(PriorError, match="0 edges"):
        PriorNetwork.from_any(nx.DiGraph(), GENES)


def test_names_of_another_kind_are_told_apart():
    table = frame([(f"ENSG{i:011d}", f"ENSG{i + 1:011d}") for i in range(30)])
    with pytest.raises(PriorError, match=r"such as 'ENSG00000000000', .*look like Ensembl gene ids, "):
        PriorNetwork.from_any(table, GENES)


def test_names_in_another_case_are_told_of():
    lower = frame([(source.lower(), target) for source, target in EDGES])
    with pytest.raises(PriorError, match="differ only in case, such as 'g0' and 'G0'"):
        PriorNetwork.from_any(lower, GENES)
    with pytest.warns(UserWarning, match=r"2 names of the prior .* but for their case, such as 'g1' \('G1'\)"):
        PriorNetwork.from_any(frame([*EDGES, ("g1", "G2"), ("G1", "g3")]), GENES)


def test_matrices_of_another_shape_and_graphs_without_direction():
    with pytest.raises(PriorError, match=r"genes × genes, here 20 × 20; got \(19, 20\)"):
        PriorNetwork.from_any(dense()[:19], GENES)
    with pytest.raises(PriorError, match=r"got \(20,\)"):
        PriorNetwork.from_any(dense()[0], GENES)
    with pytest.raises(PriorError, match="undirected graph"):
        PriorNetwork.from_any(nx.Graph(EDGES), GENES)


def test_weights_that_are_no_number():
    with pytest.raises(PriorError, match="Column 'weight' of the prior holds 2 values that are no number"):
        PriorNetwork.from_any(frame(weight=[1.0] * 10 + [np.nan, np.inf]), GENES)
    matrix = dense()
    matrix[0, 1] = np.nan
    with pytest.raises(PriorError, match="no number"):
        PriorNetwork.from_any(matrix, GENES)


@pytest.mark.parametrize(
    ("prior", "kind"), [(7, "int"), (None, "NoneType"), ([("G0", "G1")], "tuple"), ({"a": 7}, "int")]
)
def test_other_types(prior, kind):
    with pytest.raises(PriorError, match=f"type {kind} cannot be read.*'source' and 'target'.*varp key"):
        PriorNetwork.from_any(prior, GENES)


def test_genes_have_to_be_unique():
    with pytest.raises(DuplicateGenesError):
        PriorNetwork.from_any(frame(), [*GENES, "G0"])


def test_absent_and_damaged_files(tmp_path):
    with pytest.raises(PriorError, match="neither a file"):
        PriorNetwork.from_any(tmp_path / "absent.csv", GENES)
    damaged = {
        "empty.csv": b"",
        "binary.csv": bytes(range(128, 256)) * 4,
        "ragged.csv": b"source,target\nG0,G1\nG0,G1,G2,G3\n",
        "nothing.csv": b"\n# no edges\n\n",
        "cut.csv.gz": gzip.compress(frame().to_csv(index=False).encode() * 50)[:-30],
    }
    for name, content in damaged.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(PriorError, match=r"cannot be read as a table of edges|needs one of source"):
            PriorNetwork.from_any(path, GENES)


def test_the_constructor_checks_its_arrays():
    edge_index = np.array([[0, 1], [1, 0]])
    with pytest.raises(PriorError, match="2 edges"):
        PriorNetwork(("A", "B"), edge_index, np.zeros(3), np.ones(2))
    with pytest.raises(PriorError, match="outside the 1 genes"):
        PriorNetwork(("A",), edge_index, np.zeros(2), np.ones(2))
