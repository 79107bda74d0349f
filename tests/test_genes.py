"""Gene vocabularies: alignment, aliases, what does not match, and the errors that say so."""

from __future__ import annotations

import hashlib
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scgrn_tl.core import ArgumentError, DuplicateGenesError, GeneOverlapError, GeneVocabulary, check_unique_genes
from scgrn_tl.core.genes import identifier_kind, mismatch_hint

SYMBOLS = ("TP53", "SOX2", "GATA1", "MYC", "KLF4")


def test_unique_names_pass_and_duplicates_are_named():
    check_unique_genes(["A", "B"])
    with pytest.raises(DuplicateGenesError, match=r"2 gene names .*: 'A', 'C'\. Run `adata\.var_names_make_unique"):
        check_unique_genes(["A", "B", "A", "C", "C", "A"])
    with pytest.raises(DuplicateGenesError, match=r"7 gene names .*, …\. "):
        check_unique_genes([f"G{i}" for i in range(7)] * 2)


def test_a_vocabulary_is_its_names_in_order():
    vocabulary = GeneVocabulary(iter(SYMBOLS))
    assert vocabulary.symbols == SYMBOLS
    assert len(vocabulary) == 5
    assert "SOX2" in vocabulary
    assert "sox2" not in vocabulary
    assert vocabulary.index["MYC"] == 3
    assert vocabulary.sha256 == hashlib.sha256(b"TP53\nSOX2\nGATA1\nMYC\nKLF4").hexdigest()
    assert vocabulary == GeneVocabulary(SYMBOLS)
    assert vocabulary != GeneVocabulary(SYMBOLS[::-1])
    assert "5 genes" in repr(vocabulary)
    with pytest.raises(DuplicateGenesError):
        GeneVocabulary(["A", "A"])


def test_alignment_is_in_vocabulary_order():
    alignment = GeneVocabulary(SYMBOLS).align(["KLF4", "novel", "TP53", "MYC"])
    assert alignment.columns.tolist() == [2, 3, 0]
    assert alignment.positions.tolist() == [0, 3, 4]
    assert alignment.found == ("TP53", "MYC", "KLF4")
    assert alignment.missing == ("novel",)
    assert alignment.overlap == 0.75
    assert alignment.n_genes == 4
    assert alignment.report() == "3 of 4 genes (75%) are in the vocabulary; not known: novel"
    assert "3 of 4" in repr(alignment)


def test_aliases_rename_but_never_take_a_gene_that_is_there():
    names = ["p53", "SOX2", "OCT-X", "c-Myc", "MYC2", "sox-2"]
    aliases = {"p53": "TP53", "c-Myc": "MYC", "MYC2": "MYC", "sox-2": "SOX2", "OCT-X": "POU5F1"}
    alignment = GeneVocabulary(SYMBOLS).align(names, aliases=aliases)
    assert alignment.found == ("p53", "SOX2", "c-Myc")
    assert dict(alignment.renamed) == {"p53": "TP53", "c-Myc": "MYC"}
    assert alignment.ambiguous == ("MYC2", "sox-2")
    assert alignment.missing == ("OCT-X",)
    assert "2 by an alias" in alignment.report()
    assert "2 left out as ambiguous (MYC2, sox-2" in alignment.report()


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=25, unique=True),
    st.lists(st.integers(0, 40), min_size=1, max_size=25, unique=True),
)
@settings(max_examples=80, deadline=None)
def test_alignment_finds_exactly_the_common_genes(known, given_):
    symbols, names = [f"G{i}" for i in known], [f"G{i}" for i in given_]
    common = set(symbols) & set(names)
    vocabulary = GeneVocabulary(symbols)
    if not common:
        with pytest.raises(GeneOverlapError):
            vocabulary.align(names)
        return
    alignment = vocabulary.align(names)
    assert set(alignment.found) == common
    assert set(alignment.missing) == set(names) - common
    assert [names[column] for column in alignment.columns] == [symbols[p] for p in alignment.positions]
    assert (np.diff(alignment.positions) > 0).all()
    assert alignment.overlap == pytest.approx(len(common) / len(names))


def test_too_small_an_overlap_says_how_many_and_what_the_names_look_like():
    with pytest.raises(GeneOverlapError, match=r"Only 1 of 3 genes \(33%\).*at least 50% is asked for.*`min_overlap`"):
        GeneVocabulary(SYMBOLS).align(["MYC", "foo", "bar"], min_overlap=0.5)
    assert GeneVocabulary(SYMBOLS).align(["MYC", "foo"], min_overlap=0.5).overlap == 0.5
    with pytest.raises(GeneOverlapError, match='weights="fit"'):
        GeneVocabulary(SYMBOLS).align(["foo"])


@pytest.mark.parametrize(
    ("names", "call"),
    [
        (["Sox2", "Gata1", "Klf4"], 'sg.pp.resolve_genes(adata, organism="mouse", to="human")'),
        ([f"ENSMUSG0000005955{i}" for i in range(3)], 'sg.pp.resolve_genes(adata, organism="mouse", to="human")'),
        ([f"ENSG0000014151{i}.7" for i in range(3)], "sg.pp.resolve_genes(adata)"),
    ],
)
def test_names_that_can_be_resolved_are_told_how(names, call):
    with pytest.raises(GeneOverlapError, match=rf"To mend it: run `{re.escape(call)}`"):
        GeneVocabulary(SYMBOLS).align(names, min_overlap=0.5)


def test_names_in_another_case_are_told_what_to_do():
    mouse = mismatch_hint(["GATA1", "SOX2"], ["Gata1", "Sox2", "Myc"], what="TF names")
    assert "2 of them differ only in case, such as 'GATA1' and 'Gata1'" in mouse
    assert '`sg.datasets.collectri("mouse")`' in mouse
    assert '`sg.pp.resolve_genes(adata, organism="mouse", to="human")`' in mouse
    human = mismatch_hint(["c1orf43"], ["C1ORF43", "MYC"], what="TF names")
    assert "sg.pp.resolve_names(names, vocabulary=adata.var_names)" in human
    assert "mouse" not in human
    ensembl = mismatch_hint(["GATA1"], ["ENSG00000102145"], what="TF names")
    assert ensembl.endswith("bring the data's to symbols by `sg.pp.resolve_genes(adata)`.")
    assert mismatch_hint(["GATA1"], ["SOX2"], what="TF names") == ""


def test_ensembl_ids_are_told_which_column_of_var_matches():
    ids = [f"ENSG0000014151{i}" for i in range(3)]
    var = pd.DataFrame({"length": [1, 2, 3], "symbol": pd.Categorical(["TP53", "SOX2", "MYC"])}, index=ids)
    with pytest.raises(GeneOverlapError, match=r"Ensembl gene ids\..*adata\.var\['symbol'\]` matches 100%"):
        GeneVocabulary(SYMBOLS).align(ids, min_overlap=0.5, var=var)
    with pytest.raises(GeneOverlapError, match=r"sg\.pp\.resolve_genes"):
        GeneVocabulary(SYMBOLS).align(ids, min_overlap=0.5, var=var[["length"]])


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_min_overlap_is_a_share(share):
    with pytest.raises(ArgumentError, match="min_overlap is a share"):
        GeneVocabulary(SYMBOLS).align(["MYC"], min_overlap=share)


def test_names_are_unique_in_the_data_too():
    with pytest.raises(DuplicateGenesError):
        GeneVocabulary(SYMBOLS).align(["MYC", "MYC"])


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["ENSG00000141510", "ENSG00000181449.3", "MYC"], "Ensembl gene ids"),
        (["ENSMUSG00000059552", "ENSMUSG00000074637"], "Ensembl gene ids (mouse)"),
        (["7157", "6657"], "integers (Entrez ids, or an index that was never named)"),
        (["Sox2", "Gata1", "Nkx2-5"], "mouse gene symbols"),
        (["SOX2", "GATA1"], "gene symbols of another annotation or organism"),
        ([], "no names at all"),
    ],
)
def test_identifier_kinds(names, kind):
    assert identifier_kind(names) == kind


def test_alignments_can_be_compared():
    vocabulary = GeneVocabulary(SYMBOLS)
    first, second = (vocabulary.align(["MYC", "SOX2"]) for _ in range(2))
    assert first != second  # by identity: arrays have no single truth value
    assert len({first, second}) == 2
