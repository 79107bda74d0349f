"""``tl.explain_edges`` and its plot: shares against a brute-force loop, what is absent, what is refused."""

import warnings

import anndata as ad
import matplotlib.pyplot as plt
import mudata as md
import numpy as np
import pandas as pd
import pytest
from scipy.special import logit

import scgrn_tl as sg
from scgrn_tl.core import ArgumentError, MissingKeyError
from scgrn_tl.tl import _weight_shares

FAST = {
    "gnn_widths": (16, 8),
    "gnn_heads": 2,
    "channel_hidden": 16,
    "channel_width": 8,
    "epochs": 3,
    "use_rep": "scbert",
}
N_CELLS, N_GENES = 50, 30
NOT_EMBEDDED = "G0003"


@pytest.fixture(scope="module")
def fitted():
    adata = sg.datasets.simulated(n_cells=N_CELLS, n_genes=N_GENES, n_tfs=6, mean_targets=6, rng=2)
    rng = np.random.default_rng(0)
    genes = [gene for gene in reversed(adata.var_names) if gene != NOT_EMBEDDED]
    adata.varm["scbert"] = rng.normal(size=(N_GENES, 5)).astype(np.float32)
    adata.varm["scbert"][adata.var_names == NOT_EMBEDDED] = np.nan
    attention = rng.gamma(0.5, size=(N_CELLS, len(genes))).astype(np.float32)
    adata.obs["scbert_pooled"] = np.arange(N_CELLS) % 7 != 0
    attention[~adata.obs["scbert_pooled"]] = 9  # must not count
    adata.obsm["scbert_attention"] = attention
    adata.uns["scbert"] = {"genes": np.array(genes, dtype=object), "params": {"pool": "attention"}}
    adata.obs["type"] = pd.Categorical(rng.choice(["B cell", "NK/T", "mono"], N_CELLS))
    sg.tl.fit_grn(adata, adata.uns["ground_truth"], **FAST)
    return adata


@pytest.fixture
def adata(fitted):
    return fitted.copy()


@pytest.fixture
def edge(fitted):
    first = fitted.uns["ground_truth"].iloc[0]
    return str(first["source"]), str(first["target"])


@pytest.fixture(autouse=True)
def _figures_closed():
    yield
    plt.close("all")


def test_shares_of_the_weight(adata, edge, monkeypatch):
    monkeypatch.setattr(_weight_shares, "_BLOCK_VALUES", 29 * 8)  # eight cells at a time
    sg.tl.explain_edges(adata, [edge], groupby="type", n_cells=4)
    record = adata.uns["edge_explanation"]
    cells, genes, top = record["cells"], record["genes"].set_index("gene"), record["top_cells"]
    pooled = np.flatnonzero(adata.obs["scbert_pooled"])
    names = adata.obs["type"].astype(str).to_numpy()
    assert set(cells["group"]) == {"B cell", "NK/T", "mono"}
    for gene in edge:
        column = list(adata.uns["scbert"]["genes"]).index(gene)
        a = {n: float(adata.obsm["scbert_attention"][n, column]) for n in pooled}
        w = {n: value / sum(a.values()) for n, value in a.items()}  # eq. 6
        for _, row in cells[cells["gene"] == gene].iterrows():
            inside = [n for n in pooled if names[n] == row["group"]]
            share = sum(w[n] for n in inside)
            assert row["n_cells"] == len(inside)
            assert row["weight_share"] == pytest.approx(share)
            assert row["cell_share"] == pytest.approx(len(inside) / len(pooled))
            assert row["enrichment"] == pytest.approx(share / (len(inside) / len(pooled)))
            assert row["effective_cells"] == pytest.approx(1 / sum((w[n] / share) ** 2 for n in inside))
        assert cells.loc[cells["gene"] == gene, "weight_share"].sum() == pytest.approx(1)
        assert genes.loc[gene, "embedded"]
        assert genes.loc[gene, "effective_cells"] == pytest.approx(1 / sum(value**2 for value in w.values()))
        best = sorted(w, key=lambda n: -w[n])[:4]
        found = top[top["gene"] == gene]
        assert found["cell"].tolist() == adata.obs_names[best].tolist()
        assert found["group"].tolist() == names[best].tolist()
        np.testing.assert_allclose(found["weight"], [w[n] for n in best])
        assert found["rank"].tolist() == [1, 2, 3, 4]


def test_even_weights_are_as_many_cells_as_there_are(adata, edge):
    adata.obsm["scbert_attention"][:] = 0.25
    sg.tl.explain_edges(adata, edge)
    record = adata.uns["edge_explanation"]
    n_pooled = int(adata.obs["scbert_pooled"].sum())
    np.testing.assert_allclose(record["genes"]["effective_cells"], n_pooled)
    assert record["cells"]["group"].unique().tolist() == ["all cells"]
    np.testing.assert_allclose(record["cells"][["weight_share", "cell_share", "enrichment"]], 1)


def test_attention_that_is_read_from_disk(adata, edge):
    import dask.array as da

    sg.tl.explain_edges(adata, [edge], groupby="type")
    before = adata.uns["edge_explanation"]
    adata.obsm["scbert_attention"] = da.from_array(np.asarray(adata.obsm["scbert_attention"]), chunks=(11, 7))
    sg.tl.explain_edges(adata, [edge], groupby="type", key_added="lazy")
    for table in ("cells", "top_cells", "genes"):
        pd.testing.assert_frame_equal(before[table], adata.uns["lazy"][table])


def test_cells_without_a_group_are_one(adata, edge):
    adata.obs["type"] = adata.obs["type"].cat.add_categories("never")
    adata.obs.loc[adata.obs_names[1:5], "type"] = np.nan
    sg.tl.explain_edges(adata, [edge], groupby="type")
    cells = adata.uns["edge_explanation"]["cells"]
    assert set(cells["group"]) == {"B cell", "NK/T", "mono", "no group"}
    assert cells.loc[cells["group"] == "no group", "n_cells"].tolist() == [4, 4]
    np.testing.assert_allclose(cells.groupby("gene")["weight_share"].sum(), 1)


def test_a_gene_that_is_not_embedded_is_said_to_be(adata, edge):
    sg.tl.explain_edges(adata, [(edge[0], NOT_EMBEDDED)])
    record = adata.uns["edge_explanation"]
    row = record["genes"].set_index("gene").loc[NOT_EMBEDDED]
    assert not row["embedded"]
    assert row["effective_cells"] == 0
    assert "Not embedded" in row["note"]
    assert record["cells"]["gene"].tolist() == [edge[0]]
    assert not record["genes"].isna().to_numpy().any()


def test_messages_against_a_loop(adata, edge):
    sg.tl.explain_edges(adata, [edge], n_messages=100)
    record = adata.uns["edge_explanation"]
    prior = adata.uns["grn"]["prior"]
    assert prior["trained_on"].sum() == adata.uns["grn"]["params"]["n_training_edges"] < len(prior)
    prior = prior[prior["trained_on"]]
    attention = adata.varp["grn_attention"].toarray()
    place = {gene: number for number, gene in enumerate(adata.var_names)}
    for gene in edge:
        expected = {gene: ["self"]}
        for source, target, sign in zip(prior["source"], prior["target"], prior["sign"], strict=True):
            word = {1: "activate", -1: "represse", 0: "regulate"}[sign]
            if target == gene:
                expected.setdefault(source, []).append({"represse": "represses"}.get(word, word + "s"))
            if source == gene:
                expected.setdefault(target, []).append({"represse": "repressed"}.get(word, word + "d") + " by")
        n_messages = sum(map(len, expected.values()))
        found = record["messages"][record["messages"]["gene"] == gene]
        assert dict(zip(found["sender"], found["relation"], strict=True)) == {
            sender: " and ".join(relations) for sender, relations in expected.items()
        }
        for _, row in found.iterrows():
            assert row["attention"] == pytest.approx(attention[place[row["sender"]], place[gene]])
            assert row["uniform"] == pytest.approx(len(expected[row["sender"]]) / n_messages)
        assert found["attention"].is_monotonic_decreasing
        assert found["attention"].sum() == pytest.approx(1, abs=1e-5)
        about = record["genes"].set_index("gene").loc[gene]
        assert about["n_messages"] == n_messages
        assert about["self_attention"] == pytest.approx(attention[place[gene], place[gene]])


def test_a_mutual_edge_is_two_messages():
    from scgrn_tl.tl._message_table import messages_into

    edges = pd.DataFrame({"source": ["A", "B", "C"], "target": ["B", "A", "A"], "sign": [1, -1, 0]})
    found = messages_into("A", edges)
    assert found.loc[["B"]].tolist() == ["represses", "activated by"]
    assert found.loc["C"] == "regulates"
    assert found.loc["A"] == "self"
    assert len(found) == 4


def test_only_the_strongest_messages_and_its_own(adata, edge):
    sg.tl.explain_edges(adata, [edge], n_messages=1)
    messages = adata.uns["edge_explanation"]["messages"]
    for gene in edge:
        found = messages[messages["gene"] == gene]
        assert len(found) == 2
        assert found["relation"].eq("self").sum() == 1
        column = adata.varp["grn_attention"].toarray()[:, adata.var_names.get_loc(gene)]
        column[adata.var_names.get_loc(gene)] = -1
        assert adata.var_names[column.argmax()] in set(found["sender"])


def test_how_the_log_odds_split(adata, edge):
    sg.tl.explain_edges(adata, [edge])
    row = adata.uns["edge_explanation"]["edges"].iloc[0]
    at = adata.var_names.get_loc(edge[0]), adata.var_names.get_loc(edge[1])
    probability = float(adata.varp["grn"][at])
    assert row["probability"] == pytest.approx(probability)
    assert row["logit"] == pytest.approx(logit(probability), abs=1e-6)
    assert row["specificity"] == pytest.approx(float(adata.varp["grn_specificity"][at]))
    assert row["hub"] + row["specificity"] == pytest.approx(row["logit"])
    assert row["in_prior"]
    adata.varp["grn"][at] = 1.0  # in float32
    sg.tl.explain_edges(adata, [edge])
    assert adata.uns["edge_explanation"]["edges"]["logit"].iloc[0] == pytest.approx(24 * np.log(2), abs=1e-6)


def test_edges_in_any_form(adata, edge):
    best = sg.get.grn_df(adata, min_probability=None, top_n=3)
    other = tuple(best.loc[best[["source", "target"]].apply(tuple, axis=1) != edge, ["source", "target"]].iloc[0])
    wanted = [edge, other]
    for given in (wanted, iter([*wanted, edge]), pd.DataFrame(wanted, columns=["source", "target"]).assign(x=1)):
        sg.tl.explain_edges(adata, given)
        table = adata.uns["edge_explanation"]["edges"]
        assert list(zip(table["source"], table["target"], strict=True)) == wanted
    sg.tl.explain_edges(adata, top_n=3)
    pd.testing.assert_frame_equal(
        adata.uns["edge_explanation"]["edges"][["source", "target"]], best[["source", "target"]], check_dtype=False
    )


def test_round_trip_copy_and_mudata(adata, edge, tmp_path):
    before = set(adata.uns)
    copy = sg.tl.explain_edges(adata, [edge], groupby="type", copy=True)
    assert set(adata.uns) == before
    copy.write_h5ad(tmp_path / "a.h5ad")
    stored, found = copy.uns["edge_explanation"], ad.read_h5ad(tmp_path / "a.h5ad").uns["edge_explanation"]
    assert stored["params"] == found["params"] | {"n_cells": 10, "n_messages": 10}
    assert stored["params"]["groupby"] == "type"
    assert found["version"] == sg.__version__
    for table in ("edges", "genes", "cells", "top_cells", "messages"):
        assert {c: v.tolist() for c, v in stored[table].items()} == {c: v.tolist() for c, v in found[table].items()}
    sg.pl.edge_explanation(ad.read_h5ad(tmp_path / "a.h5ad"), *edge)
    mudata = md.MuData({"rna": adata.copy()})
    sg.tl.explain_edges(mudata, [edge], groupby="type")
    pd.testing.assert_frame_equal(mudata["rna"].uns["edge_explanation"]["cells"], stored["cells"])
    assert len(sg.pl.edge_explanation(mudata, *edge)) == 3


def test_fewer_genes_than_were_embedded(adata, edge):
    sg.tl.explain_edges(adata, [edge], n_messages=100)
    whole = adata.uns["edge_explanation"]["messages"]
    lost = next(sender for sender in whole["sender"] if sender not in edge)
    part = adata[:, adata.var_names != lost].copy()
    sg.tl.explain_edges(part, [edge], n_messages=100)
    found = part.uns["edge_explanation"]
    pd.testing.assert_frame_equal(found["cells"], adata.uns["edge_explanation"]["cells"])
    assert lost not in set(found["messages"]["sender"])
    expected = whole[whole["sender"] != lost].reset_index(drop=True)  # shares of what there was stay what they were
    pd.testing.assert_frame_equal(found["messages"], expected)


# ---------------------------------------------------------------- what is absent


@pytest.mark.parametrize(
    ("spoil", "part", "reason"),
    [
        (lambda a: a.obsm.pop("scbert_attention"), "cells", "There is no obsm['scbert_attention']"),
        (lambda a: a.uns["scbert"]["params"].update(pool="mean"), "cells", "the plain mean over cells"),
        (lambda a: a.uns.pop("scbert"), "cells", "Did not find uns['scbert']"),
        (lambda a: a.uns["grn"]["params"].update(use_rep="X_geneformer"), "cells", "fitted with varm['X_geneformer']"),
        (lambda a: a.uns["grn"]["params"].pop("use_rep"), "cells", "fitted with no gene embedding"),
        (lambda a: a.varp.pop("grn_attention"), "messages", "only `sg.tl.fit_grn` with method='sctransnet'"),
        (lambda a: a.varp.pop("grn_specificity"), "hubs", "does not tell hubs and specificity apart"),
    ],
)
def test_a_part_without_ground_is_left_out_and_said_to_be(adata, edge, spoil, part, reason):
    spoil(adata)
    with pytest.warns(UserWarning, match=f"The explanation is without {part}") as caught:
        sg.tl.explain_edges(adata, [edge])
    assert [warning.filename for warning in caught] == [__file__]  # once, at the line that called
    assert reason in str(caught[0].message)
    record = adata.uns["edge_explanation"]
    assert list(record["absent"]) == [part]
    assert reason in record["absent"][part]
    assert ("cells" in record, "messages" in record) == (part != "cells", part != "messages")
    axes = sg.pl.edge_explanation(adata, *edge)
    plt.gcf().canvas.draw()
    drawn = " ".join(text.get_text() for ax in axes for text in ax.texts)
    if part != "hubs":
        assert f"No {part}:" in drawn
    else:
        assert [tick.get_text() for tick in axes[0].get_yticklabels()] == ["log-odds"]


def warnings_of(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [str(warning.message) for warning in caught]


def explained_without_cells(adata, edge, reason, **given):
    with pytest.warns(UserWarning, match="The explanation is without cells"):
        sg.tl.explain_edges(adata, [edge], **given)
    absent = adata.uns["edge_explanation"]["absent"]
    assert list(absent) == ["cells"]
    assert reason in absent["cells"]


def test_cells_that_are_not_asked_for_are_not_warned_of(adata, edge):
    sg.tl.explain_edges(adata, [edge], rep=None)
    assert list(adata.uns["edge_explanation"]["absent"]) == ["cells"]


def test_the_fit_notes_its_data(adata, tmp_path):
    data = adata.uns["grn"]["data"]
    assert (data["n_cells"], data["n_genes"], len(data["embedding_sha256"])) == (N_CELLS, N_GENES, 1)
    adata.write_h5ad(tmp_path / "a.h5ad")
    assert ad.read_h5ad(tmp_path / "a.h5ad").uns["grn"]["data"]["embedding_sha256"] == data["embedding_sha256"]
    sg.tl.fit_grn(adata, adata.uns["ground_truth"], key_added="bare", **FAST | {"use_rep": None})
    assert set(adata.uns["bare"]["data"]) == {"n_cells", "n_genes", "mean_expression"}


def test_an_embedding_that_is_not_that_of_the_fit(adata, edge):
    same = adata[:, ::-1].copy()  # the order of genes does not matter
    sg.tl.explain_edges(same, [edge])
    assert same.uns["edge_explanation"]["absent"] == {}
    adata.varm["scbert"] = adata.varm["scbert"] + 1
    explained_without_cells(adata, edge, "varm['scbert'] was changed since the network was fitted with it")
    del adata.uns["grn"]["data"]  # as of older files
    sg.tl.explain_edges(adata, [edge])
    assert adata.uns["edge_explanation"]["absent"] == {}


def test_cells_that_were_left_out(adata, edge):
    explained_without_cells(adata[: N_CELLS // 2].copy(), edge, "fitted to 50 cells, and there are 25")
    adata.uns["scbert"]["cells"] = {"pooled": 99}
    explained_without_cells(adata, edge, "was pooled over 99 cells, of which 42 are left")


def test_batches_that_weigh_alike(adata, edge):
    adata.uns["scbert"]["params"]["batch_key"] = "donor"
    explained_without_cells(adata, edge, "weighs batches alike")


@pytest.fixture(scope="module")
def of_groups(fitted):
    adata = fitted.copy()
    for name in ("B cell", "NK_T"):
        adata.varm[f"scbert_{name}"] = adata.varm["scbert"] + 1
    adata.uns["scbert"]["params"]["groupby"] = "type"
    sg.tl.fit_grn(adata, adata.uns["ground_truth"], groupby="type", **FAST)
    return adata


@pytest.mark.parametrize("rep", ["scbert", "scbert_NK_T"])
def test_the_network_of_a_group(of_groups, edge, rep):
    adata = of_groups.copy()
    sg.tl.explain_edges(adata, [edge], key="grn_NK_T", rep=rep, groupby="type", n_cells=3)
    record = adata.uns["edge_explanation"]
    assert record["absent"] == {}
    members = np.flatnonzero(adata.obs["scbert_pooled"] & (adata.obs["type"] == "NK/T"))
    assert record["cells"]["group"].tolist() == ["NK/T", "NK/T"]
    assert (record["cells"]["n_cells"] == len(members)).all()
    np.testing.assert_allclose(record["cells"][["cell_share", "weight_share"]], 1)
    column = list(adata.uns["scbert"]["genes"]).index(edge[1])
    attention = adata.obsm["scbert_attention"][members, column].astype(float)
    best = np.argsort(-attention)[:3]
    top = record["top_cells"][record["top_cells"]["gene"] == edge[1]]
    assert top["cell"].tolist() == adata.obs_names[members[best]].tolist()
    np.testing.assert_allclose(top["weight"], attention[best] / attention.sum())


def test_a_group_that_was_fitted_with_the_embedding_of_all_cells(of_groups, edge):
    adata = of_groups.copy()
    sg.tl.explain_edges(adata, [edge], key="grn_mono")  # has no embedding of its own
    assert (adata.uns["edge_explanation"]["cells"]["n_cells"] == adata.obs["scbert_pooled"].sum()).all()
    sg.tl.fit_grn(adata, adata.uns["ground_truth"], groupby="type", group_pooling=float("inf"), **FAST)
    sg.tl.explain_edges(adata, [edge], key="grn_NK_T")  # is the network of all cells
    assert (adata.uns["edge_explanation"]["cells"]["n_cells"] == adata.obs["scbert_pooled"].sum()).all()


def test_a_group_that_is_no_longer_what_it_was(of_groups, edge):
    adata = of_groups.copy()
    adata.varm["scbert_NK_T"] = adata.varm["scbert_NK_T"] + 1
    explained_without_cells(adata, edge, "varm['scbert_NK_T'] was changed since", key="grn_NK_T")
    adata.obs["type"] = "mono"
    explained_without_cells(adata, edge, "has 0 cells of group 'NK_T'; the network was fitted to", key="grn_NK_T")
    del adata.obs["type"]
    explained_without_cells(adata, edge, "Did not find obs['type']", key="grn_NK_T")


def test_genes_that_were_renamed(adata, edge):
    adata.var_names = "gene-" + adata.var_names
    said = warnings_of(lambda: sg.tl.explain_edges(adata, [tuple(f"gene-{name}" for name in edge)]))
    assert len(said) == 3  # of the network, the cells, the messages
    assert "Genes were renamed since the network .varp['grn'] was made" in said[0]
    absent = adata.uns["edge_explanation"]["absent"]
    assert absent["cells"] == "Genes were renamed since the embedding was made: run `sg.tl.scbert_embed` again."
    assert absent["messages"].startswith("Genes were renamed since the network was made")


def test_one_gene_that_was_renamed(adata, edge):
    adata.var_names = [f"new {name}" if name == edge[1] else name for name in adata.var_names]
    said = warnings_of(lambda: sg.tl.explain_edges(adata, [(edge[0], f"new {edge[1]}")]))
    assert "1 of its prior's are not in var_names" in said[0]
    record = adata.uns["edge_explanation"]
    assert list(record["absent"]) == ["messages"]
    assert "it was renamed since" in record["genes"].set_index("gene").loc[f"new {edge[1]}", "note"]


def test_a_network_without_its_record(adata, edge):
    del adata.uns["grn"]
    said = warnings_of(lambda: sg.tl.explain_edges(adata, [edge]))
    assert ["lost its record" in text for text in said] == [True, False, False]
    assert set(adata.uns["edge_explanation"]["absent"]) == {"cells", "messages"}


def test_a_network_fitted_with_several_embeddings(adata, edge):
    adata.varm["X_geneformer"] = np.ones((N_GENES, 2))
    sg.tl.fit_grn(adata, adata.uns["ground_truth"], **FAST | {"use_rep": ["X_geneformer", "scbert"]})
    sg.tl.explain_edges(adata, [edge])
    assert adata.uns["edge_explanation"]["absent"] == {}
    adata.varm["X_geneformer"] = np.zeros((N_GENES, 2))
    sg.tl.explain_edges(adata, [edge])  # the other's hash is its own
    assert adata.uns["edge_explanation"]["absent"] == {}
    adata.varm["scbert"] = adata.varm["scbert"] + 1
    explained_without_cells(adata, edge, "varm['scbert'] was changed")


def test_nothing_to_explain_with(adata):
    sg.tl.infer_grn(adata, method="pearson", key_added="r")
    before = set(adata.uns)
    with pytest.raises(ArgumentError, match=r"nothing to explain \.varp\['r'\].*use_gnn=True"):
        sg.tl.explain_edges(adata, key="r")
    assert set(adata.uns) == before


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"key": "nope"}, MissingKeyError, r"Did not find \.varp\['nope'\]"),
        ({"groupby": "nope"}, MissingKeyError, r"obs\['nope'\] \(groupby=\)"),
        ({"edges": [("NOPE", "G0010")]}, ArgumentError, "edges has names that are not among the 30 genes: 'NOPE'"),
        ({"edges": [("TF01", "NOPE")]}, ArgumentError, "edges has names that are not among"),
        ({"edges": [("G0010", "TF01")]}, ArgumentError, "sources that were not scored as regulators: 'G0010'"),
        ({"edges": [("TF01", "TF01")]}, ArgumentError, "TF01 → TF01 is not stored"),
        ({"edges": []}, ArgumentError, "There are no edges"),
        ({"edges": pd.DataFrame(columns=["source", "target"])}, ArgumentError, "There are no edges"),
        ({"edges": "TF01"}, ArgumentError, "pairs"),
        ({"edges": [("TF01", "G0010", 3)]}, ArgumentError, "An edge is a pair"),
        ({"edges": pd.DataFrame({"source": ["TF01"]})}, ArgumentError, "no column 'target'"),
        ({"top_n": 0}, ArgumentError, "top_n is a whole number"),
        ({"n_cells": True}, ArgumentError, "n_cells is a whole number"),
        ({"n_messages": 1.5}, ArgumentError, "n_messages is a whole number"),
        ({"key_added": "a/b"}, ArgumentError, "without '/'"),
        ({"key_added": "grn"}, ArgumentError, "choose another name"),
        ({"key_added": "scbert"}, ArgumentError, "choose another name"),
    ],
)
def test_what_is_refused(adata, changes, error, message):
    before = {name: id(value) for name, value in adata.uns.items()}
    with pytest.raises(error, match=message):
        sg.tl.explain_edges(adata, **changes)
    assert {name: id(value) for name, value in adata.uns.items()} == before


@pytest.mark.parametrize("value", [-1.0, np.nan])
def test_attention_that_is_none(adata, edge, value):
    column = list(adata.uns["scbert"]["genes"]).index(edge[1])
    adata.obsm["scbert_attention"][3, column] = value
    with pytest.raises(ArgumentError, match="negative or not finite"):
        sg.tl.explain_edges(adata, [edge])
    adata.obsm["scbert_attention"][:, column] = 0
    with pytest.raises(ArgumentError, match=f"has any attention for '{edge[1]}'"):
        sg.tl.explain_edges(adata, [edge])


# ---------------------------------------------------------------- the plot


def artists(ax, gid):
    return [artist for artist in ax.get_children() if artist.get_gid() == gid]


def test_the_plot_shows_what_is_stored(adata, edge):
    sg.tl.explain_edges(adata, [edge], groupby="type")
    record = adata.uns["edge_explanation"]
    top, middle, bottom = sg.pl.edge_explanation(adata, *edge, n_messages=2)
    plt.gcf().canvas.draw()
    row = record["edges"].iloc[0]
    for part in ("hub", "specificity", "logit"):
        (bar,) = artists(top, part)
        assert bar.get_width() == pytest.approx(row[part])
    (last,) = artists(top, "specificity")
    assert last.get_x() + last.get_width() == pytest.approx(row["logit"])
    groups = [label.get_text() for label in middle.get_yticklabels()]
    for gene in edge:
        (line,) = artists(middle, f"weight:{gene}")
        expected = record["cells"].query("gene == @gene").set_index("group").loc[groups, "weight_share"]
        np.testing.assert_allclose(line.get_xdata(), expected)
        messages = record["messages"].query("gene == @gene")
        own = messages["relation"] == "self"
        shown = messages[own | messages.index.isin(messages[~own].index[:2])]
        (marks,) = artists(bottom, f"attention:{gene}")
        (ticks,) = artists(bottom, f"uniform:{gene}")
        np.testing.assert_allclose(marks.get_xdata(), shown["attention"])
        np.testing.assert_allclose(ticks.get_xdata(), shown["uniform"])
    bars = artists(middle, "cells")
    np.testing.assert_allclose(sorted(bar.get_width() for bar in bars), sorted(record["cells"]["cell_share"].unique()))


def test_many_groups_long_names_and_given_axes(adata, edge):
    adata.obs["type"] = [f"CD4-positive, alpha-beta T cell number {n % 20}" for n in range(N_CELLS)]
    sg.tl.explain_edges(adata, [edge], groupby="type")
    figure, axes = plt.subplots(3, 1, figsize=(3.4, 8), layout="constrained")
    found = sg.pl.edge_explanation(adata, *edge, axes=axes, n_groups=12)
    assert [ax.figure for ax in found] == [figure] * 3
    labels = [label.get_text() for label in found[1].get_yticklabels()]
    assert len(set(labels)) == len(labels) == 12
    assert max(map(len, labels)) <= 22
    figure.canvas.draw()
    left = min(label.get_window_extent().x0 for ax in axes for label in ax.get_yticklabels())
    assert left >= 0


@pytest.mark.parametrize(("hub", "specificity"), [(-0.53, 2.1), (-2.0, -0.4), (2.5, -2.1), (-6.5, 6.1), (1.0, 1.0)])
def test_numbers_stand_beside_names_and_bars(adata, edge, hub, specificity):
    sg.tl.explain_edges(adata, [edge])
    adata.uns["edge_explanation"]["edges"][["hub", "specificity", "logit"]] = [hub, specificity, hub + specificity]
    ax, *_ = sg.pl.edge_explanation(adata, *edge)
    plt.gcf().canvas.draw()
    taken = [bar.get_window_extent() for bar in ax.patches]
    taken += [label.get_window_extent() for label in ax.get_yticklabels()]
    frame, numbers = ax.get_window_extent(), [text.get_window_extent() for text in ax.texts]
    assert len(numbers) == 3
    assert not any(number.overlaps(other) for number in numbers for other in taken)
    assert all(frame.x0 <= number.x0 and number.x1 <= frame.x1 for number in numbers)


@pytest.mark.parametrize("given", [False, True])
def test_what_is_absent_is_said_within_the_panel(adata, edge, given):
    sg.tl.explain_edges(adata, [edge], rep=None)
    reason = "The network was scored with the jointly trained varm['grn_scbert'], not with varm['scbert'] (rep=). " * 2
    adata.uns["edge_explanation"]["absent"]["cells"] = reason
    axes = plt.subplots(1, 3, figsize=(9, 3), layout="constrained")[1] if given else None
    ax = sg.pl.edge_explanation(adata, *edge, axes=axes)[1]
    plt.gcf().canvas.draw()
    (text,) = artists(ax, "absent")
    assert " ".join(text.get_text().split()) == f"No cells: {reason}".strip()
    assert text.get_window_extent().x1 <= ax.get_window_extent().x1 + 1
    assert "\n" in text.get_text()


def test_what_cannot_be_drawn(adata, edge):
    with pytest.raises(MissingKeyError, match=r"\.uns\['edge_explanation'\]. Run `sg.tl.explain_edges"):
        sg.pl.edge_explanation(adata, *edge)
    sg.tl.explain_edges(adata, [edge])
    with pytest.raises(MissingKeyError, match=r"Did you mean key='edge_explanation'\?"):
        sg.pl.edge_explanation(adata, *edge, key="edge_explanatoin")
    with pytest.raises(ArgumentError, match="is not among the 1 edges explained"):
        sg.pl.edge_explanation(adata, edge[0], NOT_EMBEDDED)
    with pytest.raises(ArgumentError, match="n_groups is a whole number"):
        sg.pl.edge_explanation(adata, *edge, n_groups=0)
    with pytest.raises(ArgumentError, match="axes are three"):
        sg.pl.edge_explanation(adata, *edge, axes=plt.subplots(1, 2)[1])
