"""``sg.pl``: what is drawn, in which colours, and that it is the same every time."""

from __future__ import annotations

import inspect
import re

import anndata as ad
import matplotlib as mpl
import networkx as nx
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from matplotlib.patches import FancyArrowPatch
from scipy import sparse

import scgrn_tl as sg
from scgrn_tl.core import ArgumentError, MissingKeyError, PriorError
from scgrn_tl.pl._labels import place_labels
from scgrn_tl.pl._layout import network_layout, push_apart

GENES = ["TF1", "TF2", "TF3", "G1", "G2", "G3", "G4", "G5"]


@pytest.fixture(autouse=True)
def _agg():
    import matplotlib.pyplot as plt

    with mpl.rc_context({"backend": "Agg"}):
        yield
        plt.close("all")


def matrix(edges: dict[str, float]) -> sparse.csr_matrix:
    dense = np.zeros((8, 8), np.float32)
    for edge, value in edges.items():
        dense[tuple(GENES.index(gene) for gene in edge.split(">"))] = value
    return sparse.csr_matrix(dense)


@pytest.fixture
def adata() -> ad.AnnData:
    made = ad.AnnData(np.ones((2, 8), np.float32), var=pd.DataFrame(index=GENES))
    made.varp["grn"] = matrix(
        {"TF1>G1": 0.9, "TF1>G2": 0.8, "TF1>TF2": 0.7, "TF2>G3": 0.6, "TF2>TF1": 0.55, "TF2>G1": 0.3, "TF1>G3": 0.1}
    )
    made.varp["other"] = matrix({"TF1>G1": 0.9, "TF2>G1": 0.8, "TF2>G3": 0.7})
    made.var["grn_is_tf"] = made.var["other_is_tf"] = [True] * 3 + [False] * 5
    made.uns["other"] = {"params": {}}
    made.uns["truth"] = pd.DataFrame(
        {
            "TF": ["TF1", "TF1", "TF2", "TF2", "TF1", "TF3"],
            "Target": ["G1", "G2", "G3", "G1", "G3", "G5"],
            "sign": [1, -1, 0, 1, 1, 1],
        }
    )
    made.uns["grn"] = {"prior": pd.DataFrame({"source": ["TF1", "TF1"], "target": ["G1", "G2"], "sign": [1, -1]})}
    return made


def large(n_edges: int, seed: int = 0) -> ad.AnnData:
    rng = np.random.default_rng(seed)
    n_tfs, n_genes = 12, 40 + n_edges // 2
    values = np.zeros((n_genes, n_genes), np.float32)
    values[:n_tfs] = rng.beta(0.3, 2, size=(n_tfs, n_genes)) + 0.01
    np.fill_diagonal(values, 0)
    names = [f"TF{i}" for i in range(n_tfs)] + [f"GENE{i}" for i in range(n_genes - n_tfs)]
    made = ad.AnnData(np.ones((1, n_genes), np.float32), var=pd.DataFrame(index=names))
    made.varp["grn"] = sparse.csr_matrix(np.clip(values, 0, 1))
    return made


def arrows(ax) -> dict[str, dict[str, FancyArrowPatch]]:
    """Kind → edge → patch."""
    found: dict[str, dict[str, FancyArrowPatch]] = {}
    for patch in ax.patches:
        if isinstance(patch, FancyArrowPatch) and patch.get_gid() not in {None, "tip"}:
            kind, _, edge = patch.get_gid().partition(":")
            found.setdefault(kind, {})[edge] = patch
    return found


def kinds(ax) -> dict[str, set[str]]:
    return {kind: set(edges) for kind, edges in arrows(ax).items()}


def colors(ax, kind: str) -> set[str]:
    return {to_hex(patch.get_edgecolor()) for patch in arrows(ax)[kind].values()}


def dashes(patch: FancyArrowPatch) -> tuple[float, ...]:
    """Ink and gaps of a line in widths of it; empty where it is solid."""
    style = patch.get_linestyle()
    return () if isinstance(style, str) else tuple(style[1])


def is_dotted(patch: FancyArrowPatch) -> bool:
    return bool(dashes(patch)) and dashes(patch)[0] <= 1.0


def legend(ax) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


# ---------------------------------------------------------------- which edges, of which kind


def test_plain(adata):
    ax = sg.pl.grn_edges(adata)
    assert kinds(ax) == {"predicted": {"TF1->G1", "TF1->G2", "TF1->TF2", "TF2->G3", "TF2->TF1"}}
    assert "predicted (5)" in legend(ax)


def test_reference(adata):
    ax = sg.pl.grn_edges(adata, reference="truth")
    assert kinds(ax) == {
        "found": {"TF1->G1", "TF1->G2", "TF2->G3"},
        "new": {"TF1->TF2", "TF2->TF1"},
        "missed": {"TF2->G1", "TF1->G3"},  # TF3→G5 is between genes that are not drawn
    }
    drawn = arrows(ax)
    assert not any(is_dotted(patch) for kind in ("found", "new") for patch in drawn[kind].values())
    assert all(is_dotted(patch) for patch in drawn["missed"].values())
    # without colour too: solid, dashed and dotted
    strokes = {kind: {dashes(patch) for patch in drawn[kind].values()} for kind in drawn}
    assert strokes["found"] == {()}
    assert not set.intersection(strokes["new"], strokes["missed"], strokes["found"])
    assert len(set.union(*(colors(ax, kind) for kind in drawn))) == 3
    assert {"in reference (3)", "not in reference (2)", "missed (2)", "represses"} <= set(legend(ax))


def test_compare(adata):
    ax = sg.pl.grn_edges(adata, reference="truth", compare="other")
    assert kinds(ax) == {
        "found": {"TF1->G1", "TF2->G3"},
        "only_here": {"TF1->G2"},
        "new": {"TF1->TF2", "TF2->TF1"},
        "missed": {"TF1->G3"},
        "only_compare": {"TF2->G1"},
    }
    assert len(set.union(*(colors(ax, kind) for kind in kinds(ax)))) == 5
    assert len(dashes(arrows(ax)["only_compare"]["TF2->G1"])) == 4  # dash and dot
    assert {"in reference, both (2)", "in reference, only grn (1)", "missed, found by other (1)"} <= set(legend(ax))


def test_compare_without_reference(adata):
    ax = sg.pl.grn_edges(adata, compare="other")
    assert kinds(ax) == {"found": {"TF1->G1", "TF2->G3"}, "only_here": {"TF1->G2", "TF1->TF2", "TF2->TF1"}}
    assert {"predicted by both (2)", "predicted, only grn (3)"} <= set(legend(ax))


def test_compare_with_scores_takes_as_many_edges(adata):
    adata.varp["other"] = matrix({"TF1>G1": 9, "TF1>G4": 8, "TF1>G2": 7, "TF1>TF2": 6, "TF2>TF1": 99})
    ax = sg.pl.grn_edges(adata, compare="other", tfs="TF1")  # three edges, so the other's three best out of TF1
    assert kinds(ax) == {"found": {"TF1->G1", "TF1->G2"}, "only_here": {"TF1->TF2"}}


def test_an_edge_that_is_only_not_shown_is_not_missed(adata):
    ax = sg.pl.grn_edges(adata, reference="truth", top_n=1, targets=["G1", "G2", "G3"])
    assert kinds(ax) == {"found": {"TF1->G1"}, "missed": {"TF1->G3"}}
    ax = sg.pl.grn_edges(adata, reference="truth", top_n=1, tfs=["TF1", "TF2"], targets=["G1", "G3"])
    assert kinds(ax)["missed"] == {"TF1->G3"}  # one predicted edge: the plainest miss alone, and the legend says so
    assert "missed (1; 1 more not drawn)" in legend(ax)


def test_tfs_that_predict_nothing_still_miss(adata):
    ax = sg.pl.grn_edges(adata, reference="truth", tfs=["TF1", "TF2"], targets=["G1"])
    assert kinds(ax) == {"found": {"TF1->G1"}, "missed": {"TF2->G1"}}


@pytest.mark.parametrize("form", ["prior", "frame", "network"])
def test_forms_of_a_reference(adata, form):
    reference = {
        "prior": "prior",
        "frame": adata.uns["truth"],
        "network": sg.core.PriorNetwork.from_any(adata.uns["truth"], GENES, min_edges=1),
    }[form]
    found = kinds(sg.pl.grn_edges(adata, reference=reference))["found"]
    assert found == ({"TF1->G1", "TF1->G2"} if form == "prior" else {"TF1->G1", "TF1->G2", "TF2->G3"})


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"key": "none"}, MissingKeyError, r"Did not find \.varp\['none'\]"),
        ({"compare": "none"}, MissingKeyError, r"Did not find \.varp\['none'\]"),
        ({"reference": "none"}, PriorError, "'none' is neither a file nor a key"),
        ({"reference": pd.DataFrame({"from": ["TF1"], "to": ["G1"]})}, PriorError, "columns"),
        ({"reference": pd.DataFrame({"source": ["G1"], "target": ["G2"]})}, ArgumentError, "No edge of the reference"),
        ({"min_probability": 0.95}, ArgumentError, r"the highest here is 0\.9 \(TF1 → G1\)"),
        ({"targets": ["G5"]}, ArgumentError, "no edges among the genes"),
        ({"tfs": ["TF9"]}, ArgumentError, "'TF9'"),
    ],
)
def test_errors(adata, change, error, message):
    import matplotlib.pyplot as plt

    with pytest.raises(error, match=message):
        sg.pl.grn_edges(adata, **change)
    assert plt.get_fignums() == []


def test_prior_reference_without_a_prior(adata):
    del adata.uns["grn"]["prior"]
    with pytest.raises(MissingKeyError, match="reference='prior'"):
        sg.pl.grn_edges(adata, reference="prior")


# ---------------------------------------------------------------- how it looks


def test_repression_ends_in_a_bar(adata):
    styles = {
        edge: type(patch.get_arrowstyle()).__name__
        for edge, patch in arrows(sg.pl.grn_edges(adata))["predicted"].items()
    }
    assert styles["TF1->G2"] != styles["TF1->G1"]
    assert styles["TF1->G2"] == "BarAB"


def test_labels_have_a_halo_and_stay_text(adata, tmp_path):
    ax = sg.pl.grn_edges(adata, legend=False)
    with mpl.rc_context({"svg.fonttype": "none"}):
        ax.figure.savefig(tmp_path / "network.svg")
    drawn = (tmp_path / "network.svg").read_text()
    assert len(re.findall('stroke: #ffffff; stroke-width: [23]"', drawn)) == len(ax.texts)
    assert sorted(re.findall(r">([^<>]+)</text>", drawn)) == sorted(text.get_text() for text in ax.texts)


@pytest.fixture
def correlated(adata):
    """A network of a method without directions: what is between regulators stands there twice."""
    adata.varp["cor"] = matrix(
        {"TF1>TF2": 0.9, "TF2>TF1": 0.9, "TF1>G1": 0.8, "TF2>G3": 0.7, "TF1>G3": 0.6, "TF3>TF1": 0.5, "TF1>TF3": 0.5}
    )
    adata.var["cor_is_tf"] = adata.var["grn_is_tf"]
    adata.uns["cor"] = {"params": {"method": "pearson"}, "values": "score"}
    return adata


def test_a_network_without_directions_has_plain_lines_one_a_pair(correlated):
    ax = sg.pl.grn_edges(correlated, key="cor")
    assert kinds(ax) == {"predicted": {"TF1--TF2", "TF1--G1", "TF2--G3", "TF1--G3", "TF1--TF3"}}
    for patch in arrows(ax)["predicted"].values():
        assert type(patch.get_arrowstyle()).__name__ == "Curve"  # no head
        assert patch.get_connectionstyle().rad == 0
    assert "predicted (5)" in legend(ax)
    assert kinds(sg.pl.grn_edges(correlated, key="cor", top_n=2)) == {"predicted": {"TF1--TF2", "TF1--G1"}}
    nodes = {collection.get_gid(): collection for collection in ax.collections}
    sizes = dict(zip(["TF1", "TF2", "TF3"], nodes["regulators"].get_sizes(), strict=True))
    assert sizes["TF1"] > sizes["TF2"] > sizes["TF3"]  # 4, 2 and 1 edges, whichever end they are stored from


def test_directions_of_the_reference_do_not_count_without_own_ones(correlated):
    truth = pd.DataFrame(
        {
            "source": ["TF2", "TF1", "TF1", "TF3", "TF2"],
            "target": ["TF1", "G1", "G2", "TF2", "TF3"],
            "sign": [1, -1, 1, 1, 1],
        }
    )
    ax = sg.pl.grn_edges(correlated, key="cor", reference=truth, tfs=["TF1", "TF2", "TF3"], targets=[*GENES])
    assert kinds(ax) == {
        "found": {"TF1--TF2", "TF1--G1"},
        "new": {"TF2--G3", "TF1--G3", "TF1--TF3"},
        "missed": {"TF1--G2", "TF2--TF3"},
    }
    assert not [patch for patch in ax.patches if patch.get_gid() == "tip"]
    assert "represses" not in legend(ax)
    ax = sg.pl.grn_edges(correlated, key="cor", compare="other")
    assert kinds(ax) == {"found": {"TF1--G1", "TF2--G3"}, "only_here": {"TF1--TF2", "TF1--G3", "TF1--TF3"}}
    ax = sg.pl.grn_edges(correlated, compare="cor")  # directed, held against five pairs
    assert kinds(ax) == {"found": {"TF1->TF2", "TF2->TF1", "TF1->G1", "TF2->G3"}, "only_here": {"TF1->G2"}}


def test_the_record_says_whether_there_are_directions(correlated):
    correlated.uns["cor"]["directed"] = True
    assert kinds(sg.pl.grn_edges(correlated, key="cor"))["predicted"] >= {"TF1->TF2", "TF2->TF1"}
    correlated.uns["cor"] = {"directed": np.bool_(False)}
    assert "TF1--TF2" in kinds(sg.pl.grn_edges(correlated, key="cor"))["predicted"]
    correlated.uns["cor"] = {"params": {"method": "somebody_elses"}}
    assert "TF2->TF1" in kinds(sg.pl.grn_edges(correlated, key="cor"))["predicted"]


def test_edges_both_ways_are_bent_apart(adata):
    drawn = arrows(sg.pl.grn_edges(adata))["predicted"]
    bent = {edge for edge, patch in drawn.items() if patch.get_connectionstyle().rad != 0}
    assert bent == {"TF1->TF2", "TF2->TF1"}


def test_nodes_tell_regulators_from_targets(adata):
    ax = sg.pl.grn_edges(adata)
    nodes = {collection.get_gid(): collection for collection in ax.collections}
    assert set(nodes) == {"regulators", "targets"}
    assert len(nodes["regulators"].get_offsets()) == 2
    assert len(nodes["targets"].get_offsets()) == 3
    assert to_hex(nodes["regulators"].get_facecolor()[0]) != to_hex(nodes["targets"].get_facecolor()[0])
    sizes = nodes["regulators"].get_sizes()
    assert sizes[0] > sizes[1]  # three edges start at TF1, two at TF2
    texts = {text.get_text(): text for text in ax.texts}
    assert set(texts) == {"TF1", "TF2", "G1", "G2", "G3"}
    assert texts["TF1"].get_fontweight() == "bold"
    assert texts["G1"].get_fontstyle() == "italic"


def test_given_axes_and_no_legend(adata):
    import matplotlib.pyplot as plt

    _, axes = plt.subplots(1, 2, figsize=(7, 3))
    assert sg.pl.grn_edges(adata, ax=axes[1], legend=False) is axes[1]
    assert axes[1].get_legend() is None
    assert axes[0].has_data() is False
    sub = plt.figure(figsize=(6, 3)).subfigures(1, 2)[0].subplots()
    sg.pl.grn_edges(adata, ax=sub)
    assert plt.get_fignums() == [1, 2]


@pytest.mark.parametrize("n_edges", [10, 50, 100, 300])
def test_labels_do_not_overlap(n_edges):
    data = large(n_edges)
    ax = sg.pl.grn_edges(data, top_n=n_edges, min_probability=0.05)
    figure = ax.figure
    figure.draw_without_rendering()
    assert len(arrows(ax)["predicted"]) == n_edges
    regulators = {edge.split("->")[0] for edge in arrows(ax)["predicted"]}
    assert regulators <= {text.get_text() for text in ax.texts}
    n_targets = sum(not text.get_text().startswith("TF") for text in ax.texts)
    assert n_targets <= 50
    frame = ax.get_window_extent()
    for text in ax.texts:
        text.set_bbox(None)
    boxes = [text.get_window_extent() for text in ax.texts]
    for number, box in enumerate(boxes):
        assert frame.x0 - 1 <= box.x0
        assert box.x1 <= frame.x1 + 1
        shared = [
            max(0, min(box.x1, other.x1) - max(box.x0, other.x0))
            * max(0, min(box.y1, other.y1) - max(box.y0, other.y0))
            for other in boxes[:number]
        ]
        assert max(shared, default=0) < 1.0


def test_number_of_target_labels():
    named = {text.get_text() for text in sg.pl.grn_edges(large(60), min_probability=0.05, n_target_labels=0).texts}
    assert named
    assert all(name.startswith("TF") for name in named)


def test_the_same_picture_every_time(adata):
    def picture():
        ax = sg.pl.grn_edges(large(80), top_n=80, min_probability=0.05)
        return (
            [patch.get_gid() for patch in ax.patches],
            np.concatenate([np.asarray(collection.get_offsets()) for collection in ax.collections]),
            {text.get_text(): text.get_position() for text in ax.texts},
        )

    np.random.default_rng(1).random()
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - that nobody touches it is the point
    first, second = picture(), picture()
    assert first[0] == second[0]
    np.testing.assert_array_equal(first[1], second[1])
    assert first[2] == second[2]
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_writes_vector_files_with_names(adata, tmp_path, suffix):
    ax = sg.pl.grn_edges(adata, reference="truth")
    path = tmp_path / f"network.{suffix}"
    ax.figure.savefig(path)
    assert path.stat().st_size > 1000
    if suffix == "svg":
        assert 'id="found:TF1-&gt;G1"' in path.read_text()


# ---------------------------------------------------------------- places


def test_layout_keeps_components_apart():
    graph = nx.DiGraph([("a", "b"), ("a", "c"), ("d", "e"), ("f", "g")])
    places = network_layout(graph, aspect=2.0)
    assert set(places) == set("abcdefg")
    xy = np.array(list(places.values()))
    assert xy.min() >= 0
    assert xy[:, 0].max() <= 2.0 + 1e-9
    assert xy[:, 1].max() <= 1.0 + 1e-9
    assert len(np.unique(np.round(xy, 6), axis=0)) == 7
    shuffled = nx.DiGraph([("f", "g"), ("d", "e"), ("a", "c"), ("a", "b")])
    for node, place in network_layout(shuffled, aspect=2.0).items():
        np.testing.assert_allclose(place, places[node])


def test_large_components_are_laid_out_by_springs(monkeypatch):
    monkeypatch.setattr("scgrn_tl.pl._layout._KAMADA_KAWAI_NODES", 5)
    places = network_layout(nx.DiGraph([("hub", f"g{number}") for number in range(20)]))
    assert np.isfinite(np.array(list(places.values()))).all()


@given(st.integers(2, 25), st.integers(0, 1000))
def test_push_apart(n, seed):
    rng = np.random.default_rng(seed)
    xy, radii = rng.uniform(0, 30, size=(n, 2)), rng.uniform(1, 3, size=n)
    xy[0] = xy[1]
    before = xy.copy()
    moved = push_apart(xy, radii, gap=1.0, n_steps=500)
    np.testing.assert_array_equal(xy, before)
    distance = np.linalg.norm(moved[:, None] - moved[None], axis=2) + 1e9 * np.eye(n)
    assert (distance >= radii[:, None] + radii[None] + 1.0 - 0.1).all()


@given(st.integers(1, 40), st.integers(0, 1000))
def test_optional_labels_never_overlap(n, seed):
    rng = np.random.default_rng(seed)
    anchors, radii = rng.uniform(0, 100, size=(n, 2)), rng.uniform(1, 3, size=n)
    sizes = np.column_stack([rng.uniform(10, 30, size=n), np.full(n, 6.0)])
    centres = place_labels(
        anchors,
        radii,
        sizes,
        np.zeros(n, dtype=bool),
        order=range(n),
        segments=np.column_stack([anchors[:-1], anchors[1:]]),
        bounds=(100.0, 100.0),
    )
    placed = np.flatnonzero(~np.isnan(centres[:, 0]))
    low, high = centres - sizes / 2, centres + sizes / 2
    for number, i in enumerate(placed):
        assert low[i].min() >= -1e-6
        assert high[i].max() <= 100 + 1e-6
        for j in placed[:number]:
            shared = np.maximum(np.minimum(high[i], high[j]) - np.maximum(low[i], low[j]), 0).prod()
            assert shared <= 1e-6


# ---------------------------------------------------------------- training history


def test_training_history(adata):
    adata.uns["grn"]["history"] = {
        "train_loss": [0.9, 0.5, 0.3],
        "validation_loss": [1.0, 0.8, 0.6, 0.5],
        "validation_auprc": np.array([0.1, 0.2, 0.4, 0.3]),
    }
    ax = sg.pl.training_history(adata)
    lines = {line.get_label(): line for axes in ax.figure.axes for line in axes.lines}
    assert set(lines) == {"train loss (left)", "validation loss (left)", "validation auprc (right)"}
    np.testing.assert_array_equal(lines["train loss (left)"].get_xdata(), [1, 2, 3])
    measure = lines["validation auprc (right)"]
    np.testing.assert_array_equal(measure.get_xdata(), [0, 1, 2, 3])
    np.testing.assert_array_equal(measure.get_ydata(), [0.1, 0.2, 0.4, 0.3])
    assert measure.axes is not ax
    assert all(line.axes is ax for name, line in lines.items() if name.endswith("(left)"))
    assert len({line.get_color() for line in lines.values()}) == 3


@pytest.mark.parametrize(
    ("best_epoch", "where", "expected", "label"),
    [
        (2, "record", [2], "epoch kept: 2"),
        ([2], "record", [2], "epoch kept: 2"),
        (np.array([3, 1, 3]), "record", [1, 3], "epochs kept"),
        ([0], "history", [0], "epoch kept: 0"),
    ],
)
def test_the_epoch_kept_is_marked(adata, best_epoch, where, expected, label):
    adata.uns["grn"]["history"] = {"train_loss": [0.9, 0.5, 0.3], "validation_auprc": [0.1, 0.2, 0.4, 0.3]}
    (adata.uns["grn"] if where == "record" else adata.uns["grn"]["history"])["best_epoch"] = best_epoch
    ax = sg.pl.training_history(adata)
    marked = [line for line in ax.lines if line.get_gid() == "best_epoch"]
    assert [line.get_xdata()[0] for line in marked] == expected
    assert legend(ax) == ["train loss (left)", "validation auprc (right)", label]
    figure = ax.figure
    figure.draw_without_rendering()
    box = ax.get_legend().get_window_extent()
    assert figure.bbox.x0 <= box.x0
    assert box.x1 <= figure.bbox.x1


def test_training_history_on_given_axes_and_missing(adata):
    import matplotlib.pyplot as plt

    with pytest.raises(MissingKeyError, match="method that trains"):
        sg.pl.training_history(adata)
    adata.uns["grn"]["history"] = {"score": [0.1, 0.2]}
    _, ax = plt.subplots()
    assert sg.pl.training_history(adata, ax=ax) is ax
    assert len(ax.lines) == 1
    assert legend(ax) == ["score"]  # one axis: no side to tell


@pytest.mark.parametrize("name", sg.pl.__all__)
def test_docstrings_have_whole_sections(name):
    text = inspect.getdoc(getattr(sg.pl, name))
    for section in ("Parameters", "Returns", "Raises"):
        assert re.search(rf"^{section}\n-{{{len(section)}}}\n\w", text, flags=re.MULTILINE), section
    assert " ---" not in text
