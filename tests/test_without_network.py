"""scTransNet without graph and gene embedding: no network, the effects that are fitted to edges beforehand alone."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest

import scgrn_tl as sg
from scgrn_tl.core import MissingKeyError, PriorNetwork, make_task
from scgrn_tl.models import ScTransNet, gene_features
from scgrn_tl.models.fit_inputs import labelled_table
from scgrn_tl.models.gene_kernel import GeneKernel
from scgrn_tl.models.pair_effects import fit_pair_effects


@pytest.fixture(scope="module")
def simulated():
    return sg.datasets.simulated(n_cells=60, n_genes=40, n_tfs=8, mean_targets=10, rng=0)


@pytest.fixture(scope="module")
def task(simulated):
    prior = PriorNetwork.from_any(simulated.uns["ground_truth"], simulated.var_names)
    return make_task(simulated, prior=prior, split=sg.bm.split_edges(prior, rng=0), seed=0)


@pytest.mark.parametrize("effects", [{}, {"latent_factors": 0}, {"expression_effects": False}], ids=str)
def test_the_effects_are_all_there_is(task, effects, tmp_path):
    model = ScTransNet(use_gnn=False, n_models=2, **effects).fit(task)
    labels, mask = labelled_table(task.split.train, task.regulators, task.n_genes)
    features = gene_features(task.expression, seed=task.seed)
    expected = fit_pair_effects(
        labels,
        mask,
        kernel=GeneKernel(features) if effects.get("expression_effects", True) else None,
        n_factors=effects.get("latent_factors", 12),
    )
    scores = model.scores()
    np.testing.assert_allclose(scores.matrix, expected.matrix(), atol=1e-4)
    np.testing.assert_allclose(scores.hub.std(axis=0), scores.hub.std(axis=0)[0], atol=1e-5)  # rows and columns alone
    np.testing.assert_array_equal(scores.std, 0)
    assert scores.history == {}
    assert scores.details == {"best_epoch": [0, 0]}
    assert model.attention() is None
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(ScTransNet.load(tmp_path / "model").scores().matrix, scores.matrix)


def test_it_is_stored_read_and_transferred_as_any_fit(simulated, tmp_path):
    adata = simulated.copy()
    sg.tl.fit_grn(adata, adata.uns["ground_truth"], use_gnn=False, model_to=tmp_path / "model")
    assert {name for name in adata.varp if name.startswith("grn")} == {"grn", "grn_specificity"}
    assert "scbert" not in adata.varm
    metrics = adata.uns["grn"]["metrics"].query("part == 'validation'").set_index("method")
    assert np.isfinite(metrics["auroc"]).all()
    adata.write_h5ad(tmp_path / "fitted.h5ad")
    back = ad.read_h5ad(tmp_path / "fitted.h5ad")
    sg.tl.transfer_grn(back, tmp_path / "model", key_added="again")
    np.testing.assert_allclose(back.varp["again"].toarray(), adata.varp["grn"].toarray(), atol=1e-6)
    with pytest.raises(MissingKeyError, match="with a method that trains"):
        sg.pl.training_history(back)
    same = sg.tl.fit_grn(back, adata.uns["ground_truth"], use_gnn=False, copy=True)
    np.testing.assert_array_equal(same.varp["grn"].toarray(), adata.varp["grn"].toarray())
