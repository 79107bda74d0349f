"""`bm.run`: methods × datasets × splits × seeds, kept, resumed, and never ended by one that fails."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

import scgrn_tl as sg
from scgrn_tl.bm._datasets import BenchmarkDataset, named_splits
from scgrn_tl.core import (
    ArgumentError,
    GRNScores,
    MissingKeyError,
    PriorNetwork,
    SplitError,
    WeightsUnavailableError,
    make_task,
)
from scgrn_tl.methods import _registry

SMALL = {"gnn_widths": (16, 8), "gnn_heads": 2, "channel_hidden": 16, "channel_width": 8, "epochs": 3}
CALLS = "calls.txt"


@pytest.fixture(autouse=True)
def _registry_as_before(monkeypatch):
    monkeypatch.setattr(_registry, "_REGISTRY", dict(_registry._REGISTRY))


@pytest.fixture(scope="module")
def adata():
    made = sg.datasets.simulated(n_cells=60, n_genes=40, n_tfs=8, rng=0)
    made.varm["mine"] = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    return made


@pytest.fixture
def prior(adata):
    return PriorNetwork.from_any(adata.uns["ground_truth"], adata.var_names)


def counting(folder, name="counting", *, fails=False, supervised=False):
    """Register a method that leaves a line in a file for each run."""

    @sg.methods.method(name=name, supervised=supervised, directed=True, stochastic=True, reference="a test")
    def counted(task, *, level=0.0):
        """Random scores."""
        with (folder / CALLS).open("a") as file:
            file.write(f"{name} {task.seed} {len(task.regulators)}\n")
        if fails:
            msg = f"{name} is out of luck"
            raise RuntimeError(msg)
        scores = np.random.default_rng(task.seed).random((len(task.regulators), task.n_genes))
        return GRNScores(task.regulators, scores + level)

    return counted


def calls(folder) -> list[str]:
    path = folder / CALLS
    return path.read_text().splitlines() if path.exists() else []


def test_a_row_for_everything_with_the_metrics_of_its_test_pairs(adata, prior):
    table = sg.bm.run(adata, ["pearson", "tf_rate"], splits=["random", "target"], n_samples=2, n_folds=3)
    expected = [
        (method, split, fold)
        for method in ("pearson", "tf_rate", "hub_floor")
        for split, folds in (("random", 2), ("target", 3))
        for fold in range(folds)
    ]
    assert list(table[["method", "split", "fold"]].itertuples(index=False, name=None)) == expected
    assert (table["dataset"] == "data").all()
    assert (table["error"] == "").all()
    assert (table["seed"] == 0).all()
    for row in table.to_dict("records"):
        rng = {"rng": row["fold"]} if row["split"] == "random" else {"fold": row["fold"], "n_folds": 3, "rng": 0}
        split = sg.bm.split_edges(prior, kind=row["split"], **rng)
        supervised = row["method"] != "pearson"
        task = make_task(adata, prior=prior if supervised else None, split=split if supervised else None)
        scores = sg.methods.get(row["method"])(task).at(split.test.pairs)
        assert row["auroc"] == pytest.approx(roc_auc_score(split.test.labels, scores))
        assert row["auprc"] == pytest.approx(average_precision_score(split.test.labels, scores))
        assert row["n_pairs"] == len(split.test)
        assert np.isnan(row["brier"]) == (not supervised)
        with np.load(row["predictions"]) as kept:
            np.testing.assert_array_equal(kept["labels"], split.test.labels)
            np.testing.assert_allclose(kept["scores"], scores, rtol=1e-6)
            np.testing.assert_array_equal(np.column_stack([kept["regulators"], kept["targets"]]), split.test.pairs)
            assert ("probability" in kept.files) == supervised
        assert row["fit_seconds"] >= 0
        assert row["peak_memory_mb"] > 50
        assert row["role"] == ("method" if row["method"] == "pearson" else "floor")


def test_scores_are_those_of_fit_grn(adata, prior):
    """One line from a task to scores: the benchmark and the verb agree."""
    split = sg.bm.split_edges(prior, rng=0)
    settings = {"method": "sctransnet", "use_rep": "mine", **SMALL}
    table = sg.bm.run(adata, {"ours": settings}, splits={"mine": split}, seeds=[5])
    task = replace(
        make_task(adata, prior=prior, split=split, seed=5), embedding=np.asarray(adata.varm["mine"], np.float32)
    )
    expected = sg.methods.get("sctransnet")(task, **SMALL).at(split.test.pairs)
    row = table.set_index("method").loc["ours"]
    with np.load(row["predictions"]) as kept:
        np.testing.assert_allclose(kept["scores"], expected, atol=1e-5)
    assert (row["split"], row["seed"], row["weights"]) == ("mine", 5, "varm")
    assert json.loads(row["params"])["epochs"] == 3


def test_what_is_finished_is_not_run_again(adata, tmp_path):
    counting(tmp_path, supervised=True)
    call = {"splits": ["random"], "n_samples": 2, "out": tmp_path / "out"}
    first = sg.bm.run(adata, "counting", seeds=2, **call)
    assert len(calls(tmp_path)) == 4
    again = sg.bm.run(adata, "counting", seeds=2, **call)
    assert len(calls(tmp_path)) == 4
    pd.testing.assert_frame_equal(first, again)
    more = sg.bm.run(adata, "counting", seeds=3, **call)
    assert len(calls(tmp_path)) == 6
    assert len(more) == len(first) + 2
    sg.bm.run(adata, {"counting": {"method": "counting", "level": 1.0}}, **call)  # another setting is another run
    assert len(calls(tmp_path)) == 8
    other = adata.copy()
    other.uns["ground_truth"] = other.uns["ground_truth"].iloc[2:]
    sg.bm.run({"data": other}, "counting", **call)  # and so are other data of the same name
    assert len(calls(tmp_path)) == 10
    stored = sg.bm.read_results(tmp_path / "out")
    assert len(stored) == 6 + 2 + 2 + 2 + 2
    assert not stored.duplicated(["data", "method", "params", "split", "fold", "seed"]).any()


def test_a_method_without_a_prior_runs_once_for_all_splits(adata, prior, tmp_path):
    counting(tmp_path)
    call = {"n_samples": 2, "n_folds": 3, "out": tmp_path / "out"}
    sg.bm.run(adata, "counting", splits=["random"], **call)
    n_regulators = len(np.union1d(prior.regulators, np.flatnonzero(adata.var["is_tf"])))
    assert calls(tmp_path) == [f"counting 0 {n_regulators}"]
    table = sg.bm.run(adata, "counting", splits=["random", "target"], **call)
    assert len(calls(tmp_path)) == 1
    assert len(table) == 2 * (2 + 3)


def test_a_method_that_fails_is_a_row_and_is_tried_again(adata, tmp_path, caplog):
    counting(tmp_path, fails=True, supervised=True)
    call = {"splits": ["random"], "n_samples": 1, "out": tmp_path / "out"}
    table = sg.bm.run(adata, ["counting", "tf_rate"], **call).set_index("method")
    assert table.loc["counting", "error"] == "RuntimeError: counting is out of luck"
    assert np.isnan(table.loc["counting", "auroc"])
    assert table.loc["counting", "predictions"] == ""
    assert table.loc["tf_rate", "error"] == ""
    assert "out of luck" in caplog.text
    (trace,) = (tmp_path / "out" / "errors").iterdir()
    assert "Traceback" in trace.read_text()
    del _registry._REGISTRY["counting"]
    counting(tmp_path, supervised=True)
    table = sg.bm.run(adata, ["counting"], **call).set_index("method")
    assert table.loc["counting", "error"] == ""
    assert table.loc["counting", "auroc"] > 0
    assert len(sg.bm.read_results(tmp_path / "out")) == 3


def test_genes_are_embedded_once_for_each_seed(adata, tmp_path):
    methods = {
        "attention": {"method": "sctransnet", "use_rep": "scbert", **SMALL},
        "mean": {"method": "sctransnet", "use_rep": "scbert_mean", **SMALL},
        "none": {"method": "sctransnet", **SMALL},
    }
    call = {"splits": ["random"], "n_samples": 1, "seeds": 2, "out": tmp_path}
    with sg.settings.override(cache_dir=tmp_path / "cache"):
        table = sg.bm.run(adata, methods, **call).set_index(["method", "seed"])
    kept = sorted((tmp_path / "arrays").glob("embedding-*.npz"))
    assert len(kept) == 2
    with np.load(kept[0]) as arrays:
        assert {"scbert", "scbert_mean"} <= set(arrays.files)
        assert arrays["scbert"].shape[0] == adata.n_vars
    assert table.loc[("attention", 0), "embed_seconds"] == table.loc[("mean", 0), "embed_seconds"] > 0
    assert table.loc[("none", 0), "embed_seconds"] == 0
    assert table.loc["none"]["weights"].tolist() == ["", ""]
    aurocs = [table.loc[(name, 0), "auroc"] for name in methods]
    assert len(set(aurocs)) > 1
    assert "scbert" not in adata.varm


def test_what_a_method_prepares_is_shared_between_splits(adata, tmp_path):
    def prepare(task):
        assert task.split is None
        assert task.prior is None
        with (tmp_path / CALLS).open("a") as file:
            file.write("prepared\n")
        return {"level": task.expression.mean(axis=1)}

    @sg.methods.method(
        name="prepared", supervised=True, directed=True, stochastic=False, reference="a test", prepare=prepare
    )
    def prepared(task):
        """Mean expression of the target."""
        assert set(task.prepared) == {"level"}
        return GRNScores(task.regulators, np.tile(task.prepared["level"], (len(task.regulators), 1)))

    table = sg.bm.run(adata, "prepared", splits=["random"], n_samples=3, out=tmp_path / "out")
    assert calls(tmp_path) == ["prepared"]
    assert (table.loc[table["method"] == "prepared", "prepare_seconds"] > 0).all()
    assert (table["error"] == "").all()


def test_a_preparation_that_fails_fails_its_rows(adata, tmp_path):
    def prepare(task):
        msg = "no way"
        raise RuntimeError(msg)

    @sg.methods.method(
        name="unprepared", supervised=True, directed=True, stochastic=False, reference="a test", prepare=prepare
    )
    def unprepared(task):
        """Never reached."""

    table = sg.bm.run(adata, "unprepared", splits=["random"], n_samples=2).set_index("method")
    assert table.loc["unprepared", "error"].tolist() == ["RuntimeError: no way"] * 2
    assert (table.loc["hub_floor", "error"] == "").all()


def test_a_pseudotime_comes_from_obs(adata):
    without = sg.bm.run(adata, "scode", splits=["random"], n_samples=1).set_index("method")
    assert "obs['dpt_pseudotime'] or an ordered .obs['stage']" in without.loc["scode", "error"]
    timed = adata.copy()
    timed.obs["stage"] = pd.Categorical(
        np.repeat(["early", "late", "later"], 20), ["early", "late", "later"], ordered=True
    )
    methods = {"scode": {"method": "scode", "n_iterations": 10, "n_repeats": 1}}
    table = sg.bm.run(timed, methods, splits=["random"], n_samples=1).set_index("method")
    assert table.loc["scode", "error"] == ""


def test_two_jobs_give_what_one_gives(adata):
    call = {"splits": ["random"], "n_samples": 2}
    one, two = (sg.bm.run(adata, ["gene_identity", "pearson"], n_jobs=n_jobs, **call) for n_jobs in (1, 2))
    shown = ["method", "split", "fold", "auroc", "auprc", "brier", "tf_auroc"]
    pd.testing.assert_frame_equal(one[shown], two[shown])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"datasets": "hHEP700"}, ArgumentError, "There is no dataset 'hHEP700'. Did you mean 'hHEP500'"),
        ({"datasets": "mhsc-L"}, ArgumentError, "Did you mean 'mHSC-L500'"),
        ({"datasets": "simulatd"}, ArgumentError, "Did you mean 'simulated'"),
        ({"datasets": "yeast"}, ArgumentError, r"There is no dataset 'yeast'\. BEELINE"),
        ({"datasets": "none.h5ad"}, ArgumentError, "'none.h5ad' is not there"),
        ({"datasets": []}, ArgumentError, "No dataset"),
        ({"datasets": 3}, ArgumentError, "datasets is a name"),
        ({"datasets": ["simulated", "simulated"]}, ArgumentError, "Two datasets are called 'simulated'"),
        ({"methods": "genlink"}, ArgumentError, "Did you mean 'genelink'"),
        ({"methods": {"x": {"use_rep": None}}}, ArgumentError, "'x' does not say which method"),
        ({"methods": {"x": {"method": "genelink", "epoch": 3}}}, ArgumentError, "Did you mean 'epochs'"),
        ({"methods": {"x": {"method": "genelink", "epochs": 0}}}, ArgumentError, "epochs > 0"),
        (
            {"methods": {"x": {"method": "sctransnet", "use_rep": "nope"}}},
            MissingKeyError,
            r"Did not find \.varm\['nope'\]",
        ),
        ({"methods": ["pearson", "pearson"]}, ArgumentError, "Two methods have the label"),
        ({"splits": ["given"]}, ArgumentError, "no published splits"),
        ({"splits": ["fold"]}, ArgumentError, "splits are of the kinds"),
        ({"splits": "fold"}, ArgumentError, "not 'fold'"),
        ({"splits": []}, ArgumentError, "asks for no split"),
        ({"splits": ["tf"], "n_folds": 30}, SplitError, "cannot make 30 folds"),
        ({"seeds": 0}, ArgumentError, "seeds is how many"),
        ({"seeds": [1, 1]}, ArgumentError, "seeds is how many"),
        ({"n_jobs": 0}, ArgumentError, "n_jobs"),
        ({"timeout": 0}, ArgumentError, "timeout"),
        ({"weights": "none.pth"}, WeightsUnavailableError, "none.pth"),
        ({"device": "abacus"}, ArgumentError, "abacus"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_run_is_said_before_anything_runs(adata, tmp_path, arguments, error, message):
    call = {"datasets": adata, "methods": "pearson", "splits": ["random"]} | arguments
    with pytest.raises(error, match=message):
        sg.bm.run(call.pop("datasets"), call.pop("methods"), out=tmp_path / "out", **call)
    assert not (tmp_path / "out").exists()


def test_data_without_known_edges_are_refused(adata):
    bare = adata.copy()
    del bare.uns["ground_truth"]
    with pytest.raises(MissingKeyError, match=r"Did not find \.uns\['ground_truth'\]"):
        sg.bm.run(bare, "pearson", splits=["random"])
    with pytest.raises(ArgumentError, match="no results"):
        sg.bm.read_results("nowhere")


def test_without_a_kind_splits_are_the_published_ones_or_else_random(adata, prior, monkeypatch):
    published = sg.bm.split_edges(prior, rng=7)
    monkeypatch.setattr(sg.datasets, "beeline_split", lambda *_args, **_kwargs: published)
    theirs = BenchmarkDataset("hHEP500", adata, prior, ("hHEP", 500, "specific"))
    mine = BenchmarkDataset("data", adata, prior)
    for dataset, splits, kind in ((theirs, None, "given"), (mine, None, "random"), (theirs, "random", "random")):
        made = named_splits(dataset, splits, n_samples=2, n_folds=2)
        assert [split.kind for split in made] == [kind, kind]
        assert (made[0].pairs is published) == (kind == "given")


def test_a_file_with_known_edges_is_a_dataset(adata, tmp_path):
    adata.write_h5ad(tmp_path / "mine.h5ad")
    table = sg.bm.run([str(tmp_path / "mine.h5ad"), adata], "pearson", n_samples=1, out=tmp_path / "out")
    assert table["dataset"].unique().tolist() == ["mine", "data"]
    assert table["data"].nunique() == 1
    assert table["split"].unique().tolist() == ["random"]
    again = sg.bm.run(tmp_path / "mine.h5ad", "pearson", splits="random", n_samples=1, out=tmp_path / "out")
    pd.testing.assert_frame_equal(again, table[table["dataset"] == "mine"].reset_index(drop=True))


def test_results_of_other_inputs_are_not_taken_for_these(adata, prior, tmp_path):
    """Other folds of the same number, splits of the same name, embeddings of the same key."""
    counting(tmp_path, supervised=True)
    counting(tmp_path, "ordered")
    entry = replace(_registry._REGISTRY["ordered"], uses_pseudotime=True)
    _registry._REGISTRY |= {"ordered": entry, "embedded": replace(entry, name="embedded", uses_embedding=True)}
    data = adata.copy()
    data.obs["dpt_pseudotime"] = np.arange(data.n_obs)
    other = data.copy()
    other.obs["dpt_pseudotime"] = np.arange(data.n_obs)[::-1]
    other.varm["mine"] = other.varm["mine"] + 1
    mine = {number: sg.bm.split_edges(prior, rng=number) for number in range(2)}
    seen = []

    def n_calls(cells, method, **how):
        before = len(calls(tmp_path))
        sg.bm.run({"cells": cells}, method, out=tmp_path / "out", **how)
        seen.append(len(calls(tmp_path)) - before)
        return seen[-1]

    assert [n_calls(data, "counting", splits="target", n_folds=n) for n in (3, 4, 3)] == [3, 4, 0]
    assert [n_calls(data, "counting", splits={"mine": mine[number]}) for number in (0, 1, 0)] == [1, 1, 0]
    assert [n_calls(cells, "ordered", splits={"mine": mine[0]}) for cells in (data, other, data)] == [1, 1, 0]
    embedded = {"ours": {"method": "embedded", "use_rep": "mine"}}
    data.obs["dpt_pseudotime"] = other.obs["dpt_pseudotime"]
    assert [n_calls(cells, embedded, splits={"mine": mine[0]}) for cells in (data, other, data)] == [1, 1, 0]


def test_a_pseudotime_that_cannot_be_used_fails_its_own_method_alone(adata):
    for values in ("text", 1.0):
        data = adata.copy()
        data.obs["dpt_pseudotime"] = values
        table = sg.bm.run(data, ["scode", "pearson"], splits="random", n_samples=1).set_index("method")
        assert "seudotime" in table.loc["scode", "error"]
        assert table.loc["pearson", "error"] == ""


def test_models_of_an_ensemble_are_prepared_one_by_one(adata, tmp_path):
    def prepare(task):
        return {"drawn": np.random.default_rng(task.seed).random(task.n_genes)}

    @sg.methods.method(
        name="prepared", supervised=True, directed=True, stochastic=True, reference="a test", prepare=prepare
    )
    def prepared(task):
        """What was prepared."""
        return GRNScores(task.regulators, np.tile(task.prepared["drawn"], (len(task.regulators), 1)))

    table = sg.bm.run(
        adata, {"four": {"method": "prepared", "n_models": 4}}, splits="random", n_samples=1, out=tmp_path / "out"
    )
    split = sg.bm.split_edges(PriorNetwork.from_any(adata.uns["ground_truth"], adata.var_names), rng=0)
    prior = PriorNetwork.from_any(adata.uns["ground_truth"], adata.var_names)
    expected = sg.methods.get("prepared").run(make_task(adata, prior=prior, split=split), n_models=4)
    with np.load(table.set_index("method").loc["four", "predictions"]) as kept:
        np.testing.assert_allclose(kept["scores"], expected.at(split.test.pairs), rtol=1e-6)
    assert not list((tmp_path / "out" / "arrays").glob("prepared-*"))


def test_the_floors_label_is_the_floors():
    with pytest.raises(ArgumentError, match="'hub_floor' is the label of what all are held against"):
        sg.bm.run("simulated", {"hub_floor": "pearson"})


def test_what_an_ablation_is_without_stays_away(adata, monkeypatch):
    import scgrn_tl.bm._ablate as ablate_module

    seen = {}
    monkeypatch.setattr(ablate_module, "run", lambda data, variants, **_: seen.update(variants))
    sg.bm.ablate(adata, use_rep="mine", use_gnn=True, latent_factors=5, epochs=3)
    everywhere = {"use_gnn": True, "latent_factors": 5, "epochs": 3}
    assert seen["full"] == {"method": "sctransnet", **everywhere}
    assert seen["w/o GNN"] == {"method": "sctransnet", **everywhere, "use_gnn": False}
    assert seen["w/o latent factors"]["latent_factors"] == 0
    assert seen["with encoder"] == {"method": "sctransnet", **everywhere, "use_rep": "mine"}
    assert seen["with encoder, mean pooling"]["use_rep"] == "mine_mean"
    assert seen["hub_floor"] == {"method": "hub_floor"}
    assert [label for label, settings in seen.items() if "use_rep" in settings] == [
        "with encoder",
        "with encoder, mean pooling",
    ]
    seen.clear()
    sg.bm.ablate(adata, use_rep=["scbert", "mine"])
    assert seen["with encoder"]["use_rep"] == ["scbert", "mine"]
    assert seen["with encoder, mean pooling"]["use_rep"] == ["scbert_mean", "mine"]
    seen.clear()
    sg.bm.ablate(adata, use_rep=["mine", "other"])
    assert seen["with encoder"]["use_rep"] == ["mine", "other"]
    assert "with encoder, mean pooling" not in seen


def test_a_folder_can_move(adata, tmp_path):
    sg.bm.run(adata, "pearson", splits=["random"], n_samples=1, out=tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    table = sg.bm.read_results(tmp_path / "there")
    with np.load(table["predictions"][0]) as kept:
        assert len(kept["labels"])


# --- ablation ---------------------------------------------------------------------------------------------------------


def test_ablate_runs_every_variant(adata, tmp_path):
    with sg.settings.override(cache_dir=tmp_path / "cache"):
        table = sg.bm.ablate(adata, seeds=1, n_samples=1, out=tmp_path / "out", **SMALL)
    assert (table["error"] == "").all()
    assert table["method"].tolist() == [
        "full",
        "w/o hub terms",
        "w/o latent factors",
        "w/o expression effects",
        "w/o GNN",
        "with encoder",
        "with encoder, mean pooling",
        "permuted expression",
        "random encoder",
        "hub_floor",
    ]
    settings = {row["method"]: json.loads(row["params"]) for row in table.to_dict("records")}
    assert settings["w/o GNN"]["use_gnn"] is False
    assert settings["full"]["use_rep"] is settings["permuted expression"]["use_rep"] is None
    assert settings["with encoder"]["use_rep"] == "scbert"
    assert settings["with encoder, mean pooling"]["use_rep"] == "scbert_mean"
    assert settings["w/o hub terms"]["hub_terms"] is settings["w/o expression effects"]["expression_effects"] is False
    found = set()
    for path in table["predictions"]:
        with np.load(path) as kept:
            found.add(kept["scores"].tobytes())
    assert len(found) == len(table)  # each is without something else
    assert settings["random encoder"]["method"] == "random_encoder"
    assert settings["full"]["epochs"] == settings["permuted expression"]["epochs"] == 3
    assert sg.pl.ablation(table) is not None


def test_ablate_takes_a_prior(adata, tmp_path):
    edges = adata.uns["ground_truth"].sample(frac=0.6, random_state=0)
    with sg.settings.override(cache_dir=tmp_path / "cache"):
        table = sg.bm.ablate(adata, edges, seeds=1, n_samples=1, **SMALL)
    n_edges = table.loc[0, "n_edges"]
    assert n_edges < 0.45 * len(edges)
    assert len(adata.uns["ground_truth"]) > len(edges)
    with pytest.raises(ArgumentError, match="prior= goes with one AnnData"):
        sg.bm.ablate("simulated", edges)


@pytest.mark.internet
def test_beeline_by_name():
    table = sg.bm.run(["mdc500"], ["pearson"], n_samples=2)
    assert table["dataset"].unique().tolist() == ["mDC500"]
    assert table["fold"].tolist() == [1, 2, 1, 2]
    split = sg.datasets.beeline_split("mDC", 500, 2)
    assert table["n_edges"].tolist()[1] == split.test.labels.sum()
