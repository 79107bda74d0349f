"""`bm.summary` and `bm.report`: means, intervals and pages, against values worked out by hand."""

from __future__ import annotations

import re
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

import scgrn_tl as sg
from scgrn_tl.core import ArgumentError, MissingKeyError
from scgrn_tl.core.bootstrap import paired_bootstrap

METHODS = {"good": 2.0, "fair": 1.0, "hub_floor": 0.7}


def results(folder, *, n_folds=3, n_seeds=2, split="given", same_tfs=True, dataset="D500") -> pd.DataFrame:
    """A table as of `bm.run`, with predictions of methods that see the labels through more or less noise."""
    rng = np.random.default_rng(0)
    rows = []
    for fold in range(n_folds):
        regulators = np.repeat(np.arange(8) if same_tfs else np.arange(8) + 8 * fold, 30)
        labels = rng.random(240) < np.repeat(rng.uniform(0.1, 0.6, 8), 30)
        for method, signal in METHODS.items():
            for seed in range(1 if method == "hub_floor" else n_seeds):
                scores = (labels * signal + rng.normal(size=240)).astype(np.float32)
                path = folder / f"{dataset}-{split}-{method}-{fold}-{seed}.npz"
                np.savez(path, labels=labels, scores=scores, regulators=regulators)
                metrics = sg.bm.edge_metrics(labels, scores, regulators)
                rows.append(
                    {"dataset": dataset, "method": method, "split": split, "fold": fold, "seed": seed, "error": ""}
                    | {"role": "floor" if method == "hub_floor" else "method", "supervised": True}
                    | {"params": f'{{"method": "{method}"}}', "weights": "", "predictions": str(path)}
                    | {"fit_seconds": 1.0 + fold, "peak_memory_mb": 100.0 + fold}
                    | metrics
                )
    return pd.DataFrame(rows)


def broken(table, method) -> pd.DataFrame:
    failed = table["method"] == method
    numbers = ["auroc", "auprc", "tf_auroc", "epr", "fit_seconds", "peak_memory_mb"]
    table = table.copy()
    table.loc[failed, numbers] = np.nan
    table.loc[failed, "error"] = "ValueError: <b>no</b> luck | today"
    table.loc[failed, "predictions"] = ""
    return table


def row_of(found, method, metric="auroc") -> pd.Series:
    return found[(found["method"] == method) & (found["metric"] == metric)].iloc[0]


def test_means_are_over_folds_after_seeds(tmp_path):
    table = results(tmp_path)
    row = row_of(sg.bm.summary(table, n_resamples=0), "good")
    of_folds = [table[(table["method"] == "good") & (table["fold"] == fold)]["auroc"].mean() for fold in range(3)]
    assert row["mean"] == pytest.approx(np.mean(of_folds))
    half = t.ppf(0.975, 2) * np.std(of_folds, ddof=1) / np.sqrt(3)
    assert (row["low"], row["high"]) == pytest.approx((np.mean(of_folds) - half, np.mean(of_folds) + half))
    assert (row["n_folds"], row["n_seeds"], row["n_failed"]) == (3, 2, 0)
    floor = table[table["method"] == "hub_floor"]["auroc"].to_numpy()
    assert row["baseline"] == pytest.approx(floor.mean())
    assert row["difference"] == pytest.approx(np.mean(of_folds - floor))
    assert (row["fit_seconds"], row["peak_memory_mb"]) == (2.0, 102.0)
    assert np.isnan(row["difference_low"])
    assert np.isnan(row_of(sg.bm.summary(results(tmp_path, n_folds=2), n_resamples=0), "good")["low"])


def test_interval_of_the_difference_is_the_paired_bootstrap(tmp_path):
    """With a single fold and seed it is that of `paired_bootstrap` itself, draw by draw."""
    table = results(tmp_path, n_folds=1, n_seeds=1)
    found = sg.bm.summary(table, ["auroc", "auprc", "tf_auroc", "tf_auprc_ratio"], rng=5, n_resamples=200)
    kept = {row["method"]: np.load(row["predictions"]) for row in table.to_dict("records")}
    expected = paired_bootstrap(
        kept["good"]["labels"],
        kept["good"]["scores"],
        kept["hub_floor"]["scores"],
        regulators=kept["good"]["regulators"],
        n_resamples=200,
        rng=5,
    )
    for metric in expected.index:
        row = row_of(found, "good", metric)
        assert row["difference"] == pytest.approx(expected.loc[metric, "difference"])
        assert row["difference_low"] == pytest.approx(expected.loc[metric, "low"])
        assert row["difference_high"] == pytest.approx(expected.loc[metric, "high"])


@pytest.mark.parametrize("same_tfs", [True, False])
def test_interval_over_several_folds(tmp_path, same_tfs):
    """Against a loop: regulators of all folds are drawn together, seeds and folds averaged in every draw."""
    table = results(tmp_path, same_tfs=same_tfs)
    found = sg.bm.summary(table, n_resamples=60, rng=3)
    regulators = np.arange(8) if same_tfs else np.arange(24)
    draws = np.random.default_rng(3).multinomial(len(regulators), np.full(len(regulators), 1 / len(regulators)), 60)
    from sklearn.metrics import roc_auc_score

    differences = []
    for draw in draws:
        weight = dict(zip(regulators, draw, strict=True))
        folds = []
        for fold in range(3):
            of_fold = table[table["fold"] == fold]
            auroc = {}
            for row in of_fold.to_dict("records"):
                kept = np.load(row["predictions"])
                weights = np.array([weight[r] for r in kept["regulators"]])
                value = roc_auc_score(kept["labels"], kept["scores"].astype(float), sample_weight=weights)
                auroc.setdefault(row["method"], []).append(value)
            folds.append(np.mean(auroc["good"]) - np.mean(auroc["hub_floor"]))
        differences.append(np.mean(folds))
    row = row_of(found, "good")
    assert (row["difference_low"], row["difference_high"]) == pytest.approx(
        tuple(np.percentile(differences, [2.5, 97.5])), abs=1e-9
    )
    assert row["difference_low"] > 0  # with twice the signal it is clearly ahead
    assert np.isnan(row_of(found, "hub_floor")["difference_low"])


def test_failed_runs_are_counted_and_left_out(tmp_path):
    table = broken(results(tmp_path), "fair")
    found = sg.bm.summary(table, n_resamples=20)
    row = row_of(found, "fair")
    assert (row["n_folds"], row["n_failed"]) == (0, 6)
    assert np.isnan(row[["mean", "difference", "difference_low"]].astype(float)).all()
    assert row_of(found, "good")["mean"] > 0.8


def test_an_interval_ends_where_the_metric_does(tmp_path):
    """Of three folds, a t-interval may reach below 0 or above 1."""
    table = results(tmp_path, n_seeds=1).assign(precision_at_100=0.5, gain=0.5)
    of_good = table["method"] == "good"
    table.loc[of_good, ["auprc", "epr", "gain"]] = np.array([[0.01, 0.02, 0.2]] * 3).T
    table.loc[of_good, ["auroc", "precision_at_100"]] = np.array([[0.8, 0.99, 0.99]] * 2).T
    found = sg.bm.summary(table, ["auprc", "epr", "gain", "auroc", "precision_at_100"], n_resamples=0)
    assert row_of(found, "good", "auprc")["low"] == 0
    assert row_of(found, "good", "epr")["low"] == 0
    assert row_of(found, "good", "gain")["low"] < 0  # nobody knows what a column of one's own can be
    assert row_of(found, "good", "auroc")["high"] == 1
    assert row_of(found, "good", "precision_at_100")["high"] == 1
    assert np.isnan(row_of(sg.bm.summary(results(tmp_path, n_folds=2), n_resamples=0), "good")["low"])


def test_a_baseline_of_several_seeds_is_their_mean(tmp_path):
    """The interval is about the same difference as the estimate."""
    table = results(tmp_path)
    is_baseline = table["method"] == "fair"
    swapped = pd.concat([table[~is_baseline], table[is_baseline].iloc[::-1]])
    one, other = (row_of(sg.bm.summary(t, baseline="fair", n_resamples=200), "good") for t in (table, swapped))
    for column in ("difference", "difference_low", "difference_high"):  # the order of seeds is nothing
        assert one[column] == pytest.approx(other[column])
    assert one["difference_low"] < one["difference"] < one["difference_high"]


def test_a_fold_without_a_value_is_left_out_everywhere(tmp_path):
    table = results(tmp_path, n_folds=4)
    table.loc[(table["method"] == "good") & (table["fold"] == 2), "auroc"] = np.nan
    found = sg.bm.summary(table, n_resamples=0)
    rest = row_of(sg.bm.summary(table[table["fold"] != 2], n_resamples=0), "good")
    row = row_of(found, "good")
    assert list(row[["mean", "low", "high", "n_folds"]]) == pytest.approx(
        list(rest[["mean", "low", "high", "n_folds"]])
    )
    assert row["n_folds"] == 3
    assert row_of(found, "good", "auprc")["n_folds"] == 4


def test_time_that_runs_share_is_told(tmp_path):
    table = results(tmp_path).assign(embed_seconds=30.0, prepare_seconds=4.0)
    found = sg.bm.summary(table, n_resamples=0)
    assert row_of(found, "good")[["embed_seconds", "prepare_seconds", "shared_seconds"]].tolist() == [30, 4, 34]
    first = found.columns.get_loc("fit_seconds")
    assert found.columns[first : first + 3].tolist() == ["fit_seconds", "prepare_seconds", "embed_seconds"]
    sg.bm.report(table, tmp_path / "report.md")
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    shown = of_markdown(text, "### D500").set_index("method")
    assert shown.loc["good", ["seconds", "shared s"]].tolist() == ["2", "34"]
    assert "shared s: what several fits" in text


def test_time_that_was_not_measured_is_not_zero(tmp_path):
    table = results(tmp_path)
    found = sg.bm.summary(table, n_resamples=0)
    assert not {"embed_seconds", "prepare_seconds"} & set(found.columns)
    assert found["shared_seconds"].isna().all()
    sg.bm.report(table, tmp_path / "report.md")
    shown = of_markdown((tmp_path / "report.md").read_text(encoding="utf-8"), "### D500")
    assert set(shown["shared s"]) == {"–"}


def test_all_runs_failed(tmp_path):
    table = results(tmp_path).drop(columns=["auroc", "auprc", "tf_auroc", "epr", "fit_seconds", "peak_memory_mb"])
    table["error"], table["predictions"] = "ValueError", ""
    assert sg.bm.summary(table)["mean"].isna().all()
    with pytest.raises(ArgumentError, match="There is no result to report"):
        sg.bm.report(table, tmp_path / "report.md")


@pytest.mark.parametrize(
    ("versions", "shown"),
    [
        (["7.7.7", "7.7.7"], "7.7.7"),
        (["7.7.7", "7.8"], "7.7.7, 7.8"),
        (["7.7.7", ""], "7.7.7, an unknown version"),
        ([None, "7.7.7"], "an unknown version, 7.7.7"),
    ],
)
def test_the_version_of_the_runs_is_reported(tmp_path, versions, shown):
    table = results(tmp_path)
    sg.bm.report(table.assign(version=[versions[seed] for seed in table["seed"]]), tmp_path / "report.md")
    page = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert f"Run with scgrn_tl {shown}." in page
    assert "Report written with Python" in page


def test_another_baseline(tmp_path):
    table = results(tmp_path)
    row = row_of(sg.bm.summary(table, baseline="good", n_resamples=50), "fair")
    assert row["difference"] < 0
    assert row["difference_high"] < 0


@pytest.mark.parametrize(
    ("change", "arguments", "error", "message"),
    [
        (lambda t: t.drop(columns="predictions"), {}, MissingKeyError, "no column 'predictions'"),
        (lambda t: t, {"metrics": "accuracy"}, ArgumentError, "no metric 'accuracy'"),
        (lambda t: t, {"confidence": 1.0}, ArgumentError, "confidence"),
        (lambda t: t, {"baseline": "nobody"}, MissingKeyError, "'nobody' is not among the methods: good, fair"),
        (lambda t: t.assign(predictions="gone.npz"), {}, MissingKeyError, "read_results"),
        (lambda t: t.iloc[:0], {}, ArgumentError, "The table is empty"),
        (lambda t: t.iloc[:0, :1], {}, ArgumentError, "The table is empty"),
        (
            lambda t: t.assign(params=t["params"].where(t["seed"] == 0, "{}")),
            {},
            ArgumentError,
            r"'good' was run with several params on 'D500', split 'given': .*table\[table\['params'\] == …\]",
        ),
    ],
)
def test_what_cannot_be_summarised(tmp_path, change, arguments, error, message):
    with pytest.raises(error, match=message):
        sg.bm.summary(change(results(tmp_path)), **arguments)


@pytest.mark.parametrize("column", ["params", "data", "weights"])
def test_runs_of_several_settings_are_no_seeds(tmp_path, column):
    """One value is needed for each dataset, split and method only."""
    first, other = results(tmp_path, n_seeds=1), results(tmp_path, n_seeds=1, dataset="E500")
    first[column] = first["method"]
    other[column] = "other " + other["method"]
    table = pd.concat([first, other], ignore_index=True)
    assert len(sg.bm.summary(table, n_resamples=0)) == 18
    assert len(sg.bm.summary(table.drop(columns=column), n_resamples=0)) == 18
    table = pd.concat([table, first[first["method"] == "good"].assign(**{column: "anew"})], ignore_index=True)
    with pytest.raises(ArgumentError, match=f"'good' was run with several {column} on 'D500'"):
        sg.bm.summary(table)
    assert len(sg.bm.summary(table[table[column] != "anew"], n_resamples=0)) == 18


# --- report -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_splits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    parts = [results(folder), results(folder, split="tf", same_tfs=False), results(folder, dataset="E500")]
    return broken(pd.concat(parts, ignore_index=True), "fair")


@pytest.mark.parametrize("suffix", ["html", "md"])
def test_a_report_has_everything_inside(two_splits, tmp_path, suffix):
    path = tmp_path / f"report.{suffix}"
    sg.bm.report(two_splits, path, title="Ours & theirs")
    text = path.read_text(encoding="utf-8")
    if suffix == "html":  # a figure for each kind of split
        assert text.count("data:image/png;base64,") == 2
        assert not re.findall(r"src=\"(?!data:)", text)
        assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    else:
        assert re.findall(r"!\[.*?\]\((.*?)\)", text) == ["report-given.png", "report-tf.png"]
        assert {file.name for file in tmp_path.iterdir()} == {"report.md", "report-given.png", "report-tf.png"}
        assert (tmp_path / "report-tf.png").read_bytes().startswith(b"\x89PNG")
        assert "base64" not in text
    for word in ("Split: given", "Split: tf", "D500", "E500", "hub_floor", "What failed", "What was run", "Python"):
        assert word in text
    good = row_of(sg.bm.summary(two_splits[two_splits["dataset"] == "D500"].query("split == 'given'")), "good")
    assert f"{good['mean']:.3f} ({good['difference']:+.3f}; {good['difference_low']:+.3f}" in text
    if suffix == "html":
        assert text.startswith("<!doctype html>")
        assert "Ours &amp; theirs" in text
        assert "&lt;b&gt;no&lt;/b&gt; luck" in text
        assert "<b>no</b>" not in text
    else:
        assert text.startswith("# Ours & theirs\n")
        assert r"luck \| today" in text


def test_an_ablation_is_reported_by_its_own_figure(two_splits, tmp_path, monkeypatch):
    drawn = []
    for name in ("ablation", "benchmark"):
        original = getattr(sg.pl, name)
        monkeypatch.setattr(sg.pl, name, lambda table, o=original, n=name: (drawn.append(n), o(table))[1])
    names = ["full", *("w/o hub terms", "w/o latent factors", "w/o expression effects", "w/o GNN", "with encoder")]
    names += ["with encoder, mean pooling", "permuted expression", "random encoder"]
    one = two_splits[(two_splits["split"] == "given") & (two_splits["method"] == "good")]
    floor = two_splits[(two_splits["split"] == "given") & (two_splits["method"] == "hub_floor")]
    table = pd.concat([*(one.assign(method=name) for name in names), floor], ignore_index=True)
    table.loc[table["method"] == "w/o latent factors", "auroc"] -= 0.1
    table.loc[table["method"].str.contains("permuted|random"), "role"] = "control"
    sg.bm.report(table, tmp_path / "ablation.md")
    sg.bm.report(two_splits, tmp_path / "all.md")
    assert drawn == ["ablation", "benchmark", "benchmark"]
    text = (tmp_path / "ablation.md").read_text(encoding="utf-8")
    figure = [label.get_text() for label in sg.pl.ablation(table).get_yticklabels()]
    assert figure[0] == "w/o latent factors"
    assert of_markdown(text, "### D500")["method"].tolist() == ["full", *figure]
    of_full = (table["method"] == "full") & (table["dataset"] == "D500")
    table.loc[of_full, ["error", "auroc", "predictions"]] = ["ValueError", np.nan, ""]  # nothing to hold others against
    sg.bm.report(table, tmp_path / "ablation.md")
    assert drawn[3:] == ["ablation", "benchmark"]  # the test's own call, and the report's


def of_markdown(text: str, heading: str) -> pd.DataFrame:
    """The first table below a heading."""
    lines = text.partition(f"{heading}\n\n")[2].partition("\n\n")[0].splitlines()
    header, _, *rows = ([cell.strip() for cell in line.strip("|").split(" | ")] for line in lines)
    return pd.DataFrame(rows, columns=header)


def test_tables_have_the_order_and_the_names_of_the_figure(two_splits, tmp_path):
    table = two_splits[(two_splits["split"] == "given")].copy()
    best, shuffled = table[table["method"] == "good"].copy(), table[table["method"] == "good"].copy()
    best[["auroc", "auprc"]] = best["auroc"].to_numpy()[:, None] * [1.01, 0.1]  # the best by AUROC, the last by AUPRC
    shuffled["auprc"] = 0.99
    tables = [
        table,
        best.assign(method="best_one", supervised=False),
        shuffled.assign(method="shuffled", role="control"),
    ]
    table = pd.concat(tables, ignore_index=True)
    lost = (table["method"] == "good") & (table["fold"] == 0) & (table["seed"] == 0)
    table.loc[lost, ["error", "predictions"]] = ["MemoryError", ""]
    sg.bm.report(table, tmp_path / "r.md")
    text = (tmp_path / "r.md").read_text(encoding="utf-8")
    figure = [label.get_text() for label in sg.pl.benchmark(table)[0, 0].get_yticklabels()]
    assert figure == ["best_one", "good", "fair", "hub_floor", "shuffled"]
    for dataset in ("D500", "E500"):
        shown = of_markdown(text, f"### {dataset}")
        assert shown["method"].tolist() == figure
        assert shown["kind"].tolist() == ["unsupervised", "supervised", "supervised", "floor", "control"]
        assert shown["folds × seeds"].tolist() == ["3 × 2", "3 × 2, 1 failed", "failed", "3 × 1", "3 × 2"]


def test_a_kind_of_split_where_everything_failed(two_splits, tmp_path):
    of_given = two_splits[(two_splits["split"] == "given") & (two_splits["dataset"] == "D500")]
    lost = of_given.assign(split="own")
    for method in METHODS:
        lost = broken(lost, method)
    sg.bm.report(pd.concat([of_given, lost], ignore_index=True), tmp_path / "r.md")
    text = (tmp_path / "r.md").read_text(encoding="utf-8")
    shown = of_markdown(text.partition("## Split: own")[2], "### D500")
    assert set(shown["folds × seeds"]) == {"failed"}
    assert shown["kind"].tolist() == ["supervised", "supervised", "floor"]
    assert not (tmp_path / "r-own.png").exists()


def test_names_of_figures_are_names_of_files(two_splits, tmp_path):
    table = two_splits[two_splits["split"] == "given"].assign(split="my / own")
    sg.bm.report(table, tmp_path / "a report.md")
    (link,) = re.findall(r"!\[.*?\]\((.*?)\)", (tmp_path / "a report.md").read_text(encoding="utf-8"))
    assert (tmp_path / unquote(link)).is_file()


def test_what_cannot_be_reported(two_splits, tmp_path, monkeypatch):
    with pytest.raises(ArgumentError, match=r"an \.html or \.md file"):
        sg.bm.report(two_splits, tmp_path / "report.pdf")
    with monkeypatch.context() as patch:  # it is told before anything is computed
        patch.setattr("scgrn_tl.bm._report.summary", lambda *_: pytest.fail("too late"))
        with pytest.raises(ArgumentError, match="there is no folder"):
            sg.bm.report(two_splits, tmp_path / "nowhere" / "report.md")
    with pytest.raises(MissingKeyError, match="no column 'error'"):
        sg.bm.report(two_splits.drop(columns="error"), tmp_path / "report.md")
    everything = two_splits.copy()
    for method in METHODS:
        everything = broken(everything, method)
    with pytest.raises(ArgumentError, match="no result to report"):
        sg.bm.report(everything, tmp_path / "report.md")
