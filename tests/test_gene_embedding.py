"""``use_rep``: one matrix of ``varm`` or several, as they are read, standardised and joined."""

import hashlib

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import scgrn_tl as sg
from scgrn_tl.core import ArgumentError, GRNTask, MissingKeyError, read_embedding
from scgrn_tl.core.gene_embedding import embedding_keys
from scgrn_tl.models.joined_embedding import standardize_embedding

FAST = {"gnn_widths": (16, 8), "gnn_heads": 2, "channel_hidden": 16, "channel_width": 8, "epochs": 3}
N_GENES = 40


@pytest.fixture(scope="module")
def simulated():
    adata = sg.datasets.simulated(n_cells=60, n_genes=N_GENES, n_tfs=8, mean_targets=8, rng=1)
    rng = np.random.default_rng(0)
    adata.varm["narrow"] = rng.normal(size=(N_GENES, 4)).astype(np.float32)
    adata.varm["wide"] = rng.normal(3, 2, size=(N_GENES, 16)).astype(np.float32)
    adata.varm["wide"][5:9] = np.nan
    return adata


@pytest.fixture
def adata(simulated):
    return simulated.copy()


def fit(adata, use_rep, **changes):
    return sg.tl.fit_grn(adata, adata.uns["ground_truth"], use_rep=use_rep, **FAST | changes)


# ---------------------------------------------------------------- standardised and joined


def by_hand(values):
    """Zero mean and unit variance over the rows without a hole, zeros elsewhere; and which rows those are."""
    known = np.isfinite(values).all(1)
    made = np.zeros(values.shape)
    made[known] = (values[known] - values[known].mean(0)) / values[known].std(0)
    return made, known.astype(float)


def test_one_embedding_is_standardised_as_ever():
    values = np.random.default_rng(0).normal(2, 5, size=(30, 6)).astype(np.float32)
    values[3, 2], values[7] = np.inf, np.nan
    made, known = by_hand(values.astype(np.float64))
    found = standardize_embedding(values)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.column_stack([made, known]), atol=1e-5)
    assert standardize_embedding(values[:3]).shape == (3, 6)  # nothing is missing: no further column
    # the bits that versions before several embeddings gave
    rows = np.isfinite(values).all(axis=1)
    mean, std = values[rows].mean(0), values[rows].std(0)
    before = np.where(rows[:, None], (values - mean) / np.where(std > 1e-8, std, 1.0), 0.0)
    before = np.hstack([before, rows[:, None].astype(float)]).astype(np.float32)
    assert found.tobytes() == before.tobytes()


def test_each_of_several_is_standardised_on_its_own():
    rng = np.random.default_rng(1)
    first, second, third = rng.normal(size=(20, 2)), rng.normal(5, 3, size=(20, 8)), rng.normal(size=(20, 5))
    first[4:6], second[4:6], third[9] = np.nan, np.nan, np.nan
    joined = np.hstack([first, second, third]).astype(np.float32)
    found = standardize_embedding(joined, (2, 8, 5))
    parts = [by_hand(part)[0] * np.sqrt(5 / part.shape[1]) for part in (first, second, third)]
    # the first two lack the same genes: one column for both
    patterns = [by_hand(first)[1], by_hand(third)[1]]
    np.testing.assert_allclose(found, np.column_stack([*parts, *patterns]), atol=1e-5)


def test_no_embedding_outweighs_another_by_its_width():
    rng = np.random.default_rng(2)
    found = standardize_embedding(rng.normal(size=(200, 64 + 512)).astype(np.float32), (64, 512))
    narrow, wide = (float((part**2).sum(1).mean()) for part in (found[:, :64], found[:, 64:]))
    assert narrow == pytest.approx(wide, rel=1e-4)
    assert narrow + wide == pytest.approx(64 + 512, rel=1e-4)


def test_an_embedding_without_any_gene():
    values = np.ones((5, 3), dtype=np.float32)
    values[:, 2] = np.nan
    with pytest.raises(ArgumentError, match="no gene with finite values"):
        standardize_embedding(values, (2, 1))


def test_widths_of_a_task_add_up(adata):
    def task(**changes):
        return GRNTask(np.ones((3, 4), dtype=np.float32), ("a", "b", "c"), np.arange(1), **changes)

    embedding = np.ones((3, 5), dtype=np.float32)
    assert task(embedding=embedding, embedding_widths=(2, 3)).embedding_widths == (2, 3)
    for changes in ({"embedding": embedding, "embedding_widths": (2, 2)}, {"embedding_widths": (5,)}):
        with pytest.raises(ArgumentError, match="do not add up"):
            task(**changes)


# ---------------------------------------------------------------- read


@pytest.mark.parametrize("kind", ["csr", "frame", "nullable", "integers", "float64"])
def test_any_matrix_of_numbers_is_read(adata, kind):
    values = np.round(adata.varm["narrow"] * 3)
    adata.varm["other"] = {
        "csr": lambda: sparse.csr_matrix(values),
        "frame": lambda: pd.DataFrame(values, index=adata.var_names, columns=list("abcd")),
        "nullable": lambda: pd.DataFrame(values, index=adata.var_names, columns=list("abcd")).astype("Float64"),
        "integers": lambda: values.astype(np.int16),
        "float64": lambda: values.astype(np.float64),
    }[kind]()
    found = read_embedding(adata, "other")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, values)


def test_a_missing_value_of_a_frame_is_a_hole(adata):
    frame = pd.DataFrame(adata.varm["narrow"], index=adata.var_names, columns=list("abcd")).astype("Float64")
    frame.iloc[3, 1] = pd.NA
    adata.varm["other"] = frame
    found = read_embedding(adata, "other")
    assert np.isnan(found[3, 1])
    assert np.isnan(found).sum() == 1


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        (lambda a: np.full((a.n_vars, 3), np.nan), ArgumentError, r"varm\['bad'\] has no gene with finite.*'TF01'"),
        (lambda a: np.full((a.n_vars, 2), "x"), ArgumentError, r"varm\['bad'\] holds values of type <U1"),
        (lambda a: np.ones((a.n_vars, 2), dtype=complex), ArgumentError, "type complex128"),
        (lambda a: np.ones((a.n_vars, 2, 2)), ArgumentError, r"genes × dimensions, not of shape \(40, 2, 2\)"),
        (
            lambda a: pd.DataFrame({"x": 1.0, "name": "y"}, index=a.var_names),
            ArgumentError,
            "columns that are no numbers: 'name'",
        ),
    ],
)
def test_what_is_no_embedding(adata, values, error, message):
    adata.varm["bad"] = values(adata)
    before = set(adata.varp), set(adata.uns)
    for use_rep in ("bad", ["narrow", "bad"]):
        with pytest.raises(error, match=message):
            fit(adata, use_rep)
    assert (set(adata.varp), set(adata.uns)) == before


@pytest.mark.parametrize("use_rep", [[], 3, ["narrow", "narrow"], ["narrow", 3], [None]])
def test_what_is_no_use_rep(adata, use_rep):
    with pytest.raises(
        ArgumentError, match=r"use_rep is a (key of \.varm, a list of different keys|string, a list of strings)"
    ):
        fit(adata, use_rep)
    assert "grn" not in adata.uns


@pytest.mark.parametrize(
    "use_rep", [pd.DataFrame(np.ones((50, 2)), columns=["a", "b"]), np.ones((50, 2)), sparse.eye(50).tocsr()], ids=type
)
def test_a_matrix_is_no_key_and_is_not_printed(use_rep):
    with pytest.raises(
        ArgumentError, match=r"not a \w+\. Put it there first: `adata\.varm\['my_embedding'\]"
    ) as caught:
        embedding_keys(use_rep)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("key", "way"),
    [
        ("scbert", r"Run `sg\.tl\.scbert_embed` first"),
        ("scbert_tuned", r"`sg\.tl\.scbert_embed\(adata, key_added='scbert_tuned'\)`"),
        (
            "X_geneformer",
            r"`adata\.varm\['X_geneformer'\] = vectors\.reindex\(adata\.var_names\)\.to_numpy\(\)` [^`]*$",
        ),
        ("X_pca", r"\.obsm\['X_pca'\] is an embedding of cells"),
    ],
)
def test_how_a_missing_embedding_gets_there(adata, key, way):
    adata.obsm["X_pca"] = np.ones((adata.n_obs, 2))
    with pytest.raises(MissingKeyError, match=way):
        read_embedding(adata, key)


def test_keys_in_any_form():
    assert embedding_keys(None) == ()
    assert embedding_keys("a") == ("a",)
    assert (
        embedding_keys(["a", "b"]) == embedding_keys(np.array(["a", "b"])) == embedding_keys(("a", "b")) == ("a", "b")
    )


# ---------------------------------------------------------------- fits


def test_a_list_of_one_is_that_one(adata):
    fit(adata, "wide")
    fit(adata, ["wide"], key_added="again")
    for name in ("", "_specificity", "_attention"):
        one, other = adata.varp[f"grn{name}"], adata.varp[f"again{name}"]
        assert hashlib.sha256(one.data).digest() == hashlib.sha256(other.data).digest()
    assert adata.uns["again"]["params"]["use_rep"] == "wide"


def test_several_are_joined_recorded_and_written(adata, tmp_path):
    fit(adata, ["narrow", "wide"])
    params = adata.uns["grn"]["params"]
    assert list(params["use_rep"]) == ["narrow", "wide"]
    assert list(params["n_genes_without_embedding"]) == [0, 4]
    adata.write_h5ad(tmp_path / "a.h5ad")
    assert list(ad.read_h5ad(tmp_path / "a.h5ad").uns["grn"]["params"]["use_rep"]) == ["narrow", "wide"]
    model = sg.models.ScTransNet.from_anndata(adata, adata.uns["ground_truth"], use_rep=["narrow", "wide"], **FAST)
    fed = model.fit()._inputs.embedding.numpy()
    expected = standardize_embedding(np.hstack([adata.varm["narrow"], adata.varm["wide"]]), (4, 16))
    np.testing.assert_array_equal(fed, expected)
    assert fed.shape == (N_GENES, 21)
    model.save(tmp_path / "model")
    again = sg.models.ScTransNet.load(tmp_path / "model")
    np.testing.assert_array_equal(again.scores().matrix, model.scores().matrix)


def test_missing_keys_are_named_before_anything_is_embedded(adata):
    with pytest.raises(MissingKeyError, match=r"\.varm\['nope'\].*Keys of \.varm: \['narrow', 'wide'\]"):
        fit(adata, ["scbert", "nope"])
    assert "scbert" not in adata.varm
    assert set(adata.varm) == {"narrow", "wide"}


def test_the_benchmark_takes_several(adata):
    both = {"method": "sctransnet", "use_rep": ["narrow", "wide"], **FAST}
    table = sg.bm.run(adata, {"both": both, "one": {**both, "use_rep": "narrow"}}, splits="random", n_samples=1)
    table = table.set_index("method")
    assert (table["error"] == "").all()
    assert '"use_rep": ["narrow", "wide"]' in table.loc["both", "params"]
    assert table.loc["both", "auroc"] != table.loc["one", "auroc"]
    with pytest.raises(MissingKeyError, match=r"varm\['nope'\]"):
        sg.bm.run(adata, {"x": {**both, "use_rep": ["narrow", "nope"]}}, splits="random")
    with pytest.raises(ArgumentError, match="use_rep is a key"):
        sg.bm.run(adata, {"x": {**both, "use_rep": []}}, splits="random")


def test_ablation_of_several(adata, monkeypatch):
    seen = {}
    monkeypatch.setattr("scgrn_tl.bm._ablate.run", lambda datasets, variants, **_: seen.update(variants))
    sg.bm.ablate(adata, use_rep=["scbert", "wide"])
    assert seen["with encoder, mean pooling"]["use_rep"] == ["scbert_mean", "wide"]
    assert seen["with encoder"]["use_rep"] == ["scbert", "wide"]
    assert "use_rep" not in seen["full"]
    seen.clear()
    sg.bm.ablate(adata, use_rep=["narrow", "wide"])
    assert seen["with encoder"]["use_rep"] == ["narrow", "wide"]
    assert "with encoder, mean pooling" not in seen


def test_the_command_line_takes_several(adata, tmp_path, capsys):
    from scgrn_tl.cli import main

    adata.uns["ground_truth"].to_csv(tmp_path / "net.csv", index=False)
    adata.write_h5ad(tmp_path / "in.h5ad")
    call = ["fit", tmp_path / "in.h5ad", "--prior", tmp_path / "net.csv", "--out", tmp_path / "out.h5ad"]
    reps = ["--use-rep", "narrow", "--use-rep", "wide"]
    assert main([str(part) for part in [*call, *reps, "--epochs", 2]]) == 0
    assert list(ad.read_h5ad(tmp_path / "out.h5ad").uns["grn"]["params"]["use_rep"]) == ["narrow", "wide"]
    assert main([str(part) for part in [*call, "--use-rep", "none", "--use-rep", "wide"]]) != 0
    assert "cannot be given with others" in capsys.readouterr().err
