"""`tl.infer_grn`: methods that know no edges, from an AnnData into its slots."""

from __future__ import annotations

from dataclasses import replace

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scgrn_tl as sg
from scgrn_tl.core import ArgumentError, GeneOverlapError, GRNScores, MissingKeyError

FAST = {"n_trees": 5}


@pytest.fixture(scope="module")
def simulated():
    adata = sg.datasets.simulated(n_cells=60, n_genes=24, n_tfs=6, rng=0)
    adata.obs["dpt_pseudotime"] = np.linspace(0, 1, adata.n_obs)
    return adata


@pytest.fixture
def adata(simulated):
    return simulated.copy()


def tfs(adata) -> list[str]:
    return adata.var_names[adata.var["is_tf"]].tolist()


def test_scores_are_written_where_networks_belong(adata):
    sg.tl.infer_grn(adata, method="genie3", tf_names=tfs(adata), rng=3, **FAST)
    network = adata.varp["grn"]
    assert sparse.issparse(network)
    assert network.format == "csr"
    assert network.dtype == np.float32
    assert adata.var["grn_is_tf"].tolist() == adata.var["is_tf"].tolist()
    rows, columns = network.nonzero()
    assert adata.var["is_tf"].to_numpy()[rows].all()
    assert (rows != columns).all()
    assert (network.data > 0).all()
    record = adata.uns["grn"]
    assert record["values"] == "score"
    assert record["directed"] is True
    assert record["params"]["method"] == "genie3"
    assert record["params"]["n_trees"] == 5
    assert record["params"]["max_features"] == "sqrt"  # a default, which a later version may change
    assert record["params"]["rng"] == 3
    assert record["seconds"] > 0
    assert "grn_std" not in adata.varp


def test_values_are_those_of_the_method(adata):
    sg.tl.infer_grn(adata, method="pearson", tf_names=tfs(adata), key_added="r")
    expression = sg.core.genes_by_cells(adata).astype(float)
    expected = np.abs(np.corrcoef(expression))
    stored = adata.varp["r"].toarray()
    is_tf = adata.var["is_tf"].to_numpy()
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(stored[is_tf], expected[is_tf], atol=1e-6)
    assert not stored[~is_tf].any()


def test_without_tf_names_every_gene_is_a_regulator(adata):
    sg.tl.infer_grn(adata, method="pearson")
    assert adata.var["grn_is_tf"].all()


def test_the_table_the_plot_and_the_file_take_scores_as_they_are(adata, tmp_path):
    sg.tl.infer_grn(adata, method="pearson", tf_names=tfs(adata))
    frame = sg.get.grn_df(adata, top_n=10)
    assert len(frame) == 10
    assert frame["probability"].isna().all()
    assert frame["weight"].is_monotonic_decreasing
    assert not frame["in_prior"].any()
    ax = sg.pl.grn_edges(adata, top_n=10, reference="ground_truth")
    assert sum(patch.get_gid() is not None for patch in ax.patches) >= 10
    sg.io.write_edges(adata, tmp_path / "edges.csv", top_n=10)
    written = pd.read_csv(tmp_path / "edges.csv")
    assert written["weight"].to_numpy() == pytest.approx(frame["weight"].to_numpy())


def test_several_models_are_averaged_and_their_spread_is_kept(adata):
    call = {"method": "genie3", "tf_names": tfs(adata), "rng": 1, "n_models": 3, **FAST}
    sg.tl.infer_grn(adata, **call)
    seeds = sg.core.spawn_seeds(sg.core.spawn_seeds(1, 1)[0], 3)
    task = sg.core.make_task(adata, tf_names=tfs(adata))
    members = np.stack([sg.methods.get("genie3")(replace(task, seed=seed), **FAST).matrix for seed in seeds])
    stored, std = (adata.varp[key][task.regulators].toarray() for key in ("grn", "grn_std"))
    off_diagonal = np.ones_like(stored, dtype=bool)
    off_diagonal[np.arange(len(task.regulators)), task.regulators] = False
    np.testing.assert_allclose(stored[off_diagonal], members.mean(0)[off_diagonal], rtol=1e-6)
    kept = stored != 0
    np.testing.assert_allclose(std[kept], members.std(0, ddof=1)[kept], rtol=1e-5, atol=1e-8)
    sg.tl.infer_grn(adata, method="pearson", tf_names=tfs(adata))
    assert "grn_std" not in adata.varp  # of the earlier run


def test_same_seed_same_bits_whatever_the_number_of_jobs(adata):
    call = {"method": "grnboost2", "tf_names": tfs(adata), "n_trees": 20, "copy": True}
    one, two = (sg.tl.infer_grn(adata, n_jobs=n_jobs, rng=0, **call) for n_jobs in (1, 2))
    other = sg.tl.infer_grn(adata, n_jobs=1, rng=1, **call)
    assert (one.varp["grn"] != two.varp["grn"]).nnz == 0
    assert (one.varp["grn"] != other.varp["grn"]).nnz > 0
    assert "grn" not in adata.varp


@pytest.mark.parametrize("form", ["csr", "csc", "float64", "counts", "view", "backed"])
def test_any_form_of_expression_gives_the_same(adata, tmp_path, form):
    expected = sg.tl.infer_grn(adata, method="pearson", tf_names=tfs(adata), copy=True).varp["grn"].toarray()
    data = adata.copy()
    if form in {"csr", "csc"}:
        data.X = getattr(sparse, f"{form}_matrix")(data.X)
    elif form == "float64":
        data.X = data.X.toarray().astype(np.float64)
    elif form == "counts":
        data.layers["other"], data.X = data.X.copy(), np.zeros(data.shape)
    elif form == "view":
        bigger = anndata.concat([data, data[:5]], index_unique="-", merge="same")
        data = bigger[: data.n_obs]
    else:
        data.write_h5ad(tmp_path / "cells.h5ad")
        data = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r+")
    sg.tl.infer_grn(data, method="pearson", tf_names=tfs(adata), layer="other" if form == "counts" else None)
    np.testing.assert_allclose(data.varp["grn"].toarray(), expected, atol=1e-6)


def test_results_survive_a_file(adata, tmp_path):
    sg.tl.infer_grn(adata, method="genie3", tf_names=tfs(adata), n_models=2, **FAST)
    adata.write_h5ad(tmp_path / "network.h5ad")
    back = anndata.read_h5ad(tmp_path / "network.h5ad")
    pd.testing.assert_frame_equal(sg.get.grn_df(back, top_n=20), sg.get.grn_df(adata, top_n=20))
    assert back.uns["grn"]["values"] == "score"


def test_mudata(adata):
    from mudata import MuData

    mdata = MuData({"rna": adata, "other": anndata.AnnData(np.ones((60, 2)), obs=adata.obs[[]])})
    sg.tl.infer_grn(mdata, method="pearson", tf_names=tfs(adata))
    assert "grn" in mdata.mod["rna"].varp
    assert "grn" not in mdata.mod["other"].varp


def test_only_the_best_edges_are_kept(adata, caplog):
    sg.tl.infer_grn(adata, method="pearson", tf_names=tfs(adata), max_edges=7)
    assert adata.varp["grn"].nnz == 7
    assert "the 7 likeliest are stored" in caplog.text


# --- pseudotime -------------------------------------------------------------------------------------------------------


@pytest.fixture
def ordered():
    """A method that gives back the pseudotime it saw."""
    from scgrn_tl.methods import _registry

    seen = []

    @sg.methods.method(
        name="ordered", supervised=False, directed=True, stochastic=False, uses_pseudotime=True, reference="a test"
    )
    def ordered(task):
        """Keep the pseudotime."""
        seen.append(task.pseudotime)
        return GRNScores(task.regulators, np.ones((len(task.regulators), task.n_genes)))

    yield seen
    del _registry._REGISTRY["ordered"]


def test_pseudotime_comes_from_obs(adata, ordered):
    adata.obs["lineage"] = np.r_[np.full(10, np.inf), np.full(10, np.nan), np.arange(40.0)]
    sg.tl.infer_grn(adata, method="ordered")
    np.testing.assert_array_equal(ordered[-1], np.linspace(0, 1, 60)[:, None])
    sg.tl.infer_grn(adata, method="ordered", pseudotime=["dpt_pseudotime", "lineage"])
    np.testing.assert_array_equal(ordered[-1][:, 1], np.r_[np.full(20, np.nan), np.arange(40.0)])
    assert list(adata.uns["grn"]["params"]["pseudotime"]) == ["dpt_pseudotime", "lineage"]


def test_ordered_categories_are_a_pseudotime(adata, ordered):
    stages = np.resize(["late", "early", None], adata.n_obs)
    adata.obs["stage"] = pd.Categorical(stages, categories=["early", "late"], ordered=True)
    sg.tl.infer_grn(adata, method="ordered", pseudotime="stage")
    np.testing.assert_array_equal(ordered[-1][:3, 0], [1, 0, np.nan])


def test_pseudotime_that_cannot_be_used(adata, ordered):
    adata.obs["text"] = "early"
    adata.obs["same"] = 1.0
    adata.obs["nothing"] = np.nan
    adata.obs["negative"] = np.linspace(-1, 1, adata.n_obs)
    for column, error, message in (
        ("nope", MissingKeyError, r"Did not find \.obs\['nope'\].*sc\.tl\.dpt"),
        ("text", ArgumentError, r"\.obs\['text'\] is neither"),
        ("same", ArgumentError, "lineage 1 is the same in all its cells"),
        ("negative", ArgumentError, "lineage 1 is negative somewhere"),
        ("nothing", ArgumentError, "lineage 1 has a value in fewer than two cells"),
    ):
        with pytest.raises(error, match=message):
            sg.tl.infer_grn(adata, method="ordered", pseudotime=column)
    del adata.obs["dpt_pseudotime"]
    with pytest.raises(MissingKeyError, match=r"Did not find \.obs\['dpt_pseudotime'\]"):
        sg.tl.infer_grn(adata, method="ordered")
    assert "grn" not in adata.varp


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"method": "genelink"}, ArgumentError, r"learns from known edges: call `sg\.tl\.fit_grn\(.*grnboost2"),
        ({"method": "grnbost2"}, ArgumentError, "Did you mean 'grnboost2'"),
        ({"method": "pearson", "n_models": 2}, ArgumentError, "deterministic"),
        ({"n_models": 0}, ArgumentError, "n_models is a whole number"),
        ({"n_tres": 7}, ArgumentError, "has no parameter 'n_tres'.*Did you mean 'n_trees'"),
        ({"n_trees": 0}, ArgumentError, "n_trees >= 1"),
        ({"n_jobs": 0}, ArgumentError, "n_jobs is a whole number"),
        ({"tf_names": ["NOT_THERE"]}, GeneOverlapError, r"None of the 1 TF names \('NOT_THERE'\)"),
        ({"tf_names": ["tf01"]}, GeneOverlapError, "1 of them differ only in case, such as 'tf01' and 'TF01'"),
        ({"tf_names": []}, ArgumentError, "There are no TF names"),
        ({"tf_names": np.array([True, False])}, ArgumentError, "not a mask"),
        ({"n_trees": 5.5}, ArgumentError, "n_trees is a whole number, not 5.5"),
        ({"learning_rate": "slow"}, ArgumentError, "learning_rate is a number, not 'slow'"),
        ({"layer": "nope"}, MissingKeyError, "nope"),
        ({"key_added": "a/b"}, ArgumentError, "key_added"),
        ({"max_edges": 0}, ArgumentError, "max_edges"),
        ({"device": "abacus"}, ArgumentError, "abacus"),
    ],
)
def test_arguments_that_cannot_be_used(adata, arguments, error, message):
    with pytest.raises(error, match=message):
        sg.tl.infer_grn(adata, **arguments)
    assert not adata.varp
    assert "grn" not in adata.uns


def test_tf_names_that_are_missing_are_told_of(adata):
    with pytest.warns(UserWarning, match="TF names are not among the genes: 'NOT_THERE'") as caught:
        sg.tl.infer_grn(adata, method="pearson", tf_names=[*tfs(adata), "NOT_THERE"])
    assert [warning.filename for warning in caught] == [__file__]  # once, at the line that called
    with pytest.warns(UserWarning, match=r"1 TF names are not .* but for their case: 'g0001' \('G0001'\)"):
        sg.tl.infer_grn(adata, method="pearson", tf_names=[*tfs(adata), "tf02x", "g0001"])


def test_fit_grn_names_the_way_for_methods_without_a_prior(adata):
    with pytest.raises(ArgumentError, match=r"call `sg\.tl\.infer_grn\(adata, method='genie3'\)`"):
        sg.tl.fit_grn(adata, adata.uns["ground_truth"], method="genie3", use_rep=None)
