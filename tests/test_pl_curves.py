"""``sg.pl.roc_pr`` and ``sg.pl.calibration``: the curves against loops over thresholds, the bins by hand."""

from __future__ import annotations

from dataclasses import replace

import anndata as ad
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from mudata import MuData
from scipy import sparse
from sklearn.metrics import average_precision_score, roc_auc_score

import scgrn_tl as sg
from scgrn_tl.core import ArgumentError, EdgeSplit, GRNTask, LabeledPairs, MissingKeyError, SplitError
from scgrn_tl.pl._palette import GREY

N_TFS, N_GENES = 6, 30


@pytest.fixture(autouse=True)
def _agg():
    with mpl.rc_context({"backend": "Agg"}):
        yield
        plt.close("all")


@pytest.fixture
def split() -> EdgeSplit:
    """Every pair of a regulator and a gene but self pairs, in three parts."""
    rng = np.random.default_rng(0)
    rows, columns = np.nonzero(~np.eye(N_TFS, N_GENES, dtype=bool))
    pairs = rng.permutation(np.column_stack([rows, columns]))
    labels = rng.random(len(pairs)) < 0.3
    parts = [LabeledPairs(pairs[at], labels[at]) for at in (slice(0, 80), slice(80, 110), slice(110, None))]
    return EdgeSplit(*parts)


@pytest.fixture
def adata(split) -> ad.AnnData:
    """Probabilities in ``varp["grn"]`` that know something of the labels, with many ties."""
    rng = np.random.default_rng(1)
    values = np.zeros((N_GENES, N_GENES), np.float32)
    for part in split.parts:
        informed = np.clip(rng.beta(2, 3, len(part)) + 0.25 * part.labels, 0.02, 0.99)
        values[tuple(part.pairs.T)] = informed.round(2)
    made = ad.AnnData(np.ones((2, N_GENES), np.float32), var=pd.DataFrame(index=[f"G{i}" for i in range(N_GENES)]))
    made.varp["grn"] = sparse.csr_matrix(values)
    made.var["grn_is_tf"] = np.arange(N_GENES) < N_TFS
    made.uns["grn"] = {"params": {}}
    return made


def at_pairs(adata: ad.AnnData, part: LabeledPairs, key: str = "grn") -> np.ndarray:
    dense = adata.varp[key].toarray() if sparse.issparse(adata.varp[key]) else adata.varp[key]
    return np.array([dense[i, j] for i, j in part.pairs])


def curves(ax) -> dict[str, object]:
    lines = {line.get_gid(): line for line in ax.lines if str(line.get_gid()).startswith("curve:")}
    return {gid.partition(":")[2]: line for gid, line in lines.items()}


def legend_texts(figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def points_by_threshold(labels: np.ndarray, scores: np.ndarray) -> tuple[set, set]:
    """(False positive rate, true positive rate) and (recall, precision) at every threshold, counted one by one."""
    roc, pr = {(0.0, 0.0)}, {(0.0, 1.0)}
    for threshold in sorted(set(scores.tolist())):
        true = sum(1 for y, s in zip(labels, scores, strict=True) if y and s >= threshold)
        false = sum(1 for y, s in zip(labels, scores, strict=True) if not y and s >= threshold)
        roc.add((round(false / (~labels).sum(), 9), round(true / labels.sum(), 9)))
        pr.add((round(true / labels.sum(), 9), round(true / (true + false), 9)))
    return roc, pr


def area_in_steps(line) -> float:
    """The area below a line drawn in steps, from right to left."""
    assert line.get_drawstyle() == "steps-post"
    x, y = line.get_xdata(), line.get_ydata()
    return float(sum((x[i] - x[i + 1]) * y[i] for i in range(len(x) - 1)))


# ---------------------------------------------------------------- roc_pr of a stored network


def test_curves_of_a_stored_network(adata, split):
    roc, pr = sg.pl.roc_pr(adata, split)
    labels, scores = split.test.labels, at_pairs(adata, split.test)
    assert len(set(scores.tolist())) < len(scores)  # ties
    expected_roc, expected_pr = points_by_threshold(labels, scores)
    drawn = curves(roc)["grn"]
    points = set(zip(drawn.get_xdata().round(9).tolist(), drawn.get_ydata().round(9).tolist(), strict=True))
    assert points <= expected_roc  # all but those on a straight line between others
    assert np.trapezoid(drawn.get_ydata(), drawn.get_xdata()) == pytest.approx(roc_auc_score(labels, scores))
    drawn = curves(pr)["grn"]
    points = set(zip(drawn.get_xdata().round(9).tolist(), drawn.get_ydata().round(9).tolist(), strict=True))
    assert points <= expected_pr
    assert area_in_steps(drawn) == pytest.approx(average_precision_score(labels, scores))
    auroc, auprc = roc_auc_score(labels, scores), average_precision_score(labels, scores)
    assert f"grn  {auroc:.3f} / {auprc:.3f}" in legend_texts(roc.figure)
    assert [roc.get_xlabel(), roc.get_ylabel()] == ["false positive rate", "true positive rate"]
    assert [pr.get_xlabel(), pr.get_ylabel()] == ["recall", "precision"]


def test_random_level(adata, split):
    roc, pr = sg.pl.roc_pr(adata, split, part="validation")
    (diagonal,) = (line for line in roc.lines if line.get_gid() == "random")
    (level,) = (line for line in pr.lines if line.get_gid() == "random")
    np.testing.assert_allclose(diagonal.get_ydata(), diagonal.get_xdata())
    np.testing.assert_allclose(level.get_ydata(), split.validation.labels.mean())
    assert f"random level  0.500 / {split.validation.labels.mean():.3f}" in legend_texts(roc.figure)


def test_hub_floor_is_that_of_the_method(adata, split):
    roc, pr = sg.pl.roc_pr(adata, split)
    task = GRNTask(np.ones((N_GENES, 3), np.float32), tuple(adata.var_names), np.arange(N_TFS), split=split)
    scores = sg.methods.get("hub_floor").run(task).at(split.test.pairs)
    line = curves(pr)["hub_floor"]
    assert area_in_steps(line) == pytest.approx(average_precision_score(split.test.labels, scores))
    assert to_hex(line.get_color()) == GREY.lower()
    assert line.get_linestyle() == "--"
    assert set(curves(sg.pl.roc_pr(adata, split, floor=None)[0])) == {"grn"}
    assert roc.lines[0].get_linestyle() == "-"


def test_other_test_labels_leave_the_hub_floor_as_it_is(adata, split):
    """It is made of the other parts: with all labels turned, its ranking is turned too and nothing else."""
    flipped = replace(split, test=LabeledPairs(split.test.pairs, ~split.test.labels))
    first, second = (curves(sg.pl.roc_pr(adata, each)[0])["hub_floor"] for each in (split, flipped))
    assert np.trapezoid(first.get_ydata(), first.get_xdata()) == pytest.approx(
        1 - np.trapezoid(second.get_ydata(), second.get_xdata())
    )


def test_several_networks_best_first(adata, split):
    perfect = np.zeros((N_GENES, N_GENES), np.float32)
    perfect[tuple(split.test.positives.T)] = 1.0
    adata.varp["perfect"] = sparse.csr_matrix(perfect)
    adata.var["perfect_is_tf"], adata.uns["perfect"] = adata.var["grn_is_tf"], {}
    roc, _ = sg.pl.roc_pr(adata, split, key=["grn", "perfect"])
    assert legend_texts(roc.figure)[0] == "perfect  1.000 / 1.000"
    colors = {name: to_hex(line.get_color()) for name, line in curves(roc).items()}
    assert len(set(colors.values())) == 3


def test_pairs_that_are_not_stored_rank_last(adata, split):
    """The network of scores is negative, and keeps its best edges only: zero, where nothing is, is not the best."""
    full = adata.varp["grn"].toarray() - 1.0
    kept = full > np.quantile(full[tuple(split.test.pairs.T)], 0.5)
    adata.varp["grn"] = sparse.csr_matrix(np.where(kept & (adata.varp["grn"].toarray() > 0), full, 0.0))
    adata.uns["grn"] = {"params": {"max_edges": adata.varp["grn"].nnz}}
    scores = at_pairs(adata, split.test)
    last = np.where(scores == 0, adata.varp["grn"].data.min(), scores)
    line = curves(sg.pl.roc_pr(adata, split)[1])["grn"]
    assert area_in_steps(line) == pytest.approx(average_precision_score(split.test.labels, last))
    adata.uns["grn"] = {"params": {"max_edges": adata.varp["grn"].nnz + 1}}  # nothing was cut: they scored 0
    line = curves(sg.pl.roc_pr(adata, split)[1])["grn"]
    assert area_in_steps(line) == pytest.approx(average_precision_score(split.test.labels, scores))
    assert (
        abs(average_precision_score(split.test.labels, scores) - average_precision_score(split.test.labels, last))
        > 0.01
    )


def test_zeros_of_a_dense_network_are_scores(adata, split):
    dense = np.asarray(adata.varp["grn"].toarray()) - 0.5
    adata.varp["grn"] = dense.astype(np.float32)
    assert (at_pairs(adata, split.test) == 0).any()
    line = curves(sg.pl.roc_pr(adata, split)[1])["grn"]
    assert area_in_steps(line) == pytest.approx(average_precision_score(split.test.labels, at_pairs(adata, split.test)))


def test_mudata(adata, split):
    mdata = MuData({"rna": adata})
    ax = sg.pl.roc_pr(mdata, split)[0]
    assert set(curves(ax)) == {"grn", "hub_floor"}
    assert sg.pl.calibration(mdata, split).get_ylabel() == "share of edges"


def test_axes_that_are_given(adata, split):
    figure, given = plt.subplots(1, 2, layout="constrained")
    assert sg.pl.roc_pr(adata, split, axes=given).tolist() == given.tolist()
    assert len(figure.legends) == 1
    assert len(plt.get_fignums()) == 1
    figure, given = plt.subplots(1, 3)
    sg.pl.roc_pr(adata, split, axes=given[:2])
    assert given[1].get_legend() is not None  # others' axes are there too
    assert figure.legends == []
    assert sg.pl.roc_pr(adata, split, legend=False)[0].figure.legends == []
    with pytest.raises(ArgumentError, match="axes are two, for ROC and for precision–recall; got 3"):
        sg.pl.roc_pr(adata, split, axes=given)


def test_bad_arguments_with_a_network(adata, split):
    with pytest.raises(ArgumentError, match=r"split= is an EdgeSplit, as of .*; got None"):
        sg.pl.roc_pr(adata)
    with pytest.raises(ArgumentError, match="got 'tf'"):
        sg.pl.roc_pr(adata, "tf")
    with pytest.raises(MissingKeyError, match=r"Did not find \.varp\['net'\]"):
        sg.pl.roc_pr(adata, split, key="net")
    with pytest.raises(ArgumentError, match="key is empty"):
        sg.pl.roc_pr(adata, split, key=[])
    with pytest.raises(ArgumentError, match="dataset, fold choose a run of a table"):
        sg.pl.roc_pr(adata, split, dataset="hHEP500", fold=1)
    with pytest.raises(ArgumentError, match="floor= is 'hub_floor' or None, not 'tf_rate'"):
        sg.pl.roc_pr(adata, split, floor="tf_rate")
    with pytest.raises(ArgumentError, match="part is 'train', 'validation' or 'test', not 'all'"):
        sg.pl.roc_pr(adata, split, part="all")
    with pytest.raises(ArgumentError, match="the split's test part is empty"):
        sg.pl.roc_pr(adata, split.without_test())
    with pytest.raises(SplitError, match="made for other data"):
        sg.pl.roc_pr(adata[:, :20], split)
    with pytest.raises(ArgumentError, match="data is an AnnData, a MuData or a DataFrame, not"):
        sg.pl.roc_pr([], split)
    edges = LabeledPairs(split.test.positives, np.ones(len(split.test.positives), dtype=bool))
    with pytest.raises(ArgumentError, match="pairs are edges: curves need both"):
        sg.pl.roc_pr(adata, replace(split, test=edges))
    adata.var["grn_is_tf"] = np.arange(N_GENES) < 4
    with pytest.raises(
        ArgumentError, match=r"2 regulators of the split were not scored in .varp\['grn'\]: 'G4', 'G5'\."
    ):
        sg.pl.roc_pr(adata, split)
    adata.var["grn_is_tf"] = np.arange(N_GENES) < N_TFS
    adata.varp["grn"].data[:] = np.nan
    with pytest.raises(ArgumentError, match="NaN or infinite scores"):
        sg.pl.roc_pr(adata, split)
    assert plt.get_fignums() == []


# ---------------------------------------------------------------- roc_pr of a table

SKILL = {"net": 2.5, "tree": 0.3, "cnn": 1.0, "forest": 0.2, "pearson": 0.05, "gat": 2.0, "mi": 0.1, "hub_floor": 2.2}


@pytest.fixture
def table(tmp_path) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    rows = []
    for fold in (1, 2):
        labels = rng.random(300) < 0.25
        for method, skill in SKILL.items():
            for seed in (0,) if method == "hub_floor" else (0, 1):
                path = tmp_path / f"{method}_{fold}_{seed}.npz"
                scores = (labels * skill + rng.normal(size=300)).astype(np.float32)
                np.savez(path, labels=labels, scores=scores, regulators=np.zeros(300, np.int64))
                rows.append(
                    {
                        "dataset": "hHEP500",
                        "method": method,
                        "role": "floor" if method == "hub_floor" else "method",
                        "supervised": True,
                        "split": "given",
                        "fold": fold,
                        "seed": seed,
                        "error": "",
                        "auroc": roc_auc_score(labels, scores),
                        "predictions": str(path),
                    }
                )
    return pd.DataFrame(rows)


def test_curves_of_a_table(table):
    roc, pr = sg.pl.roc_pr(table, "given", dataset="hHEP500", methods=["tree", "net"], fold=2, run_seed=1)
    assert set(curves(roc)) == {"tree", "net", "hub_floor"}
    run = table[(table["fold"] == 2) & (table["seed"] == 1)].set_index("method")
    for method in ("tree", "net"):
        with np.load(run.loc[method, "predictions"]) as file:
            expected = average_precision_score(file["labels"], file["scores"])
        assert area_in_steps(curves(pr)[method]) == pytest.approx(expected)
        assert f"{method}  {run.loc[method, 'auroc']:.3f} / {expected:.3f}" in legend_texts(roc.figure)
    assert [text.split("  ")[0] for text in legend_texts(roc.figure)] == ["net", "tree", "hub_floor", "random level"]
    assert curves(roc)["hub_floor"].get_linestyle() == "--"


def test_the_best_six_methods_unless_some_are_named(table):
    one = table[(table["fold"] == 1) & (table["seed"] == 0)]
    best = one[one["role"] == "method"].sort_values("auroc")["method"].tolist()[-6:]
    assert set(curves(sg.pl.roc_pr(one)[0])) == {*best, "hub_floor"}
    assert set(curves(sg.pl.roc_pr(one, floor=None)[0])) == set(best)
    assert set(curves(sg.pl.roc_pr(one, floor=None, methods=["hub_floor"])[0])) == {"hub_floor"}
    everyone = curves(sg.pl.roc_pr(one, methods=list(SKILL))[0])
    looks = {(line.get_color(), line.get_linestyle(), str(line._dash_pattern)) for line in everyone.values()}
    assert len(looks) == len(everyone) == 8


def test_methods_without_predictions_are_left_out(table):
    one = table[(table["fold"] == 1) & (table["seed"] == 0)].copy()
    one.loc[one["method"] == "net", ["predictions", "auroc", "error"]] = ["", np.nan, "MemoryError: 40 GB"]
    one.loc[one["method"].isin(["gat", "hub_floor"]), "predictions"] = np.nan
    assert set(curves(sg.pl.roc_pr(one)[0])) == {"tree", "cnn", "forest", "pearson", "mi"}
    with pytest.raises(ArgumentError, match="net on hHEP500, split given, fold 1, seed 0 failed: MemoryError: 40 GB"):
        sg.pl.roc_pr(one, methods="net")
    with pytest.raises(MissingKeyError, match=r"gat on hHEP500.*no file of predictions was written"):
        sg.pl.roc_pr(one, methods="gat")
    with pytest.raises(ArgumentError, match="No method of this run kept its predictions"):
        sg.pl.roc_pr(one.assign(predictions=""))


def test_a_run_has_to_be_chosen(table):
    with pytest.raises(ArgumentError, match="Choose a fold with fold=; there are: 1, 2"):
        sg.pl.roc_pr(table)
    with pytest.raises(ArgumentError, match="Choose a seed with run_seed=; there are: 0, 1"):
        sg.pl.roc_pr(table, fold=1)
    with pytest.raises(ArgumentError, match="no fold 7; there are: 1, 2"):
        sg.pl.roc_pr(table, fold=7)
    two = pd.concat([table, table.assign(dataset="mDC500")])
    with pytest.raises(ArgumentError, match="Choose a dataset with dataset=; there are: 'hHEP500', 'mDC500'"):
        sg.pl.roc_pr(two, fold=1)
    with pytest.raises(ArgumentError, match="split= is the kind of split"):
        sg.pl.roc_pr(table, EdgeSplit(LabeledPairs.empty(), LabeledPairs.empty(), LabeledPairs.empty()))
    with pytest.raises(ArgumentError, match="methods has 'nets'"):
        sg.pl.roc_pr(table, fold=1, run_seed=0, methods="nets")
    with pytest.raises(MissingKeyError, match="no column 'predictions'"):
        sg.pl.roc_pr(table.drop(columns="predictions"), fold=1)
    many = pd.concat([table.assign(method=table["method"] + str(n)) for n in range(2)])
    with pytest.raises(ArgumentError, match="16 curves cannot be told apart; choose at most 12"):
        sg.pl.roc_pr(many, fold=1, run_seed=0, methods=many["method"].unique())


def test_other_pairs_are_not_compared(table):
    one = table[(table["fold"] == 1) & (table["seed"] == 0)].copy()
    other = table.loc[(table["fold"] == 2) & (table["method"] == "cnn"), "predictions"].iloc[0]
    one.loc[one["method"] == "cnn", "predictions"] = other
    with pytest.raises(ArgumentError, match="'net' and 'cnn' were not judged on the same pairs"):
        sg.pl.roc_pr(one, methods=["cnn", "net"])


def test_damaged_predictions(table, tmp_path):
    one = table[(table["fold"] == 1) & (table["seed"] == 0) & (table["method"] == "net")].copy()

    def draw(path):
        return sg.pl.roc_pr(one.assign(predictions=str(path)))

    with pytest.raises(MissingKeyError, match=r"the file '.*gone.npz' is not there"):
        draw(tmp_path / "gone.npz")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(ArgumentError, match="cannot be read as an"):
        draw(tmp_path / "text.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "net_1_0.npz").read_bytes()[:200])
    with pytest.raises(ArgumentError, match="cannot be read as an"):
        draw(tmp_path / "cut.npz")
    np.savez(tmp_path / "objects.npz", labels=np.array([{}, {}], dtype=object), scores=np.zeros(2))
    with pytest.raises(ArgumentError, match="cannot be read as an"):
        draw(tmp_path / "objects.npz")
    np.savez(tmp_path / "part.npz", labels=np.array([True, False]))
    with pytest.raises(MissingKeyError, match=r"has no array .*'labels' and 'scores' are expected"):
        draw(tmp_path / "part.npz")
    np.savez(tmp_path / "nan.npz", labels=np.array([True, False]), scores=np.array([np.nan, 1]))
    with pytest.raises(ArgumentError, match="a finite score for each pair"):
        draw(tmp_path / "nan.npz")


# ---------------------------------------------------------------- calibration


def wilson(k: int, n: int) -> tuple[float, float]:
    """Wilson's score interval, as he gives it."""
    z = 1.959963984540054
    middle = (k + z**2 / 2) / (n + z**2)
    half = z / (n + z**2) * (k * (n - k) / n + z**2 / 4) ** 0.5
    return middle - half, middle + half


@pytest.mark.parametrize("n_bins", [1, 4, 10])
def test_bins_by_hand(adata, split, n_bins):
    ax = sg.pl.calibration(adata, split, n_bins=n_bins)
    labels, probability = split.test.labels, at_pairs(adata, split.test).astype(float)
    expected, counts = [], []
    for number in range(n_bins):
        low, high = number / n_bins, (number + 1) / n_bins
        inside = [i for i, p in enumerate(probability) if low <= p < high or (p == 1 and number == n_bins - 1)]
        counts.append(len(inside))
        if inside:
            k, n = int(labels[inside].sum()), len(inside)
            expected.append((probability[inside].mean(), k / n, *wilson(k, n)))
    expected = np.array(expected)
    (bars,) = ax.containers
    line, _, (whiskers,) = bars.lines
    np.testing.assert_allclose(line.get_xdata(orig=False), expected[:, 0])
    np.testing.assert_allclose(line.get_ydata(orig=False), expected[:, 1])
    drawn = np.array([segment[:, 1] for segment in whiskers.get_segments()])
    np.testing.assert_allclose(drawn, expected[:, 2:], atol=1e-9)
    below = ax.child_axes[0]
    assert [patch.get_height() for patch in below.patches] == counts
    np.testing.assert_allclose([patch.get_x() for patch in below.patches], np.arange(n_bins) / n_bins)
    assert below.get_yscale() == "log"
    assert below.get_xlim() == ax.get_xlim()


def test_errors_of_calibration_are_written(adata, split):
    ax = sg.pl.calibration(adata, split, n_bins=7, part="validation")
    labels, probability = split.validation.labels, at_pairs(adata, split.validation).astype(float)
    ece = sg.bm.expected_calibration_error(labels, probability, n_bins=7)
    brier = np.mean((labels - probability) ** 2)
    assert [text.get_text() for text in ax.texts] == [f"ECE {ece:.3f}\nBrier {brier:.3f}"]


def test_probabilities_of_nought_and_one(adata, split):
    values = np.zeros((N_GENES, N_GENES))
    values[tuple(split.test.positives.T)] = 1.0
    adata.varp["grn"] = values  # dense: the zeros are probabilities
    ax = sg.pl.calibration(adata, split)
    (bars,) = ax.containers
    np.testing.assert_array_equal(bars.lines[0].get_xdata(), [0, 1])
    np.testing.assert_array_equal(bars.lines[0].get_ydata(), [0, 1])
    assert "ECE 0.000" in ax.texts[0].get_text()


def test_pairs_that_are_not_stored_are_left_out(adata, split):
    kept = adata.varp["grn"].toarray()
    kept[kept < 0.4] = 0
    adata.varp["grn"] = sparse.csr_matrix(kept)
    n_left = int((at_pairs(adata, split.test) > 0).sum())
    with pytest.warns(UserWarning, match=f"{len(split.test) - n_left} of {len(split.test)} pairs have no value stored"):
        ax = sg.pl.calibration(adata, split)
    assert sum(patch.get_height() for patch in ax.child_axes[0].patches) == n_left
    adata.varp["grn"] = sparse.csr_matrix((N_GENES, N_GENES), dtype=np.float32)
    with (
        pytest.warns(UserWarning, match="have no value stored"),
        pytest.raises(ArgumentError, match="None of the test pairs has a value"),
    ):
        sg.pl.calibration(adata, split)


def test_scores_are_no_probabilities(adata, split):
    adata.varp["score"] = adata.varp["grn"] * 3
    adata.var["score_is_tf"], adata.uns["score"] = adata.var["grn_is_tf"], {}
    with pytest.raises(ArgumentError, match=r"\.varp\['score'\] holds scores from .* not calibrated probabilities"):
        sg.pl.calibration(adata, split, key="score")
    adata.uns["grn"] = {"values": "score"}  # between 0 and 1, but never calibrated
    with pytest.raises(ArgumentError, match=r"\.varp\['grn'\] holds scores"):
        sg.pl.calibration(adata, split)
    adata.uns["grn"] = {"values": "probability"}
    sg.pl.calibration(adata, split)


def test_axes_of_a_calibration(adata, split):
    _, ax = plt.subplots()
    assert sg.pl.calibration(adata, split, ax=ax) is ax
    assert len(plt.get_fignums()) == 1
    assert sg.pl.calibration(adata, split).figure.get_figwidth() == 3.4


def test_bad_arguments_of_a_calibration(adata, split):
    for n_bins in (0, 2.5, True):
        with pytest.raises(ArgumentError, match="n_bins is a"):
            sg.pl.calibration(adata, split, n_bins=n_bins)
    with pytest.raises(ArgumentError, match=r"split is an EdgeSplit, .*not .test"):
        sg.pl.calibration(adata, "test")
    with pytest.raises(ArgumentError, match="not 'all'"):
        sg.pl.calibration(adata, split, part="all")
    with pytest.raises(MissingKeyError, match=r"Did not find \.varp\['net'\]"):
        sg.pl.calibration(adata, split, key="net")
    with pytest.raises(SplitError, match="made for other data"):
        sg.pl.calibration(adata[:, :20], split)


def test_a_fitted_network(monkeypatch):
    """What ``fit_grn`` writes can be drawn, and the numbers are those that it measured itself."""
    adata = sg.datasets.simulated(rng=0)
    network = sg.core.PriorNetwork.from_any(adata.uns["ground_truth"], tuple(adata.var_names))
    split = sg.bm.split_edges(network, rng=0)
    sg.tl.fit_grn(adata, adata.uns["ground_truth"], split=split, use_rep=None, epochs=3)
    measured = sg.get.grn_metrics(adata).set_index(["method", "part"])
    roc, _ = sg.pl.roc_pr(adata, split)
    for name, method in (("grn", "sctransnet"), ("hub_floor", "hub_floor")):
        numbers = measured.loc[method, "test"]
        assert f"{name}  {numbers['auroc']:.3f} / {numbers['auprc']:.3f}" in legend_texts(roc.figure)
    numbers = measured.loc["sctransnet", "test"]
    ax = sg.pl.calibration(adata, split)
    assert ax.texts[0].get_text() == f"ECE {numbers['ece']:.3f}\nBrier {numbers['brier']:.3f}"
    for figure in (roc.figure, ax.figure):
        figure.draw_without_rendering()
        low, high = figure.get_tightbbox().get_points()
        assert (low >= -0.02).all()
        assert (high <= figure.get_size_inches() + 0.02).all()  # nothing is cut
