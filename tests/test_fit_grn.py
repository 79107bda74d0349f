"""``tl.fit_grn`` as a user calls it."""

import anndata as ad
import mudata as md
import networkx as nx
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.special import expit, logit

import scgrn_tl as sg
from scgrn_tl.core import (
    ArgumentError,
    DuplicateGenesError,
    EdgeSplit,
    ExpressionError,
    GeneOverlapError,
    LabeledPairs,
    MissingKeyError,
    PriorError,
    PriorNetwork,
    SplitError,
    WeightsUnavailableError,
)

FAST = {
    "gnn_widths": (16, 8),
    "gnn_heads": 2,
    "channel_hidden": 16,
    "channel_width": 8,
    "epochs": 5,
    "use_rep": "scbert",
}


@pytest.fixture(scope="module")
def simulated():
    adata = sg.datasets.simulated(n_cells=80, n_genes=60, n_tfs=10, mean_targets=10, rng=1)
    adata.varm["scbert"] = np.random.default_rng(0).normal(size=(60, 6)).astype(np.float32)
    adata.varm["scbert"][:2] = np.nan
    return adata


@pytest.fixture
def adata(simulated):
    return simulated.copy()


@pytest.fixture
def prior(simulated):
    return simulated.uns["ground_truth"]


def fit(adata, prior, **changes):
    return sg.tl.fit_grn(adata, prior, **FAST | changes)


def test_writes_what_it_says(adata, prior):
    assert fit(adata, prior, n_models=2) is None
    n_genes = adata.n_vars
    regulators = np.flatnonzero(adata.var["grn_is_tf"])
    assert set(adata.var_names[regulators]) == set(prior["source"])
    for key in ("grn", "grn_specificity", "grn_std"):
        network = adata.varp[key]
        assert sparse.issparse(network)
        assert (network.format, network.dtype, network.shape) == ("csr", np.float32, (n_genes, n_genes))
        assert set(np.unique(network.nonzero()[0])) <= set(regulators)
        assert network.nnz == len(regulators) * (n_genes - 1)
        assert not network.diagonal().any()
    assert 0 <= adata.varp["grn"].data.min() <= adata.varp["grn"].data.max() <= 1
    record = adata.uns["grn"]
    assert record["params"]["method"] == "sctransnet"
    assert record["params"]["use_rep"] == "scbert"
    assert record["params"]["n_genes_without_embedding"] == 2
    assert record["params"]["rng"] == 0
    assert record["params"]["epochs"] == 5
    assert record["version"] == sg.__version__
    assert set(zip(record["prior"]["source"], record["prior"]["target"], strict=True)) == set(
        zip(prior["source"], prior["target"], strict=True)
    )
    assert record["prior_report"]["edges_given"] == len(prior)
    assert record["seconds"] > 0
    metrics = record["metrics"]
    assert list(metrics["method"]) == ["sctransnet", "hub_floor"]
    assert list(metrics["part"]) == ["validation", "validation"]
    assert metrics["auroc"].between(0, 1).all()
    assert np.isfinite(metrics.loc[0, ["brier", "ece"]].astype(float)).all()


def test_probability_is_the_calibrated_logit_and_specificity_what_hubs_leave(adata, prior):
    fit(adata, prior, use_rep=None)
    calibration = adata.uns["grn"]["calibration"]
    assert calibration["fitted_on"] == "validation"
    rows, columns = adata.varp["grn"].nonzero()
    probability = np.asarray(adata.varp["grn"][rows, columns]).ravel().astype(float)
    specificity = np.asarray(adata.varp["grn_specificity"][rows, columns]).ravel().astype(float)
    hub = np.full((adata.n_vars, adata.n_vars), np.nan)
    hub[rows, columns] = logit(probability) - specificity
    hub = hub[adata.var["grn_is_tf"]]
    # what is left is a sum of a row and a column term: any two rows differ by a constant
    difference = hub[0] - hub[1]
    assert np.nanstd(difference) < 1e-2 * np.nanstd(hub)


def test_the_model_as_an_object_is_the_same_model(adata, prior):
    before = set(adata.varp), set(adata.uns)
    model = sg.models.ScTransNet.from_anndata(adata, prior, rng=3, **FAST).fit()
    assert (set(adata.varp), set(adata.uns)) == before
    fit(adata, prior, rng=3)
    calibration = adata.uns["grn"]["calibration"]
    expected = expit(calibration["slope"] * model.scores().matrix.astype(float) + calibration["intercept"])
    stored = adata.varp["grn"][adata.var["grn_is_tf"].to_numpy()].toarray()
    np.testing.assert_allclose(stored[stored > 0], expected[stored > 0], atol=1e-6)
    with pytest.raises(ArgumentError, match="from_anndata"):
        sg.models.ScTransNet().fit()


def test_same_seed_same_bits_other_seed_other_bits(adata, prior):
    first = fit(adata, prior, copy=True, rng=3).varp["grn"]
    np.random.default_rng().random()
    np.testing.assert_array_equal(fit(adata, prior, copy=True, rng=3).varp["grn"].toarray(), first.toarray())
    assert (fit(adata, prior, copy=True, rng=4).varp["grn"] != first).nnz
    generators = [fit(adata, prior, copy=True, rng=np.random.default_rng(3)).varp["grn"].toarray() for _ in range(2)]
    np.testing.assert_array_equal(*generators)


@pytest.mark.parametrize("kind", ["random", "tf", "target", "both"])
def test_flipped_test_labels_change_nothing(adata, prior, kind):
    network = PriorNetwork.from_any(prior, adata.var_names)
    split = sg.bm.split_edges(network, kind=kind, n_folds=3, validation_fraction=0.3, rng=0)
    flipped = EdgeSplit(split.train, split.validation, LabeledPairs(split.test.pairs, ~split.test.labels), split.kind)
    test_edges = {tuple(pair) for pair in split.test.positives.tolist()}
    kept = [(s, t) not in test_edges for s, t in network.pairs.tolist()]
    extra = [pair for pair in split.test.pairs.tolist() if tuple(pair) not in test_edges]
    names = np.asarray(adata.var_names)
    turned = pd.concat(
        [network.to_frame()[kept], pd.DataFrame(names[extra], columns=["source", "target"]).assign(sign=1, weight=1.0)]
    )
    # the labels are turned round both in the split and in the prior that the user hands over
    one = fit(adata, prior, split=split, copy=True)
    other = fit(adata, turned, split=flipped, copy=True)
    for key in ("grn", "grn_specificity"):
        np.testing.assert_array_equal(one.varp[key].toarray(), other.varp[key].toarray())
    assert one.uns["grn"]["calibration"] == other.uns["grn"]["calibration"]


def test_a_split_gets_its_test_metrics(adata, prior):
    split = sg.bm.split_edges(PriorNetwork.from_any(prior, adata.var_names), rng=0)
    fit(adata, prior, split=split)
    metrics = sg.get.grn_metrics(adata)
    assert set(metrics["part"]) == {"validation", "test"}
    in_prior = sg.get.grn_df(adata, min_probability=0.0).query("in_prior")
    names = np.asarray(adata.var_names)
    held_out = set(zip(*names[split.test.positives.T], strict=True))
    assert held_out
    assert not held_out & set(zip(in_prior["source"], in_prior["target"], strict=True))
    at_test = metrics.query("part == 'test' and method == 'sctransnet'").iloc[0]
    rows, columns = split.test.pairs.T
    probability = np.asarray(adata.varp["grn"][rows, columns]).ravel()
    expected = sg.bm.edge_metrics(split.test.labels, probability, rows, probability=probability)
    for name in ("auroc", "auprc", "epr", "tf_auroc", "brier", "ece"):
        assert at_test[name] == pytest.approx(expected[name], abs=1e-5), name


@pytest.mark.parametrize("kind", ["csr", "csc", "dense", "view", "int counts", "backed", "F order"])
def test_any_matrix_gives_the_same_and_is_left_alone(adata, prior, kind, tmp_path):
    reference = fit(adata, prior, copy=True).varp["grn"].toarray()
    given = adata
    if kind == "csc":
        given.X = given.X.tocsc()
    elif kind == "dense":
        given.X = given.X.toarray()
    elif kind == "F order":
        given.X = np.asfortranarray(given.X.toarray())
    elif kind == "view":
        given = ad.concat([adata, adata[:5]], merge="same", index_unique="-")[: adata.n_obs]
        assert given.is_view
    elif kind == "int counts":
        given.layers["whole"] = given.layers["counts"].astype(np.int16)
        reference = fit(adata, prior, layer="counts", copy=True).varp["grn"].toarray()
    elif kind == "backed":
        adata.write_h5ad(tmp_path / "a.h5ad")
        given = ad.read_h5ad(tmp_path / "a.h5ad", backed="r+")
    before = None if kind == "backed" else sparse.csr_matrix(given.X).toarray()
    fit(given, prior, layer="whole" if kind == "int counts" else None)
    np.testing.assert_allclose(given.varp["grn"].toarray(), reference, atol=2e-4)
    if before is not None:
        np.testing.assert_array_equal(sparse.csr_matrix(given.X).toarray(), before)


@pytest.mark.parametrize("form", ["frame", "graph", "path", "matrix", "varp", "network"])
def test_any_form_of_prior_gives_the_same(adata, prior, form, tmp_path):
    edges = prior[["source", "target"]]
    reference = fit(adata, edges, copy=True).varp["grn"].toarray()
    network = PriorNetwork.from_any(edges, adata.var_names)
    matrix = sparse.csr_matrix((np.ones(network.n_edges), network.edge_index), shape=(adata.n_vars,) * 2)
    adata.varp["known"] = matrix
    edges.to_csv(tmp_path / "edges.csv", index=False)
    given = {
        "frame": edges.rename(columns={"source": "TF"}),
        "graph": nx.from_pandas_edgelist(edges, create_using=nx.DiGraph),
        "path": tmp_path / "edges.csv",
        "matrix": matrix,
        "varp": "known",
        "network": network,
    }[form]
    np.testing.assert_array_equal(fit(adata, given, copy=True).varp["grn"].toarray(), reference)


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_results_survive_writing(adata, prior, tmp_path, suffix):
    fit(adata, prior, n_models=2)
    path = tmp_path / f"a.{suffix}"
    if suffix == "h5ad":
        adata.write_h5ad(path)
        back = ad.read_h5ad(path)
    else:
        adata.write_zarr(path)
        back = ad.read_zarr(path)
    for key in ("grn", "grn_specificity", "grn_std"):
        np.testing.assert_array_equal(back.varp[key].toarray(), adata.varp[key].toarray())
    pd.testing.assert_frame_equal(sg.get.grn_df(back), sg.get.grn_df(adata))
    pd.testing.assert_frame_equal(sg.get.grn_metrics(back), sg.get.grn_metrics(adata))
    assert back.uns["grn"]["params"]["method"] == "sctransnet"


def test_mudata(adata, prior):
    other = ad.AnnData(np.ones((adata.n_obs, 2), dtype=np.float32), obs=pd.DataFrame(index=adata.obs_names))
    with md.set_options(pull_on_update=False):
        both = md.MuData({"rna": adata.copy(), "other": other})
    assert fit(both, prior) is None
    fit(adata, prior)
    np.testing.assert_array_equal(both["rna"].varp["grn"].toarray(), adata.varp["grn"].toarray())
    assert len(sg.get.grn_df(both, min_probability=0.0)) == both["rna"].varp["grn"].nnz
    with pytest.raises(MissingKeyError, match="no modality 'atac'"):
        fit(both, prior, modality="atac")


def test_copy_leaves_the_original(adata, prior):
    before = set(adata.varp), set(adata.uns), list(adata.var)
    copied = fit(adata, prior, copy=True)
    assert "grn" in copied.varp
    assert (set(adata.varp), set(adata.uns), list(adata.var)) == before


def test_a_new_fit_takes_away_what_no_longer_holds(adata, prior):
    fit(adata, prior, n_models=2)
    assert {"grn_std", "grn_specificity"} <= set(adata.varp)
    fit(adata, prior, hub_terms=False)
    assert set(adata.varp) == {"grn", "grn_attention"}
    fit(adata, prior, hub_terms=False, use_gnn=False)
    assert set(adata.varp) == {"grn"}


def test_counts_are_normalised(adata, prior):
    counts = adata.layers["counts"].toarray().astype(float)
    adata.layers["log2"] = np.log2(1 + 1e4 * counts / counts.sum(1, keepdims=True)).astype(np.float32)
    one = fit(adata, prior, layer="counts", use_rep=None, copy=True)
    other = fit(adata, prior, layer="log2", use_rep=None, copy=True)
    np.testing.assert_allclose(one.varp["grn"].toarray(), other.varp["grn"].toarray(), atol=1e-3)


def test_wrong_arguments_show_before_anything_is_embedded(adata, prior, monkeypatch):
    del adata.varm["scbert"]
    monkeypatch.setattr("scgrn_tl.tl._scbert_embed.scbert_embed", lambda *_, **__: pytest.fail("embedded"))
    for wrong in ({"gnn_heads": 3}, {"epochs": 0}, {"tf_names": ["NOT_THERE"]}):
        with pytest.raises((ArgumentError, GeneOverlapError)):
            fit(adata, prior, **wrong)


def test_a_split_of_other_genes_is_refused(adata, prior):
    split = sg.bm.split_edges(PriorNetwork.from_any(prior, adata.var_names), rng=0)
    shuffled = adata[:, np.random.default_rng(0).permutation(adata.n_vars)].copy()
    with pytest.raises(SplitError, match="another order"):
        fit(shuffled, prior, split=split)


def test_other_methods_and_keys(adata, prior):
    fit(adata, prior)
    sg.tl.fit_grn(adata, prior, method="hub_floor", key_added="floor")
    assert {"grn", "floor"} <= set(adata.varp)
    assert list(adata.uns["floor"]["metrics"]["method"]) == ["hub_floor"]
    assert not adata.varp["floor_specificity"].data.any()  # the floor knows of nothing but hubs
    assert adata.uns["floor"]["params"].get("use_rep") is None


def test_most_likely_edges_are_kept(adata, prior):
    everything = fit(adata, prior, copy=True).varp["grn"]
    fit(adata, prior, max_edges=50)
    kept = adata.varp["grn"]
    assert kept.nnz == adata.varp["grn_specificity"].nnz == 50
    assert kept.data.min() >= np.sort(everything.data)[-50] - 1e-6


def test_further_regulators_are_scored(adata, prior):
    target = next(name for name in adata.var_names if name not in set(prior["source"]))
    with pytest.warns(UserWarning, match="1 of 2 TF names are not among the genes: 'NOT_THERE'"):
        fit(adata, prior, tf_names=[target, "NOT_THERE"])
    assert adata.var.loc[target, "grn_is_tf"]
    assert adata.varp["grn"][adata.var_names.get_loc(target)].nnz == adata.n_vars - 1


def test_one_cell_works(adata, prior):
    one = adata[:1].copy()
    fit(one, prior)
    assert np.isfinite(one.varp["grn"].data).all()


def test_a_prior_too_small_to_validate_on_still_works(adata, prior):
    fit(adata, prior.groupby("source").head(1).head(12))
    assert adata.uns["grn"]["calibration"]["fitted_on"] == "nothing"
    assert np.isfinite(adata.varp["grn"].data).all()
    with pytest.raises(MissingKeyError, match="large enough"):
        sg.get.grn_metrics(adata)


def test_interruption_leaves_the_anndata_as_it_was(adata, prior, monkeypatch):
    from scgrn_tl.models.link_training import LinkTrainer

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(LinkTrainer, "run", interrupted)
    before = set(adata.varp), set(adata.uns), list(adata.var)
    with pytest.raises(KeyboardInterrupt):
        fit(adata, prior)
    assert (set(adata.varp), set(adata.uns), list(adata.var)) == before


# -------------------------------------------------------------------- what bad input gets


def bad_value(value):
    def change(adata, prior):
        dense = adata.X.toarray()
        dense[3, 7] = value
        adata.X = dense
        return prior

    return change


def duplicated(adata, prior):
    adata.var_names = ["TF01", "TF01", *adata.var_names[2:]]
    return prior


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (bad_value(-1), ExpressionError, r"negative value \(-1\) at cell .*, gene"),
        (bad_value(np.nan), ExpressionError, "NaN value"),
        (bad_value(np.inf), ExpressionError, "infinite value"),
        (duplicated, DuplicateGenesError, r"'TF01'.*var_names_make_unique"),
        (lambda _, prior: prior.rename(columns={"source": "from"}), PriorError, r"\['from'.*needs one of source"),
        (lambda _, prior: prior.head(9), PriorError, "at least 10 edges"),
        (lambda _, prior: prior[prior["source"] == prior["source"].iloc[0]], PriorError, "2 regulators"),
        (lambda _, prior: prior.assign(source=prior["source"].str.lower()), PriorError, "0 edges"),
        (lambda _, prior: len(prior), PriorError, "type int"),
        (lambda _, prior: "nowhere.csv", PriorError, "neither a file nor a key"),
    ],
)
def test_bad_data(adata, prior, change, error, message):
    changed = change(adata, prior)
    with pytest.raises(error, match=message):
        fit(adata, changed)
    assert "grn" not in adata.varp


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"method": "sctransnt"}, ArgumentError, "Did you mean 'sctransnet'"),
        ({"method": "pearson"}, ArgumentError, "does not learn from a prior"),
        ({"dropuot": 0.1}, ArgumentError, "Did you mean 'dropout'"),
        ({"dropout": 2}, ArgumentError, "0 <= dropout < 1"),
        ({"method": "hub_floor", "epochs": 7}, ArgumentError, "takes no epochs"),
        ({"epochs": 1.5}, ArgumentError, "epochs is a whole number or None, not 1.5"),
        ({"split": "random"}, ArgumentError, "split is an EdgeSplit.*not 'random'"),
        ({"use_rep": "X_geneformer"}, MissingKeyError, r"varm\['X_geneformer'\].*Keys of .varm: \['scbert'\]"),
        ({"layer": "nope"}, MissingKeyError, r"layers\['nope'\]"),
        ({"device": "quantum"}, ArgumentError, "not a torch device"),
        ({"key_added": "a/b"}, ArgumentError, "without '/'"),
        ({"max_edges": 0}, ArgumentError, "max_edges"),
        ({"validation_fraction": 1.5}, ArgumentError, "validation_fraction"),
        ({"tf_names": ["ENSG00000111704"]}, GeneOverlapError, "Ensembl gene ids"),
        (
            {"split": EdgeSplit(LabeledPairs(np.array([[0, 99]]), [True]), LabeledPairs.empty(), LabeledPairs.empty())},
            SplitError,
            "made for other data",
        ),
    ],
)
def test_bad_arguments(adata, prior, params, error, message):
    params = {name: value for name, value in FAST.items() if params.get("method") != "hub_floor"} | params
    with pytest.raises(error, match=message):
        sg.tl.fit_grn(adata, prior, **params)
    assert "grn" not in adata.varp


def test_missing_embedding_without_weights(adata, prior, monkeypatch, tmp_path):
    """Never random weights: an error that says what to do."""
    del adata.varm["scbert"]
    monkeypatch.delenv("SCGRN_TL_MIRROR", raising=False)
    monkeypatch.setenv("SCGRN_TL_CACHE", str(tmp_path))
    monkeypatch.setenv("SCGRN_TL_WEIGHTS", str(tmp_path / "missing.pth"))
    with pytest.raises(WeightsUnavailableError, match="fit"):
        fit(adata, prior)
    assert "grn" not in adata.varp


# -------------------------------------------------------------------- real data


@pytest.mark.slow
@pytest.mark.usefixtures("mirror")
@pytest.mark.parametrize("cell_type", ["hHEP", "mDC", "mHSC-L"])
def test_above_the_hub_floor_on_published_pairs(cell_type):
    """Docs/benchmark.md has every sample and seed; this is one of them, against the better form of the floor."""
    adata, split = sg.datasets.beeline(cell_type), sg.datasets.beeline_split(cell_type, 500, 1)
    sg.tl.fit_grn(adata, adata.uns["ground_truth"], split=split, use_rep=None)
    ours = sg.get.grn_metrics(adata).query("part == 'test' and method == 'sctransnet'").iloc[0]
    task = sg.core.make_task(adata, split=split)
    for form in ("logit", "degree"):
        floor = sg.bm.evaluate(sg.methods.get("hub_floor")(task, form=form), split)
        assert ours["auroc"] > floor["auroc"]
        assert ours["auprc"] > floor["auprc"]
    if cell_type == "hHEP":
        assert ours["auroc"] >= 0.90
        assert ours["auprc"] >= 0.84
    assert ours["ece"] < 0.05
