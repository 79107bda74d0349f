"""``tl.edge_evidence``: against loops over resampled AnnData, and what it refuses."""

from __future__ import annotations

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.special import expit, logit

import scgrn_tl as sg
from scgrn_tl import methods
from scgrn_tl.core import ArgumentError, GRNScores, MissingKeyError, SplitError, spawn_seeds
from scgrn_tl.core.edge_evidence import codetected_cells, expected_edges, summarize_resamples
from scgrn_tl.methods import _registry
from scgrn_tl.models.pooling import GenePool, mean_of_pools
from scgrn_tl.models.replicate_pool import ReplicatePool, mean_of_replicates
from scgrn_tl.tl._cell_resamples import CellResampling
from scgrn_tl.tl._resampled_embedding import ResampledEmbedding

FAST = {"gnn_widths": (16, 8), "gnn_heads": 2, "channel_hidden": 16, "channel_width": 8, "epochs": 3}
SLOTS = ("stability", "low", "high", "n_cells")


def coexpression(task, *, power=1.0):
    """Absolute correlations, the embedding's products where there is one, and a hint of the truth; no training."""
    strength = np.abs(np.nan_to_num(np.corrcoef(task.expression)))[task.regulators] ** power
    strength = strength + 0.3 * TRUTH["is_edge"][task.regulators]
    if task.embedding is not None:
        vectors = np.nan_to_num(task.embedding)
        strength = strength + vectors[task.regulators] @ vectors.T / (vectors**2).sum(1).max()
    seeds_seen.append(task.seed)
    return GRNScores(task.regulators, strength)


seeds_seen: list[int] = []
TRUTH: dict[str, np.ndarray] = {}


@pytest.fixture
def _coexpression(monkeypatch):
    monkeypatch.setattr(_registry, "_REGISTRY", dict(_registry._REGISTRY))
    traits = {"supervised": True, "directed": True, "stochastic": False, "uses_embedding": True, "reference": "tests"}
    methods.method(name="coexpression", **traits)(coexpression)
    seeds_seen.clear()


@pytest.fixture(scope="module")
def simulated():
    adata = sg.datasets.simulated(n_cells=60, n_genes=40, n_tfs=8, mean_targets=8, rng=1)
    adata.obs["donor"] = pd.Categorical.from_codes(np.arange(60) % 12, [f"d{number}" for number in range(12)])
    adata.obs["arm"] = pd.Categorical.from_codes(np.arange(60) % 12 // 4, ["a", "b", "c"])
    truth = sg.core.PriorNetwork.from_any(adata.uns["ground_truth"], adata.var_names)
    TRUTH["is_edge"] = np.zeros((40, 40))
    TRUTH["is_edge"][tuple(truth.edge_index)] = 1
    return adata


@pytest.fixture
def adata(simulated, _coexpression):
    adata = simulated.copy()
    sg.tl.fit_grn(adata, adata.uns["ground_truth"], method="coexpression", use_rep=None, power=2.0)
    return adata


@pytest.fixture(scope="module")
def embedded(simulated):
    """With the embedding of a small encoder."""
    adata = simulated.copy()
    sg.tl.scbert_embed(adata, weights="fit")
    return adata


def evidence(adata, **changes):
    return sg.tl.edge_evidence(adata, **{"n_bootstraps": 6, "n_jobs": 1} | changes)


def dense(adata, name, key="grn"):
    return adata.varp[f"{key}_{name}" if name else key].toarray()


# --- the numbers ------------------------------------------------------------------------------------------------------


def test_summary_is_what_numpy_and_counting_say():
    log_odds = np.random.default_rng(0).normal(size=(7, 50)).astype(np.float32)
    log_odds[2, :20] = 3.0  # ties
    found = summarize_resamples(log_odds, n_called=10, confidence=0.8)
    called = np.array([[(row > value).sum() < 10 for value in row] for row in log_odds])
    np.testing.assert_allclose(found.stability, called.mean(axis=0), rtol=1e-6)
    assert called[2].sum() == 20
    probability = expit(log_odds.astype(float))
    inside = (found.low <= probability + 1e-6) & (probability - 1e-6 <= found.high)
    assert (inside.sum(axis=0) == 5).all()  # of 7, the 10 % and 90 % quantiles lie within the two at either end
    np.testing.assert_allclose(logit(found.low.astype(float)), np.percentile(log_odds, 10, axis=0), atol=1e-4)


def test_expected_edges_are_the_sum_of_probabilities():
    assert expected_edges(np.full(30, 0.1, dtype=np.float32)) == 3
    assert expected_edges(np.zeros(5)) == 1


@pytest.mark.parametrize("as_sparse", [False, True])
def test_cells_with_both_genes_are_counted(as_sparse, monkeypatch):
    monkeypatch.setattr("scgrn_tl.core.edge_evidence.BLOCK_VALUES", 20)  # more than one block
    generator = np.random.default_rng(0)
    expression = generator.poisson(0.7, size=(9, 31)).astype(np.float32)
    rows, columns = generator.integers(9, size=(2, 40))
    expected = [((expression[r] > 0) & (expression[c] > 0)).sum() for r, c in zip(rows, columns, strict=True)]
    given = sparse.csc_array(expression) if as_sparse else expression
    assert codetected_cells(given, rows, columns).tolist() == expected


def test_replicates_are_pooled_as_cells_that_are_repeated():
    import torch

    generator = np.random.default_rng(0)
    hidden = torch.from_numpy(generator.normal(size=(11, 5, 3)).astype(np.float32))
    weights = torch.from_numpy(generator.random((11, 5)))
    weights[:, 4] = 0
    counts = generator.integers(3, size=(4, 11))
    parts = [slice(0, 6), slice(6, 11)]
    pools = [ReplicatePool(4, 5, 3) for _ in parts]
    for pool, part in zip(pools, parts, strict=True):
        for cell in range(*part.indices(11)):
            pool.update(hidden[cell : cell + 1], weights[cell : cell + 1], counts[:, cell : cell + 1])
    together = mean_of_replicates(pools)
    for number, times in enumerate(counts):
        repeated = []
        for pool, part in zip(pools, parts, strict=True):
            cells = np.repeat(np.arange(11)[part], times[part])
            expected = GenePool(5, 3)
            expected.update(hidden[cells], weights[cells])
            repeated.append(expected)
            np.testing.assert_allclose(pool.result()[number], expected.result(np.float64), rtol=1e-9)
        np.testing.assert_allclose(together[number], mean_of_pools(repeated), rtol=1e-6)
    with pytest.raises(ArgumentError, match="replicates × cells"):
        pools[0].update(hidden[:2], weights[:2], counts[:, :3])


# --- what is drawn ----------------------------------------------------------------------------------------------------


def test_cells_units_and_strata(simulated):
    seeds = list(range(200))
    single = CellResampling(simulated, unit=None, strata=None).draw(seeds)
    assert (single.sum(axis=1) == 60).all()
    assert single.mean(axis=0).std() < 0.1
    assert single.var(axis=0).mean() == pytest.approx(1 - 1 / 60, abs=0.05)  # binomial
    by_arm = CellResampling(simulated, unit=None, strata="arm").draw(seeds)
    arms = pd.get_dummies(simulated.obs["arm"]).to_numpy(dtype=int)
    assert (by_arm @ arms == arms.sum(axis=0)).all()
    by_donor = CellResampling(simulated, unit="donor", strata="arm")
    assert by_donor.n_units == 12
    drawn = by_donor.draw(seeds)
    donors = simulated.obs["donor"].cat.codes.to_numpy()
    for code in range(12):
        assert (np.ptp(drawn[:, donors == code], axis=1) == 0).all()
    assert (drawn @ arms == arms.sum(axis=0)).all()
    np.testing.assert_array_equal(by_donor.draw(seeds[:3]), drawn[:3])


@pytest.mark.parametrize(
    ("change", "unit", "strata", "match"),
    [
        (lambda obs: obs.assign(donor="one"), "donor", None, "at least 2"),
        (lambda obs: obs.assign(donor=np.where(obs["donor"] == "d1", None, obs["donor"])), "donor", None, "5 cells"),
        (lambda obs: obs.assign(arm=np.arange(60) % 2), "donor", "state", "more than one stratum"),
    ],
)
def test_columns_that_cannot_be_drawn_by(simulated, change, unit, strata, match):
    other = ad.AnnData(obs=change(simulated.obs))
    with pytest.raises(ArgumentError, match=match):
        CellResampling(other, unit=unit, strata=strata)


# --- against a loop ---------------------------------------------------------------------------------------------------


def repeated(adata, times) -> ad.AnnData:
    """Every cell so many times."""
    cells = np.repeat(np.arange(adata.n_obs), times)
    obs = adata.obs.iloc[cells].set_index(pd.Index([f"draw{number}" for number in range(len(cells))]))
    return ad.AnnData(adata.X[cells], obs=obs, var=adata.var, varm=dict(adata.varm), uns={"log1p": {"base": None}})


def by_hand(adata, key, n_bootstraps, rng, *, embed=None, **fit):
    """Log-odds ``(K, G, G)`` by fitting to AnnData whose cells are repeated."""
    draw_seed, _ = spawn_seeds(rng, 2)
    log_odds = []
    for seed in spawn_seeds(draw_seed, n_bootstraps):
        times = np.bincount(np.random.default_rng(seed).integers(60, size=60), minlength=60)
        sample = repeated(adata, times)
        if embed is not None:
            embed(sample)
        sg.tl.fit_grn(sample, adata.uns["ground_truth"], method="coexpression", power=2.0, key_added=key, **fit)
        log_odds.append(logit(sample.varp[key].toarray().astype(float)))
    return np.array(log_odds)


def assert_is_evidence_of(adata, log_odds, confidence=0.95):
    stored = adata.varp["grn"].toarray()
    pairs = stored > 0
    low, high = expit(np.quantile(log_odds[:, pairs], [(1 - confidence) / 2, (1 + confidence) / 2], axis=0))
    np.testing.assert_allclose(dense(adata, "low")[pairs], low, atol=2e-5)
    np.testing.assert_allclose(dense(adata, "high")[pairs], high, atol=2e-5)
    k = round(stored.sum())
    assert adata.uns["grn"]["evidence"]["n_called"] == k
    called = [values >= np.sort(values)[-k] for values in log_odds[:, pairs]]
    np.testing.assert_allclose(dense(adata, "stability")[pairs], np.mean(called, axis=0), atol=1e-6)


def test_resamples_are_fits_to_resampled_cells(adata):
    assert evidence(adata, rng=5, confidence=0.8) is None
    log_odds = by_hand(adata, "own", 6, 5, use_rep=None)
    assert np.ptp(log_odds[:, dense(adata, "") > 0], axis=0).max() > 0.5
    assert_is_evidence_of(adata, log_odds, 0.8)
    for name in SLOTS:
        slot, network = adata.varp[f"grn_{name}"], adata.varp["grn"]
        assert (slot.format, slot.dtype) == ("csr", np.int32 if name == "n_cells" else np.float32)
        np.testing.assert_array_equal(slot.indptr, network.indptr)
        np.testing.assert_array_equal(slot.indices, network.indices)
    found = (adata.layers["counts"].toarray() > 0).astype(int)
    pairs = dense(adata, "") > 0
    np.testing.assert_array_equal(dense(adata, "n_cells")[pairs], (found.T @ found)[pairs])


def test_every_resample_has_its_own_seed_and_more_begin_with_the_same(adata):
    seeds_seen.clear()
    evidence(adata, n_bootstraps=3)
    _, fit_seed = spawn_seeds(0, 2)
    assert seeds_seen == spawn_seeds(fit_seed, 3)
    assert len(set(seeds_seen)) == 3
    evidence(adata, n_bootstraps=5)
    assert seeds_seen[3:6] == seeds_seen[:3]


@pytest.mark.usefixtures("_coexpression")
@pytest.mark.parametrize("pool", ["attention", "mean"])
def test_the_embedding_is_pooled_over_the_cells_drawn(embedded, pool):
    adata = embedded.copy()
    folder = str(embedded.uns["scbert"]["weights"]["path"])
    own = {"weights": folder, "pool": pool, "key_added": "mine"}
    sg.tl.scbert_embed(adata, **own)
    sg.tl.fit_grn(adata, adata.uns["ground_truth"], method="coexpression", power=2.0, use_rep="mine")
    evidence(adata, n_bootstraps=3)
    assert adata.uns["grn"]["evidence"]["embedding"] == {"mine": "pooled anew"}
    log_odds = by_hand(adata, "own", 3, 0, use_rep="mine", embed=lambda sample: sg.tl.scbert_embed(sample, **own))
    assert_is_evidence_of(adata, log_odds)


def test_batches_weigh_alike_in_resamples_too(embedded, tmp_path):
    adata = embedded.copy()
    folder = str(embedded.uns["scbert"]["weights"]["path"])
    sg.tl.scbert_embed(adata, weights=folder, batch_key="arm", hidden_to=tmp_path / "hidden")
    counts = CellResampling(adata, unit=None, strata=None).draw([3])
    found = ResampledEmbedding.pool(adata, ["scbert", "scbert_mean"], counts, hidden=tmp_path / "hidden", device="cpu")
    assert found.held == {}
    sample = repeated(adata, counts[0])
    sg.tl.scbert_embed(sample, weights=folder, batch_key="arm")
    joined = found.of(0)
    assert joined.widths == (sample.varm["scbert"].shape[1],) * 2
    expected = np.hstack([sample.varm["scbert"], sample.varm["scbert_mean"]])
    np.testing.assert_allclose(joined.values, expected, atol=1e-5)


@pytest.mark.usefixtures("_coexpression")
def test_where_the_encoder_is_gone_the_embedding_stays_and_a_warning_says_so(embedded):
    adata = embedded.copy()
    adata.varm["foreign"] = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    adata.uns["scbert"] = adata.uns["scbert"] | {
        "weights": adata.uns["scbert"]["weights"] | {"kind": "path", "path": "no"}
    }
    fit = {"method": "coexpression", "power": 2.0, "use_rep": ["scbert", "foreign"]}
    sg.tl.fit_grn(adata, adata.uns["ground_truth"], **fit)
    with pytest.warns(UserWarning, match="in which only expression varies") as said:
        evidence(adata)
    assert len(said) == 2
    held = adata.uns["grn"]["evidence"]["embedding"]
    assert "are gone" in held["scbert"]
    assert "no encoder" in held["foreign"]
    log_odds = by_hand(adata, "own", 6, 0, use_rep=["scbert", "foreign"])
    assert_is_evidence_of(adata, log_odds)


@pytest.mark.usefixtures("_coexpression")
def test_an_embedding_that_its_encoder_does_not_make_is_refused(embedded):
    adata = embedded.copy()
    adata.varm["scbert"] = adata.varm["scbert"] + 1
    sg.tl.fit_grn(adata, adata.uns["ground_truth"], method="coexpression", use_rep="scbert")
    with pytest.raises(ArgumentError, match="not what its encoder makes"):
        evidence(adata)
    adata.varm["scbert"] = adata.varm["scbert"] - 2
    with pytest.raises(ArgumentError, match="changed since"):
        evidence(adata)


@pytest.mark.usefixtures("_coexpression")
def test_an_embedding_of_more_cells_is_refused_before_any_is_encoded(embedded, monkeypatch):
    part = embedded[:50].copy()
    sg.tl.fit_grn(part, part.uns["ground_truth"], method="coexpression", use_rep="scbert")
    monkeypatch.setattr("scgrn_tl.tl._resampled_embedding._pool", None)
    with pytest.raises(ArgumentError, match=r"was pooled over 60 cells, of which 50 are here.*use_rep"):
        evidence(part)


# --- where it goes ----------------------------------------------------------------------------------------------------


def test_table_refit_and_file(adata, tmp_path):
    assert "low" not in sg.get.grn_df(adata)
    evidence(adata)
    table = sg.get.grn_df(adata, min_probability=None)
    assert (table["low"] <= table["high"]).all()
    assert table["stability"].between(0, 1).all()
    assert table["n_cells"].dtype == np.int64
    row = table.iloc[3]
    at = adata.var_names.get_indexer([row["source"], row["target"]])
    assert row["low"] == adata.varp["grn_low"][at[0], at[1]]

    adata.write_h5ad(tmp_path / "grn.h5ad")
    read = ad.read_h5ad(tmp_path / "grn.h5ad")
    pd.testing.assert_frame_equal(sg.get.grn_df(read, min_probability=None), table, check_dtype=False)
    again = evidence(read, copy=True)  # from the record as files keep it
    np.testing.assert_array_equal(dense(again, "low"), dense(adata, "low"))

    sg.tl.fit_grn(adata, adata.uns["ground_truth"], method="coexpression", use_rep=None)
    assert not {f"grn_{name}" for name in SLOTS} & set(adata.varp)
    assert "evidence" not in adata.uns["grn"]
    assert "low" not in sg.get.grn_df(adata)


@pytest.mark.usefixtures("_coexpression")
def test_only_stored_pairs_and_other_keys(simulated):
    adata = simulated.copy()
    sg.tl.fit_grn(adata, adata.uns["ground_truth"], method="coexpression", use_rep=None, max_edges=50)
    evidence(adata, key_added="again")
    assert adata.varp["again_low"].nnz == 50
    assert "grn_low" not in adata.varp
    assert set(adata.uns["again"]) == {"evidence"}
    data = md.MuData({"rna": adata})
    written = evidence(data, copy=True)
    assert "grn_low" in written["rna"].varp
    assert written["rna"].uns["grn"]["prior"] is not data["rna"].uns["grn"]["prior"]
    assert "grn_low" not in data["rna"].varp


@pytest.mark.usefixtures("_coexpression")
def test_groups_called_as_the_slots(simulated):
    adata = simulated.copy()
    adata.obs["dose"] = np.where(np.arange(60) % 2, "low", "high")
    sg.tl.fit_grn(adata, adata.uns["ground_truth"], method="coexpression", use_rep=None, groupby="dose")
    before = dense(adata, "low")
    assert "low" not in sg.get.grn_df(adata)
    with pytest.raises(ArgumentError, match="network of a group of that name"):
        evidence(adata)
    evidence(adata, key_added="cells")
    np.testing.assert_array_equal(dense(adata, "low"), before)
    with pytest.raises(ArgumentError, match="network of a group of cells"):
        evidence(adata, key="grn_low")


def test_interrupted_nothing_is_written(adata, monkeypatch):
    before = adata.copy()
    calls = iter(range(10))

    def interrupted(task, **params):
        if next(calls) == 2:
            raise KeyboardInterrupt
        return coexpression(task, **params)

    monkeypatch.setitem(_registry._REGISTRY, "coexpression", None)
    _registry._REGISTRY.pop("coexpression")
    traits = {"supervised": True, "directed": True, "stochastic": False, "reference": "tests"}

    def again(task, *, power=1.0):
        return interrupted(task, power=power)

    methods.method(name="coexpression", **traits)(again)
    with pytest.raises(KeyboardInterrupt):
        evidence(adata)
    assert set(adata.varp) == set(before.varp)
    assert set(adata.uns["grn"]) == set(before.uns["grn"])


# --- splits and errors ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_coexpression")
def test_the_split_of_the_fit_is_needed_and_checked(simulated):
    adata = simulated.copy()
    prior = adata.uns["ground_truth"]
    fit = {"method": "coexpression", "use_rep": None}
    network = sg.core.PriorNetwork.from_any(prior, adata.var_names)
    split, other = (sg.bm.split_edges(network, rng=seed) for seed in (0, 1))
    sg.tl.fit_grn(adata, prior, split=split, **fit)
    with pytest.raises(SplitError, match="pass the one that"):
        evidence(adata)
    with pytest.raises(SplitError, match="not the one"):
        evidence(adata, split=other)
    with pytest.raises(ArgumentError, match="split is an EdgeSplit"):
        evidence(adata, split="random")
    evidence(adata, split=split)
    assert "grn_low" in adata.varp
    sg.tl.fit_grn(adata, prior, rng=np.random.default_rng(0), **fit)
    with pytest.raises(SplitError, match="a generator as rng"):
        evidence(adata)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"n_bootstraps": 1}, "n_bootstraps is a whole number of at least 2"),
        ({"n_bootstraps": 2.5}, "n_bootstraps is a whole number"),
        ({"confidence": 1.0}, "confidence is a share"),
        ({"confidence": 95}, "confidence is a share"),
        ({"n_jobs": 0}, "n_jobs"),
        ({"key_added": "a/b"}, "key_added"),
    ],
)
def test_arguments(adata, arguments, match):
    with pytest.raises(ArgumentError, match=match):
        evidence(adata, **arguments)
    assert "grn_low" not in adata.varp


def test_data_and_networks_of_another_kind(adata):
    with pytest.raises(MissingKeyError, match="Did not find"):
        evidence(adata, key="nothing")
    with pytest.raises(MissingKeyError, match="donors"):
        evidence(adata, unit="donors")
    with pytest.raises(ArgumentError, match="fitted to 60 cells, and there are 50"):
        evidence(adata[:50].copy())
    with pytest.raises(ArgumentError, match="fitted to 40 genes, and there are 39"):
        evidence(adata[:, :39].copy())
    changed = adata.copy()
    changed.X = changed.X * 1.01
    with pytest.raises(ArgumentError, match=r"adata\.X was changed since the network was fitted"):
        evidence(changed)
    changed.X = sparse.csc_matrix(adata.X)
    evidence(changed)
    adata.uns["taken"] = "a word"
    with pytest.raises(ArgumentError, match="something else than a record"):
        evidence(adata, key_added="taken")
    sg.tl.infer_grn(adata, method="pearson", key_added="scores")
    with pytest.raises(ArgumentError, match="not fitted to known edges"):
        evidence(adata, key="scores")
    with pytest.raises(ArgumentError, match="another network"):
        evidence(adata, key_added="scores")
    adata.uns["other"] = {**adata.uns["grn"], "transfer": {"n_genes": 40}}
    adata.varp["other"] = adata.varp["grn"]
    with pytest.raises(ArgumentError, match="fitted to other data"):
        evidence(adata, key="other")
    adata.uns["grn"]["params"]["joint"] = True
    with pytest.raises(ArgumentError, match="joint=True"):
        evidence(adata)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:In . of . resamples:UserWarning")
def test_sctransnet_in_any_number_of_processes(simulated):
    adata = simulated.copy()
    sg.tl.fit_grn(adata, adata.uns["ground_truth"], use_rep=None, n_models=2, **FAST)
    one, other = (evidence(adata, n_bootstraps=3, n_jobs=n_jobs, copy=True) for n_jobs in (1, 2))
    for name in SLOTS:
        np.testing.assert_array_equal(dense(one, name), dense(other, name))
    assert (dense(evidence(adata, n_bootstraps=2, rng=1, copy=True), "low") != dense(one, "low")).any()
