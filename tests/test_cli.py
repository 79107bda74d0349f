"""The ``scgrn-tl`` command."""

from __future__ import annotations

import logging
import runpy
import shutil
import sys
from functools import partial

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scgrn_tl as sg
from scgrn_tl.cli import main
from scgrn_tl.cli._flags import in_flags


@pytest.fixture
def files(tmp_path):
    """A small simulated experiment and its network, as files."""
    adata = sg.datasets.simulated(60, 40, 6, mean_targets=8, rng=0)
    adata.uns["ground_truth"].to_csv(tmp_path / "net.csv", index=False)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path


FIT = ("fit", "{}/cells.h5ad", "--prior", "{}/net.csv", "--out", "{}/o.h5ad")
PEARSON = ("infer", "{}/cells.h5ad", "--method", "pearson", "--out", "{}/o.h5ad")


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_help_shows_commands_and_examples(capsys):
    with pytest.raises(SystemExit) as stop:
        run("--help")
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert "examples:" in out
    for command in ("demo", "embed", "fit", "infer", "bench", "methods", "fetch", "info"):
        assert f"    {command} " in out
        with pytest.raises(SystemExit) as stop:
            run(command, "--help")
        assert stop.value.code == 0
        assert "--debug" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["demo", "--dataset", "yeast"],
        ["fit", "a.h5ad"],
        ["fit", "a.h5ad", "--prior", "net.csv", "--out", "o.h5ad", "--min-probability", "1.5"],
        ["fit", "a.h5ad", "--prior", "net.csv", "--out", "o.h5ad", "--epochs", "0"],
        ["infer", "a.h5ad", "--out", "o.h5ad", "--edges", "e.csv", "--top-n", "-1"],
        ["infer", "a.h5ad", "--out", "o.h5ad", "--key", "a/b"],
        ["infer", "a.h5ad", "--out", "o.h5ad", "--seed", "-1"],
        ["infer", "a.h5ad", "--out", "o.h5ad", "--jobs", "0"],
        ["bench", "--seeds", "0"],
        ["bench", "--samples", "many"],
        ["bench", "--folds", "1"],
        ["bench", "--timeout", "0"],
    ],
)
def test_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        run(*arguments)
    assert stop.value.code == 2
    assert "usage: scgrn-tl" in capsys.readouterr().err


def test_version(capsys):
    with pytest.raises(SystemExit):
        run("--version")
    assert capsys.readouterr().out.strip() == f"scgrn-tl {sg.__version__}"


def test_info(capsys, monkeypatch, tmp_path):
    monkeypatch.delenv("SCGRN_TL_WEIGHTS", raising=False)
    monkeypatch.delenv("SCGRN_TL_MIRROR", raising=False)
    monkeypatch.setenv("SCGRN_TL_CACHE", str(tmp_path / "cache"))
    assert run("info") == 0
    out = capsys.readouterr().out
    assert f"numpy              {np.__version__}" in out
    assert "not made yet" in out
    assert "scgrn-tl fetch scbert" in out

    (tmp_path / "cache" / "priors").mkdir(parents=True)
    (tmp_path / "cache" / "priors" / "a.txt").write_bytes(b"x" * 2_000_000)
    weights = tmp_path / "own.pth"
    monkeypatch.setenv("SCGRN_TL_WEIGHTS", str(weights))
    run("info")
    out = capsys.readouterr().out
    assert "priors: 1 files, 2.0 MB" in out
    assert "which is not there" in out
    weights.touch()
    run("info")
    assert "which is not there" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "{}/none.h5ad", "--prior", "{}/net.csv", "--out", "{}/o.h5ad"], "none.h5ad' is not there"),
        (["fit", "{}/cells.h5ad", "--prior", "{}/none.csv", "--out", "{}/o.h5ad"], "none.csv' is not there"),
        (["fit", "{}/net.csv", "--prior", "{}/net.csv", "--out", "{}/o.h5ad"], "not an .h5ad file"),
        (["fit", "{}/cells.h5ad", "--prior", "{}/net.csv", "--out", "{}/no/o.h5ad"], "there is no folder"),
        (["fit", "{}/cells.h5ad", "--prior", "{}/net.csv", "--out", "{}/o.h5ad", "--method", "magic"], "magic"),
        (["fit", "{}/cells.h5ad", "--prior", "{}/net.csv", "--out", "{}/o.csv"], "--out is an .h5ad file"),
        (["infer", "{}/cells.h5ad", "--out", "{}/o.csv"], "--out is an .h5ad file"),
        (["embed", "{}/cells.h5ad", "--out", "{}/o"], "--out is an .h5ad file"),
        ([*PEARSON, "--edges", "{}/e.xlsx"], "--edges is a .csv, .tsv"),
        ([*PEARSON, "--edges", "{}/e.graphml.gz"], "--edges is a .csv, .tsv"),
        ([*PEARSON, "--edges", "{}/no/e.csv"], "there is no folder"),
        ([*PEARSON, "--top-n", "5"], "--top-n is of the edges that --edges"),
        ([*PEARSON, "--device", "abacus"], "--device abacus is not a torch device"),
        ([*PEARSON, "--tf-names", "{}/net.csv"], "None of the"),
        (["infer", "{}/cells.h5ad", "--out", "{}/o.h5ad", "--method", "genelink"], "edges: call `scgrn-tl fit`. Met"),
        (["infer", "{}/cells.h5ad", "--out", "{}/o.h5ad", "--method", "scode"], "another column by `--pseudotime`"),
        (["infer", "{}/cells.h5ad", "--out", "{}/o.h5ad", "--method", "x"], "See `scgrn-tl methods`"),
        ([*FIT, "--method", "pearson"], "prior: call `scgrn-tl infer`. Met"),
        ([*FIT, "--use-rep", "mine"], "Put it there by `adata.varm['mine']"),
        ([*FIT, "--edges", "{}/e.xlsx"], "--edges is a .csv, .tsv"),
        (["methods", "--method", "genlink"], "Did you mean 'genelink'"),
        (["embed", "{}/cells.h5ad", "--weights", "{}/none.pth", "--out", "{}/o.h5ad"], "--weights {}/none.pth is"),
        (["embed", "{}/broken.h5ad", "--out", "{}/o.h5ad"], ""),
        (["embed", "{}/none.h5ad", "--out", "{}/o.h5ad"], "none.h5ad' is not there"),
        (["embed", "{}/cells.h5ad", "--out", "{}/o.zarr"], "--out has to end in .h5ad"),
        (["embed", "{}/cells.h5ad", "--out", "{}/o.h5ad", "--layer", "x", "--weights", "fit"], "Did not find layers"),
        (["embed", "{}/cells.h5ad", "--out", "{}/o.h5ad", "--groupby", "x", "--weights", "fit"], "(--groupby)"),
        (["embed", "{}/cells.h5ad", "--out", "{}/o.h5ad", "--groupby", "stat"], "'state'? There are: ['state']"),
        (["embed", "{}/cells.h5ad", "--out", "{}/o.h5ad", "--batch-key", "x"], "(--batch-key). There are: ['state']"),
    ],
)
def test_an_error_is_one_line_and_status_2(files, capsys, arguments, message):
    (files / "broken.h5ad").write_bytes(b"not an HDF5 file")
    before = sorted(files.iterdir())
    assert run(*[argument.format(files) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("scgrn-tl: error: ")
    assert captured.err.count("\n") == 1
    assert message.format(files) in captured.err
    assert "Traceback" not in captured.err
    assert sorted(files.iterdir()) == before


def test_debug_raises(files):
    with pytest.raises(sg.ScgrnError):
        run("fit", files / "none.h5ad", "--prior", "x", "--out", files / "o.h5ad", "--debug")


def test_interrupt(files, capsys, monkeypatch):
    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(sg.tl, "fit_grn", interrupted)
    assert (
        run("fit", files / "cells.h5ad", "--prior", files / "net.csv", "--out", files / "o.h5ad", "--use-rep", "none")
        == 130
    )
    assert "interrupted" in capsys.readouterr().err
    assert sorted(path.name for path in files.iterdir()) == ["cells.h5ad", "net.csv"]


def test_fit(files, capsys):
    (files / "tfs.txt").write_text("G0001\nTF01\n")
    arguments = ["fit", files / "cells.h5ad", "--prior", files / "net.csv", "--out", files / "o.h5ad", "--key", "net"]
    status = run(
        *arguments, "--use-rep", "none", "--epochs", 3, "--tf-names", files / "tfs.txt", "--edges", files / "e.tsv",
        "--min-probability", 0, "--seed", 1,
    )  # fmt: skip
    assert status == 0
    out = capsys.readouterr().out
    assert "sctransnet, validation" in out
    assert "hub_floor, validation" in out
    assert "AUPRC ratio" in out
    adata = ad.read_h5ad(files / "o.h5ad")
    assert bool(adata.var.loc["G0001", "net_is_tf"])
    edges = pd.read_csv(files / "e.tsv", sep="\t")
    assert len(edges) == len(sg.get.grn_df(adata, key="net", min_probability=None)) == 7 * 39

    again = sg.datasets.simulated(60, 40, 6, mean_targets=8, rng=0)
    truth = pd.read_csv(files / "net.csv")
    sg.tl.fit_grn(again, truth, use_rep=None, epochs=3, tf_names=["G0001", "TF01"], rng=1)
    np.testing.assert_array_equal(again.varp["grn"].toarray(), adata.varp["net"].toarray())


def test_fit_by_group(files, capsys):
    adata = ad.read_h5ad(files / "cells.h5ad")
    adata.obs["type"] = np.resize(["A", "B/C"], adata.n_obs)
    adata.write_h5ad(files / "typed.h5ad")
    arguments = ["fit", files / "typed.h5ad", "--prior", files / "net.csv", "--out", files / "o.h5ad", "--epochs", 2]
    assert run(*arguments, "--use-rep", "none", "--groupby", "type") == 0
    assert ".varp['grn_B_C']" in capsys.readouterr().out
    written = ad.read_h5ad(files / "o.h5ad")
    assert {"grn", "grn_A", "grn_B_C"} <= set(written.varp)
    assert run(*arguments, "--use-rep", "none", "--groupby", "kind") == 2
    assert "--groupby" in capsys.readouterr().err


@pytest.fixture
def encoder(files):
    """A small encoder of the simulated genes, in a folder."""
    import torch

    from scgrn_tl.core import GeneVocabulary
    from scgrn_tl.models import ScBERT, ScBERTConfig

    genes = ad.read_h5ad(files / "cells.h5ad").var_names
    model = ScBERT(ScBERTConfig(n_genes=len(genes), dim=8, depth=1, heads=2, dim_head=4))
    model.initialize(torch.Generator().manual_seed(0)).save(files / "encoder", GeneVocabulary(genes))
    return files / "encoder"


def test_embed_hands_its_flags_on(files, capsys, monkeypatch):
    def embed(adata, **given):
        assert given == {
            "weights": "fit", "layer": "counts", "groupby": "type", "batch_key": "donor", "n_cells": 20,
            "batch_size": 4, "device": "cpu", "store_attention": False, "attention_to": None,
            "hidden_to": str(files / "hidden"), "rng": 3, "resume_from": str(files / "resume"), "key_added": "z",
        }  # fmt: skip
        assert {"type", "donor"} <= set(adata.obs)
        adata.varm["z"] = np.ones((adata.n_vars, 5), np.float32)
        adata.uns["z"] = {"version": "1"}
        adata.obs["z_pooled"] = True

    adata = ad.read_h5ad(files / "cells.h5ad")
    adata.layers["counts"] = adata.X
    adata.obs["type"], adata.obs["donor"] = "B", "one"
    adata.write_h5ad(files / "cells.h5ad")
    monkeypatch.setattr(sg.tl, "scbert_embed", embed)
    arguments = [
        "--weights", "fit", "--layer", "counts", "--n-cells", 20, "--device", "cpu", "--seed", 3, "--key", "z",
        "--groupby", "type", "--batch-key", "donor", "--batch-size", 4, "--no-attention",
        "--hidden-to", files / "hidden", "--resume-from", files / "resume",
    ]  # fmt: skip
    assert run("embed", files / "cells.h5ad", "--out", files / "o.h5ad", *arguments) == 0
    assert "(40 × 5) in .varm['z']" in capsys.readouterr().out
    assert ad.read_h5ad(files / "o.h5ad").varm["z"].shape == (40, 5)


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_embed_copies_the_file_and_adds_to_it(files, encoder, suffix):
    adata = ad.read_h5ad(files / "cells.h5ad")
    adata.obs["type"] = pd.Categorical(["a", "b"] * 30)
    adata.obsm["X_pca"] = np.ones((60, 2))
    adata.layers["raw"] = np.round(3 * adata.X.toarray())
    source = files / f"source.{suffix}"
    getattr(adata, f"write_{suffix}")(source)
    read = ad.read_h5ad if suffix == "h5ad" else ad.read_zarr
    expected = sg.tl.scbert_embed(adata, weights=encoder, groupby="type", rng=0, copy=True)
    arguments = ("embed", source, "--weights", encoder)

    assert run(*arguments, "--out", files / f"o.{suffix}", "--groupby", "type") == 0
    written = read(files / f"o.{suffix}")
    assert set(written.varm) == {"scbert", "scbert_mean", "scbert_a", "scbert_b"}
    for slot, keys in (("varm", written.varm), ("obsm", written.obsm)):
        for key in keys:
            np.testing.assert_array_equal(getattr(written, slot)[key], getattr(expected, slot)[key])
    pd.testing.assert_frame_equal(written.obs, expected.obs)
    pd.testing.assert_frame_equal(written.var, expected.var)
    np.testing.assert_array_equal(written.X.toarray(), adata.X.toarray())
    assert set(written.uns) == set(expected.uns)
    assert "attention_to" not in written.uns["scbert"]["params"]

    # once more, onto the file itself; what no longer holds goes
    own = files / f"o.{suffix}"
    assert run("embed", own, "--weights", encoder, "--out", own, "--no-attention", "--layer", "raw") == 0
    again = read(own)
    sg.tl.scbert_embed(adata, weights=encoder, layer="raw", rng=0)
    np.testing.assert_array_equal(again.varm["scbert"], adata.varm["scbert"])
    assert set(again.varm) == {"scbert", "scbert_mean"}
    assert list(again.obsm) == ["X_pca"]
    assert list(again.obs) == list(adata.obs)
    left = sorted(path.name for path in files.iterdir())
    assert left == sorted(["cells.h5ad", "encoder", "net.csv", f"o.{suffix}", f"source.{suffix}"])


def test_embed_leaves_an_earlier_output_where_it_fails(files, encoder, monkeypatch, capsys):
    from scgrn_tl.cli import _embed

    (files / "o.h5ad").write_bytes(b"from before")
    before = sorted(files.iterdir())

    def full(*_args):
        msg = "No space left on device"
        raise OSError(msg)

    monkeypatch.setattr(_embed, "copy_with_results", full)
    assert run("embed", files / "cells.h5ad", "--weights", encoder, "--out", files / "o.h5ad") == 2
    assert "No space left" in capsys.readouterr().err
    assert (files / "o.h5ad").read_bytes() == b"from before"
    assert sorted(files.iterdir()) == before


def test_fit_embeds_first_with_the_weights_given(files, monkeypatch):
    seen = {}

    def embed(adata, *, weights, **_kwargs):
        seen["weights"] = weights
        adata.varm["scbert"] = np.random.default_rng(0).normal(size=(adata.n_vars, 5)).astype(np.float32)

    monkeypatch.setattr(sg.tl, "scbert_embed", embed)
    arguments = ["fit", files / "cells.h5ad", "--prior", files / "net.csv", "--out", files / "o.h5ad", "--epochs", 2]
    assert run(*arguments, "--weights", "fit") == 0
    assert seen == {"weights": "fit"}
    assert ad.read_h5ad(files / "o.h5ad").uns["grn"]["params"]["use_rep"] == "scbert"
    seen.clear()
    assert run(*arguments) == 0
    assert run(*arguments, "--use-rep", "none", "--weights", "fit") == 0
    assert run(*arguments, "--method", "genelink", "--weights", "fit") == 0
    assert seen == {}
    assert run(*arguments, "--use-rep", "scbert") == 0
    assert seen == {"weights": "panglao"}
    assert run(*arguments, "--method", "sctransnet_paper", "--weights", "fit") == 0
    assert seen == {"weights": "fit"}
    shutil.copy(files / "o.h5ad", files / "cells.h5ad")
    seen.clear()
    assert run(*arguments, "--use-rep", "scbert") == 0
    assert seen == {}


@pytest.mark.parametrize(
    ("prior", "arguments", "message"),
    [
        ("empty.csv", [], "prior"),
        ("net.csv", ["--prior", "none.csv"], "The prior 'none.csv' is not there"),
        ("net.csv", ["--tf-names", "tfs.txt"], "None of the 1 TF names"),
        ("net.csv", ["--method", "sctransnet", "--edges", "no/e.csv"], "no folder"),
    ],
)
def test_fit_checks_its_files_before_it_embeds(files, capsys, monkeypatch, prior, arguments, message):
    def embed(*_args, **_kwargs):
        pytest.fail("genes are embedded")

    monkeypatch.setattr(sg.tl, "scbert_embed", embed)
    monkeypatch.chdir(files)
    (files / "empty.csv").write_text("source,target\n")
    (files / "tfs.txt").write_text("SOX2")
    assert run("fit", "cells.h5ad", "--prior", prior, "--out", "o.h5ad", *arguments) == 2
    assert message in capsys.readouterr().err


def test_demo(tmp_path, capsys, monkeypatch):
    small = sg.datasets.simulated(60, 40, 6, mean_targets=8, rng=2)

    def embed(adata, *, weights, rng, **_kwargs):
        assert (weights, rng) == ("fit", 2)
        adata.varm["scbert"] = np.random.default_rng(0).normal(size=(adata.n_vars, 5)).astype(np.float32)

    monkeypatch.setattr(sg.datasets, "simulated", lambda **_: small)
    monkeypatch.setattr(sg.tl, "scbert_embed", embed)
    arguments = ("--out", tmp_path / "made" / "here", "--seed", 2, "--epochs", 3)
    assert run("demo", *arguments, "--weights", "fit") == 0
    out = capsys.readouterr().out
    lines = {line.rsplit(maxsplit=4)[0]: line.split()[-4:] for line in out.splitlines() if line.count(".") >= 4}
    assert set(lines) >= {"scTransNet", "hub floor", "Pearson", "random level"}
    assert lines["random level"][0] == "0.500"
    assert lines["random level"][2:] == ["1.000", "1.000"]
    assert "Took" in out
    folder = tmp_path / "made" / "here"
    assert sorted(path.name for path in folder.iterdir()) == ["edges.csv", "network.h5ad", "network.png"]
    adata = ad.read_h5ad(folder / "network.h5ad")
    metrics = sg.get.grn_metrics(adata).query("part == 'test'").set_index("method")
    assert lines["scTransNet"][1] == f"{metrics.loc['sctransnet', 'auprc']:.3f}"
    assert lines["hub floor"][1] == f"{metrics.loc['hub_floor', 'auprc']:.3f}"
    assert len(pd.read_csv(folder / "edges.csv")) >= 50
    assert adata.uns["grn"]["params"]["use_rep"] == "scbert"


@pytest.mark.filterwarnings("default:.*TF names are not among the genes:UserWarning")
def test_infer_writes_scores_and_edges(files, capsys):
    tfs = ad.read_h5ad(files / "cells.h5ad").var.query("is_tf").index
    (files / "tfs.txt").write_text("\n".join([*tfs, "NOT_THERE"]))
    arguments = ["infer", files / "cells.h5ad", "--method", "pearson", "--tf-names", files / "tfs.txt"]
    assert run(*arguments, "--out", files / "o.h5ad", "--edges", files / "edges.csv", "--top-n", 12) == 0
    out, err = capsys.readouterr()
    assert err.startswith(f"1 of {len(tfs) + 1} TF names are not among the genes: 'NOT_THERE'")  # and no line of code
    assert "scores in .varp['grn']" in out
    assert "the 12 edges of the highest score (--top-n)" in out
    assert f"{len(tfs)} of {len(tfs) + 1} TF names are among the genes" in out
    adata = ad.read_h5ad(files / "o.h5ad")
    assert adata.var["grn_is_tf"].sum() == len(tfs)
    assert len(pd.read_csv(files / "edges.csv")) == 12
    for more in ([], ["--top-n", 10_000]):
        assert run(*arguments, "--out", files / "o.h5ad", "--edges", files / "edges.tsv.gz", *more) == 0
        n_edges = len(pd.read_csv(files / "edges.tsv.gz", sep="\t"))
        assert f"edges.tsv.gz: all {n_edges} edges\n" in capsys.readouterr().out
    assert run("infer", files / "cells.h5ad", "--method", "scode", "--out", files / "p.h5ad") == 2
    assert "sc.tl.dpt" in capsys.readouterr().err
    assert not (files / "p.h5ad").exists()


def test_bench_writes_a_report_and_goes_on_where_it_stopped(tmp_path, capsys):
    arguments = ["bench", "--datasets", "simulated", "--methods", "pearson, tf_rate,scode", "--splits", "random,tf"]
    arguments += ["--samples", 2, "--folds", 2, "--out", tmp_path / "report"]
    assert run(*arguments) == 1
    out, err = capsys.readouterr()
    assert "16 runs asked for, 0 of them done before" in err
    assert out.startswith("Writing the report …\n")
    table = sg.bm.read_results(tmp_path / "report")
    assert set(table["method"]) == {"pearson", "tf_rate", "scode", "hub_floor"}
    mean = table[(table["method"] == "pearson") & (table["split"] == "random")][["auroc", "auprc"]].mean()
    assert f"{mean['auroc']:.3f} / {mean['auprc']:.3f}" in out
    assert "4 of 16 runs failed" in out
    assert [line.split() for line in out.splitlines() if line.startswith("scode ")] == [["scode", "failed"]] * 2
    (why,) = (line for line in out.splitlines() if line.startswith("  scode: MissingKeyError: "))
    assert "`--pseudotime`" in why
    assert {"report.html", "report.md", "summary.csv", "results.parquet"} <= {
        path.name for path in (tmp_path / "report").iterdir()
    }
    written = (tmp_path / "report" / "results.parquet").stat().st_mtime_ns
    assert run(*arguments[:4], "pearson,tf_rate", *arguments[5:]) == 0
    assert (tmp_path / "report" / "results.parquet").stat().st_mtime_ns == written


def test_bench_takes_a_file_and_splits_it_at_random(files, capsys):
    arguments = ["--methods", "pearson", "--samples", 1, "--out", files / "out"]
    assert run("bench", "--datasets", files / "cells.h5ad", *arguments) == 0
    assert "Split random" in capsys.readouterr().out
    table = sg.bm.read_results(files / "out")
    assert set(zip(table["dataset"], table["method"], table["split"], strict=True)) == {
        ("cells", "pearson", "random"),
        ("cells", "hub_floor", "random"),
    }


def test_bench_tells_what_failed_of_several_datasets(tmp_path, capsys, monkeypatch):
    def ran(*_args, **_kwargs):
        rows = [
            {"dataset": dataset, "method": method, "role": "method", "split": "random", "fold": fold, "seed": 0}
            | {"error": error, "predictions": "", "fit_seconds": 1.0, "peak_memory_mb": 1.0}
            | dict.fromkeys(("auroc", "auprc"), np.nan if error else 0.75)
            | {"tf_auroc": np.nan if error or fold else 0.75}
            for dataset in ("b", "a")
            for method in ("good", "weak", "hub_floor")
            for fold in (0, 1)
            for error in ["ValueError: no\nmore of it" if method == "weak" and (dataset == "a" or fold) else ""]
        ]
        return pd.DataFrame(rows)

    monkeypatch.setattr(sg.bm, "run", ran)
    monkeypatch.setattr(sg.bm, "summary", partial(sg.bm.summary, n_resamples=0))
    monkeypatch.setattr(sg.bm, "report", lambda _table, path: path.touch())
    assert run("bench", "--out", tmp_path) == 1
    out = capsys.readouterr().out
    lines = [line.split() for line in out.splitlines()]
    assert ["b", "a"] in lines
    assert ["good", "0.750", "/", "0.750", "0.750", "/", "0.750"] in lines
    assert ["weak", "0.750", "/", "0.750", "(1", "failed)", "failed"] in lines
    assert "3 of 12 runs failed" in out
    assert out.count("ValueError") == 1
    assert "  weak: ValueError: no\n" in out


def test_bench_when_every_run_fails(tmp_path, capsys, monkeypatch):
    row = {"dataset": "data", "method": "hub_floor", "split": "random", "fold": 0, "seed": 0, "error": "E: bad luck"}
    monkeypatch.setattr(sg.bm, "run", lambda *_args, **_kwargs: pd.DataFrame([row]))
    assert run("bench", "--out", tmp_path) == 1
    out = capsys.readouterr().out
    assert "1 of 1 runs failed" in out
    assert "  hub_floor: E: bad luck\n" in out
    assert "report" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods", "pearsn"], "Did you mean 'pearson'"),
        (["--datasets", "mHSC-L"], "Did you mean 'mHSC-L500'"),
        (["--datasets", "none.h5ad"], "'none.h5ad' is not there"),
        (["--splits", "given"], "use --splits random. More: https"),
        (["--splits", "tf", "--folds", 300], "Ask for fewer, or use --splits random."),
        (["--splits", "fold"], "not 'fold'"),
        (["--weights", "none.pth"], "--weights none.pth is"),
        (["--device", "abacus"], "--device abacus is"),
    ],
)
def test_bench_leaves_nothing_of_a_call_that_is_refused(tmp_path, capsys, arguments, message):
    assert run("bench", "--datasets", "simulated", *arguments, "--out", tmp_path / "out") == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert not (tmp_path / "out").exists()


def test_methods_are_listed(capsys):
    assert run("methods") == 0
    out = capsys.readouterr().out
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line.strip()}
    assert set(sg.methods.names()) <= set(rows)
    assert rows["pearson"][1:5] == ["method", "no", "no", "Absolute"]
    assert rows["hub_floor"][1:4] == ["floor", "yes", "yes"]
    assert rows["permuted_expression"][1] == "control"


def test_a_method_is_explained(capsys):
    assert run("methods", "--method", "genelink") == 0
    out = capsys.readouterr().out
    assert out.startswith("genelink: method, supervised, directed, stochastic; Chen")
    assert "Most passes over the training pairs." in out
    assert "Defaults: decoder='dot', epochs=20" in out
    assert "sg.tl.fit_grn(adata, prior, method='genelink'" in out
    assert "``" not in out
    for name in sg.methods.names():
        assert run("methods", "--method", name) == 0
    assert ":func:" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("Use device='auto' or device='cpu'.", "Use --device auto or --device cpu."),
        ("name it by `pseudotime=`. Columns", "name it by `--pseudotime`. Columns"),
        ('With `weights="fit"` no', "With `--weights fit` no"),
        ("n_jobs=-1, kind='tf'", "--jobs -1, --splits tf"),
        ("leave use_rep at its default", "leave --use-rep at its default"),
        ("call `sg.tl.infer_grn(adata, method='x')`.", "call `scgrn-tl infer`."),
        ("See `sg.methods.show()`.", "See `scgrn-tl methods`."),
        ("'/data/layer=3/key_added x' is not there", "'/data/layer=3/key_added x' is not there"),
    ],
)
def test_messages_name_flags(said, meant):
    assert in_flags(said) == meant


@pytest.mark.slow
def test_bench_ablation(tmp_path, capsys):
    arguments = ["bench", "--datasets", "simulated", "--methods", "ablation", "--splits", "random", "--samples", 1]
    assert run(*arguments, "--out", tmp_path, "--jobs", 2) == 0
    assert "w/o GNN" in capsys.readouterr().out
    assert (sg.bm.read_results(tmp_path)["error"] == "").all()


def test_the_log_goes_to_stderr_and_the_logger_is_left_as_it_was(files, capsys):
    logger = logging.getLogger("scgrn_tl")
    before = (logger.level, list(logger.handlers))
    arguments = ["fit", files / "cells.h5ad", "--prior", files / "net.csv", "--out", files / "o.h5ad"]
    assert run(*arguments, "--use-rep", "none", "--epochs", 1, "--verbose") == 0
    assert "varp['grn']" in capsys.readouterr().err
    assert (logger.level, list(logger.handlers)) == before


def test_fetch_without_network_says_what_to_do(capsys, monkeypatch, tmp_path):
    from scgrn_tl.core import DownloadError

    def offline(*_args, **_kwargs):
        msg = "Could not get x: no network. To mend it: set SCGRN_TL_MIRROR."
        raise DownloadError(msg)

    for name in ("beeline", "tf_names", "scbert_vocabulary"):
        monkeypatch.setattr(sg.datasets, name, offline)
    for what in ("beeline", "tf-names", "scbert"):
        assert run("fetch", what) == 2
        assert "SCGRN_TL_MIRROR" in capsys.readouterr().err


def test_fetch_tf_names(mirror, capsys):
    assert run("fetch", "tf-names") == 0
    out = capsys.readouterr().out
    assert "human: 1,639 transcription factors" in out
    assert str(mirror) in out


def test_fetch_beeline_asks_for_every_file(capsys, monkeypatch):
    asked = []

    def dataset(*args):
        asked.append(args)
        return ad.AnnData(np.ones((2, 3), np.float32))

    monkeypatch.setattr(sg.datasets, "beeline", dataset)
    monkeypatch.setattr(sg.datasets, "beeline_split", lambda *args, network: asked.append((*args, network)))
    assert run("fetch", "beeline", "hHEP", "mDC", "--n-genes", 1000) == 0
    assert asked[0] == ("hHEP", 1000, "specific")
    assert asked[1:6] == [("hHEP", 1000, sample, "specific") for sample in range(1, 6)]
    assert len(asked) == 12
    assert "2 cells × 3 genes, 5 splits" in capsys.readouterr().out


def test_python_dash_m(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["scgrn-tl", "--version"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_module("scgrn_tl", run_name="__main__")
    assert stop.value.code == 0
    assert sg.__version__ in capsys.readouterr().out


@pytest.mark.slow
def test_demo_end_to_end(tmp_path, capsys):
    assert run("demo", "--out", tmp_path, "--epochs", 20) == 0
    table = {
        line.rsplit(maxsplit=4)[0]: line.split()[-4:] for line in capsys.readouterr().out.splitlines() if "  0." in line
    }
    assert float(table["scTransNet"][1]) > float(table["random level"][1])


@pytest.mark.slow
def test_demo_on_published_pairs(mirror, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sg.tl, "scbert_embed", lambda *_, **__: pytest.fail("genes are embedded"))
    assert run("demo", "--dataset", "mHSC-L", "--sample", 2, "--out", tmp_path, "--epochs", 5) == 0
    out = capsys.readouterr().out
    assert "given: train" in out
    assert "847 cells × 560 genes" in out
