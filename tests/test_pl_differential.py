"""``sg.pl.differential_grn``: which edges are drawn as what, and which are named."""

from __future__ import annotations

from itertools import pairwise

import anndata as ad
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

import scgrn_tl as sg
from scgrn_tl.core import ArgumentError, MissingKeyError


@pytest.fixture(autouse=True)
def _agg():
    import matplotlib.pyplot as plt

    with mpl.rc_context({"backend": "Agg"}):
        yield
        plt.close("all")


@pytest.fixture
def adata() -> ad.AnnData:
    rows = [
        # source, target, group, reference, q: what it is
        ("TF1", "G1", 0.80, 0.02, 0.001),  # gained
        ("TF1", "G2", -0.70, -0.01, 0.002),  # gained, represses
        ("TF2", "G3", 0.05, 0.60, 0.003),  # lost
        ("TF2", "G4", -0.40, 0.40, 0.004),  # turned
        ("TF2", "G5", -0.05, 0.60, 0.005),  # lost: what is left of it is not a repression
        ("TF3", "G1", 0.30, 0.31, 0.900),
        ("TF3", "G2", 0.10, 0.40, 0.050),  # not below 0.05
        ("TF3", "G3", np.nan, np.nan, np.nan),  # not tested
    ]
    table = pd.DataFrame(rows, columns=["source", "target", "strength", "strength_reference", "qvalue"])
    table["pvalue"] = table["qvalue"] / 2
    made = ad.AnnData(np.ones((2, 2), np.float32))
    made.uns["differential_grn"] = {"table": table, "params": {"group": "treated", "reference": "control"}}
    return made


def drawn(ax) -> dict[str, set[tuple[float, float]]]:
    """Kind → points."""
    return {
        points.get_gid(): {tuple(np.round(xy, 3).tolist()) for xy in points.get_offsets()}
        for points in ax.collections
        if points.get_gid()
    }


def names(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


def test_kinds_places_and_words(adata):
    ax = sg.pl.differential_grn(adata)
    assert drawn(ax) == {
        "stronger": {(0.02, 0.8), (-0.01, -0.7)},
        "weaker": {(0.6, 0.05), (0.6, -0.05)},
        "turned": {(0.4, -0.4)},
        "other": {(0.31, 0.3), (0.4, 0.1)},
    }
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("strength in control", "strength in treated")
    legend = [text.get_text() for text in ax.figure.legends[0].get_texts()]
    assert legend == ["stronger (2)", "weaker (2)", "sign turned (1)", "q ≥ 0.05 (2)"]
    assert set(names(ax)) == {"TF1→G1", "TF1→G2", "TF2→G3", "TF2→G4", "TF2→G5"}
    assert ax.get_xlim() == ax.get_ylim()


def test_kinds_differ_in_colour_and_in_shape(adata):
    ax = sg.pl.differential_grn(adata)
    points = [each for each in ax.collections if each.get_gid()]
    assert len({to_hex(each.get_facecolor()[0]) for each in points}) == 4
    assert len({each.get_paths()[0].vertices.tobytes() for each in points}) == 4


def test_choices(adata):
    import matplotlib.pyplot as plt

    _, given = plt.subplots()
    ax = sg.pl.differential_grn(adata, max_qvalue=0.0025, top_n=1, ax=given)
    assert ax is given
    assert names(ax) == ["TF1→G1"]
    assert len(drawn(ax)["other"]) == 5
    assert names(sg.pl.differential_grn(adata, top_n=0)) == []
    assert len(drawn(sg.pl.differential_grn(adata, max_qvalue=0))["other"]) == 7


def test_names_overlap_neither_each_other_nor_leave_the_axes(adata):
    rng = np.random.default_rng(0)
    strength = rng.normal(scale=0.3, size=(60, 2))
    table = pd.DataFrame(strength, columns=["strength", "strength_reference"])
    table["source"], table["target"] = [f"TF{i}" for i in range(60)], "GENE1"
    table["pvalue"] = table["qvalue"] = np.linspace(0, 0.04, 60)
    adata.uns["differential_grn"]["table"] = table
    ax = sg.pl.differential_grn(adata, top_n=30)
    ax.figure.canvas.draw()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert len(boxes) >= 10
    shrunk = [box.padded(-1.0) for box in boxes]
    assert not any(one.overlaps(other) for i, one in enumerate(shrunk) for other in shrunk[:i])
    assert all(ax.bbox.padded(1.0).contains(*corner) for box in boxes for corner in (box.p0, box.p1))


def leaders(ax) -> list[np.ndarray]:
    return [line.get_xydata() for line in ax.lines if line.get_gid() == "leader"]


def test_a_line_leads_from_a_displaced_name_to_its_edge(adata):
    assert leaders(sg.pl.differential_grn(adata)) == []  # every name stands beside its edge
    crowd = np.random.default_rng(0).normal(loc=(0.5, 0.0), scale=0.03, size=(12, 2))
    table = pd.DataFrame(np.vstack([crowd, [[-0.5, -0.5]]]), columns=["strength", "strength_reference"])
    table["source"], table["target"] = [f"TF{i}" for i in range(13)], "GENE1"
    table["pvalue"] = table["qvalue"] = 0.01
    adata.uns["differential_grn"]["table"] = table
    ax = sg.pl.differential_grn(adata, top_n=13)
    ax.figure.canvas.draw()
    lines = leaders(ax)
    assert 1 <= len(lines) < len(names(ax))
    edges = table[["strength_reference", "strength"]].to_numpy()
    boxes = {text.get_text(): text.get_window_extent() for text in ax.texts}
    for start, end in lines:
        (at,) = np.flatnonzero((edges == start).all(axis=1))
        own = boxes[f"TF{at}→GENE1"]
        assert own.padded(1.0).contains(*ax.transData.transform(end))
        line = mpl.path.Path(ax.transData.transform([start, end]))
        assert not [box for box in boxes.values() if box is not own and line.intersects_bbox(box.padded(-1.0))]


@pytest.mark.parametrize(
    ("n_untested", "words"), [(1, "no edge with q < 0.001; 1 not tested"), (0, "no edge with q < 0.001")]
)
def test_says_where_nothing_is_significant(adata, n_untested, words):
    if not n_untested:
        adata.uns["differential_grn"]["table"].drop(7, inplace=True)
    assert names(sg.pl.differential_grn(adata, max_qvalue=0.001)) == [words]
    assert not [name for name in names(sg.pl.differential_grn(adata)) if name.startswith("no edge")]


def test_long_names_lose_their_middle_and_ticks_do_not_run_together(adata):
    group = "CD4-positive, alpha-beta memory T cell, {}"
    params = adata.uns["differential_grn"]["params"]
    params |= {"group": group.format("stimulated"), "reference": group.format("resting")}
    adata.uns["differential_grn"]["table"][["strength", "strength_reference"]] /= 50
    ax = sg.pl.differential_grn(adata)
    labels = [ax.get_xlabel(), ax.get_ylabel()]
    assert labels[0] != labels[1]
    assert all("…" in label and len(label) <= len("strength in ") + 28 for label in labels)
    ax.figure.canvas.draw()
    assert ax.figure.bbox.padded(1.0).contains(*ax.yaxis.label.get_window_extent().p1)
    ticks = [tick.label1.get_window_extent() for tick in ax.xaxis.get_major_ticks()]
    assert not any(one.overlaps(other) for one, other in pairwise(ticks))


def test_of_a_real_run_also_after_writing(tmp_path):
    adata = sg.datasets.simulated(200, 40, 8, n_conditions=2, rng=0)
    edges = adata.uns["ground_truth"]
    sg.tl.differential_grn(adata, groupby="condition", edges=edges, n_permutations=20, n_jobs=1)
    adata.write_h5ad(tmp_path / "a.h5ad")
    back = ad.read_h5ad(tmp_path / "a.h5ad")
    assert drawn(sg.pl.differential_grn(adata)) == drawn(sg.pl.differential_grn(back))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"key": "other"}, MissingKeyError, "Run `sg.tl.differential_grn` first"),
        ({"key": "grn"}, ArgumentError, "no table"),
        ({"max_qvalue": 2}, ArgumentError, "max_qvalue"),
        ({"top_n": -1}, ArgumentError, "top_n"),
        ({"top_n": 2.5}, ArgumentError, "top_n"),
    ],
)
def test_bad_arguments(adata, changes, error, message):
    adata.uns["grn"] = {"params": {}}
    with pytest.raises(error, match=message):
        sg.pl.differential_grn(adata, **changes)
