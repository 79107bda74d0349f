"""``tl.differential_grn``: its algebra against plain regressions, and its error rates on planted rewiring."""

from __future__ import annotations

import anndata as ad
import mudata as md
import networkx as nx
import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats

import scgrn_tl as sg
from scgrn_tl.core import ArgumentError, MissingKeyError, PriorError
from scgrn_tl.core.coefficient_contrast import contrast_coefficients, permutation_pvalues, permute_within

COLUMNS = [
    "source", "target", "strength", "strength_reference", "difference", "statistic", "pvalue", "qvalue",
    "probability", "probability_reference", "log_odds_difference",
]  # fmt: skip


def candidates(adata, *, n_decoys: int, seed: int = 0) -> pd.DataFrame:
    """True edges of both conditions and pairs that are no edge in either."""
    both = [adata.uns["ground_truth"], adata.uns["ground_truth_condition2"]]
    edges = pd.concat(both)[["source", "target"]].drop_duplicates()
    known = set(edges.itertuples(index=False, name=None))
    tfs = adata.var_names[adata.var["is_tf"]]
    others = [(tf, gene) for tf in tfs for gene in adata.var_names if tf != gene and (tf, gene) not in known]
    chosen = np.random.default_rng(seed).choice(len(others), size=min(n_decoys, len(others)), replace=False)
    return pd.concat([edges, pd.DataFrame([others[at] for at in chosen], columns=edges.columns)], ignore_index=True)


def is_rewired(adata, table: pd.DataFrame) -> np.ndarray:
    changed = pd.MultiIndex.from_frame(adata.uns["rewired"][["source", "target"]])
    return pd.MultiIndex.from_frame(table[["source", "target"]]).isin(changed)


def contrast(adata, **changes) -> pd.DataFrame | None:
    given = {"groupby": "condition", "strata": "state", "n_permutations": 100, "n_jobs": 1}
    return sg.tl.differential_grn(adata, **given | changes)


def table_of(adata, **changes) -> pd.DataFrame:
    contrast(adata, **changes)
    return adata.uns["differential_grn"]["table"]


@pytest.fixture(scope="module")
def simulated():
    adata = sg.datasets.simulated(400, 60, 10, n_conditions=2, rewired=0.3, dropout=0.0, counts_per_gene=40.0, rng=2)
    adata.uns["edges"] = candidates(adata, n_decoys=40)
    return adata


@pytest.fixture
def adata(simulated):
    return simulated.copy()


# --- numerics ---------------------------------------------------------------------------------------------------------


def regression(x, y, ridge, own_leverage):
    """One group, by the textbook: ridge coefficients and their HC3 variances."""
    inverse = np.linalg.inv(x.T @ x + ridge * len(x) * np.eye(x.shape[1]))
    beta = inverse @ x.T @ y
    meat = np.zeros_like(inverse)
    for row, value, own in zip(x, y, own_leverage, strict=True):
        residual = (value - row @ beta) / (1 - row @ inverse @ row - own)
        meat += residual**2 * np.outer(row, row)
    return beta, np.diag(inverse @ meat @ inverse)


@pytest.mark.parametrize("n_cells", [60, 700])  # one block of permutations, and several
def test_contrast_is_that_of_two_regressions(n_cells):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n_cells, 4)) @ rng.normal(size=(4, 4))
    y = x @ [1.0, 0.0, -0.5, 0.2] + rng.normal(size=n_cells) * (1 + np.abs(x[:, 0]))
    marked = np.arange(n_cells) < n_cells // 3
    marks = permute_within(marked, np.zeros(n_cells, int), 120, rng)
    own = np.full(n_cells, 0.01)
    result = contrast_coefficients(x, y, marks, own_leverage=own, ridge=0.01)
    assert result.statistics.shape == (121, 4)
    for row in (0, 1, 77, 120):
        one, other = (regression(x[side], y[side], 0.01, own[side]) for side in (marks[row], ~marks[row]))
        error = np.sqrt(one[1] + other[1])
        np.testing.assert_allclose(result.statistics[row], (one[0] - other[0]) / error, rtol=1e-8)
        if row == 0:
            np.testing.assert_allclose(result.coefficients, [one[0], other[0]], rtol=1e-8)
            np.testing.assert_allclose(result.errors, error, rtol=1e-8)


def test_without_a_ridge_coefficients_are_least_squares():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(80, 3)), rng.normal(size=80)
    marks = permute_within(np.arange(80) < 30, np.zeros(80, int), 20, rng)
    result = contrast_coefficients(x, y, marks, own_leverage=np.zeros(80), ridge=0.0)
    for coefficients, side in zip(result.coefficients, (marks[0], ~marks[0]), strict=True):
        np.testing.assert_allclose(coefficients, np.linalg.lstsq(x[side], y[side])[0], rtol=1e-8)


def test_permutations_stay_in_their_strata():
    rng = np.random.default_rng(0)
    strata = np.repeat([0, 1, 2], [10, 20, 5])
    marked = np.concatenate([np.arange(10) < 2, np.arange(20) < 15, np.arange(5) < 3])
    marks = permute_within(marked, strata, 400, rng)
    np.testing.assert_array_equal(marks[0], marked)
    for stratum, share in enumerate((0.2, 0.75, 0.6)):
        inside = marks[:, strata == stratum]
        assert (inside.sum(1) == marked[strata == stratum].sum()).all()
        np.testing.assert_allclose(inside[1:].mean(0), share, atol=5 * np.sqrt(share * (1 - share) / 400))


def test_pvalues_against_leaving_out_one_by_one():
    rng = np.random.default_rng(3)
    statistics = rng.normal(size=(31, 6)) * [1, 2, 1, 1, 0.5, 1] + [0, 0, 3, 0, 0, 0]
    null = []
    for edge in range(6):
        for b in range(1, 31):
            others = np.delete(statistics[1:, edge], b - 1)
            null.append(abs(statistics[b, edge] - others.mean()) / (others.std(ddof=1) * np.sqrt(1 + 1 / 29)))
    null = np.array(null)
    z, p = permutation_pvalues(statistics, np.zeros(6))
    expected = (statistics[0] - statistics[1:].mean(0)) / (statistics[1:].std(0, ddof=1) * np.sqrt(1 + 1 / 30))
    np.testing.assert_allclose(z, expected, rtol=1e-10)
    np.testing.assert_allclose(p, [(1 + (null >= abs(value)).sum()) / (1 + len(null)) for value in expected])
    # with a margin: half of either tail, measured from its border
    margins = np.full(6, 0.4)
    scale = statistics[1:].std(0, ddof=1) * np.sqrt(1 + 1 / 30)
    for value, margin, got in zip(expected, margins / scale, permutation_pvalues(statistics, margins)[1], strict=True):
        tails = []
        for x in (abs(value) - margin, abs(value) + margin):
            tail = (1 + (null >= abs(x)).sum()) / (1 + len(null))
            tails.append(tail if x >= 0 else 2 - tail)
        assert got == pytest.approx(min(1.0, sum(tails) / 2))


def test_pvalues_of_normal_statistics_are_those_of_the_normal():
    rng = np.random.default_rng(5)
    statistics = rng.normal(size=(2001, 50))
    statistics[0] = np.linspace(-3.5, 3.5, 50)
    z, p = permutation_pvalues(statistics, np.zeros(50))
    np.testing.assert_allclose(z, statistics[0], atol=0.2)
    size = np.abs(z)
    np.testing.assert_allclose(p, 2 * stats.norm.sf(size), rtol=0.25, atol=2e-4)
    margin = permutation_pvalues(statistics, statistics[1:].std(axis=0))[1]
    np.testing.assert_allclose(margin, stats.norm.sf(size - 1) + stats.norm.sf(size + 1), rtol=0.25, atol=2e-4)


# --- what it finds ----------------------------------------------------------------------------------------------------


def test_table_and_record(adata):
    assert contrast(adata, edges=adata.uns["edges"]) is None
    record = adata.uns["differential_grn"]
    table, params = record["table"], record["params"]
    assert list(table.columns) == COLUMNS
    assert (params["group"], params["reference"]) == ("condition2", "condition1")
    assert params["n_cells"] + params["n_cells_reference"] == 400
    assert record["version"] == sg.__version__
    given = pd.MultiIndex.from_frame(adata.uns["edges"])
    assert set(pd.MultiIndex.from_frame(table[["source", "target"]])) == set(given)
    assert table["pvalue"].is_monotonic_increasing
    np.testing.assert_allclose(table["difference"], table["strength"] - table["strength_reference"])
    np.testing.assert_allclose(table["qvalue"], stats.false_discovery_control(table["pvalue"]))
    assert (table["difference"] * table["statistic"] >= -1e-3).mean() > 0.95
    assert table[["probability", "probability_reference", "log_odds_difference"]].isna().all(axis=None)


def test_strengths_are_regressions_of_standardised_expression(adata):
    edges = pd.DataFrame({"source": ["TF01", "TF02", "TF03"], "target": ["G0005", "G0005", "G0005"]})
    table = table_of(adata, edges=edges).set_index("source")
    frame = adata.to_df()[["TF01", "TF02", "TF03", "G0005"]].astype(float)
    keys = [adata.obs["condition"], adata.obs["state"]]
    centred = frame - frame.groupby(keys, observed=True).transform("mean")
    centred /= centred.std(ddof=0)
    for column, condition in (("strength", "condition2"), ("strength_reference", "condition1")):
        part = centred[adata.obs["condition"] == condition]
        expected = np.linalg.lstsq(part[["TF01", "TF02", "TF03"]].to_numpy(), part["G0005"].to_numpy())[0]
        np.testing.assert_allclose(table.loc[["TF01", "TF02", "TF03"], column], expected, rtol=0.01, atol=1e-4)


def test_finds_planted_rewiring_with_the_right_sign(adata):
    table = table_of(adata, edges=adata.uns["edges"], n_permutations=200)
    found = table[table["qvalue"] < 0.1]
    truly = is_rewired(adata, found)
    assert truly.sum() >= 10
    assert (~truly).mean() < 0.25
    changed = adata.uns["rewired"].set_index(["source", "target"])
    effect = changed["sign"] * np.where(changed["change"] == "gained", 1, -1)
    pairs = pd.MultiIndex.from_frame(found.loc[truly, ["source", "target"]])
    assert (np.sign(found.loc[truly, "difference"].to_numpy()) == effect[pairs].to_numpy()).mean() > 0.95


def test_a_margin_takes_small_differences_away(adata):
    edges = adata.uns["edges"]
    exact, margin, wide = (
        table_of(adata, edges=edges, min_difference=value).set_index(["source", "target"]) for value in (0, 0.05, 0.5)
    )
    assert (margin["pvalue"] >= exact["pvalue"].reindex(margin.index) - 1e-12)[exact["pvalue"] < 0.8].all()
    assert (exact["qvalue"] < 0.1).sum() >= (margin["qvalue"] < 0.1).sum() > (wide["qvalue"] < 0.1).sum()


def test_swapping_group_and_reference_turns_the_signs(adata):
    edges = adata.uns["edges"]
    one = table_of(adata, edges=edges).set_index(["source", "target"])
    other = table_of(adata, edges=edges, group="condition1", reference="condition2").set_index(["source", "target"])
    np.testing.assert_allclose(one["difference"], -other["difference"].reindex(one.index), rtol=1e-6)


def test_null_without_rewiring_is_uniform():
    pvalues = []
    for seed in range(3):
        adata = sg.datasets.simulated(300, 60, 10, n_conditions=2, rewired=0.0, rng=seed)
        table = table_of(adata, edges=candidates(adata, n_decoys=60), min_difference=0, rng=seed)
        pvalues.append(table["pvalue"].dropna())
    pvalues = np.concatenate(pvalues)
    assert stats.kstest(pvalues, "uniform").pvalue > 1e-3
    assert 0.02 < (pvalues < 0.05).mean() < 0.09


def test_groups_of_unequal_noise_keep_the_level():
    """A t-test that is not studentised group by group would reject here: few noisy cells against many quiet ones."""
    rng = np.random.default_rng(0)
    n_small, n_large, n_genes = 60, 340, 150
    tf = rng.normal(size=400)
    noise = np.where(np.arange(400) < n_small, 3.0, 0.5)[:, None] * rng.normal(size=(400, n_genes))
    values = np.column_stack([tf, 0.5 * tf[:, None] + noise]) / 2 + 8.0  # within what logarithms reach
    adata = ad.AnnData(values.astype(np.float32), var=pd.DataFrame(index=["TF", *(f"G{i}" for i in range(n_genes))]))
    adata.obs["condition"] = np.repeat(["noisy", "quiet"], [n_small, n_large])
    edges = pd.DataFrame({"source": "TF", "target": adata.var_names[1:]})
    table = table_of(adata, edges=edges, strata=None, min_difference=0)
    assert stats.binomtest(int((table["pvalue"] < 0.05).sum()), n_genes, 0.05).pvalue > 1e-3


def test_composition_is_no_difference_within_strata():
    """States in which edges work differently, in other proportions: only a test without strata calls that rewiring."""
    rng = np.random.default_rng(1)
    state = rng.random(800) < 0.5
    group = rng.random(800) < np.where(state, 0.85, 0.15)
    tf = rng.normal(size=800)
    slopes = np.where(state, 1.0, -1.0)[:, None] * rng.uniform(0.3, 0.6, size=20)
    values = np.column_stack([tf, slopes * tf[:, None] + rng.normal(size=(800, 20))]) + 20.0
    adata = ad.AnnData(values.astype(np.float32), var=pd.DataFrame(index=["TF", *(f"G{i}" for i in range(20))]))
    adata.obs["condition"] = np.where(group, "b", "a")
    adata.obs["state"] = np.where(state, "s", "t")
    edges = pd.DataFrame({"source": "TF", "target": adata.var_names[1:]})
    assert (table_of(adata, edges=edges)["qvalue"] < 0.05).sum() == 0
    assert (table_of(adata, edges=edges, strata=None)["qvalue"] < 0.05).sum() > 15


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*edges are not tested:UserWarning")
def test_false_discovery_rate_over_twenty_simulations():
    wrong, power, any_of_null = [], [], []
    for seed in range(20):
        given = {"n_genes": 60, "n_tfs": 12, "n_conditions": 2, "rng": 500 + seed}
        adata = sg.datasets.simulated(1200, rewired=0.2, **given)
        table = table_of(adata, edges=candidates(adata, n_decoys=100, seed=seed), rng=seed)
        truly = is_rewired(adata, table)
        hit = (table["qvalue"] < 0.1).to_numpy()
        wrong.append((hit & ~truly).sum() / max(1, hit.sum()))
        power.append((hit & truly).sum() / truly.sum())
        adata = sg.datasets.simulated(600, rewired=0.0, **given)
        table = table_of(adata, edges=candidates(adata, n_decoys=100, seed=seed), min_difference=0, rng=seed)
        any_of_null.append((table["qvalue"] < 0.1).any())
    assert np.mean(wrong) < 0.1
    assert np.mean(power) > 0.1
    assert np.mean(any_of_null) <= 0.25  # 0.1 is nominal: more than five of twenty come up in 1 % of such tests


# --- networks, strata, cells ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def with_networks(simulated):
    """Networks of both conditions made by hand: 0.9 and 0.2 where one thinks so, 0.6 in that of all cells."""
    adata = simulated.copy()
    names = adata.var_names
    for key, edges in {
        "grn": {("TF01", "G0001"): 0.6, ("TF02", "G0002"): 0.1},
        "grn_condition1": {("TF02", "G0001"): 0.9, ("TF01", "G0001"): 0.2},
        "grn_condition2": {("TF03", "G0002"): 0.7, ("TF02", "G0001"): 0.25},
    }.items():
        matrix = sparse.lil_matrix((60, 60), dtype=np.float32)
        for (source, target), value in edges.items():
            matrix[names.get_loc(source), names.get_loc(target)] = value
        adata.varp[key] = matrix.tocsr()
    return adata


def test_candidates_are_the_likely_edges_of_any_network(with_networks):
    with pytest.warns(UserWarning, match="Only 3 edges.*min_probability="):
        table = table_of(with_networks.copy()).set_index(["source", "target"])
    assert set(table.index) == {("TF01", "G0001"), ("TF02", "G0001"), ("TF03", "G0002")}
    row = table.loc[("TF02", "G0001")]
    assert row["probability"] == pytest.approx(0.25)
    assert row["probability_reference"] == pytest.approx(0.9)
    assert row["log_odds_difference"] == pytest.approx(np.log(0.25 / 0.75) - np.log(9), rel=1e-5)
    with pytest.warns(UserWarning, match="Only 2 edges of the stored networks have a probability of at least 0.65"):
        assert len(table_of(with_networks.copy(), min_probability=0.65)) == 2


def test_after_fit_grn_by_group(adata):
    params = {"gnn_widths": (16, 8), "gnn_heads": 2, "channel_hidden": 16, "channel_width": 8, "epochs": 5}
    sg.tl.fit_grn(adata, adata.uns["ground_truth"], groupby="condition", use_rep=None, **params)
    table = table_of(adata, min_probability=0.3)
    assert len(table)
    likely = [adata.varp[key].toarray() for key in ("grn", "grn_condition1", "grn_condition2")]
    assert len(table) == (np.maximum.reduce(likely) >= np.float32(0.3)).sum()
    assert table["log_odds_difference"].notna().all()


def test_the_rest_is_all_other_cells(adata):
    adata.obs["cluster"] = np.resize(["a", "b", "c"], adata.n_obs)
    edges = adata.uns["edges"]
    rest = table_of(adata, groupby="cluster", group="b", edges=edges)
    assert adata.uns["differential_grn"]["params"]["reference"] == "rest"
    adata.obs["is_b"] = pd.Categorical(np.where(adata.obs["cluster"] == "b", "b", "other"), categories=["other", "b"])
    pd.testing.assert_frame_equal(rest, table_of(adata, groupby="is_b", edges=edges))


def test_cells_without_counterpart_are_left_out(adata):
    edges = adata.uns["edges"]
    first = (adata.obs["condition"] == "condition1").to_numpy()
    adata.obs["batch"] = pd.Categorical(np.where(first & (np.arange(400) < 100), "only1", "both"))
    n_only = int((adata.obs["batch"] == "only1").sum())
    with pytest.warns(UserWarning, match=f"{n_only} of 400 cells are left out"):
        table = table_of(adata, strata=["state", "batch"], edges=edges)
    assert adata.uns["differential_grn"]["report"]["cells_left_out"] == n_only
    kept = adata[adata.obs["batch"] == "both"].copy()
    pd.testing.assert_frame_equal(table, table_of(kept, edges=edges))


def test_genes_found_in_too_few_cells_are_not_tested(adata):
    counts = adata.layers["counts"].toarray()
    second = np.flatnonzero(adata.obs["condition"] == "condition2")
    counts[second[9:], adata.var_names.get_loc("TF01")] = 0
    adata.X = sparse.csr_matrix(counts.astype(np.float32))
    with pytest.warns(UserWarning, match=f"of {len(adata.uns['edges'])} edges are not tested.*min_cells="):
        table = table_of(adata, edges=adata.uns["edges"])
    untested = table["source"].eq("TF01") | table["target"].eq("TF01")
    assert untested.any()
    assert table.loc[untested, "pvalue"].isna().all()
    assert table.loc[~untested, "pvalue"].notna().all()
    assert table["pvalue"].notna().to_numpy()[: (~untested).sum()].all()  # they come last
    report = adata.uns["differential_grn"]["report"]
    assert report["edges_of_rare_genes"] == untested.sum()
    assert report["edges_tested"] == (~untested).sum()


def test_the_likeliest_regulators_are_kept(adata):
    edges = pd.DataFrame({"source": [f"TF{i:02d}" for i in range(1, 6)], "target": "G0009", "weight": range(1, 6)})
    with pytest.warns(UserWarning, match="3 of 5 edges are not tested.*2 likeliest.*max_regulators="):
        table = table_of(adata, edges=edges, max_regulators=2)
    assert set(table.dropna(subset="pvalue")["source"]) == {"TF05", "TF04"}
    assert adata.uns["differential_grn"]["report"] == {
        "edges_given": 5,
        "edges_tested": 2,
        "edges_of_unknown_genes": 0,
        "edges_of_rare_genes": 0,
        "edges_beyond_max_regulators": 3,
        "cells_left_out": 0,
    }


def test_warnings_point_at_the_users_line(adata):
    edges = pd.DataFrame({"source": ["TF01", "TF02", "x"], "target": "G0009"})
    adata.obs["part"] = np.where(np.arange(400) == np.flatnonzero(adata.obs["condition"] == "condition1")[0], "a", "b")
    counts = adata.X.toarray()
    counts[:, adata.var_names.get_loc("TF02")] = 0
    adata.X = counts
    with pytest.warns(UserWarning, match="are not tested|left out|not compared") as seen:
        sg.tl.differential_grn(
            adata, groupby="condition", strata="part", edges=edges, max_regulators=1, n_permutations=20, n_jobs=1
        )
    assert len(seen) == 3
    assert {each.filename for each in seen} == {__file__}


# --- edges that are named ---------------------------------------------------------------------------------------------

PAIRS = [("TF01", "G0001"), ("TF02", "G0001"), ("TF03", "G0002")]


@pytest.mark.parametrize(
    "form",
    [
        PAIRS,
        tuple(map(list, PAIRS)),
        iter(PAIRS),
        pd.MultiIndex.from_tuples(PAIRS),
        pd.DataFrame(PAIRS, columns=["source", "target"]),
        pd.DataFrame(PAIRS, columns=["TF", "gene"]),
        nx.DiGraph(PAIRS),
    ],
    ids=["list", "tuple of lists", "iterator", "MultiIndex", "table", "other names", "graph"],
)
def test_forms_of_edges(adata, form):
    table = table_of(adata, edges=form)
    assert set(table[["source", "target"]].itertuples(index=False, name=None)) == set(PAIRS)


def test_one_pair_is_an_edge(adata):
    assert len(table_of(adata, edges=("TF01", "G0001"))) == 1


@pytest.mark.parametrize("as_table", [True, False])
def test_edges_of_unknown_genes_are_counted(adata, as_table):
    named = [*PAIRS, ("TF01", "nowhere"), ("nobody", "nowhere"), PAIRS[0], ("TF01", "TF01")]
    edges = pd.DataFrame(named, columns=["source", "target"]) if as_table else named
    with pytest.warns(UserWarning, match="2 of the . edges of edges= are not compared.*'nowhere', 'nobody'"):
        table = table_of(adata, edges=edges)
    report = adata.uns["differential_grn"]["report"]
    assert (len(table), report["edges_given"], report["edges_of_unknown_genes"]) == (3, 5, 2)


@pytest.mark.parametrize(
    ("edges", "error", "message"),
    [
        ([("tf01", "g0001")], PriorError, "^edges= cannot be compared. None of the 1 edges.*'tf01'.*only in case"),
        (pd.DataFrame({"from": ["TF01"], "to": ["G0001"]}), PriorError, "^edges= cannot.*'from', 'to'.*needs one of"),
        ([("TF01",)], ArgumentError, "pair"),
        ([], ArgumentError, "edges is empty"),
        ({"TF01": "G0001"}, ArgumentError, "edges is pairs"),
        (7, PriorError, "^edges= cannot be compared"),
    ],
)
def test_edges_that_cannot_be_compared(adata, edges, error, message):
    with pytest.raises(error, match=message):
        contrast(adata, edges=edges)
    assert "differential_grn" not in adata.uns


# --- where it writes, and errors --------------------------------------------------------------------------------------


def test_same_bits_whatever_the_jobs_and_another_seed_differs(adata):
    edges = adata.uns["edges"].head(30)
    one = table_of(adata, edges=edges, rng=3)
    pd.testing.assert_frame_equal(one, table_of(adata, edges=edges, rng=3, n_jobs=2), check_exact=True)
    assert not one["pvalue"].equals(table_of(adata, edges=edges, rng=4)["pvalue"])


def test_copy_key_modality_and_file(adata, tmp_path):
    edges = adata.uns["edges"]
    before = adata.X.copy()
    copied = contrast(adata, edges=edges, copy=True, key_added="diff")
    assert "diff" not in adata.uns
    np.testing.assert_array_equal(adata.X.toarray(), before.toarray())
    mdata = md.MuData({"rna": adata.copy()})
    contrast(mdata, edges=edges, key_added="diff")
    table = copied.uns["diff"]["table"]
    pd.testing.assert_frame_equal(table, mdata["rna"].uns["diff"]["table"])
    copied.write_h5ad(tmp_path / "a.h5ad")
    back = ad.read_h5ad(tmp_path / "a.h5ad").uns["diff"]
    for name in COLUMNS:
        assert back["table"][name].tolist() == pytest.approx(table[name].tolist(), nan_ok=True)
    assert list(back["params"]["strata"]) == ["state"]


def test_counts_are_normalised_by_all_genes(adata):
    edges = adata.uns["edges"].head(20)
    logged = np.log2(1 + 1e4 * adata.layers["counts"].toarray() / adata.layers["counts"].sum(axis=1))
    adata.layers["logged"] = np.asarray(logged, dtype=np.float32)
    counts = table_of(adata, edges=edges, layer="counts")
    given = table_of(adata, edges=edges, layer="logged")
    np.testing.assert_allclose(counts["statistic"], given["statistic"], rtol=1e-3)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"groupby": "x"}, MissingKeyError, "obs\\['x'\\]"),
        ({"strata": ["state", "x"]}, MissingKeyError, "strata"),
        ({"groupby": "state"}, ArgumentError, "has 3 groups.*Say which"),
        ({"group": "condition3"}, ArgumentError, "'condition3' is no group.*Did you mean"),
        ({"groupby": "constant"}, ArgumentError, "one group only, 'all': there is nothing to compare it with. Name"),
        ({"groupby": "constant", "group": "all"}, ArgumentError, "one group only"),
        ({"group": "condition1", "reference": "condition3"}, ArgumentError, "reference='condition3'"),
        ({"group": "condition1", "reference": "condition1"}, ArgumentError, "nothing to compare"),
        ({"edges": None}, MissingKeyError, "groupby=…"),
        ({"edges": pd.DataFrame({"source": ["a"], "target": ["b"]})}, PriorError, "edges"),
        ({"min_probability": 1.5}, ArgumentError, "min_probability"),
        ({"min_difference": -0.1}, ArgumentError, "min_difference"),
        ({"n_permutations": 5}, ArgumentError, "n_permutations"),
        ({"max_regulators": 0}, ArgumentError, "max_regulators"),
        ({"min_cells": 300}, ArgumentError, "cells"),
        ({"n_jobs": 0}, ArgumentError, "n_jobs"),
        ({"layer": "x"}, MissingKeyError, "x"),
        ({"key_added": "a/b"}, ArgumentError, "key_added"),
        ({"strata": "condition"}, ArgumentError, "strata with cells of both groups"),
    ],
)
def test_bad_arguments_leave_everything_as_it_was(adata, changes, error, message):
    adata.obs["constant"] = "all"
    before = set(adata.uns)
    with pytest.raises(error, match=message):
        contrast(adata, **{"edges": adata.uns["edges"]} | changes)
    assert set(adata.uns) == before


def test_networks_of_scores_and_of_nothing_likely(adata):
    sg.tl.infer_grn(adata, method="pearson", tf_names=["TF01", "TF02"])
    adata.varp["grn"] = adata.varp["grn"] * 3
    with pytest.raises(ArgumentError, match="holds scores"):
        contrast(adata)
    adata.uns["grn"] = {}
    adata.varp["grn"] = sparse.csr_matrix((60, 60), dtype=np.float32)
    with pytest.raises(ArgumentError, match="lower it"):
        contrast(adata)
