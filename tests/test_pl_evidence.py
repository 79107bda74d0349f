"""``sg.pl.edge_evidence``: every row shows the numbers of its edge."""

from __future__ import annotations

import matplotlib as mpl
import mudata as md
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.special import expit, logit

import scgrn_tl as sg
from scgrn_tl.core import ArgumentError, MissingKeyError


@pytest.fixture(autouse=True)
def _agg():
    import matplotlib.pyplot as plt

    with mpl.rc_context({"backend": "Agg"}):
        yield
        plt.close("all")


@pytest.fixture
def adata():
    """Three TFs and ten genes; only the second row's and third row's edges are in the prior."""
    import anndata as ad

    generator = np.random.default_rng(0)
    names = [*(f"TF{number}" for number in range(3)), *(f"G{number}" for number in range(7))]
    made = ad.AnnData(np.ones((4, 10), np.float32), var=pd.DataFrame(index=names))
    probability = np.zeros((10, 10), np.float32)
    probability[:3] = generator.uniform(0.05, 0.95, (3, 10))
    np.fill_diagonal(probability, 0)
    is_stored = probability > 0

    def slot(values, dtype=np.float32):
        return sparse.csr_matrix(np.where(is_stored, values, 0).astype(dtype))

    made.varp["grn"] = slot(probability)
    made.varp["grn_low"], made.varp["grn_high"] = slot(probability * 0.8), slot(probability * 1.04)
    made.varp["grn_stability"] = slot(np.round(generator.random((10, 10)), 2))
    made.varp["grn_n_cells"] = slot(generator.integers(1, 5000, (10, 10)), np.int32)
    made.varp["grn_specificity"] = slot(generator.normal(size=(10, 10)))
    made.varp["grn_std"] = slot(generator.random((10, 10)))
    made.var["grn_is_tf"] = np.arange(10) < 3
    prior = pd.DataFrame({"source": ["TF0", "TF1"], "target": ["G1", "G2"], "sign": [1, -1]})
    made.uns["grn"] = {"values": "probability", "prior": prior, "evidence": {}}
    return made


def written(ax, name) -> list[str]:
    """The words of a column, its header last."""
    return [text.get_text() for text in ax.texts if text.get_gid() == name]


def lines(ax, name) -> np.ndarray:
    """Ends of the lines of all rows."""
    (found,) = [each for each in ax.collections if each.get_gid() == name]
    return np.array([segment[:, 0] for segment in found.get_segments()])


def test_rows_are_the_likeliest_edges_with_their_numbers(adata):
    table = sg.get.grn_df(adata, min_probability=None, top_n=6)
    ax = sg.pl.edge_evidence(adata, top_n=6)
    assert [label.get_text() for label in ax.get_yticklabels()] == list(table["source"] + " → " + table["target"])
    (dots,) = [each for each in ax.collections if each.get_gid() == "probability"]
    np.testing.assert_allclose(dots.get_offsets()[:, 0], table["probability"], rtol=1e-6)
    np.testing.assert_allclose(lines(ax, "interval"), table[["low", "high"]], rtol=1e-6)
    hub = expit(logit(table["probability"].astype(float)) - table["specificity"])
    np.testing.assert_allclose(lines(ax, "own"), np.column_stack([hub, table["probability"]]), rtol=1e-5)
    (ticks,) = [line for line in ax.lines if line.get_gid() == "hub"]
    np.testing.assert_allclose(ticks.get_xdata(), hub, rtol=1e-5)
    assert written(ax, "stability") == [f"{round(100 * value)} %" for value in table["stability"]] + ["stability"]
    assert written(ax, "n_cells") == [f"{value:,}" for value in table["n_cells"]] + ["cells"]
    assert written(ax, "std") == [f"± {value:.2f}" for value in table["std"]] + ["spread"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the likeliest above


def test_named_edges_in_their_order_and_what_is_not_stored_is_not_drawn(adata):
    del adata.varp["grn_specificity"], adata.varp["grn_std"]
    ax = sg.pl.edge_evidence(md.MuData({"rna": adata}), [("TF2", "G0"), ("TF0", "G1"), ("TF1", "G2")])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["TF2 → G0", "TF0 → G1", "TF1 → G2"]
    assert {text.get_gid() for text in ax.texts} == {"stability", "n_cells"}
    assert not [line for line in ax.lines if line.get_gid() == "hub"]
    (dots,) = [each for each in ax.collections if each.get_gid() == "probability"]
    is_white = [tuple(color) == (1, 1, 1, 1) for color in dots.get_facecolors()]
    assert is_white == [True, False, False]  # full in the prior


def test_axes_that_are_given_and_a_choice_of_genes(adata):
    import matplotlib.pyplot as plt

    _, own = plt.subplots(figsize=(7, 3), layout="constrained")
    ax = sg.pl.edge_evidence(adata, tfs="TF1", targets=["G0", "G3"], ax=own)
    assert ax is own
    assert {label.get_text() for label in ax.get_yticklabels()} == {"TF1 → G0", "TF1 → G3"}


def test_errors(adata):
    with pytest.raises(ArgumentError, match="top_n is a whole number from 1 to 60"):
        sg.pl.edge_evidence(adata, top_n=61)
    with pytest.raises(ArgumentError, match="give one or the other"):
        sg.pl.edge_evidence(adata, [("TF0", "G1")], tfs="TF0")
    with pytest.raises(ArgumentError, match="TF0 → TF9 is not stored"):
        sg.pl.edge_evidence(adata, [("TF0", "G1"), ("TF0", "TF9")])
    with pytest.raises(ArgumentError, match="at most 60"):
        sg.pl.edge_evidence(adata, [("TF0", f"G{number}") for number in range(61)])
    with pytest.raises(ArgumentError, match="stores no edge"):
        sg.pl.edge_evidence(adata, tfs="TF1", targets="TF1")
    del adata.uns["grn"]["evidence"]
    with pytest.raises(MissingKeyError, match=r"Run `sg.tl.edge_evidence\(adata, key='grn'\)` first"):
        sg.pl.edge_evidence(adata)
