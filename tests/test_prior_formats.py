"""Files and tables of other tools, read as priors: whose they are shows in what they hold."""

from __future__ import annotations

import ast
import bz2
import gzip
import io
import json
import lzma
import zipfile
from types import SimpleNamespace

import networkx as nx
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from anndata import AnnData
from hypothesis import given
from hypothesis import strategies as st

import scgrn_tl as sg
from scgrn_tl.core import ArgumentError, PriorError, PriorNetwork

GENES = tuple(f"G{index}" for index in range(20))
# regulator, target, sign, weight
EDGES = [
    *[("G0", f"G{i}", 1, 0.25 * i) for i in range(1, 7)],
    *[("G3", f"G{i}", -1, 0.5 + i) for i in (0, 7, 9, 10)],
    ("G3", "G11", 0, 2.0),
]
WORDS = {1: "Activation", -1: "Repression", 0: "Unknown"}


def read(prior, genes=GENES, **kwargs) -> dict[tuple[str, str], tuple[int, float]]:
    network = PriorNetwork.from_any(prior, genes, **kwargs).to_frame()
    return {(s, t): (int(sign), round(float(w), 4)) for s, t, w, sign in network.itertuples(index=False)}


def expected(*, signs=True, weights=True, unsigned_as=0):
    return {
        (s, t): ((sign or unsigned_as) if signs else 0, round(weight, 4) if weights else 1.0)
        for s, t, sign, weight in EDGES
    }


def lines(rows, separator="\t") -> str:
    return "".join(separator.join(map(str, row)) + "\n" for row in rows)


def regulon_name(tf: str, sign: int) -> str:
    return tf + {1: "(+)", -1: "(-)", 0: ""}[sign]


def regulons(weighted: bool) -> dict:
    found: dict = {}
    for tf, target, sign, weight in EDGES:
        found.setdefault(regulon_name(tf, sign), {})[target] = weight
    return found if weighted else {name: list(targets) for name, targets in found.items()}


def ctx_csv(*, numpy_numbers=False) -> str:
    """What `pyscenic ctx` writes: ``DataFrame.to_csv`` of its table of enriched motifs (pyscenic.cli.utils 0.12)."""
    columns = ["AUC", "NES", "MotifSimilarityQvalue", "OrthologousIdentity", "Annotation", "Context", "TargetGenes"]
    rows, index = [], []
    for number, (tf, sign) in enumerate([("G0", 1), ("G3", -1), ("G0", 1)]):
        targets = [(t, w) for s, t, edge_sign, w in EDGES if (s, edge_sign) == (tf, sign)]
        if number == 2:  # another motif of the same TF, with fewer targets: the union counts, with the largest weight
            targets = [(t, w / 2) for t, w in targets[:3]]
        context = frozenset({"activating" if sign > 0 else "repressing", "weight>75.0%", "hg38__refseq-r80"})
        shown = [(t, np.float64(w)) for t, w in targets] if numpy_numbers else targets
        rows.append([0.07, 3.2, 0.0, 1.0, "gene is directly annotated", context, shown])
        index.append((tf, f"jaspar__MA000{number}.1"))
    table = pd.DataFrame(
        rows,
        columns=pd.MultiIndex.from_product([["Enrichment"], columns]),
        index=pd.MultiIndex.from_tuples(index, names=["TF", "MotifID"]),
    )
    return table.to_csv()


def base_grn() -> pd.DataFrame:
    """CellOracle's: a row per peak and gene, a column per TF; a gene has several peaks."""
    rows = [
        {"peak_id": f"chr1_{start}_{start + 500}", "gene_short_name": target, "G0": 0.0, "G3": 0.0, tf: 1.0}
        for start, (tf, target, *_) in enumerate([*EDGES, EDGES[0]])
    ]
    return pd.DataFrame(rows)


TEXTS = {
    # name of the file, content, what it can hold
    "collectri": ("net.csv", lambda: lines([("source", "target", "weight", "resources"),
        *[(s, t, sign or 1, "x;y") for s, t, sign, _ in EDGES]], ","), {"weights": False, "unsigned_as": 1}),
    "decoupler weights": ("net.csv", lambda: lines([("source", "target", "weight"),
        *[(s, t, w * (sign or 1)) for s, t, sign, w in EDGES]], ","), {"unsigned_as": 1}),
    "trrust": ("trrust_rawdata.human.tsv", lambda: lines([(s, t, WORDS[sign], "1;2") for s, t, sign, _ in EDGES]),
        {"weights": False}),
    "beeline reference": ("refNetwork.csv", lambda: lines([("Gene1", "Gene2", "Type"),
        *[(s, t, {1: "+", -1: "-", 0: "?"}[sign]) for s, t, sign, _ in EDGES]], ","), {"weights": False}),
    "beeline truth": ("gt.csv", lambda: lines([("Gene1", "Gene2"), *[e[:2] for e in EDGES]], ","),
        {"weights": False, "signs": False}),
    "beeline ranked edges": ("rankedEdges.csv", lambda: lines([("Gene1", "Gene2", "EdgeWeight"),
        *[(s, t, w * (sign or 1)) for s, t, sign, w in EDGES]]), {"unsigned_as": 1}),
    "pyscenic regulons": ("reg.csv", ctx_csv, None),
    "pyscenic regulons of numpy 2": ("reg.csv", lambda: ctx_csv(numpy_numbers=True), None),
    "pyscenic gmt": ("reg.gmt", lambda: "".join(  # ctxcore.genesig.GeneSignature.to_gmt writes its commas too
        f"{name},\t,tf={name[:2]},score=1.0,\t" + "\t".join(targets) + "\n"
        for name, targets in regulons(False).items()), {"weights": False}),
    "pyscenic json": ("reg.json", lambda: json.dumps(regulons(False)), {"weights": False}),
    "json with weights": ("reg.json", lambda: json.dumps(regulons(True)), {}),
    "json records": ("net.json", lambda: frame().to_json(orient="records"), {}),
    "grnboost2": ("adj.tsv", lambda: lines([("TF", "target", "importance"), *[(s, t, w) for s, t, _, w in EDGES]]),
        {"signs": False}),
    "grnboost2 as arboreto shows": ("network.tsv", lambda: lines([(s, t, w) for s, t, _, w in EDGES]),
        {"signs": False}),
    "pyscenic adjacencies with correlations": ("adj.csv", lambda: lines([
        ("TF", "target", "importance", "regulation", "rho"),
        *[(s, t, w, sign, 0.3) for s, t, sign, w in EDGES]], ","), {}),
    "genie3 of R": ("links.csv", lambda: lines([("regulatoryGene", "targetGene", "weight"),
        *[(s, t, w) for s, t, _, w in EDGES]], ","), {"signs": False}),
    "row names of R": ("net.tsv", lambda: lines([("source", "target"),
        *[(n, *e[:2]) for n, e in enumerate(EDGES)]]), {"weights": False, "signs": False}),
    "two columns, no header": ("pairs.txt", lambda: lines([e[:2] for e in EDGES], " "),
        {"weights": False, "signs": False}),
    "semicolons": ("net.csv", lambda: frame().to_csv(index=False, sep=";"), {}),
    "windows, byte order mark": ("net.csv", lambda: "\ufeff" + frame().to_csv(index=False, lineterminator="\r\n"), {}),
    "sif": ("net.sif", lambda: lines([(s, {1: "activates", -1: "represses", 0: "pp"}[sign], t)
        for s, t, sign, _ in EDGES]), {"weights": False}),
    "sif without suffix": ("net.txt", lambda: lines([(s, {1: "activates", -1: "represses", 0: "regulates"}[sign], t)
        for s, t, sign, _ in EDGES]), {"weights": False}),
    "celloracle csv": ("base.csv", lambda: base_grn().to_csv(), {"weights": False, "signs": False}),
    "named matrix": ("matrix.csv", lambda: named_matrix().to_csv(), {"unsigned_as": 1}),
    "graphml": ("net.graphml", lambda: "\n".join(nx.generate_graphml(graph())), {}),
    "cytoscape graphml": ("net.xml", lambda: "\n".join(nx.generate_graphml(cytoscape())), {}),
}  # fmt: skip


def frame() -> pd.DataFrame:
    return pd.DataFrame(EDGES, columns=["source", "target", "sign", "weight"])


def named_matrix() -> pd.DataFrame:
    matrix = pd.DataFrame(0.0, index=["G0", "G3"], columns=list(GENES))
    for s, t, sign, weight in EDGES:
        matrix.loc[s, t] = weight * (sign or 1)
    return matrix


def graph() -> nx.DiGraph:
    made = nx.DiGraph()
    made.add_edges_from((s, t, {"sign": sign, "weight": w}) for s, t, sign, w in EDGES)
    return made


def cytoscape() -> nx.DiGraph:
    """Nodes are numbers, names are attributes."""
    number = {gene: at + 100 for at, gene in enumerate(GENES)}
    made = nx.relabel_nodes(graph(), number)
    nx.set_node_attributes(made, {at: gene for gene, at in number.items()}, "name")
    return made


@pytest.mark.parametrize("kind", TEXTS)
def test_text_files(kind, tmp_path):
    name, text, holds = TEXTS[kind]
    (tmp_path / name).write_text(text(), encoding="utf-8", newline="")
    wanted = expected(**holds) if holds is not None else {e: v for e, v in expected().items() if v[0]}
    assert read(tmp_path / name) == wanted
    if kind not in {"pyscenic gmt", "sif"}:  # these alone need their suffix, here and where relations are any words
        (tmp_path / "unnamed").write_text(text(), encoding="utf-8", newline="")
        assert read(tmp_path / "unnamed") == wanted


def packed(raw: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("inside.csv", raw)
    return target.getvalue()


@pytest.mark.parametrize(
    "compress",
    [gzip.compress, bz2.compress, lzma.compress, lambda raw: pa.compress(raw, "zstd", asbytes=True), packed, bytes],
    ids=["gzip", "bzip2", "xz", "zstd", "zip", "not at all"],
)
def test_compression_shows_in_the_content(compress, tmp_path):
    path = tmp_path / "net.csv.gz"
    path.write_bytes(compress(frame().to_csv(index=False).encode()))
    assert read(path) == expected()


@pytest.mark.parametrize("kind", ["parquet", "feather"])
def test_arrow_files(kind, tmp_path):
    for number, table in enumerate([frame(), base_grn()]):
        path = tmp_path / f"table{number}"
        getattr(table, f"to_{kind}")(path)
        assert read(path) == (expected(signs=False, weights=False) if number else expected())


MEMORY = {
    "frame": (frame, {}),
    "base GRN": (base_grn, {"weights": False, "signs": False}),
    "named matrix": (named_matrix, {"unsigned_as": 1}),
    "dict of lists": (lambda: regulons(False), {"weights": False}),
    "dict of weights": (lambda: regulons(True), {}),
    "dict of arrays": (lambda: {k: np.array(v) for k, v in regulons(False).items()}, {"weights": False}),
    "dict of series": (lambda: {k: pd.Series(v) for k, v in regulons(True).items()}, {}),
    "dict of signed weights": (
        lambda: {tf: {t: w * (sign or 1) for s, t, sign, w in EDGES if s == tf} for tf in ("G0", "G3")},
        {"unsigned_as": 1},
    ),
    "dict of columns": (lambda: frame().to_dict(orient="list"), {}),
    "regulon objects": (
        lambda: [SimpleNamespace(name=name, gene2weight=targets) for name, targets in regulons(True).items()],
        {},
    ),
    "graph": (graph, {}),
    "multigraph": (lambda: nx.MultiDiGraph(graph()), {}),
    "one in a list": (lambda: [frame()], {}),
    "one in a dict": (lambda: {"mine": frame()}, {}),
    "DoRothEA of R": (
        lambda: pd.DataFrame(
            {"tf": [e[0] for e in EDGES], "confidence": "B", "target": [e[1] for e in EDGES],
             "mor": [e[2] for e in EDGES]}
        ),
        None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", MEMORY)
def test_objects(kind):
    made, holds = MEMORY[kind]
    wanted = expected(**holds) if holds is not None else {e: (sign, 0.5) for e, (sign, _) in expected().items()}
    assert read(made()) == wanted


def test_the_table_of_pyscenic_as_it_stands_in_memory(tmp_path):
    table = pd.read_csv(io.StringIO(ctx_csv()), index_col=[0, 1], header=[0, 1], skipinitialspace=True)
    signed = {edge: value for edge, value in expected().items() if value[0]}
    assert read(table) == signed
    table[("Enrichment", "TargetGenes")] = table[("Enrichment", "TargetGenes")].map(ast.literal_eval)
    assert read(table) == signed


@pytest.mark.parametrize(
    ("name", "regulator", "sign"),
    [
        ("G0(+)", "G0", 1), ("G0(-)", "G0", -1), ("G0_(+)", "G0", 1), ("G0 (-)", "G0", -1), ("G0_(+)-motif", "G0", 1),
        ("G0", "G0", 0), ("G0 (12g)", "G0", 0), ("G0_extended (12g)", "G0", 0), ("G0_TARGET_GENES", "G0", 0),
        ("NKX2-5(-)", "NKX2-5", -1), ("H2-Q1", "H2-Q1", 0),
    ],
)  # fmt: skip
def test_names_of_regulons(name, regulator, sign):
    genes = (regulator, "A", "B")
    assert read({name: ["A", "B"]}, genes, min_edges=1, min_regulators=1) == {
        (regulator, "A"): (sign, 1),
        (regulator, "B"): (sign, 1),
    }


def test_code_in_a_file_is_not_run(tmp_path):
    marker = tmp_path / "ran"
    text = ctx_csv().replace("[('G1'", f"[(open({str(marker)!r}, 'w').name if True else 'G1'", 1)
    (tmp_path / "reg.csv").write_text(text)
    with pytest.raises(PriorError, match=r"lists of \(gene, weight\); cannot read"):
        PriorNetwork.from_any(tmp_path / "reg.csv", GENES)
    assert not marker.exists()


@pytest.mark.parametrize("header", ["source,target,weight\n", ""])
def test_names_of_digits_stay_as_they_are(header, tmp_path):
    genes = ("007", "7157", "nan", "NA", "1e5")
    (tmp_path / "net.csv").write_text(header + "007,7157,2\n007,nan,1\n7157,NA,1\n7157,1e5,1\n007,,1\n")
    network = PriorNetwork.from_any(tmp_path / "net.csv", genes, min_edges=4)
    assert set(read(tmp_path / "net.csv", genes, min_edges=4)) == {
        ("007", "7157"), ("007", "nan"), ("7157", "NA"), ("7157", "1e5")
    }  # fmt: skip
    assert network.report["unnamed"] == 1


# ---------------------------------------------------------------- rankings


def rankings(rows=("G0", "G3"), n=20) -> pd.DataFrame:
    """Row i ranks the genes in turn, from gene i on."""
    table = pd.DataFrame({f"G{g}": [(g - at) % n for at in range(len(rows))] for g in range(n)}, dtype=np.int16)
    return table.assign(motifs=list(rows))


def test_rankings_of_tfs(tmp_path):
    table = rankings()
    edges = sg.io.read_rankings(table, top_n=4)
    assert sorted(zip(edges["source"], edges["target"], edges["weight"], strict=True)) == [
        ("G0", "G0", 1.0), ("G0", "G1", 0.75), ("G0", "G2", 0.5), ("G0", "G3", 0.25),
        ("G3", "G1", 1.0), ("G3", "G2", 0.75), ("G3", "G3", 0.5), ("G3", "G4", 0.25),
    ]  # fmt: skip
    table.to_feather(tmp_path / "hg38.rankings.feather")
    again = sg.io.read_rankings(tmp_path / "hg38.rankings.feather", top_n=4)
    pd.testing.assert_frame_equal(again, edges)
    assert again.attrs["name"] == "hg38.rankings"
    # from_any takes 500 genes of each row, here all, but those of rank 0 to itself
    network = PriorNetwork.from_any(tmp_path / "hg38.rankings.feather", GENES)
    assert network.n_edges == 2 * 19
    assert network.to_frame().set_index(["source", "target"]).loc[("G3", "G0"), "weight"] == pytest.approx(1 - 19 / 500)


def test_rankings_of_motifs(tmp_path):
    table = rankings(["m1", "m2", "m3"])
    edges = sg.io.read_rankings(table, top_n=2, motif_to_tf={"m1": "G7", "m2": ["G7", "G8"], "m9": "G9"})
    assert dict(zip(zip(edges["source"], edges["target"], strict=True), edges["weight"], strict=True)) == {
        ("G7", "G0"): 1.0, ("G7", "G1"): 1.0, ("G7", "G2"): 0.5, ("G8", "G1"): 1.0, ("G8", "G2"): 0.5
    }  # fmt: skip
    annotations = tmp_path / "motifs.tbl"
    annotations.write_text("#motif_id\tmotif_name\tgene_name\nm1\tx\tG7\nm2\tx\tG7\nm2\ty\tG8\nm9\tz\tG9\n")
    pd.testing.assert_frame_equal(sg.io.read_rankings(table, top_n=2, motif_to_tf=annotations), edges)
    with pytest.raises(PriorError, match=r"rows such as 'm1', none of which is a gene.*read_rankings.*motif_to_tf"):
        PriorNetwork.from_any(table, GENES)


def test_rankings_that_cannot_be_used(tmp_path):
    with pytest.raises(ArgumentError, match="top_n=0 is not"):
        sg.io.read_rankings(rankings(), top_n=0)
    with pytest.raises(PriorError, match="no ranking: a row per motif or TF"):
        sg.io.read_rankings(named_matrix())
    with pytest.raises(ArgumentError, match=r"none of the motifs of the ranking, such as 'G0'; it has 'x'"):
        sg.io.read_rankings(rankings(), motif_to_tf={"x": "G0"})
    with pytest.raises(ArgumentError, match=r"columns \['a'\]; it needs motif_id"):
        sg.io.read_rankings(rankings(), motif_to_tf=pd.DataFrame({"a": ["x"]}))
    with pytest.raises(ArgumentError, match=r"motif_to_tf is a dict.*not 7"):
        sg.io.read_rankings(rankings(), motif_to_tf=7)
    with pytest.raises(ArgumentError, match=r"rankings='.*absent\.feather' is not there"):
        sg.io.read_rankings(tmp_path / "absent.feather")


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\x80\x04\x95", "a pickle, which may run code"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file.*varp"),
        (b"PAR1 and no more", "cannot be read as a table of edges"),
        (b"ARROW1 and no more", "cannot be read as a table of edges"),
        (b"<graphml", "cannot be read as a table of edges"),
        (b"<?xml version='1.0'?><html/>", "no GraphML"),
        (b'{"G0": ', "cannot be read as a table of edges"),
        (b"[" * 100_000, "cannot be read as a table of edges"),
        (b'{"G0": 7}', "type dict cannot be read"),
        (b"\xfd7zXZ\0 and no more", "cannot be read as a table of edges"),
        (b"\x28\xb5\x2f\xfd and no more", "cannot be read as a table of edges"),
        (b"PK\x03\x04 and no more", "cannot be read as a table of edges"),
        (packed(b"").replace(b"inside.csv", b"folder_a/x"), "it is empty"),
        (b"a\0b,c\n", "it is no text"),
        (b"from,to\nA,B\nC,D\n", r"columns \['from', 'to'\]; it needs one of source, TF"),
        (b"just one column\n", "it needs one of source"),
        (b"gene_short_name,peak_id,G0\nG1,p,yes\n", r"columns \['G0'\] hold something else"),
        (b"TargetGenes,NES\n\"[('G1', 1)]\",3\n", "neither a column nor an index 'TF'"),
    ],
)
def test_files_that_are_something_else(content, reason, tmp_path):
    path = tmp_path / "prior"
    path.write_bytes(content)
    with pytest.raises(PriorError, match=f"(?s){reason}"):
        PriorNetwork.from_any(path, GENES)


def test_archives_of_several_files_and_office_documents(tmp_path):
    for names, reason in ([["a.csv", "b.csv"], "archive of 2 files"], [["[Content_Types].xml"], "office document"]):
        with zipfile.ZipFile(tmp_path / "prior.zip", "w") as archive:
            for name in names:
                archive.writestr(name, "source,target\n")
        with pytest.raises(PriorError, match=reason):
            PriorNetwork.from_any(tmp_path / "prior.zip", GENES)


@given(
    st.binary(max_size=300), st.sampled_from([b"", b"PAR1", b"<graphml", b"\x1f\x8b", b"{", b"TF\ttarget\n", b"A\tB\t"])
)
def test_any_bytes_are_read_or_refused(tmp_path_factory, content, start):
    path = tmp_path_factory.getbasetemp() / "bytes"
    path.write_bytes(start + content)
    with pytest.raises(PriorError):  # there are never ten edges in it
        PriorNetwork.from_any(path, GENES)


# ---------------------------------------------------------------- data


def test_trrust_and_collectri_on_the_genes_of_a_benchmark(mirror):
    genes = pd.read_csv(mirror / "priors" / "collectri_human.csv")["target"].drop_duplicates().tolist()[:800]
    trrust = PriorNetwork.from_any(mirror / "priors" / "trrust_rawdata.human.tsv", genes)
    rows = [line.split("\t")[:3] for line in (mirror / "priors" / "trrust_rawdata.human.tsv").read_text().splitlines()]
    signs: dict[tuple[str, str], set[int]] = {}
    for tf, target, mode in rows:
        if {tf, target} <= set(genes) and tf != target:
            signs.setdefault((tf, target), set()).add({"Activation": 1, "Repression": -1, "Unknown": 0}[mode])
    wanted = {edge: 0 if {1, -1} <= found else sum(found) for edge, found in signs.items()}
    got = trrust.to_frame()
    assert dict(zip(zip(got["source"], got["target"], strict=True), got["sign"].tolist(), strict=True)) == wanted
    assert len(wanted) > 100
    assert PriorNetwork.from_any(sg.datasets.trrust(), genes).sha256() == trrust.sha256()


def test_a_prior_in_varp_beside_others():
    known = np.zeros((20, 20))
    for s, t, sign, weight in EDGES:
        known[GENES.index(s), GENES.index(t)] = weight * (sign or 1)
    adata = AnnData(np.ones((2, 20), np.float32), var=pd.DataFrame(index=list(GENES)), varp={"known": known})
    assert read("known", adata=adata) == expected(unsigned_as=1)
