"""The network, its training and its files."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from scgrn_tl.core import (
    ArgumentError,
    EdgeSplit,
    GRNTask,
    LabeledPairs,
    MissingKeyError,
    PriorNetwork,
    SplitError,
    WeightsError,
)
from scgrn_tl.models import LinkScorer, ScTransNet, ScTransNetConfig, fit_hub_rates, gene_features, seeded_rng
from scgrn_tl.models.fit_inputs import make_fit_inputs
from scgrn_tl.models.gene_kernel import GeneKernel
from scgrn_tl.models.link_training import LinkTrainer
from scgrn_tl.models.pair_effects import fit_pair_effects
from scgrn_tl.models.sctransnet import ScTransNetModule

N_TFS, N_GENES, N_CELLS = 8, 120, 60
SMALL = {"gnn_widths": (16, 8), "gnn_heads": 2, "channel_hidden": 16, "channel_width": 8, "epochs": 8, "patience": 8}


def make_split(seed=0, *, flip_test=False):
    """A network in which edges follow from gene programmes, split at random."""
    rng = np.random.default_rng(seed)
    programme = rng.normal(size=(N_GENES, 3))
    taste = rng.normal(size=(N_TFS, 3))
    truth = rng.random((N_TFS, N_GENES)) < expit(2 * taste @ programme.T - 0.5)
    pairs = np.array([(tf, gene) for tf in range(N_TFS) for gene in range(N_GENES) if tf != gene])
    labels = truth[pairs[:, 0], pairs[:, 1]]
    part = rng.choice(3, size=len(pairs), p=[0.6, 0.2, 0.2])
    parts = [LabeledPairs(pairs[part == p], labels[part == p]) for p in range(3)]
    if flip_test:
        parts[2] = LabeledPairs(parts[2].pairs, ~parts[2].labels)
    expression = np.maximum(programme @ rng.normal(size=(3, N_CELLS)) + rng.normal(size=(N_GENES, N_CELLS)), 0)
    return EdgeSplit(*parts), expression.astype(np.float32)


def make_task(*, flip_test=False, embedding=False, seed=0, signs=True):
    split, expression = make_split(flip_test=flip_test)
    edges = np.concatenate([part.positives for part in split.parts])  # the test part's too: it must not get through
    order = np.lexsort(edges.T)
    edges = edges[order]
    sign = (edges.sum(1) % 3 - 1) if signs else np.zeros(len(edges))
    genes = tuple(f"g{number}" for number in range(N_GENES))
    prior = PriorNetwork(genes, edges.T, sign, np.ones(len(edges)))
    z = np.random.default_rng(1).normal(size=(N_GENES, 5)).astype(np.float32)
    z[-3:] = np.nan
    task = GRNTask(expression, genes, np.arange(N_TFS), prior, split, z if embedding else None, seed)
    return task, split


@pytest.fixture(scope="module")
def fitted():
    task, split = make_task(embedding=True)
    return ScTransNet(**SMALL | {"epochs": 150, "patience": 150, "lr": 0.01}).fit(task), task, split


def test_learns_what_the_expression_tells(fitted):
    model, _, split = fitted
    scores = model.scores()
    specificity = scores.matrix - scores.hub
    at_test = specificity[split.test.pairs[:, 0], split.test.pairs[:, 1]]
    assert roc_auc_score(split.test.labels, scores.at(split.test.pairs)) > 0.75
    assert roc_auc_score(split.test.labels, at_test) > 0.65  # hub rates alone cannot


def test_scores_average_to_zero_over_each_regulator_and_each_target(fitted):
    scores = fitted[0].scores()
    specificity = scores.matrix - scores.hub
    np.testing.assert_allclose(specificity.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(specificity.mean(1), 0, atol=1e-5)
    assert np.abs(specificity).max() > 0.1


@pytest.mark.parametrize("params", [{}, {"use_gnn": False}, {"negatives": "hard", "hub_terms": False}], ids=str)
def test_flipped_test_labels_change_nothing(params):
    scores = [
        ScTransNet(**SMALL, **params).fit(make_task(flip_test=flip, embedding=True, signs=False)[0]).scores()
        for flip in (False, True)
    ]
    np.testing.assert_array_equal(scores[0].matrix, scores[1].matrix)
    assert scores[0].history == scores[1].history


def test_a_flipped_training_label_does_change_something():
    """The test above can fail: labels that the model may see do matter."""
    task, split = make_task()
    labels = split.train.labels.copy()
    labels[:20] = ~labels[:20]
    other = EdgeSplit(LabeledPairs(split.train.pairs, labels), split.validation, split.test)
    changed = GRNTask(task.expression, task.genes, task.regulators, task.prior, other)
    assert not np.array_equal(
        ScTransNet(**SMALL).fit(task).scores().matrix, ScTransNet(**SMALL).fit(changed).scores().matrix
    )


def test_same_seed_same_bits_and_global_state_untouched():
    task, _ = make_task(embedding=True)
    before = torch.get_rng_state()
    first = ScTransNet(**SMALL, n_models=2).fit(task).scores()
    torch.rand(17)  # moves the global state
    second = ScTransNet(**SMALL, n_models=2).fit(task).scores()
    np.testing.assert_array_equal(first.matrix, second.matrix)
    np.testing.assert_array_equal(first.std, second.std)
    other = ScTransNet(**SMALL, n_models=2).fit(make_task(embedding=True, seed=1)[0]).scores()
    assert not np.array_equal(first.matrix, other.matrix)
    torch.set_rng_state(before)
    ScTransNet(**SMALL).fit(task)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_ensemble_is_the_mean_of_its_members():
    task, _ = make_task()
    model = ScTransNet(**SMALL, n_models=3).fit(task)
    alone = []
    for member in list(model._members):
        model._members = [member]
        alone.append(model.scores().matrix)
    model = ScTransNet(**SMALL, n_models=3).fit(task)
    np.testing.assert_allclose(model.scores().matrix, np.mean(alone, 0), atol=1e-6)
    np.testing.assert_allclose(model.scores().std, np.std(alone, 0, ddof=1), atol=1e-5)
    np.testing.assert_array_equal(ScTransNet(**SMALL).fit(task).scores().matrix, alone[0])


def test_the_epoch_kept_is_the_best_on_validation(fitted):
    model = fitted[0]
    (member,) = model._members
    losses = member.history["validation_loss"]
    assert len(losses) == len(member.history["train_loss"]) + 1  # the first is before any step
    assert np.argmin(losses) == member.best_epoch > 0
    _, task, _ = fitted
    at_best = model.scores().at(task.split.validation.pairs)
    labels = task.split.validation.labels
    assert np.mean(np.logaddexp(0, at_best) - labels * at_best) == pytest.approx(min(losses), abs=1e-5)


def training_pairs(task):
    """Labels and which are known, ``bool (R, G)``."""
    labels, mask = np.zeros((2, N_TFS, N_GENES), dtype=bool)
    train = task.split.train
    mask[train.pairs[:, 0], train.pairs[:, 1]] = True
    labels[train.positives[:, 0], train.positives[:, 1]] = True
    return labels, mask


def test_before_any_step_the_model_is_the_pair_effects():
    task, _ = make_task()
    kernel = GeneKernel(gene_features(task.expression, n_components=32, seed=task.seed))
    chosen = make_fit_inputs(task, ScTransNetConfig(**SMALL)).factor_variance
    effects = fit_pair_effects(*training_pairs(task), kernel=kernel, factor_variance=chosen)
    product = effects.loadings @ effects.factors.T
    of_rows, of_columns = product.mean(1, keepdims=True), product.mean(0)
    specific = product - of_rows - of_columns + product.mean()
    assert np.abs(specific).max() > 0.1
    model = ScTransNet(**SMALL | {"epochs": 1, "lr": 1e-9}, use_gnn=False).fit(make_task(embedding=True)[0])
    scores = model.scores()
    # what averages to something over a regulator's or a target's pairs counts to its hub term
    np.testing.assert_allclose(scores.hub, effects.matrix() - specific, atol=1e-4)
    module, inputs = model._members[0].module, model._members[0].inputs
    with torch.no_grad():
        drawn, _ = module.scorer.logits(module.channels(inputs, None), slice(0, N_TFS))  # as it was drawn
    np.testing.assert_allclose(scores.matrix - scores.hub, specific + drawn.numpy(), atol=1e-4)
    graph_scores = ScTransNet(**SMALL | {"epochs": 1, "lr": 1e-9}).fit(task).scores()
    np.testing.assert_allclose(graph_scores.hub, scores.hub, atol=1e-4)


@pytest.mark.parametrize("params", [{"latent_factors": 0, "expression_effects": False}, {"hub_terms": False}], ids=str)
def test_before_any_step_a_model_without_further_effects_is_the_hub_rates_or_nothing(params):
    task, _ = make_task()
    scores = ScTransNet(**SMALL | {"epochs": 1, "lr": 1e-9}, **params).fit(task).scores()
    if "hub_terms" in params:
        assert scores.hub is None
        return
    np.testing.assert_allclose(scores.hub, fit_hub_rates(*training_pairs(task)).matrix(), atol=1e-5)


def test_the_network_learns_what_effects_leave_of_pairs_they_did_not_see():
    """The loss before any step: each training pair by a fit to the four other parts."""
    task, _ = make_task()
    found = make_fit_inputs(task, ScTransNetConfig(**SMALL))
    labels, mask = training_pairs(task)
    kernel = GeneKernel(gene_features(task.expression, n_components=32, seed=task.seed))
    fit = partial(fit_pair_effects, kernel=kernel, factor_variance=found.factor_variance)
    assert found.factor_variance == 0.3  # of a few edges
    logit = fit(labels, mask).matrix() + found.supervision.held_out.numpy()
    apart = np.full(labels.shape, np.nan)
    fold = np.random.default_rng(0).integers(5, size=labels.shape)
    for part in range(5):
        rest = fit(labels, mask & (fold != part)).matrix()
        apart[mask & (fold == part)] = rest[mask & (fold == part)]
    np.testing.assert_allclose(logit[mask], apart[mask], atol=1e-4)
    np.testing.assert_array_equal(found.supervision.held_out.numpy()[~mask], 0)
    trainer = LinkTrainer(ScTransNetModule(found.inputs.features.shape[1], 0, base=found.base,
        config=ScTransNetConfig(**SMALL | {"dropout": 0.0})), found.inputs, found.supervision, seed=0)  # fmt: skip
    with torch.no_grad():
        nothing = torch.zeros(labels.shape, dtype=torch.bool)
        loss = float(trainer._loss(nothing, torch.from_numpy(mask)))
    expected = np.logaddexp(0, apart[mask]) - labels[mask] * apart[mask]
    assert loss == pytest.approx(expected.mean(), abs=1e-3)  # an untrained network adds next to nothing
    inside = fit(labels, mask).matrix()[mask]
    assert loss > (np.logaddexp(0, inside) - labels[mask] * inside).mean() + 0.01  # a pair's own label would help


def test_pair_effects_do_not_hang_on_the_seed():
    """Else fits from several seeds, and to resampled cells, would be of several models."""
    found = [make_fit_inputs(make_task(seed=seed)[0], ScTransNetConfig(**SMALL)) for seed in range(8)]
    assert {each.factor_variance for each in found} == {found[0].factor_variance}
    for each in found[1:]:
        torch.testing.assert_close(each.inputs.factors, found[0].inputs.factors, rtol=0, atol=1e-2)
        torch.testing.assert_close(each.supervision.held_out, found[0].supervision.held_out, rtol=0, atol=1e-2)


def test_the_log_has_a_line_of_pair_effects(caplog):
    """One for all the fits that leave pairs out."""
    with caplog.at_level("INFO", logger="scgrn_tl"):
        found = make_fit_inputs(make_task()[0], ScTransNetConfig(**SMALL))
    (line,) = [record.getMessage() for record in caplog.records if "air effects" in record.getMessage()]
    assert f"latent factors of variance {found.factor_variance:g}, by expression too" in line
    assert "Hub rates" not in caplog.text


def test_validation_and_test_labels_do_not_reach_the_effects():
    task, split = make_task(signs=False)
    parts = [LabeledPairs(part.pairs, ~part.labels) for part in (split.validation, split.test)]
    other = GRNTask(task.expression, task.genes, task.regulators, task.prior, EdgeSplit(split.train, *parts))
    one, two = (make_fit_inputs(each, ScTransNetConfig(**SMALL)) for each in (task, other))
    for name, values in one.inputs.named_buffers():
        assert torch.equal(values, dict(two.inputs.named_buffers())[name]), name
    assert torch.equal(one.supervision.held_out, two.supervision.held_out)
    assert one.base == two.base


@pytest.mark.parametrize("dense", [0.0, 1.1], ids=["masks", "edges"])
def test_hidden_edges_do_not_carry_messages(dense):
    """In every epoch, pairs learned from and edges that carry messages are disjoint."""
    from scgrn_tl.models import prior_graph
    from scgrn_tl.models.link_training import LinkTrainer
    from scgrn_tl.models.pair_attention import PairGraph

    seen = []
    draw, build = LinkTrainer._draw, LinkTrainer._graph_without

    def spy_draw(self, draws):
        hidden, chosen = draw(self, draws)
        seen.append({"learned": chosen, "mask": self.supervision.mask})
        return hidden, chosen

    def spy_graph(self, hidden):
        graph = build(self, hidden)
        if isinstance(graph, PairGraph):
            seen[-1]["graph"] = torch.stack([mask for _, mask in graph.relations]).any(0)
        else:
            regulation = graph.relation < 3
            shown = torch.zeros_like(hidden)
            shown[graph.edge_index[0, regulation], graph.edge_index[1, regulation]] = True
            seen[-1]["graph"] = shown
        return graph

    task, _ = make_task()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prior_graph, "_DENSE", dense)
        patch.setattr(LinkTrainer, "_draw", spy_draw)
        patch.setattr(LinkTrainer, "_graph_without", spy_graph)
        ScTransNet(**SMALL).fit(task)
    assert len(seen) == SMALL["epochs"]
    for epoch in seen:
        assert not epoch["learned"][epoch["graph"]].any()
        assert not (epoch["learned"] & ~epoch["mask"]).any()
        assert 0.4 < epoch["learned"].sum() / epoch["mask"].sum() < 0.6
        assert epoch["graph"].any()


def test_hard_negatives_are_as_many_as_edges_of_the_same_regulator():
    from scgrn_tl.models.link_training import LinkTrainer

    weights = []
    draw = LinkTrainer._draw

    def spy(self, draws):
        hidden, weight = draw(self, draws)
        weights.append((weight, self.supervision.labels))
        return hidden, weight

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LinkTrainer, "_draw", spy)
        ScTransNet(**SMALL, negatives="hard").fit(make_task()[0])
    for weight, labels in weights:
        n_edges, n_others = (weight & labels).sum(1), (weight & ~labels).sum(1)
        assert (n_others <= n_edges).all()
        assert (n_others > 0).any()
    assert not torch.equal(weights[0][0], weights[1][0])  # drawn anew each epoch


@pytest.mark.parametrize("decoder", ["dot", "cosine", "mlp"])
@pytest.mark.parametrize("centre", [True, False])
def test_scorer_is_the_formula(decoder, centre):
    with seeded_rng(0):
        scorer = LinkScorer(6, hidden=5, out=4, decoder=decoder, centre=centre).double().eval()
        torch.nn.init.normal_(scorer.tf_hub.weight)
        x, regulators = torch.randn(9, 6, dtype=torch.float64), torch.tensor([1, 4, 7])
    score, hub = scorer(x, regulators)
    tf, target = scorer.tf_channel(x[regulators]), scorer.target_channel(x)
    if centre:
        tf, target = tf - tf.mean(0), target - target.mean(0)
    expected = torch.empty(3, 9, dtype=torch.float64)
    for i in range(3):
        for j in range(9):
            if decoder == "mlp":
                expected[i, j] = scorer.readout(torch.relu(scorer.tf_hidden(tf[i]) + scorer.target_hidden(target[j])))
            elif decoder == "cosine":
                expected[i, j] = torch.nn.functional.cosine_similarity(tf[i], target[j], dim=0)
            else:
                expected[i, j] = tf[i] @ target[j]
    expected = expected * scorer.log_scale.exp()
    if centre:
        expected = expected - expected.mean(0) - expected.mean(1, keepdim=True) + expected.mean()
    torch.testing.assert_close(score, expected)
    if not centre:
        assert not hub.any()
    else:
        torch.testing.assert_close(hub, (tf @ scorer.tf_hub.weight.T) + (target @ scorer.target_hub.weight.T).T)


@pytest.mark.parametrize("decoder", ["cosine", "mlp"])
def test_other_decoders_train(decoder):
    something_to_learn = {"latent_factors": 0, "expression_effects": False}
    params = SMALL | {"epochs": 60, "patience": 60} | something_to_learn
    scores = ScTransNet(**params, decoder=decoder).fit(make_task()[0]).scores()
    assert np.isfinite(scores.matrix).all()
    losses = scores.history["train_loss"]
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 0.02


def test_regulators_without_a_known_target_are_scored():
    task, split = make_task()
    more = GRNTask(task.expression, task.genes, np.arange(N_TFS + 2), task.prior, split)
    scores = ScTransNet(**SMALL).fit(more).scores()
    assert scores.matrix.shape == (N_TFS + 2, N_GENES)
    assert np.isfinite(scores.matrix).all()


def test_validation_without_edges_keeps_the_last_epoch():
    task, split = make_task()
    validation = LabeledPairs(split.validation.pairs, np.zeros(len(split.validation), dtype=bool))
    changed = EdgeSplit(split.train, validation, split.test)
    model = ScTransNet(**SMALL).fit(GRNTask(task.expression, task.genes, task.regulators, task.prior, changed))
    assert model._members[0].best_epoch == SMALL["epochs"]


# -------------------------------------------------------------------- files


def test_save_and_load_give_the_same_bits(fitted, tmp_path):
    model, _, _ = fitted
    model.save(tmp_path / "model")
    loaded = ScTransNet.load(tmp_path / "model", device="cpu")
    np.testing.assert_array_equal(loaded.scores().matrix, model.scores().matrix)
    np.testing.assert_array_equal(loaded.scores().hub, model.scores().hub)
    assert loaded.config == model.config
    assert loaded.genes == model.genes
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "README.md",
        "model.json",
        "model.safetensors",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]  # nothing left beside it
    with pytest.raises(ArgumentError, match="overwrite=True"):
        model.save(tmp_path / "model")
    model.save(tmp_path / "model", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_an_interrupted_save_leaves_the_old_model(fitted, tmp_path, monkeypatch):
    model, _, _ = fitted
    model.save(tmp_path / "model")
    before = (tmp_path / "model" / "model.json").read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("scgrn_tl.models.checkpoint.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        model.save(tmp_path / "model", overwrite=True)
    assert (tmp_path / "model" / "model.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_scoring_pairs_by_name(fitted):
    model, _, _ = fitted
    np.testing.assert_array_equal(model.score([("g0", "g9"), ("g3", "g1")]), model.scores().matrix[[0, 3], [9, 1]])
    with pytest.raises(MissingKeyError, match=r"g119.*nope|nope.*g119"):
        model.score([("g119", "g1"), ("g1", "nope")])


def break_json(change):
    def damage(folder):
        record = json.loads((folder / "model.json").read_text())
        change(record)
        (folder / "model.json").write_text(json.dumps(record))

    return damage


def truncate(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "damaged"),
        (lambda folder: (folder / "model.json").write_text("{"), "damaged"),
        (lambda folder: (folder / "model.json").unlink(), r"model\.json is missing"),
        (lambda folder: (folder / "model.safetensors").unlink(), "holds no saved ScTransNet"),
        (break_json(lambda record: record.update(format="x")), "holds no ScTransNet"),
        (break_json(lambda record: record.update(format_version=99)), "Upgrade scgrn_tl"),
        (break_json(lambda record: record["config"].update(channel_width=4)), "does not fit its own description"),
        (break_json(lambda record: record.update(prior_sha256="0")), "not the one that its hash"),
    ],
)
def test_damaged_files_are_refused(fitted, tmp_path, damage, message):
    fitted[0].save(tmp_path / "model")
    damage(tmp_path / "model")
    with pytest.raises(WeightsError, match=message):
        ScTransNet.load(tmp_path / "model", device="cpu")


# -------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"dropout": 1.0}, "0 <= dropout < 1"),
        ({"epochs": 0}, "epochs > 0"),
        ({"decoder": "bilinear"}, "decoder is one of"),
        ({"gnn_widths": (10,)}, "divisible by gnn_heads"),
        ({"latent_factors": -1}, "latent_factors >= 0"),
        ({"widht": 3}, "no such hyper-parameter"),
    ],
)
def test_bad_hyper_parameters(params, message):
    with pytest.raises(ArgumentError, match=message):
        ScTransNet(**params)


def test_bad_tasks():
    task, split = make_task()
    for without in ({"hub_terms": False}, {"latent_factors": 0, "expression_effects": False}):
        with pytest.raises(ArgumentError, match="nothing is left to learn from but hub rates"):
            ScTransNet(use_gnn=False, **without).fit(task)
    with pytest.raises(SplitError, match="learns from a prior"):
        ScTransNet().fit(GRNTask(task.expression, task.genes, task.regulators))
    with pytest.raises(ArgumentError, match="needs a prior"):
        ScTransNet().fit(GRNTask(task.expression, task.genes, task.regulators, split=split))
    nan = np.full((N_GENES, 2), np.nan, dtype=np.float32)
    with pytest.raises(ArgumentError, match="no gene with finite values"):
        ScTransNet().fit(GRNTask(task.expression, task.genes, task.regulators, task.prior, split, nan))
    with pytest.raises(ArgumentError, match="not fitted"):
        ScTransNet(ScTransNetConfig()).scores()


# ---------------------------------------------------------------- blocks and members


@pytest.mark.parametrize("decoder", ["dot", "cosine", "mlp"])
@pytest.mark.parametrize("dense", [0.0, 1.1], ids=["masks", "edges"])
def test_blocks_change_nothing(monkeypatch, decoder, dense):
    """Training and scoring a few rows at a time is what it is at once."""
    from scgrn_tl.models import link_scorer, link_training, pair_attention, prior_gnn, prior_graph

    monkeypatch.setattr(prior_graph, "_DENSE", dense)
    task, _ = make_task(embedding=True)
    settings = SMALL | {"decoder": decoder, "negatives": "hard", "epochs": 4}
    whole = ScTransNet(**settings).fit(task)
    monkeypatch.setattr(link_training, "_BLOCK_PAIRS", 3 * N_GENES)
    monkeypatch.setattr(link_scorer, "_BLOCK_VALUES", 2 * 8 * N_GENES)
    monkeypatch.setattr(pair_attention, "_BLOCK_VALUES", 700)
    monkeypatch.setattr(prior_gnn, "_EDGES_AT_ONCE", 50)
    in_blocks = ScTransNet(**settings).fit(task)
    np.testing.assert_allclose(in_blocks.scores().matrix, whole.scores().matrix, atol=1e-4)
    for name, values in whole._members[0].history.items():
        np.testing.assert_allclose(in_blocks._members[0].history[name], values, atol=1e-4, err_msg=name)


def test_members_side_by_side_are_the_models_alone():
    """Also where one of them runs out of patience before the others."""
    from dataclasses import replace

    from scgrn_tl.core import spawn_seeds

    task, _ = make_task(embedding=True)
    settings = SMALL | {"epochs": 30, "patience": 2, "lr": 0.03}
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        together = ScTransNet(**settings, n_models=4).fit(task)
    finally:
        torch.set_num_threads(threads)
    stopped = {len(member.history["train_loss"]) for member in together._members}
    assert len(stopped) > 1
    for seed, member in zip(spawn_seeds(task.seed, 4), together._members, strict=True):
        # one model's seed is the first that its task's seed spawns
        lone = ScTransNet(**settings)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("scgrn_tl.models.estimator.spawn_seeds", lambda *_, seed=seed: [seed])
            lone.fit(replace(task))
        assert lone._members[0].best_epoch == member.best_epoch
        assert lone._members[0].history["train_loss"] == pytest.approx(member.history["train_loss"], abs=1e-4)


def test_an_error_in_one_member_ends_the_others():
    task, _ = make_task()
    calls = []

    def fail():
        calls.append(1)
        if len(calls) == 3:
            msg = "enough"
            raise KeyboardInterrupt(msg)

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(KeyboardInterrupt, match="enough"):
            ScTransNet(**SMALL | {"epochs": 500, "patience": 500}, n_models=4).fit(task, on_epoch=fail)
    finally:
        torch.set_num_threads(threads)
    assert len(calls) < 500
