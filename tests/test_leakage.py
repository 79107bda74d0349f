"""Nothing of a test part reaches a method: turn every test label round, and not a bit of the result changes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import scgrn_tl as sg
from scgrn_tl import methods
from scgrn_tl.core import EdgeSplit, LabeledPairs, PriorNetwork
from scgrn_tl.models.checkpoint import weights_sha256 as sha256

QUICK = {
    "sctransnet": {"gnn_widths": (16, 8), "gnn_heads": 2, "channel_hidden": 16, "channel_width": 8},
    "deepdrim": {"n_neighbors": 1},
    "grn_transformer": {"steps": 4, "width": 16, "depth": 2, "n_trees": 10},
}
QUICK |= dict.fromkeys(methods.names(role="control"), QUICK["sctransnet"])


@pytest.fixture(scope="module")
def adata():
    made = sg.datasets.simulated(n_cells=40, n_genes=30, n_tfs=6, rng=0)
    made.varm["mine"] = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    return made


def turned_round(split: EdgeSplit, network: PriorNetwork) -> tuple[EdgeSplit, pd.DataFrame]:
    """The split with its test labels flipped, and a prior that says the same."""
    flipped = EdgeSplit(split.train, split.validation, LabeledPairs(split.test.pairs, ~split.test.labels), split.kind)
    held_out = {tuple(pair) for pair in split.test.positives.tolist()}
    kept = [tuple(pair) not in held_out for pair in network.pairs.tolist()]
    names = np.asarray(network.genes)
    added = pd.DataFrame(names[flipped.test.positives], columns=["source", "target"]).assign(sign=1, weight=1.0)
    return flipped, pd.concat([network.to_frame()[kept], added])


@pytest.mark.parametrize("kind", ["random", "tf", "target", "both"])
@pytest.mark.parametrize("method", methods.names(supervised=True))
def test_flipped_test_labels_change_nothing(adata, method, kind):
    prior = adata.uns["ground_truth"]
    network = PriorNetwork.from_any(prior, adata.var_names)
    split = sg.bm.split_edges(network, kind=kind, n_folds=3, validation_fraction=0.3, rng=0)
    flipped, other_prior = turned_round(split, network)
    assert 0 < split.test.labels.sum() < len(split.test)
    params = dict(QUICK.get(method, {}))
    if "epochs" in methods.get(method).parameters:
        params["epochs"] = 2
    one, other = (
        sg.tl.fit_grn(adata, edges, method=method, use_rep="mine", split=given, copy=True, **params)
        for edges, given in ((prior, split), (other_prior, flipped))
    )
    for key in one.varp:
        np.testing.assert_array_equal(one.varp[key].toarray(), other.varp[key].toarray())
    assert set(one.varp) == set(other.varp)
    assert one.uns["grn"]["calibration"] == other.uns["grn"]["calibration"]
    # the labels did change: what is said of the test part is another thing
    of_test = [fitted.uns["grn"]["metrics"].query("part == 'test'")["n_edges"].iloc[0] for fitted in (one, other)]
    assert of_test[0] + of_test[1] == len(split.test)


def test_flipped_test_labels_do_not_reach_an_encoder_trained_along(adata, tmp_path):
    prior = adata.uns["ground_truth"]
    network = PriorNetwork.from_any(prior, adata.var_names)
    split = sg.bm.split_edges(network, validation_fraction=0.3, rng=0)
    flipped, other_prior = turned_round(split, network)
    made = adata.copy()
    sg.tl.scbert_pretrain(made, weights_dir=tmp_path / "encoder", dim=8, depth=2, heads=2, dim_head=4, max_epochs=1)
    sg.tl.scbert_embed(made, weights=tmp_path / "encoder")
    params = QUICK["sctransnet"] | {"joint": True, "joint_lr": 1e-2, "epochs": 2}
    params |= {"latent_factors": 0, "expression_effects": False}  # which leave too little here to move the encoder
    for name, edges, given in (("one", prior, split), ("other", other_prior, flipped)):
        sg.tl.fit_grn(made, edges, split=given, key_added=name, joint_to=tmp_path / name, **params)
        assert made.uns[name]["best_epoch"] != [0]
    np.testing.assert_array_equal(made.varp["one"].toarray(), made.varp["other"].toarray())
    np.testing.assert_array_equal(made.varm["one_scbert"], made.varm["other_scbert"])
    assert sha256(tmp_path / "one") == sha256(tmp_path / "other") != sha256(tmp_path / "encoder")
    # labels of the training part do reach it
    labels = split.train.labels.copy()
    labels[:20] = ~labels[:20]
    trained = EdgeSplit(LabeledPairs(split.train.pairs, labels), split.validation, split.test, split.kind)
    sg.tl.fit_grn(made, prior, split=trained, joint_to=tmp_path / "third", **params)
    assert sha256(tmp_path / "third") != sha256(tmp_path / "one")


def test_a_benchmark_leaks_nothing_either(adata):
    network = PriorNetwork.from_any(adata.uns["ground_truth"], adata.var_names)
    split = sg.bm.split_edges(network, rng=0)
    flipped, _ = turned_round(split, network)
    names = ["gnnlink", "gene_identity", "hub_floor", "pearson"]
    scores = []
    for given in (split, flipped):
        table = sg.bm.run(adata, names, splits={"mine": given}).set_index("method")
        assert (table["error"] == "").all()
        scores.append([np.load(table.loc[name, "predictions"])["scores"] for name in names])
    for one, other in zip(*scores, strict=True):
        np.testing.assert_array_equal(one, other)
