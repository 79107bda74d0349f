"""A fitted scTransNet on other data: against its own scores, against the formula, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy import sparse
from scipy.special import expit

import scgrn_tl as sg
from scgrn_tl.core import ArgumentError, GeneOverlapError, MissingKeyError, PriorError, WeightsError
from scgrn_tl.models import LinkScorer, ScTransNet, seeded_rng, transfer_inputs
from scgrn_tl.models.component_alignment import align_components
from scgrn_tl.models.node_features import gene_profile
from scgrn_tl.tl._model_folder import check_model_to

ARCHIVE = Path(__file__).parent / "archive"
N_CELLS, N_GENES, N_TFS, WIDTH = 80, 60, 10, 6
FAST = {"gnn_widths": (16, 8), "gnn_heads": 2, "channel_hidden": 16, "channel_width": 8, "epochs": 5, "n_components": 8}


def with_embedding(adata, *, width=WIDTH, sha256="a" * 64, key="scbert", seed=0):
    """A gene embedding and the record that the encoder leaves beside it."""
    adata.varm[key] = np.random.default_rng(seed).normal(size=(adata.n_vars, width)).astype(np.float32)
    adata.varm[key][:2] = np.nan
    weights = {"kind": "path", "path": "/home/me/encoders/blood", "sha256": sha256, "n_vocabulary": 99}
    adata.uns[key] = {"genes": list(adata.var_names), "params": {"pool": "attention"}, "weights": weights}
    return adata


@pytest.fixture(scope="module")
def simulated():
    whole = sg.datasets.simulated(N_CELLS, N_GENES, N_TFS, mean_targets=10, rng=1)
    return with_embedding(whole)


@pytest.fixture
def adata(simulated):
    return simulated.copy()


@pytest.fixture(scope="module")
def model(simulated):
    """An ensemble with embedding, graph and hub terms."""
    settings = FAST | {"use_rep": "scbert", "n_models": 2}
    return ScTransNet.from_anndata(simulated, simulated.uns["ground_truth"], rng=3, **settings).fit()


@pytest.fixture(scope="module")
def graph_model(simulated):
    """Without an embedding."""
    return ScTransNet.from_anndata(simulated, simulated.uns["ground_truth"], use_rep=None, rng=3, **FAST).fit()


@pytest.fixture(scope="module")
def flat_model(simulated):
    """Without a graph: a pair's score is a function of its two genes."""
    settings = FAST | {"use_rep": "scbert", "epochs": 40, "lr": 0.02}
    return ScTransNet.from_anndata(simulated, simulated.uns["ground_truth"], use_gnn=False, rng=3, **settings).fit()


@pytest.fixture(scope="module")
def blind_model(simulated):
    """Neither graph nor anything else of expression."""
    settings = FAST | {"use_rep": "scbert", "epochs": 40, "lr": 0.02, "expression_effects": False}
    return ScTransNet.from_anndata(simulated, simulated.uns["ground_truth"], use_gnn=False, rng=3, **settings).fit()


def values(table):
    """Scores by pair of names."""
    return table.set_index(["source", "target"])["log_odds"]


# --- the same data ----------------------------------------------------------------------------------------------------


def test_on_its_own_data_it_says_what_it_said(model, adata):
    found = model.transfer(adata)
    own = model.scores()
    np.testing.assert_allclose(found.scores.matrix, own.matrix, atol=1e-6)
    np.testing.assert_allclose(found.scores.hub, own.hub, atol=1e-6)
    np.testing.assert_allclose(found.scores.std, own.std, atol=1e-6)
    np.testing.assert_allclose(found.scores.attention.toarray(), model.attention().toarray(), atol=1e-6)
    assert found.agreement == pytest.approx(1)
    assert found.seen_genes.all()
    assert found.seen_regulators.all()
    assert found.report()["n_edges_trained_on"] == model.prior.n_edges
    assert "10 regulators, 10 of them seen" in repr(found)


@pytest.mark.parametrize("name", ["flat_model", "blind_model"])
def test_without_a_graph_its_own_genes_have_the_very_same_scores(request, name, adata):
    """To the bit, in whatever order and company: terms and factors are matched by name."""
    model = request.getfixturevalue(name)
    own = model.scores()
    np.testing.assert_array_equal(model.transfer(adata).scores.matrix, own.matrix)
    np.testing.assert_array_equal(model.transfer(adata).scores.hub, own.hub)
    places = np.random.default_rng(0).permutation(N_GENES)[:45]
    some = adata[:, places].copy()
    some.var_names = [f"new_{name}" if number < 5 else name for number, name in enumerate(some.var_names)]
    found = model.transfer(some)
    names = pd.Index(found.genes)
    regulators = [names[place] for place in found.scores.regulators]
    rows = pd.Index(model.regulators).get_indexer(regulators)
    kept = np.flatnonzero(found.seen_genes)
    assert len(kept) == 40
    columns = pd.Index(model.genes).get_indexer(names[kept])
    np.testing.assert_allclose(found.scores.matrix[:, kept], own.matrix[np.ix_(rows, columns)], atol=1e-5)


def test_a_model_of_a_mudata_is_that_of_its_modality(adata, simulated):
    proteins = ad.AnnData(np.ones((N_CELLS, 2), dtype=np.float32), adata.obs[[]])
    data = md.MuData({"rna": adata, "protein": proteins})
    made, direct = (
        ScTransNet.from_anndata(each, simulated.uns["ground_truth"], use_rep="scbert")._task
        for each in (data, simulated)
    )
    assert made.genes == direct.genes
    np.testing.assert_array_equal(made.expression, direct.expression)
    np.testing.assert_array_equal(made.embedding, direct.embedding)
    with pytest.raises(MissingKeyError, match="no modality 'atac'"):
        ScTransNet.from_anndata(data, simulated.uns["ground_truth"], modality="atac")


@pytest.mark.parametrize("params", [{"n_models": 2, "use_rep": "scbert"}, {"hub_terms": False}], ids=str)
def test_the_calibration_and_the_slots_are_those_of_the_fit(adata, tmp_path, params):
    prior, settings = adata.uns["ground_truth"], FAST | params
    sg.tl.fit_grn(adata, prior, rng=5, model_to=tmp_path / "model", **settings)
    direct = ScTransNet.from_anndata(adata, prior, rng=5, **settings).fit()
    record = adata.uns["grn"]["calibration"]
    assert (direct.calibration.slope, direct.calibration.intercept) == (record["slope"], record["intercept"])
    sg.tl.transfer_grn(adata, tmp_path / "model", key_added="again")
    names = [name for name in adata.varp if name.startswith("grn")]
    assert len(names) == {"n_models": 4}.get(next(iter(params)), 2)
    for name in names:
        again = adata.varp[name.replace("grn", "again")]
        np.testing.assert_allclose(again.toarray(), adata.varp[name].toarray(), atol=1e-6, err_msg=name)
    np.testing.assert_array_equal(adata.var["again_is_tf"], adata.var["grn_is_tf"])
    assert adata.uns["again"]["calibration"] == record
    assert adata.uns["again"]["prior_sha256"] == direct.prior.sha256()
    table = direct.score(adata)
    np.testing.assert_allclose(table["probability"], expit(table["log_odds"].astype(float)), atol=1e-6)


def test_saved_and_loaded_it_says_the_same(model, adata, tmp_path):
    model.save(tmp_path / "model")
    back = ScTransNet.load(tmp_path / "model", device="cpu")
    other = adata[:50, 5:].copy()
    pd.testing.assert_frame_equal(back.score(other), model.score(other))
    assert back.sources == model.sources
    assert back.calibration == model.calibration


def test_neither_the_order_of_genes_nor_of_cells_nor_the_form_of_the_matrix_matters(model, adata):
    rng = np.random.default_rng(0)
    other = adata[rng.permutation(N_CELLS), rng.permutation(N_GENES)].copy()
    other.X = sparse.csc_matrix(other.X)
    expected = values(model.score(adata))
    np.testing.assert_allclose(values(model.score(other)).loc[expected.index], expected, atol=2e-4)


# --- other genes, against the formula ---------------------------------------------------------------------------------


def told_by_expression(model, simulated, other):
    """``(1 + q, G)``: Σ_h a_h K(g, h) over the model's own genes h, read at the other data's genes g."""
    own = model._inputs.features.numpy().astype(float)
    loadings, moments = gene_profile(other.X.T, n_components=own.shape[1] - 3, seed=model.seed)
    places = [simulated.var_names.get_indexer(other.var_names)[i] for i in range(other.n_vars)]
    rows = np.flatnonzero(np.array(places) >= 0)
    aligned = align_components(loadings, own[:, :-3], rows=rows, reference_rows=np.array(places)[rows]).loadings
    _, own_moments = gene_profile(simulated.X.T, n_components=own.shape[1] - 3, seed=0)
    features = np.hstack([aligned, (moments - own_moments.mean(0)) / own_moments.std(0)])
    squared = ((own[:, None] - own) ** 2).sum(2)
    width = 0.5 * np.median(squared[np.triu_indices(len(own), 1)])
    across = np.exp(-((own[:, None] - features) ** 2).sum(2) / width)
    return model._inputs.by_expression.numpy() @ across


@pytest.mark.parametrize("name", ["flat_model", "blind_model"])
def test_other_genes_score_by_the_formula(request, name, simulated):
    """Without a graph: standardise by the training genes, both channels, less their training means (model.md §6).

    Terms and latent factors are by name; of genes never seen, what expression tells of them, or the average.
    """
    flat_model = request.getfixturevalue(name)
    rng = np.random.default_rng(9)
    other = simulated[:, rng.permutation(N_GENES)[:40]].copy()
    names = other.var_names.to_numpy(dtype=object)
    renamed = np.array([f"new_{name}" if number % 3 == 0 else name for number, name in enumerate(names)], dtype=object)
    other.var_names = renamed
    other.varm["scbert"] = rng.normal(2.0, 3.0, size=(40, WIDTH)).astype(np.float32)  # of other cells
    other.varm["scbert"][1] = np.nan
    tfs = [name for name in renamed if "TF" in name]
    table = flat_model.score(other, tf_names=tfs)

    z = simulated.varm["scbert"]
    known = np.isfinite(z).all(1)
    mean, std = z[known].mean(0), z[known].std(0)

    def inputs(vectors):
        has = np.isfinite(vectors).all(1)
        return torch.tensor(
            np.column_stack([np.where(has[:, None], (vectors - mean) / std, 0), has]).astype(np.float32)
        )

    (member,) = flat_model._members
    scorer, base = member.module.scorer, member.module.base.item()
    regulators = list(flat_model.regulators)
    own_tfs = [simulated.var_names.get_loc(name) for name in regulators]
    rate_tf = dict(zip(regulators, flat_model._inputs.regulator_rate.tolist(), strict=True))
    rate_target = dict(zip(flat_model.genes, flat_model._inputs.target_rate.tolist(), strict=True))
    assert max(map(abs, rate_tf.values())) > 0.1
    own = flat_model._inputs
    loadings = dict(zip(regulators, own.loadings.numpy(), strict=True))
    factors = dict(zip(flat_model.genes, own.factors.numpy(), strict=True))
    told = np.zeros((1 + own.factors.shape[1], 40))
    if name == "flat_model":
        told = told_by_expression(flat_model, simulated, other)
    told[1:] -= own.factor_mean.numpy()[:, None]
    with torch.no_grad():
        mean_tf = scorer.tf_channel(inputs(z)[own_tfs]).mean(0)
        mean_target = scorer.target_channel(inputs(z)).mean(0)
        x = inputs(other.varm["scbert"])
        tf, target = scorer.tf_channel(x) - mean_tf, scorer.target_channel(x) - mean_target
        for row in table.sample(100, random_state=0).itertuples():
            i, j = (int(np.flatnonzero(renamed == name)[0]) for name in (row.source, row.target))
            score = scorer.log_scale.exp() * (tf[i] @ target[j])
            score += float(loadings.get(row.source, 0 * told[1:, j]) @ factors.get(row.target, told[1:, j]))
            hub = scorer.tf_hub(tf[i]) + scorer.target_hub(target[j]) + base
            logit = score + hub + rate_tf.get(row.source, 0.0) + rate_target.get(row.target, told[0, j])
            slope, intercept = flat_model.calibration.slope, flat_model.calibration.intercept
            assert row.log_odds == pytest.approx(float(slope * logit + intercept), abs=1e-4)
            assert row.specificity == pytest.approx(float(slope * score), abs=1e-4)
            assert row.seen_source == (row.source in rate_tf)
            assert row.seen_target == (row.target in rate_target)
    assert {True, False} == set(table["seen_source"]) == set(table["seen_target"])
    if name == "flat_model":
        assert max(abs(told[0, j]) for j, gene in enumerate(renamed) if gene not in rate_target) > 0.05
        return
    # a pair's score does not depend on which others there are, where expression does not place them by each other
    fewer = flat_model.score(other[:, :25].copy(), tf_names=[name for name in renamed[:25] if "TF" in name])
    np.testing.assert_allclose(values(fewer), values(table).loc[values(fewer).index], atol=1e-5)


@pytest.mark.parametrize("decoder", ["dot", "cosine", "mlp"])
def test_centring_around_other_genes_is_the_formula(decoder):
    with seeded_rng(0):
        scorer = LinkScorer(6, hidden=5, out=4, decoder=decoder).double().eval()
        x, own = torch.randn(9, 6, dtype=torch.float64), torch.randn(7, 6, dtype=torch.float64)
    regulators, own_regulators = torch.tensor([1, 4]), torch.tensor([0, 2, 5])
    with torch.no_grad():
        channels = scorer.channels(x, regulators, around=(own, own_regulators))
        score, _ = scorer.logits(channels, slice(0, 2))
        tf_mean, target_mean = scorer.tf_channel(own[own_regulators]).mean(0), scorer.target_channel(own).mean(0)

        def raw(tf_genes, genes):
            tf, target = scorer.tf_channel(tf_genes) - tf_mean, scorer.target_channel(genes) - target_mean
            if decoder == "mlp":
                return torch.stack([scorer.readout(torch.relu(scorer.tf_hidden(t) + scorer.target_hidden(target)))[:, 0]
                                    for t in tf])  # fmt: skip
            if decoder == "cosine":
                tf, target = (torch.nn.functional.normalize(part, dim=1) for part in (tf, target))
            return tf @ target.T

        own_tfs = own[own_regulators]
        expected = raw(x[regulators], x)
        if decoder != "dot":  # two-way centring, the averages over the other genes
            expected = expected - raw(own_tfs, x).mean(0) - raw(x[regulators], own).mean(1, keepdim=True)
            expected = expected + raw(own_tfs, own).mean()
        torch.testing.assert_close(score, scorer.log_scale.exp() * expected)
        itself = scorer.logits(scorer.channels(x, regulators, around=(x, regulators)), slice(0, 2))
        torch.testing.assert_close(itself, scorer(x, regulators))


def test_no_score_depends_on_which_other_pairs_are_asked_for(graph_model, adata):
    targets = [name for name in adata.var_names if name not in set(graph_model.regulators)]
    pairs = [("TF01", targets[0]), ("TF02", targets[1])]
    strange = [(target, "TF01") for target in targets[:20]]  # no regulators to the model, and in its graph
    alone, among_others = (values(graph_model.score(adata, asked)) for asked in (pairs, pairs + strange))
    assert len(among_others) == 22
    np.testing.assert_allclose(among_others.loc[alone.index], alone, atol=1e-6)
    np.testing.assert_allclose(values(graph_model.score(adata)).loc[alone.index], alone, atol=1e-6)


def test_a_known_rotation_is_undone():
    rng = np.random.default_rng(0)
    own = rng.normal(size=(50, 8))
    rotation, _ = np.linalg.qr(rng.normal(size=(8, 8)))
    order = rng.permutation(50)
    other = (own @ rotation)[order][:30]  # some genes only, in another order
    found = align_components(other, own, rows=np.arange(0, 30, 2), reference_rows=order[:30:2])
    np.testing.assert_allclose(found.loadings, own[order[:30]], atol=1e-5)
    assert found.agreement == pytest.approx(1)
    # fewer components: the other data have no part in the last two of the model's
    flat = own.copy()
    flat[:, 6:] = 0
    turned = flat[:, :6] @ np.linalg.qr(rng.normal(size=(6, 6)))[0]
    found = align_components(turned, flat, rows=np.arange(50), reference_rows=np.arange(50))
    np.testing.assert_allclose(found.loadings, flat, atol=1e-5)
    # what shared genes do not bear out is shrunk to 0: components 4 to 7 have nothing in common here
    mixed = own.copy()
    mixed[:, 4:] = rng.normal(size=(50, 4))
    found = align_components(mixed, own, rows=np.arange(50), reference_rows=np.arange(50))
    fit = np.sum(found.loadings * own, axis=0) / np.sum(own**2, axis=0)
    assert (fit[:4] > 0.8).all()
    assert (np.abs(found.loadings[:, 4:]).mean(0) < 0.35 * np.abs(own[:, 4:]).mean(0)).all()
    strangers = align_components(rng.normal(size=(500, 8)), rng.normal(size=(500, 8)), rows=np.arange(500),
                                 reference_rows=np.arange(500))  # fmt: skip
    assert abs(strangers.agreement) < 0.05
    assert np.abs(strangers.loadings).max() < 0.3


def test_turned_components_change_no_score(graph_model, adata, monkeypatch):
    expected = graph_model.transfer(adata).scores.matrix
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(8, 8)))
    profile = transfer_inputs.gene_profile

    def turned(*given, **named):
        loadings, moments = profile(*given, **named)
        return loadings @ rotation, moments

    monkeypatch.setattr(transfer_inputs, "gene_profile", turned)
    np.testing.assert_allclose(graph_model.transfer(adata).scores.matrix, expected, atol=1e-4)


def test_a_regulator_never_seen_is_scored_from_its_edges_and_its_cells(graph_model, adata):
    adata.var_names = [f"new_{name}" if name in {"TF02", "G0020"} else name for name in adata.var_names]
    assert "new_TF02" not in set(graph_model.score(adata)["source"])
    asked = [("new_TF02", "G0030"), ("TF01", "new_G0020"), ("new_TF02", "new_G0020")]
    table = graph_model.score(adata, asked)
    assert list(zip(table["source"], table["target"], strict=True)) == asked
    assert table["seen_source"].tolist() == [False, True, False]
    assert table["seen_target"].tolist() == [True, False, False]
    by_frame = graph_model.score(adata, pd.DataFrame(asked, columns=["TF", "target"]))
    pd.testing.assert_frame_equal(by_frame, table)
    # its own known edges carry messages once they are given
    prior = pd.DataFrame({"source": "new_TF02", "target": adata.var_names[15:25], "sign": 1})
    found = graph_model.transfer(adata, prior=prior)
    assert found.report()["n_edges_given"] == 10
    assert found.report()["n_edges_trained_on"] < graph_model.prior.n_edges
    with_edges = found.table(asked)
    without = graph_model.score(adata, asked, tf_names=["new_TF02"])
    assert (with_edges["log_odds"] - without["log_odds"]).abs().max() > 1e-3
    source = found.messages.to_frame()["source"]
    assert set(source[~found.trained_on]) == {"new_TF02"}
    assert "TF02" not in set(source)


def test_several_embeddings_each_by_its_own_scale(adata):
    with_embedding(adata, key="other", width=3, sha256="b" * 64, seed=2)
    reps = ["scbert", "other"]
    model = ScTransNet.from_anndata(adata, adata.uns["ground_truth"], use_rep=reps, rng=0, **FAST).fit()
    np.testing.assert_allclose(model.transfer(adata).scores.matrix, model.scores().matrix, atol=1e-6)
    with pytest.raises(ArgumentError, match=r"fitted with 2 gene embeddings \('scbert', 'other'\), not with 1"):
        model.transfer(adata, use_rep="scbert")
    with pytest.raises(ArgumentError, match=r"'other'\] is 3 wide, the model's embedding 6"):
        model.transfer(adata, use_rep=reps[::-1])


# --- what is refused, and what is warned of ---------------------------------------------------------------------------


def test_embeddings_of_other_encoders_are_refused(model, adata):
    adata.uns["scbert"]["weights"] |= {"sha256": "c" * 64, "path": "/somewhere/else/kidney"}
    with pytest.raises(
        WeightsError, match=r"'else/kidney' \(SHA-256 cccccccccccc…\).*'encoders/blood'.*scbert_embed\("
    ):
        model.transfer(adata)
    del adata.uns["scbert"]
    with pytest.warns(UserWarning, match="not recorded. Scores mean nothing"):
        model.transfer(adata)
    del adata.varm["scbert"]
    with pytest.raises(MissingKeyError, match=r"Did not find \.varm\['scbert'\]\. Run `sg\.tl\.scbert_embed.*blood"):
        model.transfer(adata)


def test_an_embedding_pooled_otherwise_is_warned_of(model, adata):
    adata.varm["scbert_mean"] = adata.varm["scbert"]
    with pytest.warns(UserWarning, match="pooled over cells by 'mean', what the model was fitted with by 'attention'"):
        model.transfer(adata, use_rep="scbert_mean")


def test_a_model_without_embedding_takes_none(graph_model, adata):
    with pytest.raises(ArgumentError, match="without a gene embedding"):
        graph_model.transfer(adata, use_rep="scbert")


def test_too_few_shared_genes(graph_model, flat_model, blind_model, adata):
    lower = adata.copy()
    lower.var_names = lower.var_names.str.lower()
    with pytest.raises(GeneOverlapError, match=r"^0 of the data's 60 genes .*at least 10 .*differ only in case"):
        graph_model.transfer(lower)
    with pytest.raises(GeneOverlapError, match=r"at least 10 are needed to tell how expression compares"):
        flat_model.transfer(lower)  # reads expression too, for the terms of genes that it never saw
    with (
        pytest.warns(UserWarning, match="but for their case"),
        pytest.raises(GeneOverlapError, match="None of the model's 10 regulators"),
    ):
        blind_model.transfer(lower)
    with pytest.warns(UserWarning, match="60 genes are not among the model's but for their case"):
        table = blind_model.score(lower, [("tf01", "g0030")])  # nothing is turned: any pair has a score
    assert not table["seen_source"].item()
    assert np.isfinite(table["log_odds"].item())


def test_expression_on_another_scale_is_warned_of(graph_model, adata):
    adata.layers["wrong"] = adata.X * 3.1
    with pytest.warns(UserWarning, match="on another scale"):
        graph_model.transfer(adata, layer="wrong")


def test_no_edge_left_to_carry_messages_is_warned_of(graph_model, adata):
    adata.var_names = [f"new_{name}" if "TF" in name else name for name in adata.var_names]
    with pytest.warns(UserWarning, match="no gene hears of any other"):
        found = graph_model.transfer(adata, tf_names=["new_TF01"])
    assert found.messages.n_edges == 0
    assert np.isfinite(found.scores.matrix).all()
    with pytest.raises(PriorError, match="are left"):
        graph_model.transfer(adata, prior=pd.DataFrame({"source": ["TF01"], "target": ["G0030"]}))


def test_what_reads_the_cells_themselves_cannot_be_transferred(adata):
    settings = FAST | {"gene_features": "expression"}
    for read in ({"use_rep": None}, {"use_gnn": False}):
        model = ScTransNet.from_anndata(adata, adata.uns["ground_truth"], **settings | read).fit()
        with pytest.raises(ArgumentError, match="Fit with gene_features='pca'"):
            model.transfer(adata)
        assert "no other data can be scored" in " ".join(model.card().split())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda model, adata: model.score([("TF01", "G0030")], [("TF01", "G0030")]), ArgumentError, "with an AnnData"),
        (lambda model, adata: model.score([("TF01", "nope")]), MissingKeyError, r"model\.score\(adata, pairs\)"),
        (lambda model, adata: model.score(adata, [("TF01", "nope"), ("no", "G0030")]), MissingKeyError, "'no', 'nope'"),
        (lambda model, adata: model.score(adata, "TF01"), ArgumentError, "names, such as"),
        (lambda model, adata: model.score(adata, ["TF01", "G0030"]), ArgumentError, "pairs are"),
        (lambda model, adata: model.score(adata, tf_names=["nope"]), GeneOverlapError, "TF names"),
        (lambda model, adata: model.score(adata, layer="nope"), MissingKeyError, "nope"),
        (lambda model, adata: model.score(md.MuData({"rna": adata}), modality="no"), MissingKeyError, "modality"),
        (lambda model, adata: model.transfer(adata.X), ArgumentError, "adata is an AnnData or a MuData"),
        (lambda model, adata: ScTransNet().score(adata), ArgumentError, "not fitted"),
    ],
)
def test_arguments(graph_model, adata, call, error, message):
    with pytest.raises(error, match=message):
        call(graph_model, adata)


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_model_of_format_1_still_loads():
    folder = ARCHIVE / "sctransnet-format1"
    assert json.loads((folder / "model.json").read_text())["format_version"] == 1
    model = ScTransNet.load(folder, device="cpu")
    expected = np.loadtxt(folder / "expected_scores.csv", delimiter=",")
    np.testing.assert_allclose(model.scores().matrix, expected, atol=1e-5)
    adata = ad.AnnData(np.ones((4, 12), dtype=np.float32), var=pd.DataFrame(index=list(model.genes)))
    with pytest.raises(WeightsError, match="fit and save it again"):
        model.score(adata)


def test_a_model_of_format_1_can_be_saved_in_this_one(tmp_path):
    model = ScTransNet.load(ARCHIVE / "sctransnet-format1", device="cpu")
    model.save(tmp_path / "model")
    back = ScTransNet.load(tmp_path / "model", device="cpu")
    np.testing.assert_array_equal(back.scores().matrix, model.scores().matrix)
    assert "only pairs of its own genes" in back.card()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record["calibration"].update(slope=-1.0), "positive slope"),
        (lambda record: record["scales"].update(widths=[4, 4]), "widths .4, 4. do not go with scales"),
        (lambda record: record["scales"].update(marked=[7]), "do not go with scales"),
        (lambda record: record["embeddings"][0].update(colour="red"), "colour"),
        (lambda record: record.update(format_version=4), "Upgrade scgrn_tl"),
    ],
)
def test_records_that_do_not_fit_are_refused(model, tmp_path, change, message):
    model.save(tmp_path / "model")
    path = tmp_path / "model" / "model.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    with pytest.raises(WeightsError, match=message):
        ScTransNet.load(tmp_path / "model", device="cpu")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("by_expression", lambda values: values[:, :-1], r"by_expression.*\(11, 59\); expected \(11, 60\)"),
        ("by_expression", lambda values: values[:-1], r"by_expression.*\(10, 60\); expected \(11, 60\)"),
        ("by_expression", lambda values: values[0], r"by_expression.*\(60,\); expected \(11, 60\)"),
        ("by_expression", lambda values: values.double(), r"by_expression.*float64.*finite float32"),
        ("by_expression", lambda values: values * torch.inf, r"by_expression.*float32.*finite float32"),
        ("loadings", lambda values: values[:-1], r"inputs\.loadings.*expected 10 rows"),
        ("loadings", lambda values: values[:, :-1], r"inputs\.loadings.*expected \(10, 10\)"),
        ("factors", lambda values: values[:-1], r"inputs\.factors.*expected 60 rows"),
        ("factors", lambda values: values.flatten()[:60], r"inputs\.factors.*expected two axes"),
        ("factor_mean", lambda values: values[:-1], r"inputs\.factor_mean.*expected \(10,\)"),
        ("factor_mean", lambda _: None, r"inputs\.factor_mean is missing"),
        ("loadings", lambda _: None, r"inputs\.loadings is missing"),
    ],
)
def test_pair_effects_that_do_not_fit_are_refused(model, tmp_path, name, change, message):
    model.save(tmp_path / "model")
    path = tmp_path / "model" / "model.safetensors"
    tensors = load_file(path)
    changed = change(tensors.pop(f"inputs.{name}"))
    if changed is not None:
        tensors[f"inputs.{name}"] = changed.contiguous()
    save_file(tensors, path)
    with pytest.raises(WeightsError, match=message):
        ScTransNet.load(tmp_path / "model", device="cpu")


def test_a_saved_folder_can_be_read_by_those_who_may_read_files_there(graph_model, tmp_path):
    (tmp_path / "any").write_text("")
    graph_model.save(tmp_path / "model")
    of_any = (tmp_path / "any").stat().st_mode & 0o777
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "model").iterdir()}
    assert modes == dict.fromkeys(("README.md", "model.json", "model.safetensors"), of_any)
    assert (tmp_path / "model").stat().st_mode & 0o444 == of_any & 0o444


# --- the verb ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "blood"
    model.save(path)
    return path


def test_transfer_grn_writes_what_it_says(folder, model, adata, tmp_path):
    other = adata[:60, 5:].copy()
    other.var_names = [f"new_{name}" if name == "G0020" else name for name in other.var_names]
    assert sg.tl.transfer_grn(other, folder, tf_names=["G0021"]) is None
    table = model.score(other, tf_names=["G0021"])
    network = other.varp["grn"].toarray()
    at = other.var_names.get_indexer(table["source"]), other.var_names.get_indexer(table["target"])
    np.testing.assert_array_equal(network[at], table["probability"])
    np.testing.assert_allclose(other.varp["grn_specificity"].toarray()[at], table["specificity"], atol=1e-6)
    np.testing.assert_allclose(other.varp["grn_std"].toarray()[at], table["std"], atol=1e-6)
    np.testing.assert_allclose(other.varp["grn_attention"].sum(0), 1, atol=1e-5)
    assert other.var["grn_is_tf"].sum() == 5 + 1  # five of the ten TFs, and the gene that was named
    assert other.var_names[~other.var["grn_seen"]].tolist() == ["new_G0020"]
    assert other.var["grn_seen_as_tf"].sum() == 5
    record = other.uns["grn"]
    assert record["params"]["model"] == str(folder)
    assert record["transfer"]["n_genes_seen"] == other.n_vars - 1
    assert 0.5 < record["transfer"]["agreement"] < 1
    assert record["prior"]["trained_on"].all()
    other.write_h5ad(tmp_path / "other.h5ad")
    back = ad.read_h5ad(tmp_path / "other.h5ad")
    pd.testing.assert_frame_equal(sg.get.grn_df(back, top_n=20), sg.get.grn_df(other, top_n=20))
    again = adata[:60, 5:].copy()
    again.var_names = other.var_names
    sg.tl.transfer_grn(again, folder, tf_names=["G0021"])
    np.testing.assert_array_equal(again.varp["grn"].toarray(), network)  # the same bits


def test_transfer_grn_into_a_copy_and_into_a_modality(model, adata):
    copied = sg.tl.transfer_grn(adata, model, copy=True, key_added="blood")
    assert "blood" in copied.varp
    assert "blood" not in adata.varp
    mudata = md.MuData({"rna": adata.copy()})
    sg.tl.transfer_grn(mudata, model, key_added="blood", max_edges=30)
    assert mudata["rna"].varp["blood"].nnz == 30


def test_a_transferred_network_takes_the_place_of_an_earlier_one(graph_model, adata):
    sg.tl.fit_grn(adata, adata.uns["ground_truth"], use_rep=None, n_models=2, **FAST)
    assert "grn_std" in adata.varp
    sg.tl.transfer_grn(adata, graph_model)
    assert "grn_std" not in adata.varp
    assert "metrics" not in adata.uns["grn"]
    first = sg.get.grn_df(adata, min_probability=None).iloc[0]
    with pytest.warns(UserWarning, match="fitted with no gene embedding"):
        sg.tl.explain_edges(adata, [(first["source"], first["target"])])
    assert len(adata.uns["edge_explanation"]["messages"])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"model": 3}, ArgumentError, "model is a folder"),
        ({"model": "nowhere"}, WeightsError, "holds no saved ScTransNet"),
        ({"key_added": "a/b"}, ArgumentError, "key_added"),
        ({"max_edges": 0}, ArgumentError, "max_edges"),
        ({"use_rep": "nope"}, MissingKeyError, "nope"),
        ({"tf_names": []}, ArgumentError, "TF names"),
    ],
)
def test_a_failed_transfer_leaves_the_anndata_alone(folder, adata, change, error, message):
    before = adata.copy()
    given = {"model": folder} | change
    with pytest.raises(error, match=message):
        sg.tl.transfer_grn(adata, given.pop("model"), **given)
    assert set(adata.varp) == set(before.varp)
    assert set(adata.uns) == set(before.uns)
    assert list(adata.var) == list(before.var)


# --- keeping the model of a verb --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "message"),
    [({"method": "hub_floor"}, "Use method='sctransnet'"), ({}, "is no folder of a model; name a new")],
)
def test_model_to_is_checked_before_the_fit(adata, tmp_path, params, message):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    with pytest.raises(ArgumentError, match=message):
        sg.tl.fit_grn(adata, adata.uns["ground_truth"], model_to=tmp_path / "mine", **params)
    assert "grn" not in adata.varp
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_a_folder_that_cannot_be_the_models_own_is_refused_before_the_fit(adata, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArgumentError, match="cannot be written"):
        sg.tl.fit_grn(adata, adata.uns["ground_truth"], model_to=tmp_path / "file" / "model")
    entry = sg.methods.get("sctransnet")
    for joint_to in ("all", "all/encoder"):
        with pytest.raises(ArgumentError, match="would take the place of the encoder"):
            check_model_to(tmp_path / "all", entry, tmp_path / joint_to)
    check_model_to(tmp_path / "all" / "model", entry, tmp_path / "all" / "encoder")


def test_model_to_replaces_an_earlier_model(adata, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "model")
    sg.tl.fit_grn(adata, adata.uns["ground_truth"], use_rep=None, model_to=str(tmp_path / "model"), **FAST)
    assert ScTransNet.load(tmp_path / "model").sources == ()
    assert adata.uns["grn"]["params"]["model_to"] == str(tmp_path / "model")


@pytest.mark.slow
def test_a_joint_fit_reads_the_embedding_of_its_trained_encoder(tmp_path):
    from scgrn_tl.core import GeneVocabulary
    from scgrn_tl.models import ScBERT, ScBERTConfig

    adata = sg.datasets.simulated(n_cells=60, n_genes=40, n_tfs=8, mean_targets=10, rng=1)
    encoder = ScBERT(ScBERTConfig(n_genes=40, dim=8, depth=2, heads=2, dim_head=8))
    encoder.initialize(torch.Generator().manual_seed(0))
    encoder.save(tmp_path / "encoder", GeneVocabulary(adata.var_names))
    sg.tl.scbert_embed(adata, weights=tmp_path / "encoder")
    joint = FAST | {"joint": True, "joint_lr": 1e-2, "joint_cells": 8, "lr": 0.02, "epochs": 8}
    paths = {"model_to": tmp_path / "model", "joint_to": tmp_path / "tuned"}
    sg.tl.fit_grn(adata, adata.uns["ground_truth"], **joint, **paths)
    assert adata.uns["grn"]["best_epoch"] != [0]
    assert ScTransNet.load(tmp_path / "model").calibration.slope == adata.uns["grn"]["calibration"]["slope"]
    with pytest.raises(WeightsError, match="tuned"):  # the embedding that it started from
        sg.tl.transfer_grn(adata, tmp_path / "model", key_added="moved")
    sg.tl.scbert_embed(adata, weights=tmp_path / "tuned", key_added="tuned")
    sg.tl.transfer_grn(adata, tmp_path / "model", use_rep="tuned", key_added="moved")
    np.testing.assert_allclose(adata.varp["moved"].toarray(), adata.varp["grn"].toarray(), atol=1e-4)
    sg.tl.fit_grn(adata, adata.uns["ground_truth"], **joint, model_to=tmp_path / "two", n_models=2)
    with pytest.raises(ArgumentError, match="Each of the 2 members"):
        sg.tl.transfer_grn(adata, tmp_path / "two")
