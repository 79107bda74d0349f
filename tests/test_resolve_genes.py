"""Gene names resolved: each rule, who keeps a name, ambiguous names, orthologs, what is written and what is refused."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import scgrn_tl as sg
from scgrn_tl.core import (
    ArgumentError,
    DownloadError,
    DuplicateGenesError,
    GeneOverlapError,
    GeneVocabulary,
    MissingKeyError,
    PriorNetwork,
)

if TYPE_CHECKING:
    from pathlib import Path

TABLE = pd.DataFrame(
    [
        ("ALPHA", "symbol", "G1", "ALPHA"),
        ("BETA", "symbol", "G2", "BETA"),
        ("GAMMA", "symbol", "G3", "GAMMA"),
        ("C1orf9", "symbol", "G4", "C1orf9"),
        ("MARCHF1", "symbol", "G5", "MARCHF1"),
        ("MTARC1", "symbol", "G6", "MTARC1"),
        ("NKX2-1", "symbol", "G7", "NKX2-1"),
        ("ENSG00000000001", "ensembl", "G1", "ALPHA"),
        ("ENSG00000000002", "ensembl", "G2", "BETA"),
        ("OLDALPHA", "previous", "G1", "ALPHA"),
        ("OLDALPHA", "alias", "G2", "BETA"),  # previous wins
        ("BETA", "previous", "G3", "GAMMA"),  # a symbol wins
        ("SPLIT", "previous", "G2", "BETA"),
        ("SPLIT", "previous", "G3", "GAMMA"),
        ("MARCH1", "previous", "G5", "MARCHF1"),
        ("MARC1", "previous", "G6", "MTARC1"),
        ("al", "alias", "G1", "ALPHA"),
        ("gamma", "alias", "G2", "BETA"),  # a symbol in another case wins
        ("TWIN", "alias", "G1", "ALPHA"),
        ("TWIN", "alias", "G4", "C1orf9"),
    ],
    columns=["name", "kind", "gene", "symbol"],
)
TABLES = {"human": TABLE}

EACH_RULE = {
    "ALPHA": ("ALPHA", "unchanged", "symbol", "G1"),
    " ALPHA ": ("ALPHA", "renamed", "symbol", "G1"),
    "ENSG00000000001": ("ALPHA", "renamed", "ensembl", "G1"),
    "ENSG00000000002.15": ("BETA", "renamed", "ensembl", "G2"),
    "ENSG00000000002.15_PAR_Y": ("BETA", "renamed", "ensembl", "G2"),
    "ENSG00000000003": ("ENSG00000000003", "unknown", "", ""),
    "BETA": ("BETA", "unchanged", "symbol", "G2"),
    "OLDALPHA": ("ALPHA", "renamed", "previous", "G1"),
    "al": ("ALPHA", "renamed", "alias", "G1"),
    "C1ORF9": ("C1orf9", "renamed", "symbol_case", "G4"),
    "gamma": ("GAMMA", "renamed", "symbol_case", "G3"),
    "OldAlpha": ("ALPHA", "renamed", "previous_case", "G1"),
    "AL": ("ALPHA", "renamed", "alias_case", "G1"),
    "NKX2.1": ("NKX2-1", "renamed", "dots", "G7"),
    "SPLIT": ("SPLIT", "ambiguous", "previous", ""),
    "TWIN": ("TWIN", "ambiguous", "alias", ""),
    "1-Mar": ("1-Mar", "ambiguous", "excel", ""),
    "Mar-01": ("Mar-01", "ambiguous", "excel", ""),
    "2023-03-01": ("2023-03-01", "ambiguous", "excel", ""),
    "1-Dec": ("1-Dec", "unknown", "", ""),
    "novel": ("novel", "unknown", "", ""),
}


def cells(names: list[str], counts: np.ndarray | None = None, **var) -> ad.AnnData:
    counts = np.arange(3 * len(names)).reshape(3, -1) % 7 if counts is None else counts
    return ad.AnnData(
        sparse.csr_matrix(counts, dtype=np.float32), var=pd.DataFrame(var, index=pd.Index(names, dtype=object))
    )


def resolved(names: list[str], **arguments) -> ad.AnnData:
    arguments = {"tables": TABLES, "min_overlap": 0.0} | arguments
    return sg.pp.resolve_genes(cells(names), copy=True, **arguments)


# ---------------------------------------------------------------------------------------------------- rules, by name


def test_each_rule_and_their_order():
    table = sg.pp.resolve_names(list(EACH_RULE), tables=TABLES)
    found = {row.name: (row.resolved, row.status, row.rule, row.gene) for row in table.itertuples(index=False)}
    assert found == EACH_RULE
    candidates = table.set_index("name")["candidates"]
    assert candidates["SPLIT"] == "G2 G3"
    assert set(candidates["1-Mar"].split()) == {"G5", "G6"}
    assert candidates["ALPHA"] == ""


def test_a_list_may_name_a_gene_twice_and_keeps_its_order():
    table = sg.pp.resolve_names(["OLDALPHA", "ALPHA", "OLDALPHA", "novel"], tables=TABLES)
    assert table["resolved"].tolist() == ["ALPHA", "ALPHA", "ALPHA", "novel"]
    with pytest.raises(ArgumentError, match=r"give \['ALPHA'\]"):
        sg.pp.resolve_names("ALPHA", tables=TABLES)


def test_a_vocabulary_keeps_its_own_names_and_decides_by_gene():
    """OLDALPHA is what it calls G1; BETA it does not have by any name; ``gamma`` is its name of G3."""
    vocabulary = ["OLDALPHA", "gamma", "novel"]
    table = sg.pp.resolve_names(
        ["ALPHA", "OLDALPHA", "ENSG00000000001", "BETA", "GAMMA", "novel"], vocabulary=vocabulary, tables=TABLES
    )
    assert table["resolved"].tolist() == ["OLDALPHA", "OLDALPHA", "OLDALPHA", "BETA", "gamma", "novel"]
    assert table["rule"].tolist() == ["symbol", "vocabulary", "ensembl", "symbol", "symbol", "vocabulary"]
    # of two names of one gene the surer; an ambiguous one is nobody's
    both = sg.pp.resolve_names(["ENSG00000000001", "C1orf9"], vocabulary=["al", "OLDALPHA", "TWIN"], tables=TABLES)
    assert both["resolved"].tolist() == ["OLDALPHA", "C1orf9"]
    # to Ensembl ids, where the vocabulary is of these
    ids = sg.pp.resolve_names(["ALPHA", "BETA"], vocabulary=["ENSG00000000002.1"], tables=TABLES)
    assert ids["resolved"].tolist() == ["ALPHA", "ENSG00000000002.1"]


@pytest.mark.parametrize("kind", ["vocabulary", "network", "table", "names"])
def test_kinds_of_vocabularies(kind):
    edges = pd.DataFrame({"TF": ["OLDALPHA"], "target": ["BETA"]})
    vocabulary = {
        "vocabulary": GeneVocabulary(["OLDALPHA", "BETA"]),
        "network": PriorNetwork(("OLDALPHA", "BETA"), np.array([[0], [1]]), np.array([0]), np.array([1.0])),
        "table": edges,
        "names": (name for name in ["OLDALPHA", "BETA"]),
    }[kind]
    adata = resolved(["ALPHA", "BETA"], vocabulary=vocabulary)
    assert adata.var_names.tolist() == ["OLDALPHA", "BETA"]
    assert adata.uns["gene_names"]["in_vocabulary"] == {"before": 1, "after": 2, "names": 2}


# -------------------------------------------------------------------------------------- columns that want one name


def test_an_exact_name_wins_then_the_surer_rule():
    adata = resolved(["OLDALPHA", "ALPHA", "al", "ENSG00000000002", "beta", "novel"])
    assert adata.var_names.tolist() == ["OLDALPHA", "ALPHA", "al", "BETA", "beta", "novel"]
    status = adata.var["gene_names_status"].tolist()
    assert status == ["duplicate", "unchanged", "duplicate", "renamed", "duplicate", "unknown"]
    duplicates = adata.uns["gene_names"]["duplicates"]
    assert dict(zip(duplicates["name"], duplicates["of"], strict=True)) == {
        "OLDALPHA": "ALPHA", "al": "ALPHA", "beta": "BETA",
    }  # fmt: skip


def test_a_suffix_is_a_duplicate_only_beside_its_name():
    adata = resolved(["OLDALPHA", "OLDALPHA-1", "GAMMA.1", "NKX2-1", "X-1"])
    assert adata.var_names.tolist() == ["ALPHA", "OLDALPHA-1", "GAMMA.1", "NKX2-1", "X-1"]
    assert adata.var["gene_names_status"].tolist() == ["renamed", "duplicate", "unknown", "unchanged", "unknown"]
    assert adata.var["gene_names_rule"].tolist() == ["previous", "suffix", "", "symbol", ""]


def test_an_ambiguous_name_is_the_gene_that_no_other_column_is():
    alone = resolved(["SPLIT", "1-Mar", "ALPHA"])
    assert alone.var_names.tolist() == ["SPLIT", "1-Mar", "ALPHA"]
    assert alone.uns["gene_names"]["ambiguous"]["name"].tolist() == ["SPLIT", "1-Mar"]
    beside = resolved(["SPLIT", "1-Mar", "BETA", "MARCH1"])
    assert beside.var_names.tolist() == ["GAMMA", "MTARC1", "BETA", "MARCHF1"]
    assert beside.var["gene_names_rule"].tolist() == ["elimination", "elimination", "symbol", "previous"]
    # two names that are left with one gene do not share it
    both = resolved(["SPLIT", "BETA", "Split"])
    assert both.var_names.tolist() == ["SPLIT", "BETA", "Split"]
    # being in the vocabulary is no argument
    assert resolved(["SPLIT"], vocabulary=["BETA", "SPLIT2", "SPLIT"]).var_names.tolist() == ["SPLIT"]
    assert resolved(["TWIN", "BETA"], vocabulary=["ALPHA", "BETA"]).var_names.tolist() == ["TWIN", "BETA"]


def test_duplicates_are_summed_dropped_or_kept():
    names = ["OLDALPHA", "novel", "ALPHA", "BETA", "ALPHA-1"]
    counts = np.array([[1, 2, 3, 4, 5], [10, 20, 30, 40, 50], [0, 0, 0, 0, 7]])
    adata = cells(names, counts, length=[1, 2, 3, 4, 5])
    adata.layers["spliced"] = counts.astype(np.int32)
    adata.layers["dense"] = sparse.csc_matrix(counts)
    adata.varm["pca"] = np.arange(10.0).reshape(5, 2)
    adata.varp["graph"] = sparse.csr_matrix(np.arange(25.0).reshape(5, 5))
    adata.obsm["umap"] = np.zeros((3, 2))
    adata.raw = adata
    sums = sg.pp.resolve_genes(adata, tables=TABLES, duplicates="sum", copy=True)
    expected = np.array([[2, 1 + 3 + 5, 4], [20, 10 + 30 + 50, 40], [0, 7, 0]])
    assert sums.var_names.tolist() == ["novel", "ALPHA", "BETA"]
    for matrix in (sums.X, sums.layers["dense"]):
        np.testing.assert_array_equal(matrix.toarray(), expected)
    np.testing.assert_array_equal(sums.layers["spliced"], expected)
    assert (sums.X.dtype, sums.X.format, sums.layers["dense"].format) == (np.float32, "csr", "csc")
    assert sums.var["length"].tolist() == [2, 3, 4]
    np.testing.assert_array_equal(sums.varm["pca"], adata.varm["pca"][[1, 2, 3]])
    np.testing.assert_array_equal(sums.varp["graph"].toarray(), adata.varp["graph"].toarray()[1:4, 1:4])
    assert sums.raw.var_names.tolist() == names
    assert sums.uns["gene_names"]["n_genes"] == 5
    assert sums.uns["gene_names"]["counts"]["duplicate"] == 2

    dropped = sg.pp.resolve_genes(adata, tables=TABLES, duplicates="drop", copy=True)
    np.testing.assert_array_equal(dropped.X.toarray(), counts[:, 1:4])
    sg.pp.resolve_genes(adata, tables=TABLES, duplicates="sum")  # in place
    np.testing.assert_array_equal(adata.X.toarray(), expected)
    assert adata.raw.shape == (3, 5)


def test_columns_of_exactly_the_same_name():
    with pytest.warns(UserWarning, match="Variable names are not unique"):
        adata = cells(["ALPHA", "novel", "ALPHA", "novel"], np.array([[1, 2, 3, 4]]))
    with pytest.raises(DuplicateGenesError, match=r"2 gene names .* 'ALPHA'.*`duplicates=\"sum\"`"):
        sg.pp.resolve_genes(adata, tables=TABLES)
    sg.pp.resolve_genes(adata, tables=TABLES, duplicates="sum", min_overlap=0.5)
    assert adata.var_names.tolist() == ["ALPHA", "novel"]
    assert adata.X.toarray().tolist() == [[4, 6]]


def test_only_counts_are_summed():
    adata = cells(["ALPHA", "al"])
    adata.layers["log"] = adata.X.log1p()
    with pytest.raises(
        ArgumentError, match=r"adds up counts, but layers\['log'\] holds other values.*duplicates=\"drop\""
    ):
        sg.pp.resolve_genes(adata, tables=TABLES, duplicates="sum")
    assert adata.shape == (3, 2)
    assert not len(adata.uns)


# ------------------------------------------------------------------------------------------------------ orthologs


@pytest.mark.usefixtures("gene_tables")
def test_mouse_to_human_goes_through_orthologs_not_upper_case():
    names = ["Gata1", "Trp53", "p53", "Ctgf", "Elob", "Ldha", "ENSMUSG00020000001.4", "H2-K1", "novel", "Tpt1"]
    adata = resolved(names, organism="mouse", to="human", tables=None)
    # Trp53 stands for nothing in these tables; p53 neither: an alias of a mouse gene that is not there
    assert dict(zip(names, adata.var_names, strict=True)) == {
        "Gata1": "GATA1", "Trp53": "Trp53", "p53": "p53", "Ctgf": "CCN2", "Elob": "Elob", "Ldha": "LDHA",
        "ENSMUSG00020000001.4": "KLF1", "H2-K1": "H2-K1", "novel": "novel", "Tpt1": "Tpt1",
    }  # fmt: skip
    status = dict(zip(names, adata.var["gene_names_status"], strict=True))
    assert status["Elob"] == status["H2-K1"] == status["Tpt1"] == "no_ortholog"
    assert status["novel"] == "unknown"
    ids = dict(zip(names, adata.var["gene_names_id"], strict=True))
    assert ids["Gata1"] == "HGNC:1"
    assert ids["Elob"].startswith("MGI:")
    # upper-case mouse symbols: the symbol comes before the alias TPT1 of Trpt1
    upper = sg.pp.resolve_names(["TPT1", "GATA1"], organism="mouse")
    assert upper["resolved"].tolist() == ["Tpt1", "Gata1"]
    back = sg.pp.resolve_names(["CCN2", "CTGF"], organism="human", to="mouse")
    assert back["resolved"].tolist() == ["Ccn2", "Ccn2"]


@pytest.mark.usefixtures("gene_tables")
def test_between_organisms_a_second_run_knows_that_names_are_changed():
    names = ["Gata1", "Ctgf", "Elob", "GATA2"]
    adata = resolved(names, organism="mouse", to="human", tables=None)
    first = adata.var_names.tolist()
    sg.pp.resolve_genes(adata, organism="mouse", to="human", min_overlap=0)
    assert adata.var_names.tolist() == first == ["GATA1", "CCN2", "Elob", "GATA2"]
    assert adata.uns["gene_names"]["counts"]["renamed"] == 0
    assert adata.var["gene_names_original"].tolist() == names
    # in other names of the same genes, after some columns were taken out
    part = adata[:, [1, 3]].copy()
    sg.pp.resolve_genes(part, organism="mouse", to="human", vocabulary=["CTGF"], min_overlap=0)
    assert part.var_names.tolist() == ["CTGF", "GATA2"]
    assert part.var["gene_names_original"].tolist() == ["Ctgf", "GATA2"]


@pytest.mark.usefixtures("gene_tables")
def test_tables_as_the_datasets_give_them():
    human, mouse = sg.datasets.gene_names("human"), sg.datasets.gene_names("mouse")
    assert human.columns.tolist() == mouse.columns.tolist() == ["name", "kind", "gene", "symbol"]
    assert set(human["kind"]) == {"symbol", "ensembl", "previous", "alias"}
    rows = human.set_index(["name", "kind"]).sort_index()
    assert rows.loc[("CTGF", "previous"), "symbol"].item() == "CCN2"
    assert rows.loc[("p53", "alias"), "symbol"].item() == "TP53"
    assert rows.loc[("GONE1", "previous"), "symbol"].item() == "LYZ"  # a withdrawn symbol
    assert "GONE2" not in set(human["name"])
    assert mouse.query("name == 'Gata1'")["gene"].tolist() == ["MGI:9000"]  # of two records, that with an Ensembl id
    pairs = sg.datasets.gene_orthologs()
    assert pairs.query("source == 'hgnc'")[["human_symbol", "kind"]].to_numpy().tolist() == [["LDHA", "one2one"]]
    assert set(pairs["kind"]) == {"one2one", "one2many"}
    with pytest.raises(ArgumentError, match="organism is 'human' or 'mouse', not 'rat'"):
        sg.datasets.gene_names("rat")


# ------------------------------------------------------------------------------------------- what is written, where


def test_what_is_written_survives_a_file(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    adata = cells(["OLDALPHA", "BETA", "SPLIT", "novel"])
    with caplog.at_level(logging.INFO, "scgrn_tl"):
        assert sg.pp.resolve_genes(adata, vocabulary=["ALPHA", "GAMMA"], tables=TABLES) is None
    assert "Of 4 gene names (human to human) 1 unchanged, 2 renamed, 1 unknown; 2 are in the vocabulary" in caplog.text
    assert "1 unchanged, 2 renamed, 1 unknown" in caplog.text
    adata.write_h5ad(tmp_path / "file.h5ad")
    back = ad.read_h5ad(tmp_path / "file.h5ad")
    assert back.var_names.tolist() == ["ALPHA", "BETA", "GAMMA", "novel"]
    for column, values in {
        "original": ["OLDALPHA", "BETA", "SPLIT", "novel"],
        "resolved": ["ALPHA", "BETA", "GAMMA", "novel"],
        "status": ["renamed", "unchanged", "renamed", "unknown"],
        "rule": ["previous", "symbol", "elimination", ""],
        "id": ["G1", "G2", "G3", ""],
    }.items():
        assert back.var[f"gene_names_{column}"].tolist() == values
    record = back.uns["gene_names"]
    assert sum(record["counts"].values()) == record["n_genes"] == 4
    assert record["rules"] == {"previous": 1, "symbol": 1, "elimination": 1}
    assert record["in_vocabulary"] == {"before": 0, "after": 2, "names": 2}
    assert record["params"]["vocabulary"] == "2 names"
    assert len(record["tables"]["human"]) == 64


@pytest.mark.parametrize("kind", ["view", "backed", "mudata", "mudata copy"])
def test_kinds_of_anndata(kind: str, tmp_path: Path):
    adata = cells(["novel", "OLDALPHA", "BETA", "al"])
    names = ["novel", "ALPHA", "BETA", "al"]
    arguments = {"tables": TABLES}
    if kind == "view":
        view = adata[:2, 1:]
        sg.pp.resolve_genes(view, **arguments)
        assert view.var_names.tolist() == names[1:]
        assert adata.var_names.tolist() == ["novel", "OLDALPHA", "BETA", "al"]
    elif kind == "backed":
        adata.write_h5ad(tmp_path / "file.h5ad")
        backed = ad.read_h5ad(tmp_path / "file.h5ad", backed="r")
        sg.pp.resolve_genes(backed, **arguments)
        assert backed.var_names.tolist() == names
        with pytest.raises(ArgumentError, match="to_memory"):
            sg.pp.resolve_genes(backed, duplicates="sum", **arguments)
        backed.file.close()
    else:
        other = ad.AnnData(np.ones((3, 1), dtype=np.float32), var=pd.DataFrame(index=["protein"]))
        mdata = md.MuData({"gex": adata, "prot": other})
        given = mdata.copy() if kind == "mudata copy" else mdata
        done = sg.pp.resolve_genes(given, modality="gex", duplicates="sum", copy=kind == "mudata copy", **arguments)
        done = given if done is None else done
        assert done["gex"].var_names.tolist() == names[:3]
        assert done.var_names.tolist() == [*names[:3], "protein"]
        assert done.shape == (3, 4)
        if kind == "mudata copy":
            assert given["gex"].shape == (3, 4)
        with pytest.raises(MissingKeyError, match="no modality 'rna'"):
            sg.pp.resolve_genes(mdata, **arguments)


# ------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.usefixtures("gene_tables")
@pytest.mark.parametrize(
    ("names", "arguments", "words"),
    [
        (
            ["Gata1", "Klf1", "Sox2"],
            {},
            [
                "0 of 3 names (0%) are known as names of human genes",
                "mouse gene symbols",
                'organism="mouse", to="human"',
            ],
        ),
        (["ENSMUSG00020000001", "ENSMUSG00020000002"], {}, ["Ensembl gene ids (mouse)", 'organism="mouse"']),
        (["ENSG00010000001", "ENSG00010000002"], {"organism": "mouse"}, ["`sg.pp.resolve_genes(adata)`"]),
        (["7157", "6657"], {}, ["integers", "check `organism=`"]),
        (["ENSG00000999998", "ENSG00000999999"], {}, ["like Ensembl gene ids. To mend it: check `organism=`"]),
        (["GATA1", "x", "y"], {"min_overlap": 0.9}, ["33%", "at least 90%"]),
        (["GATA1"], {"vocabulary": ["other"]}, ["None of 1 genes is in the vocabulary (1 names)"]),
    ],
)
def test_too_few_known_names(names, arguments, words):
    adata = cells(names)
    with pytest.raises(GeneOverlapError) as caught:
        sg.pp.resolve_genes(adata, **arguments)
    for word in words:
        assert word in str(caught.value)
    assert adata.var_names.tolist() == names
    assert not len(adata.uns)
    assert adata.var.empty


def test_a_column_of_var_that_matches_is_named():
    adata = cells(["1", "2"], gene_symbols=["ALPHA", "BETA"])
    with pytest.raises(GeneOverlapError, match=r"`adata.var\['gene_symbols'\]` matches 100%"):
        sg.pp.resolve_genes(adata, tables=TABLES)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"duplicates": "merge"}, ArgumentError, "'keep', 'sum' or 'drop', not 'merge'"),
        ({"min_overlap": 2}, ArgumentError, "min_overlap is a share"),
        ({"key_added": "a/b"}, ArgumentError, "without '/'"),
        ({"organism": "zebrafish"}, ArgumentError, "'human', 'mouse'; not 'zebrafish'.*tables={'zebrafish': names}"),
        ({"to": "rat"}, ArgumentError, "to is one of"),
        ({"vocabulary": "geneformer"}, ArgumentError, "not 'geneformer'"),
        ({"vocabulary": []}, ArgumentError, "has no names"),
        ({"vocabulary": 3}, ArgumentError, "vocabulary is .* not 3"),
        ({"organism": "mouse", "vocabulary": "scbert"}, ArgumentError, "organism='mouse', to=\"human\""),
        ({"tables": TABLE}, ArgumentError, "tables is a dict"),
        ({"tables": {"human": TABLE[["name", "kind"]]}}, ArgumentError, "gene, symbol not found"),
        ({"tables": {"human": TABLE.replace("alias", "nickname")}}, ArgumentError, "not 'nickname'"),
        ({"tables": TABLES | {"mouse": TABLE, "orthologs": TABLE}, "to": "mouse"}, ArgumentError, "human, mouse not"),
    ],
)
def test_bad_arguments(arguments, error, message):
    adata = cells(["ALPHA"])
    with pytest.raises(error, match=message):
        sg.pp.resolve_genes(adata, **({"tables": TABLES} | arguments))
    assert not len(adata.uns)


def test_no_table_no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def down(*_args: object) -> None:
        msg = "the network is down"
        raise ConnectionError(msg)

    monkeypatch.setattr("pooch.HTTPDownloader.__call__", down)
    with sg.settings.override(mirror=None, cache_dir=tmp_path):
        monkeypatch.delenv("SCGRN_TL_MIRROR", raising=False)
        with pytest.raises(DownloadError, match=r"genes/hgnc_entries\.tsv.*network is down"):
            sg.pp.resolve_genes(cells(["ALPHA"]))


def test_interrupted_writing_leaves_all_as_it_was(monkeypatch: pytest.MonkeyPatch):
    from scgrn_tl.core import slots

    def interrupted(*_args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(slots, "_put", interrupted)
    for duplicates in ("keep", "sum"):
        adata = cells(["OLDALPHA", "al", "BETA"])
        with pytest.raises(KeyboardInterrupt):
            sg.pp.resolve_genes(adata, tables=TABLES, duplicates=duplicates)
        assert adata.var_names.tolist() == ["OLDALPHA", "al", "BETA"]
        assert adata.var.empty


# ------------------------------------------------------------------------------------------------------ properties

NAMES = [*EACH_RULE, "ALPHA-1", "ALPHA.1", "al-1", "novel-1", "GAMMA", "MARCH1", "MARC1", "MTARC1", "Twin", "SPLIT-1"]


@given(
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=12, unique=True),
    st.lists(st.sampled_from([*NAMES, "BETA", "OLDALPHA"]), max_size=5, unique=True),
    st.sampled_from(["keep", "sum", "drop"]),
    st.randoms(use_true_random=False),
)
@settings(max_examples=100)
def test_names_stay_unique_counts_add_up_and_order_does_not_matter(names, vocabulary, duplicates, random):
    arguments = {"vocabulary": vocabulary or None, "duplicates": duplicates}
    try:
        adata = resolved(names, **arguments)
    except GeneOverlapError:
        return
    assert adata.var_names.is_unique
    record = adata.uns["gene_names"]
    assert sum(record["counts"].values()) == record["n_genes"] == len(names)
    before = cells(names)
    if duplicates == "sum":
        assert adata.X.sum() == before.X.sum()
    if duplicates == "keep":
        assert adata.n_vars == len(names)

    again = sg.pp.resolve_genes(adata, tables=TABLES, min_overlap=0.0, copy=True, **arguments)
    assert again.var_names.tolist() == adata.var_names.tolist()
    assert again.uns["gene_names"]["counts"]["renamed"] == 0

    order = list(range(len(names)))
    random.shuffle(order)
    permuted = sg.pp.resolve_genes(before[:, order].copy(), tables=TABLES, min_overlap=0.0, copy=True, **arguments)
    pd.testing.assert_frame_equal(
        permuted.var.sort_index(), adata.var.sort_index(), check_categorical=False, check_names=False
    )


MOUSE = pd.DataFrame(
    [
        ("Alpha", "symbol", "M1", "Alpha"),
        ("Beta", "symbol", "M2", "Beta"),
        ("Gamma", "symbol", "M3", "Gamma"),  # no ortholog
        ("Delta", "symbol", "M4", "Delta"),
        ("ALPHA", "alias", "M2", "Beta"),  # a human symbol is another mouse gene's alias
        ("Pair", "alias", "M1", "Alpha"),
        ("Pair", "alias", "M4", "Delta"),
    ],
    columns=TABLE.columns,
)
ORTHOLOGS = pd.DataFrame(
    {"mouse": ["M1", "M2", "M4", "M3", "M3"], "human": ["G2", "G1", "G5", "G3", "G4"], "kind": "one2one"}
)


@given(
    st.lists(st.sampled_from([*MOUSE["name"].unique(), "BETA", "gamma", "novel", "ALPHA-1", "MARCHF1"]), unique=True),
    st.sampled_from([None, ["OLDALPHA"], ["BETA", "OLDALPHA"]]),
    st.sampled_from(["keep", "drop"]),
)
@settings(max_examples=60)
def test_between_organisms_names_stay_unique_and_a_second_run_renames_nothing(names, vocabulary, duplicates):
    """Alpha is BETA in human and Beta is ALPHA, so that names read as mouse names again would swap."""
    arguments = {
        "tables": TABLES | {"mouse": MOUSE, "orthologs": ORTHOLOGS}, "organism": "mouse", "to": "human",
        "vocabulary": vocabulary, "duplicates": duplicates,
    }  # fmt: skip
    try:
        adata = resolved(["Beta", *(name for name in names if name != "Beta")], **arguments)
    except GeneOverlapError:
        return
    assert adata.var_names.is_unique
    assert sum(adata.uns["gene_names"]["counts"].values()) == adata.uns["gene_names"]["n_genes"]
    expected = {"Alpha": "BETA", "Beta": "OLDALPHA" if vocabulary else "ALPHA", "Delta": "MARCHF1", "Gamma": "Gamma"}
    now = dict(zip(adata.var["gene_names_original"], adata.var_names, strict=True))
    status = dict(zip(adata.var["gene_names_original"], adata.var["gene_names_status"], strict=True))
    for name in set(expected) & set(now):
        assert now[name] == expected[name] or status[name] == "duplicate"
    again = sg.pp.resolve_genes(adata, min_overlap=0.0, copy=True, **arguments)
    assert again.var_names.tolist() == adata.var_names.tolist()
    assert again.uns["gene_names"]["counts"]["renamed"] == 0
    assert again.var["gene_names_original"].tolist() == adata.var["gene_names_original"].tolist()


# ----------------------------------------------------------------------------------------------------- real tables


@pytest.mark.internet
@pytest.mark.slow
def test_real_tables():
    try:
        human, mouse, pairs = sg.datasets.gene_names(), sg.datasets.gene_names("mouse"), sg.datasets.gene_orthologs()
    except DownloadError as error:
        pytest.skip(f"no tables of gene names: {error}")
    assert human.query("kind == 'symbol'")["gene"].nunique() == 43_837  # HGNC's approved entries in that file
    assert not human.query("kind == 'symbol'")["name"].duplicated().any()
    assert not mouse.query("kind == 'symbol'")["name"].duplicated().any()
    assert (pairs.query("source == 'ensembl'")["kind"] == "one2one").sum() == 17_122
    names = {
        "CTGF": "CCN2", "ENSG00000141510.18": "TP53", "p53": "TP53", "1-Sep": "SEPTIN1", "OCT4": "POU5F1",
        "C1ORF43": "C1orf43", "HLA.DRB5": "HLA-DRB5", "TRAP": "TRAP",
    }  # fmt: skip
    table = sg.pp.resolve_names(names)
    assert dict(zip(table["name"], table["resolved"], strict=True)) == names
    assert table["status"].tolist()[-1] == "ambiguous"
    orthologs = {"Trp53": "TP53", "ENSMUSG00000019997": "CCN2", "Ldha": "LDHA", "TPT1": "TPT1", "H2-K1": "H2-K1"}
    table = sg.pp.resolve_names(orthologs, organism="mouse", to="human")
    assert dict(zip(table["name"], table["resolved"], strict=True)) == orthologs
