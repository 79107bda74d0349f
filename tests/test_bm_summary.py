"""`bm.summary` and `bm.report`: means, intervals and pages, against values worked out by hand."""

from __future__ import annotations

import re

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
    ],
)
def test_what_cannot_be_summarised(tmp_path, change, arguments, error, message):
    with pytest.raises(error, match=message):
        sg.bm.summary(change(results(tmp_path)), **arguments)


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
    assert text.count("data:image/png;base64,") == 2  # a figure for each kind of split
    assert not re.findall(r"src=\"(?!data:)", text)
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
    names = ["full", "w/o GNN", "w/o encoder", "mean pooling", "permuted expression", "random encoder"]
    one = two_splits[(two_splits["split"] == "given") & (two_splits["method"] == "good")]
    floor = two_splits[(two_splits["split"] == "given") & (two_splits["method"] == "hub_floor")]
    table = pd.concat([*(one.assign(method=name) for name in names), floor], ignore_index=True)
    sg.bm.report(table, tmp_path / "ablation.md")
    sg.bm.report(two_splits, tmp_path / "all.md")
    assert drawn == ["ablation", "benchmark", "benchmark"]


def test_what_cannot_be_reported(two_splits, tmp_path):
    with pytest.raises(ArgumentError, match=r"an \.html or \.md file"):
        sg.bm.report(two_splits, tmp_path / "report.pdf")
    with pytest.raises(ArgumentError, match="there is no folder"):
        sg.bm.report(two_splits, tmp_path / "nowhere" / "report.md")
    everything = two_splits.copy()
    for method in METHODS:
        everything = broken(everything, method)
    with pytest.raises(ArgumentError, match="no result to report"):
        sg.bm.report(everything, tmp_path / "report.md")
