"""``sg.get``: the table of edges and the table of metrics."""

from __future__ import annotations

import itertools

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

import scgrn_tl as sg
from scgrn_tl.core import ArgumentError, DuplicateGenesError, MissingKeyError

GENES = ["A", "B", "C", "D", "E"]
EDGES = {("A", "B"): 0.9, ("A", "C"): 0.7, ("A", "D"): 0.7, ("B", "A"): 0.7, ("B", "E"): 0.5, ("B", "C"): 0.2}


def network(container=sparse.csr_matrix) -> ad.AnnData:
    """Two regulators, six edges; A→C, A→D and B→A are equally probable."""
    adata = ad.AnnData(np.ones((3, 5), dtype=np.float32), var=pd.DataFrame(index=GENES))
    probability, specificity = np.zeros((5, 5), np.float32), np.zeros((5, 5), np.float32)
    for (source, target), value in EDGES.items():
        probability[GENES.index(source), GENES.index(target)] = value
        specificity[GENES.index(source), GENES.index(target)] = 1.0
    specificity[0, 3] = 2.0  # A→D is more specific than A→C
    adata.varp["grn"], adata.varp["grn_specificity"] = container(probability), container(specificity)
    adata.var["grn_is_tf"] = [True, True, False, False, False]
    prior = pd.DataFrame({"source": ["A", "A", "Z"], "target": ["C", "E", "A"], "sign": [-1, 1, 1], "weight": 1.0})
    adata.uns["grn"] = {"prior": prior}
    return adata


@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csr_array, sparse.csc_matrix, np.asarray])
def test_order_columns_and_types(container):
    frame = sg.get.grn_df(network(container))
    assert list(zip(frame["source"], frame["target"], strict=True)) == [
        ("A", "B"), ("A", "D"), ("A", "C"), ("B", "A"), ("B", "E")
    ]  # fmt: skip
    assert list(frame.columns) == ["source", "target", "weight", "probability", "specificity", "sign", "in_prior"]
    assert frame["probability"].dtype == frame["weight"].dtype == frame["specificity"].dtype == np.float32
    assert frame["sign"].dtype == np.int8
    assert frame["in_prior"].dtype == bool
    assert list(frame.index) == list(range(5))


def test_threshold_is_inclusive_in_the_stored_precision():
    assert len(sg.get.grn_df(network(), min_probability=0.7)) == 4  # float32(0.7) < 0.7
    assert len(sg.get.grn_df(network(), min_probability=None)) == len(EDGES)
    assert len(sg.get.grn_df(network(), min_probability=0.2)) == len(EDGES)


def test_selection():
    adata = network()
    assert set(sg.get.grn_df(adata, tfs="B")["source"]) == {"B"}
    assert list(sg.get.grn_df(adata, targets=["C", "E"])["target"]) == ["C", "E"]
    assert list(sg.get.grn_df(adata, tfs=["A"], top_n=2)["target"]) == ["B", "D"]
    assert sg.get.grn_df(adata, tfs=["B"], targets=["D"]).empty


def test_sign_and_weight_come_from_the_prior_then_from_the_stored_sign():
    adata = network()
    frame = sg.get.grn_df(adata).set_index(["source", "target"])
    assert frame.loc[("A", "C"), "sign"] == -1
    assert frame.loc[("A", "C"), "weight"] == np.float32(-0.7)
    assert bool(frame.loc[("A", "C"), "in_prior"])
    assert frame["in_prior"].sum() == 1  # A→E is in the prior, but is no edge
    assert frame.loc[("A", "B"), ["sign", "weight"]].tolist() == [0, np.float32(0.9)]

    sign = np.zeros((5, 5), np.int8)
    sign[0, 1], sign[0, 2] = -1, 1
    adata.varp["grn_sign"] = sparse.csr_matrix(sign)
    frame = sg.get.grn_df(adata).set_index(["source", "target"])
    assert frame.loc[("A", "B"), "sign"] == -1
    assert frame.loc[("A", "C"), "sign"] == -1  # the prior's word counts


def test_optional_slots():
    adata = network()
    del adata.varp["grn_specificity"], adata.uns["grn"]["prior"]
    frame = sg.get.grn_df(adata)
    assert frame["specificity"].isna().all()
    assert not frame["in_prior"].any()
    assert list(zip(frame["source"], frame["target"], strict=True))[1:4] == [("A", "C"), ("A", "D"), ("B", "A")]
    adata.varp["grn_std"] = adata.varp["grn"] * 0.1
    assert sg.get.grn_df(adata)["std"].iloc[0] == pytest.approx(0.09)


def test_a_lost_record_is_warned_of(tmp_path):
    adata = network()
    adata.var["grn_is_tf"] = [True, True, False, False, False]
    parts = [adata[:2].copy(), adata[2:].copy()]
    lost = ad.concat(parts, merge="same")
    assert "grn" in lost.varp
    with pytest.warns(UserWarning, match=r"lost its record, \.uns\['grn'\].*uns_merge='same'") as caught:
        frame = sg.get.grn_df(lost)
    assert [warning.filename for warning in caught] == [__file__]  # once, at the line that called
    assert not frame["in_prior"].any()
    kept = ad.concat(parts, merge="same", uns_merge="same")  # as the warning says
    pd.testing.assert_frame_equal(sg.get.grn_df(kept), sg.get.grn_df(adata))
    assert (sg.get.grn_df(kept)["sign"] == -1).any()
    del lost.var["grn_is_tf"]  # a network that somebody put there has no record
    sg.get.grn_df(lost)


def test_renamed_genes_are_warned_of():
    adata = network()
    adata.uns["grn"]["prior"] = adata.uns["grn"]["prior"].iloc[:2]
    one = adata.copy()
    one.var_names = ["A", "B", "C", "D", "e"]
    sg.get.grn_df(one)  # E may have been left out, for all that is known
    one.uns["grn"]["data"] = {"n_genes": 5}
    with pytest.warns(UserWarning, match=r"Genes were renamed since .*: 1 of its prior's are not in var_names"):
        sg.get.grn_df(one)
    sg.get.grn_df(one[:, :4])  # left out
    adata.var_names = ["a", "b", "c", "d", "e"]
    with pytest.warns(UserWarning, match=r"Genes were renamed since .*: 3 of its prior's"):
        sg.get.grn_df(adata)


def test_scores_that_are_no_probabilities():
    adata = network()
    adata.varp["grn"] = adata.varp["grn"] * 10
    with pytest.raises(ArgumentError, match=r"scores from 2 to 9, not probabilities.*min_probability=None"):
        sg.get.grn_df(adata, min_probability=0.5)
    frame = sg.get.grn_df(adata, top_n=2)
    assert frame["probability"].isna().all()
    assert frame["weight"].tolist() == [9, 7]
    pd.testing.assert_frame_equal(frame, sg.get.grn_df(adata, min_probability=None, top_n=2))


def test_what_the_record_says_goes_before_what_values_look_like():
    adata = network()
    assert len(sg.get.grn_df(adata)) == len(sg.get.grn_df(adata, min_probability=0.5))
    adata.uns["grn"]["values"] = "score"  # as of correlations, which lie between 0 and 1 too
    frame = sg.get.grn_df(adata)
    assert frame["probability"].isna().all()
    assert len(frame) == adata.varp["grn"].count_nonzero()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"key": "other"},
            r"Did not find \.varp\['other'\]\. Run `sg\.tl\.fit_grn` or `sg\.tl\.infer_grn` first.*'grn'",
        ),
        ({"tfs": ["A", "SOX2"]}, r"tfs has names.*'SOX2'"),
        ({"tfs": "C"}, r"not scored as regulators: 'C'.*'A', 'B'"),
        ({"targets": ["nope"]}, r"targets has names.*'nope'"),
        ({"min_probability": 1.5}, r"min_probability=1.5 is not between"),
        ({"top_n": 0}, r"top_n=0"),
        ({"top_n": 2.5}, r"top_n is a whole number or None, not 2.5"),
    ],
)
def test_errors_name_what_is_wrong(change, message):
    with pytest.raises(sg.ScgrnError, match=message):
        sg.get.grn_df(network(), **change)


def test_duplicated_genes_and_wrong_types():
    adata = network()
    with pytest.raises(ArgumentError, match="an AnnData or a MuData, not a DataFrame"):
        sg.get.grn_df(adata.to_df())
    names = adata.var_names.to_list()
    names[1] = "A"
    adata.var_names = pd.Index(names)
    with pytest.raises(DuplicateGenesError):
        sg.get.grn_df(adata)


def test_views_and_files(tmp_path):
    adata = network()
    small = adata[:, ["A", "C", "D"]]
    assert list(sg.get.grn_df(small)["target"]) == ["D", "C"]
    assert sg.get.grn_df(small)["in_prior"].tolist() == [False, True]
    adata.uns["grn"]["metrics"] = pd.DataFrame({"method": ["sctransnet", "hub_floor"], "auroc": [0.9, 0.8]})
    adata.write_h5ad(tmp_path / "network.h5ad")
    read = ad.read_h5ad(tmp_path / "network.h5ad")
    pd.testing.assert_frame_equal(sg.get.grn_df(read), sg.get.grn_df(adata))
    pd.testing.assert_frame_equal(sg.get.grn_metrics(read), sg.get.grn_metrics(adata), check_dtype=False)


def test_mudata():
    mudata = pytest.importorskip("mudata")
    with mudata.set_options(pull_on_update=False):
        both = mudata.MuData({"rna": network(), "atac": ad.AnnData(np.ones((3, 2), np.float32))})
    assert len(sg.get.grn_df(both)) == 5
    with pytest.raises(MissingKeyError, match="no modality 'protein'"):
        sg.get.grn_df(both, modality="protein")


@given(
    hnp.arrays(np.float32, (6, 6), elements=st.floats(0, 1, width=32)),
    st.integers(1, 40),
    st.floats(0, 1),
)
def test_against_a_plain_loop(values, top_n, threshold):
    genes = [f"g{number}" for number in range(6)]
    adata = ad.AnnData(np.ones((1, 6), np.float32), var=pd.DataFrame(index=genes))
    adata.varp["grn"] = sparse.csr_matrix(values)
    expected = [
        (float(values[i, j]), genes[i], genes[j])
        for i, j in itertools.product(range(6), repeat=2)
        if values[i, j] != 0 and values[i, j] >= np.float32(threshold)
    ]
    expected = sorted(expected, key=lambda edge: (-edge[0], edge[1], edge[2]))[:top_n]
    frame = sg.get.grn_df(adata, min_probability=threshold, top_n=top_n)
    assert list(frame[["probability", "source", "target"]].itertuples(index=False, name=None)) == expected


def test_metrics_table():
    adata = network()
    with pytest.raises(MissingKeyError, match=r"metrics"):
        sg.get.grn_metrics(adata)
    with pytest.raises(MissingKeyError, match=r"Did not find \.uns\['other'\]"):
        sg.get.grn_metrics(adata, key="other")
    stored = pd.DataFrame({"auroc": [0.9, 0.8], "part": ["test", "test"]}, index=["sctransnet", "hub_floor"])
    adata.uns["grn"]["metrics"] = stored
    table = sg.get.grn_metrics(adata)
    assert list(table.columns) == ["method", "part", "auroc"]
    assert table["method"].tolist() == ["sctransnet", "hub_floor"]
    table.loc[0, "auroc"] = 0.0
    assert stored["auroc"].iloc[0] == 0.9
