"""``tl.fit_grn(groupby=)``: a network for each group of cells."""

from __future__ import annotations

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest
from scipy.special import logit

import scgrn_tl as sg
from scgrn_tl.core import ArgumentError, MissingKeyError, PriorNetwork
from scgrn_tl.core.slots import run_record
from scgrn_tl.tl._cell_groups import CellGroups
from scgrn_tl.tl._group_embeddings import embeddings_of_groups, group_record
from scgrn_tl.tl._group_networks import check_groups

FAST = {"gnn_widths": (16, 8), "gnn_heads": 2, "channel_hidden": 16, "channel_width": 8, "epochs": 5, "use_rep": None}
SIZES = {"a": 60, "b": 30, "tiny": 5}


@pytest.fixture(scope="module")
def simulated():
    adata = sg.datasets.simulated(n_cells=100, n_genes=60, n_tfs=10, mean_targets=10, rng=1)
    labels = np.repeat([*SIZES, "none"], [*SIZES.values(), 5])
    adata.obs["type"] = pd.Categorical(np.where(labels == "none", None, labels))
    return adata


@pytest.fixture
def adata(simulated):
    return simulated.copy()


@pytest.fixture
def prior(simulated):
    return simulated.uns["ground_truth"]


def fit(adata, prior, **changes):
    given = FAST | {"groupby": "type"} | changes
    cells = adata["rna"] if isinstance(adata, md.MuData) else adata
    if given["groupby"] is None or cells.obs[given["groupby"]].value_counts().min() >= 10:
        return sg.tl.fit_grn(adata, prior, **given)
    with pytest.warns(UserWarning, match="fewer than 10 cells and get the network of all cells: 'tiny' \\(5\\)"):
        return sg.tl.fit_grn(adata, prior, **given)


def raw_scores(adata, key="grn"):
    """Scores before calibration, of the pairs stored."""
    calibration = adata.uns[key]["calibration"]
    probability = adata.varp[key].data.astype(float)
    return (logit(probability) - calibration["intercept"]) / calibration["slope"]


def test_writes_what_it_says(adata, prior):
    alone = sg.tl.fit_grn(adata, prior, copy=True, **FAST)
    assert fit(adata, prior) is None
    np.testing.assert_array_equal(adata.varp["grn"].toarray(), alone.varp["grn"].toarray())
    record = adata.uns["grn"]
    assert list(record["groups"]) == list(SIZES)
    fits = record["group_fits"]
    assert list(fits.columns) == ["group", "label", "n_cells", "own_weight", "use_rep", "auroc", "auprc"]
    assert list(fits["label"]) == list(SIZES)
    assert set(fits["use_rep"]) == {""}
    assert dict(zip(fits["group"], fits["n_cells"], strict=True)) == SIZES
    np.testing.assert_allclose(fits["own_weight"], [60 / 160, 30 / 130, 0])
    for name in SIZES:
        key = f"grn_{name}"
        for slot in (key, f"{key}_specificity"):
            assert (adata.varp[slot].format, adata.varp[slot].dtype) == ("csr", np.float32)
            np.testing.assert_array_equal(adata.varp[slot].indices, adata.varp["grn"].indices)
        assert (adata.var[f"{key}_is_tf"] == adata.var["grn_is_tf"]).all()
        own = adata.uns[key]
        assert own["params"]["group"] == name
        assert own["params"]["n_cells"] == SIZES[name]
        assert own["calibration"] == record["calibration"]
        row = fits.set_index("group").loc[name]
        assert own["metrics"].loc[0, "auroc"] == row["auroc"]


def test_a_group_without_pooling_is_the_fit_to_its_cells(adata, prior):
    split = sg.bm.split_edges(
        PriorNetwork.from_any(prior, adata.var_names), validation_fraction=0.2, test_fraction=0.0, rng=4
    )
    fit(adata, prior, split=split, rng=2, group_pooling=0)
    alone = adata[adata.obs["type"] == "b"].copy()
    sg.tl.fit_grn(alone, prior, split=split, rng=2, **FAST)
    scale = alone.uns["grn"]["calibration"]["slope"]  # float32 probabilities, taken back to scores
    difference = raw_scores(adata, "grn_b") - raw_scores(alone)
    assert np.abs(difference).max() < 1e-4 * max(1, 1 / scale)
    assert np.abs(raw_scores(adata, "grn_a") - raw_scores(alone)).max() > 1e-2


def test_pooling_is_the_weighted_mean_of_log_odds(adata, prior):
    own = fit(adata, prior, group_pooling=0, copy=True)
    for k in (20.0, 1000.0):
        fit(adata, prior, group_pooling=k)
        for name in ("a", "b"):
            weight = SIZES[name] / (SIZES[name] + k)
            expected = weight * raw_scores(own, f"grn_{name}") + (1 - weight) * raw_scores(own)
            np.testing.assert_allclose(raw_scores(adata, f"grn_{name}"), expected, atol=1e-3)
    fit(adata, prior, group_pooling=float("inf"))
    for name in SIZES:
        np.testing.assert_array_equal(adata.varp[f"grn_{name}"].toarray(), adata.varp["grn"].toarray())


def test_few_cells_get_the_global_network_with_a_warning(adata, prior):
    with pytest.warns(UserWarning, match="1 of the 3 groups of obs\\['type'\\] have fewer than 10 cells") as seen:
        sg.tl.fit_grn(adata, prior, groupby="type", group_pooling=0, **FAST)
    assert [each.filename for each in seen] == [__file__]  # the user's line, not one of the package
    np.testing.assert_array_equal(adata.varp["grn_tiny"].toarray(), adata.varp["grn"].toarray())
    assert (adata.varp["grn_a"] != adata.varp["grn"]).nnz
    assert (adata.varp["grn_a_attention"] != adata.varp["grn_attention"]).nnz  # of the group's own fit


def test_small_groups_are_nearer_to_the_global_network(adata, prior):
    adata.obs["type"] = np.repeat(["large", "small"], [80, 20])
    fit(adata, prior, group_pooling=50)

    def distance(name):
        return np.square(raw_scores(adata, f"grn_{name}") - raw_scores(adata)).mean()

    alone = fit(adata, prior, group_pooling=0, copy=True)
    shrunk = {name: distance(name) for name in ("large", "small")}
    for name, weight in {"large": 80 / 130, "small": 20 / 70}.items():
        unpooled = np.square(raw_scores(alone, f"grn_{name}") - raw_scores(alone)).mean()
        np.testing.assert_allclose(shrunk[name], weight**2 * unpooled, rtol=1e-3)


def test_embeddings_of_groups_are_used_where_they_are(adata, prior, caplog):
    rng = np.random.default_rng(0)
    adata.varm["z"] = rng.normal(size=(60, 6)).astype(np.float32)
    caplog.set_level("INFO", logger="scgrn_tl")
    plain = fit(adata, prior, use_rep="z", copy=True)
    assert "it has no .varm['z_b']" in caplog.text
    adata.varm["z_b"] = rng.normal(size=(60, 6)).astype(np.float32)
    fit(adata, prior, use_rep="z")
    np.testing.assert_array_equal(plain.varp["grn_a"].toarray(), adata.varp["grn_a"].toarray())
    assert (plain.varp["grn_b"] != adata.varp["grn_b"]).nnz
    assert adata.uns["grn_b"]["params"]["use_rep"] == "z_b"
    assert adata.uns["grn_a"]["params"]["use_rep"] == "z"
    adata.varm["y"] = rng.normal(size=(60, 3)).astype(np.float32)
    fit(adata, prior, use_rep=["y", "z"])
    assert list(adata.uns["grn_b"]["params"]["use_rep"]) == ["y", "z_b"]
    assert list(adata.uns["grn"]["group_fits"]["use_rep"]) == ["y, z", "y, z_b", "y, z"]
    assert (plain.varp["grn_b"] != adata.varp["grn_b"]).nnz


@pytest.mark.parametrize("method", ["hub_floor", "gne"])
def test_any_supervised_method(adata, prior, method):
    adata.obs["type"] = adata.obs["type"].cat.remove_categories("tiny")
    params = {"use_rep": None, "method": method} | ({"epochs": 2} if method == "gne" else {})
    sg.tl.fit_grn(adata, prior, groupby="type", **params)
    same = (adata.varp["grn_a"] != adata.varp["grn"]).nnz == 0
    assert same == (method == "hub_floor")  # which reads no expression


def test_a_group_reads_like_any_network(adata, prior, tmp_path):
    import matplotlib.pyplot as plt

    fit(adata, prior)
    adata.write_h5ad(tmp_path / "a.h5ad")
    back = ad.read_h5ad(tmp_path / "a.h5ad")
    for name in SIZES:
        edges = sg.get.grn_df(adata, key=f"grn_{name}", min_probability=None)
        assert edges["in_prior"].any()
        pd.testing.assert_frame_equal(edges, sg.get.grn_df(back, key=f"grn_{name}", min_probability=None))
        assert list(sg.get.grn_metrics(back, key=f"grn_{name}")["method"]) == ["sctransnet", "hub_floor"]
    sg.pl.grn_edges(back, key="grn_a", top_n=10, min_probability=None, reference="prior")
    plt.close("all")
    sg.io.write_edges(back, tmp_path / "e.csv", key="grn_b", top_n=5, min_probability=None)
    assert len(pd.read_csv(tmp_path / "e.csv")) == 5
    assert list(back.uns["grn"]["groups"]) == list(SIZES)
    assert list(back.uns["grn"]["group_fits"]["group"]) == list(SIZES)


@pytest.mark.parametrize("next_run", ["fit", "infer"])
def test_groups_of_an_earlier_run_go(adata, prior, next_run):
    slots = {"varp": adata.varp, "var": adata.var, "uns": adata.uns}
    before = {slot: set(holder) for slot, holder in slots.items()}
    fit(adata, prior)
    adata.obs["other"] = np.where(adata.obs["type"] == "a", "a", "x")
    if next_run == "fit":
        fit(adata, prior, groupby="other")
        expected = {"grn", "grn_a", "grn_x"}
        assert set(adata.uns) - before["uns"] == expected
        beside = {f"{key}_{name}" for key in expected for name in ("specificity", "attention")}
        assert set(adata.varp) == expected | beside
        fit(adata, prior, groupby=None)
    else:
        sg.tl.infer_grn(adata, method="pearson", tf_names=["TF01", "TF02"])
    assert {key for key in adata.uns if key.startswith("grn")} == {"grn"}
    assert set(adata.varp) <= {"grn", "grn_specificity", "grn_attention"}
    assert not [key for key in adata.var if key.startswith(("grn_a_", "grn_b_", "grn_x_"))]


def test_same_seed_same_bits_and_a_copy(adata, prior):
    first = fit(adata, prior, copy=True, rng=3)
    assert "grn" not in adata.varp
    mdata = md.MuData({"rna": adata.copy()})
    fit(mdata, prior, rng=3)
    np.testing.assert_array_equal(mdata["rna"].varp["grn_a"].toarray(), first.varp["grn_a"].toarray())


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"groupby": "cluster"}, MissingKeyError, "obs\\['cluster'\\]"),
        ({"group_pooling": -1}, ArgumentError, "group_pooling"),
        ({"group_pooling": "much"}, ArgumentError, "group_pooling"),
        ({"group_pooling": float("nan")}, ArgumentError, "group_pooling"),
    ],
)
def test_bad_arguments_leave_everything_as_it_was(adata, prior, changes, error, message):
    with pytest.raises(error, match=message):
        sg.tl.fit_grn(adata, prior, **FAST | {"groupby": "type"} | changes)
    assert "grn" not in adata.uns
    assert not len(adata.varp)


@pytest.mark.parametrize("name", ["specificity", "std", "is_tf", "attention", "sign", "scbert", "mean"])
@pytest.mark.parametrize("dtype", ["category", object])
def test_names_that_would_take_other_slots(adata, prior, name, dtype):
    adata.obs["type"] = adata.obs["type"].cat.rename_categories({"a": name}).astype(dtype)
    missing = adata.obs["type"].isna().to_numpy()
    with pytest.raises(ArgumentError, match=f"called {name!r}") as refused:
        sg.tl.fit_grn(adata, prior, groupby="type", **FAST)
    assert not len(adata.varp)
    exec(refused.value.args[0].split("`")[1], {"adata": adata})  # the call that the message advises
    np.testing.assert_array_equal(adata.obs["type"].isna(), missing)
    assert set(check_groups(adata, "type", 1.0, key="grn").names) == {f"{name} cells", "b", "tiny"}


def test_a_name_that_would_take_the_slot_of_another_group(adata, prior):
    adata.obs["type"] = adata.obs["type"].cat.rename_categories({"a": "b/std"})
    with pytest.raises(ArgumentError, match="called 'b_std'") as refused:
        sg.tl.fit_grn(adata, prior, groupby="type", **FAST)
    exec(refused.value.args[0].split("`")[1], {"adata": adata})
    assert set(check_groups(adata, "type", 1.0, key="grn").names) == {"b std cells", "b", "tiny"}


def test_labels_stay_as_they_are_beside_the_keys(adata, prior, tmp_path):
    adata.obs["type"] = adata.obs["type"].cat.rename_categories({"a": "B/T"})
    fit(adata, prior)
    adata.write_h5ad(tmp_path / "a.h5ad")
    for each in (adata, ad.read_h5ad(tmp_path / "a.h5ad")):
        assert "grn_B_T" in each.varp
        fits = each.uns["grn"]["group_fits"].set_index("label")
        assert fits.loc["B/T", "group"] == "B_T"
        with pytest.raises(MissingKeyError, match=r"Did not find .varp\['grn_B/T'\]. In keys.*'grn_B_T'"):
            sg.get.grn_df(each, key="grn_B/T")
        with pytest.raises(MissingKeyError, match="Did you mean 'grn_tiny'"):
            sg.get.grn_df(each, key="grn_tny")


def test_two_labels_of_one_key(adata, prior):
    adata.obs["type"] = adata.obs["type"].cat.rename_categories({"a": "x/y_z", "b": "x_y/z"})
    with pytest.raises(ArgumentError, match="give the same name") as refused:
        sg.tl.fit_grn(adata, prior, groupby="type", **FAST)
    exec(refused.value.args[0].split("`")[1], {"adata": adata})
    assert len(check_groups(adata, "type", 1.0, key="grn").names) == 3


# --- what is a group --------------------------------------------------------------------------------------------------


def test_measurements_are_no_groups(adata, prior):
    adata.obs["score"] = np.linspace(0, 1, adata.n_obs)
    with pytest.raises(ArgumentError, match=r"100 different ones, and no groups\. Bin them") as refused:
        sg.tl.fit_grn(adata, prior, groupby="score", **FAST)
    exec(refused.value.args[0].split("`")[1], {"adata": adata, "pd": pd})
    assert check_groups(adata, "score_bin", 1.0, key="grn").names == ("low", "middle", "high")


def test_whole_numbers_are_groups_also_where_some_are_missing(adata):
    adata.obs["cluster"] = np.r_[np.nan, np.resize([0, 1, 2], adata.n_obs - 1)]
    groups = check_groups(adata, "cluster", 1.0, key="grn")
    assert groups.names == ("0.0", "1.0", "2.0")
    assert groups.codes[0] == -1


def test_hundreds_of_groups_are_refused():
    adata = ad.AnnData(np.ones((300, 2), np.float32))
    adata.obs["barcode"] = [f"cell{i}" for i in range(300)]
    with pytest.raises(ArgumentError, match=r"has 300 different values.*more than 200"):
        CellGroups.from_obs(adata, "barcode", "groupby")
    assert len(CellGroups.from_obs(adata, "barcode", "strata", most=None).names) == 300


def test_a_misspelt_column_names_the_near_one(adata, prior):
    with pytest.raises(MissingKeyError, match="Did you mean 'type'"):
        sg.tl.fit_grn(adata, prior, groupby="typ", **FAST)


# --- whose embeddings -------------------------------------------------------------------------------------------------


def test_hash_of_groups_is_that_of_the_labelling():
    adata = ad.AnnData(np.ones((6, 2), np.float32))
    labels = ["a", "b", "c", "a", None, "b"]
    adata.obs["x"] = pd.Categorical(labels)

    def hash_of(values):
        adata.obs["y"] = values
        return CellGroups.from_obs(adata, "y", "groupby").sha256()

    own = hash_of(adata.obs["x"])
    assert hash_of(labels) == own
    assert hash_of(pd.Categorical(labels, categories=["c", "unused", "b", "a"])) == own
    assert hash_of(["a", "b", "c", "a", "a", "b"]) != own
    assert hash_of(["b", "a", "c", "b", None, "a"]) != own
    assert hash_of(["a", "b", "d", "a", None, "b"]) != own


def with_embeddings(adata, *, groupby="type", key="z", hashed=True):
    """Embeddings as scbert_embed leaves them: one of all cells, and those of the groups."""
    rng = np.random.default_rng(0)
    groups = CellGroups.from_obs(adata, groupby, "groupby")
    for name in (key, *(f"{key}_{name}" for name in groups.names)):
        adata.varm[name] = rng.normal(size=(adata.n_vars, 6)).astype(np.float32)
    made_for = group_record(groups) if hashed else {"groups": groups.names}  # the latter as in older files
    adata.uns[key] = run_record({"groupby": groupby}, **made_for)
    return groups


def chosen(adata, groupby="type", key="z"):
    groups = CellGroups.from_obs(adata, groupby, "groupby")
    return embeddings_of_groups(adata, groups, groupby, (key,))


@pytest.mark.parametrize("hashed", [True, False])
def test_embeddings_of_the_same_groups_are_used(adata, tmp_path, hashed):
    with_embeddings(adata, hashed=hashed)
    expected = {name: (f"z_{name}",) for name in SIZES}
    assert chosen(adata) == expected
    adata.write_h5ad(tmp_path / "a.h5ad")
    assert chosen(ad.read_h5ad(tmp_path / "a.h5ad")) == expected


def test_embeddings_are_used_of_some_of_the_cells_too(adata):
    with_embeddings(adata)
    some = adata[10:].copy()
    assert chosen(some) == {name: (f"z_{name}",) for name in SIZES}
    some.obs["type"] = some.obs["type"].cat.rename_categories({"a": "new"})
    with pytest.warns(UserWarning, match="Labels in obs.*have changed"):
        chosen(some)


def test_embeddings_of_an_older_labelling_are_not_used(adata, prior):
    with_embeddings(adata)
    adata.obs["type"] = np.random.default_rng(1).permutation(adata.obs["type"].astype(object).to_numpy())
    given = FAST | {"use_rep": "z"}
    with pytest.warns(UserWarning, match="fewer than 10"), pytest.warns(UserWarning, match="have changed") as seen:
        sg.tl.fit_grn(adata, prior, groupby="type", **given)
    (said,) = [str(each.message) for each in seen if "have changed" in str(each.message)]
    assert "`sg.tl.scbert_embed(adata, groupby='type', key_added='z')`" in said
    assert set(adata.uns["grn"]["group_fits"]["use_rep"]) == {"z"}
    assert {str(adata.uns[f"grn_{name}"]["params"]["use_rep"]) for name in SIZES} == {"z"}


def test_embeddings_of_another_column_are_not_used(adata):
    with_embeddings(adata)
    adata.obs["other"] = adata.obs["type"]
    with pytest.warns(UserWarning, match=r"groups of obs\['type'\].*groupby='other'"):
        assert set(chosen(adata, groupby="other").values()) == {("z",)}
    del adata.uns["z"]["params"]["groupby"]
    with pytest.warns(UserWarning, match="made without groups"):
        assert set(chosen(adata).values()) == {("z",)}
    adata.uns["z"]["params"] |= {"groupby": "other", "weighting": "mean"}
    with pytest.warns(UserWarning, match=r"`sg.tl.attentive_pool\(adata, groupby='type'"):
        chosen(adata)


def test_one_of_several_embeddings_may_be_of_other_groups(adata):
    with_embeddings(adata, key="y")
    with_embeddings(adata)
    adata.uns["y"]["params"]["groupby"] = "state"
    groups = CellGroups.from_obs(adata, "type", "groupby")
    with pytest.warns(UserWarning, match="varm\\['y_a'\\] is not used"):
        both = embeddings_of_groups(adata, groups, "type", ("y", "z"))
    assert both == {name: ("y", f"z_{name}") for name in SIZES}


def test_an_embedding_that_is_made_on_the_way_has_groups(adata, prior, monkeypatch):
    """Where scBERT's embedding is missing, the groups get theirs as well."""
    asked = {}

    def embed(data, **arguments):
        asked.update(arguments)
        for name in ("scbert", "scbert_a", "scbert_b", "scbert_tiny"):
            data.varm[name] = np.random.default_rng(len(name)).normal(size=(data.n_vars, 4)).astype(np.float32)

    monkeypatch.setattr("scgrn_tl.tl._scbert_embed.scbert_embed", embed)
    fit(adata, prior, use_rep="scbert")
    assert asked["groupby"] == "type"
    assert adata.uns["grn_a"]["params"]["use_rep"] == "scbert_a"
    assert adata.uns["grn"]["params"]["use_rep"] == "scbert"
