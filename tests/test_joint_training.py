"""Joint training of link model and encoder: the embedding, its gradients, what is changed and what is left alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import expit

import scgrn_tl.models.joint_training as joint_training
from scgrn_tl.core import ArgumentError, EdgeSplit, EncoderCells, GRNTask, LabeledPairs, PriorNetwork, WeightsError
from scgrn_tl.models import ScBERT, ScBERTConfig, ScTransNet
from scgrn_tl.models.joined_embedding import standardize_embedding
from scgrn_tl.models.joint_training import FrozenCells, JointEncoder

N_CELLS, N_GENES, N_TFS, DIM, DEPTH = 12, 20, 4, 8, 3
UNKNOWN = [3, 17]  # genes that the encoder does not know
KNOWN = np.delete(np.arange(N_GENES), UNKNOWN)
SMALL = {
    "gnn_widths": (16, 8),
    "gnn_heads": 2,
    "channel_hidden": 16,
    "channel_width": 8,
    "epochs": 6,
    "joint_cells": 5,
    "joint_lr": 1e-2,
    # with the defaults of these, so small a task leaves nothing to learn: the best epoch would be none
    "hidden_edges": 0.3,
    "latent_factors": 0,
    "expression_effects": False,
}


def make_encoder() -> ScBERT:
    model = ScBERT(ScBERTConfig(n_genes=30, dim=DIM, depth=DEPTH, heads=2, dim_head=8))
    return model.initialize(torch.Generator().manual_seed(0)).eval()


def eq6(hidden: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Kommu et al. 2024, eq. 6, gene by gene and cell by cell."""
    pooled = np.zeros(hidden.shape[1:])
    for gene in range(hidden.shape[1]):
        total = sum(weights[cell, gene] for cell in range(len(hidden)))
        for cell in range(len(hidden)):
            pooled[gene] += weights[cell, gene] / total * hidden[cell, gene]
    return pooled


def make_task(*, encoder: ScBERT | None = None, seed: int = 0) -> GRNTask:
    """Edges follow from the genes' expression; the embedding is of all cells, which are all sampled."""
    rng = np.random.default_rng(0)
    encoder = make_encoder() if encoder is None else encoder
    tokens = rng.integers(0, 6, (N_CELLS, len(KNOWN) + 1)).astype(np.uint8)
    positions = np.sort(rng.choice(30, len(KNOWN) + 1, replace=False))
    genes = np.append(KNOWN, -1)  # the last column is a gene that the task does not have
    hidden, attention = encoder.encode(torch.from_numpy(tokens.astype(np.int64)), torch.from_numpy(positions))
    embedding = np.full((N_GENES, DIM), np.nan)
    embedding[KNOWN] = eq6(hidden.double().numpy(), attention.double().numpy())[:-1]
    cells = EncoderCells(encoder, tokens, positions, genes, attention.float().numpy())

    taste, programme = rng.normal(size=(N_TFS, DIM)), np.nan_to_num(embedding)
    truth = rng.random((N_TFS, N_GENES)) < expit(2 * taste @ programme.T)
    pairs = np.array([(tf, gene) for tf in range(N_TFS) for gene in range(N_GENES) if tf != gene])
    labels, part = truth[pairs[:, 0], pairs[:, 1]], rng.choice(2, len(pairs), p=[0.7, 0.3])
    split = EdgeSplit(*(LabeledPairs(pairs[part == p], labels[part == p]) for p in range(2)), LabeledPairs.empty())
    edges = split.train.positives[np.lexsort(split.train.positives.T)]
    names = tuple(f"g{number}" for number in range(N_GENES))
    prior = PriorNetwork(names, edges.T, np.zeros(len(edges)), np.ones(len(edges)))
    expression = rng.random((N_GENES, N_CELLS)).astype(np.float32)
    regulators = np.arange(N_TFS)
    return GRNTask(
        expression, names, regulators, prior, split, embedding=embedding.astype(np.float32), seed=seed, cells=cells
    )


def make_joint(n_blocks: int = 1, task: GRNTask | None = None) -> tuple[JointEncoder, GRNTask]:
    task = make_task() if task is None else task
    return JointEncoder(FrozenCells.prepare(task.cells, task.embedding, n_blocks=n_blocks)), task


def disturb(joint: JointEncoder, size: float = 0.1) -> None:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in joint.parameters():
            parameter += size * torch.randn(parameter.shape, generator=generator).to(parameter)


# --- the embedding ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_blocks", [1, 2, DEPTH])
def test_before_any_step_it_is_the_embedding_as_it_was(n_blocks):
    joint, task = make_joint(n_blocks)
    everything = torch.arange(N_CELLS)
    # the hidden states in front of the trained blocks lead to it ...
    through = joint.norm(joint_training._through(joint.blocks, joint.cells.before))[:, joint.cells.columns]
    pooled = eq6(through.detach().double().numpy(), task.cells.weights[:, :-1].astype(float))
    np.testing.assert_allclose(pooled, task.embedding[KNOWN], atol=1e-5)
    # ... and whatever cells are drawn, that is where training starts
    for cells in (everything, everything[2:4], everything[:1]):
        np.testing.assert_allclose(joint.pooled(cells).detach(), task.embedding[KNOWN], atol=1e-5)


@pytest.mark.parametrize("n_blocks", [1, 2])
def test_over_all_cells_it_is_eq_6_of_the_encoder_as_trained(n_blocks):
    joint, task = make_joint(n_blocks)
    disturb(joint)
    tokens = torch.from_numpy(task.cells.tokens.astype(np.int64))
    hidden = joint.trained_encoder().hidden(tokens, torch.from_numpy(task.cells.positions))
    expected = eq6(hidden.detach().double().numpy(), task.cells.weights.astype(float))[:-1]
    assert np.abs(expected - task.embedding[KNOWN]).max() > 0.1
    np.testing.assert_allclose(joint.pooled(torch.arange(N_CELLS)).detach(), expected, atol=1e-5)


def test_over_some_cells_it_is_off_by_the_change_that_they_stand_for():
    joint, task = make_joint()
    tokens, positions = torch.from_numpy(task.cells.tokens.astype(np.int64)), torch.from_numpy(task.cells.positions)
    cells, weights = [1, 4, 7], task.cells.weights[:, :-1].astype(float)
    before = task.cells.encoder.hidden(tokens, positions).detach().double().numpy()[:, :-1]
    disturb(joint)
    after = joint.trained_encoder().hidden(tokens, positions).detach().double().numpy()[:, :-1]
    expected = task.embedding[KNOWN] + eq6(after[cells], weights[cells]) - eq6(before[cells], weights[cells])
    np.testing.assert_allclose(joint.pooled(torch.tensor(cells)).detach(), expected, atol=1e-5)


def test_it_is_standardised_as_a_fixed_embedding_is():
    joint, _ = make_joint()
    disturb(joint)
    cells = torch.arange(N_CELLS)
    raw = np.full((N_GENES, DIM), np.nan, dtype=np.float32)
    raw[KNOWN] = joint.pooled(cells).detach()
    np.testing.assert_allclose(joint(cells).detach(), standardize_embedding(raw), atol=1e-5)
    assert joint(cells).shape == (N_GENES, DIM + 1)


def test_a_dimension_without_spread_has_a_gradient():
    joint, _ = make_joint()
    with torch.no_grad():
        joint.cells.embedding[:, 0] = 1.0
    joint.norm.weight.data[0], joint.norm.bias.data[0] = 0.0, 0.0
    joint.cells.start[..., 0] = 0.0
    joint(torch.arange(N_CELLS)).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in joint.parameters())


# --- gradients --------------------------------------------------------------------------------------------------------


def make_trainer(task: GRNTask, monkeypatch: pytest.MonkeyPatch, **changes):
    """The trainer of a fit, not run yet, in float64."""
    found = []
    monkeypatch.setattr("scgrn_tl.models.estimator.train_members", found.extend)
    ScTransNet(**SMALL | {"dropout": 0.0, "joint_cells": N_CELLS} | changes).fit(task)
    (trainer,) = found
    trainer.module.double()
    trainer.genes.double()
    return trainer


@pytest.mark.parametrize("n_blocks", [1, 2])
def test_gradients_are_those_of_finite_differences(monkeypatch, n_blocks):
    trainer = make_trainer(make_task(encoder=make_encoder().double()), monkeypatch, joint_blocks=n_blocks)
    disturb(trainer.encoder, 0.05)
    with torch.no_grad():
        trainer.module.scorer.log_scale.fill_(0.0)
    trainer.module.train()
    drawn = trainer._draw(torch.Generator().manual_seed(0))
    trainer._loss(*drawn).backward()
    seen = 0
    for name, parameter in trainer.encoder.named_parameters():
        # the stabilisers of queries and keys cancel but for ε = 1e-4, and no gradient flows through them
        tolerance = 1e-6 if not any(part in name for part in ("to_q", "to_k", "0.norm", "blocks.0")) else 2e-2
        flat, gradient = parameter.data.view(-1), parameter.grad.view(-1)
        for place in gradient.abs().topk(2).indices:
            values = []
            for step in (1e-5, -1e-5):
                flat[place] += step
                with torch.no_grad():
                    values.append(float(trainer._loss(*drawn)))
                flat[place] -= step
            estimate = (values[0] - values[1]) / 2e-5
            assert abs(float(gradient[place]) - estimate) <= tolerance * abs(estimate) + 1e-9, name
            seen += abs(estimate) > 1e-7
    assert seen > 10


@pytest.mark.parametrize("kept", [0, 2**30])
def test_memory_changes_nothing(monkeypatch, kept):
    reference, _ = make_joint(2)
    reference(torch.arange(N_CELLS)).square().sum().backward()
    monkeypatch.setattr(joint_training, "KEPT_BYTES", kept)
    monkeypatch.setattr(joint_training, "STEP_BYTES", 1)
    joint, _ = make_joint(2)
    joint(torch.arange(N_CELLS)).pow(2).sum().backward()
    for one, other in zip(joint.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-4, rtol=1e-4)


def test_the_loss_falls_by_the_encoder_alone():
    fixed = SMALL | {"use_gnn": False, "hub_terms": False, "dropout": 0.0, "lr": 1e-12, "weight_decay": 0.0}
    fixed |= {"epochs": 40, "joint_cells": N_CELLS}
    history = ScTransNet(**fixed).fit(make_task()).scores().history["train_loss"]
    assert history[-1] < history[0] - 0.01
    still = ScTransNet(**fixed).fit(replace(make_task(), cells=None)).scores().history["train_loss"]
    assert still[-1] == pytest.approx(still[0], abs=1e-6)


# --- fits -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_blocks", [1, 2])
def test_nothing_but_the_last_blocks_and_the_norm_changes(n_blocks):
    task = make_task()
    before = {name: value.clone() for name, value in task.cells.encoder.state_dict().items()}
    # judged by validation loss the first epoch may be the best: all epochs are run, and the last is looked at
    model = ScTransNet(**SMALL, joint_blocks=n_blocks).fit(task)
    (encoder,) = model.encoders
    assert model.scores().details["best_epoch"] != [0]
    for name, value in task.cells.encoder.state_dict().items():
        assert torch.equal(value, before[name]), f"the given encoder's {name} changed"
    changed = {name for name, value in encoder.state_dict().items() if not torch.equal(value, before[name])}
    layers = [f"performer.net.layers.{number}." for number in range(DEPTH - n_blocks, DEPTH)]
    expected = {name for name, _ in encoder.named_parameters() if name.startswith((*layers, "norm."))}
    assert changed == expected


def test_a_step_too_small_to_matter_is_the_two_stage_fit():
    task, settings = make_task(), SMALL | {"joint_lr": 1e-12}
    joint = ScTransNet(**settings).fit(task).scores()
    alone = ScTransNet(**settings).fit(replace(task, cells=None)).scores()
    np.testing.assert_allclose(joint.matrix, alone.matrix, atol=1e-4)
    assert np.abs(ScTransNet(**SMALL).fit(task).scores().matrix - alone.matrix).max() > 1e-3


def test_same_seed_same_bits_and_global_state_untouched():
    state = torch.get_rng_state()
    first, second = (ScTransNet(**SMALL, n_models=2).fit(make_task()).scores() for _ in range(2))
    np.testing.assert_array_equal(first.matrix, second.matrix)
    np.testing.assert_array_equal(first.std, second.std)
    other = ScTransNet(**SMALL, n_models=2).fit(make_task(seed=1)).scores()
    assert not np.array_equal(first.matrix, other.matrix)
    assert torch.equal(torch.get_rng_state(), state)


def test_each_member_of_an_ensemble_has_its_encoder():
    task = make_task()
    model = ScTransNet(**SMALL, n_models=2).fit(task)
    one, other = (encoder.norm.weight for encoder in model.encoders)
    assert not torch.equal(one, other)
    alone = ScTransNet(**SMALL).fit(task)
    assert torch.equal(alone.encoders[0].norm.weight, one)


@pytest.mark.parametrize("n_models", [1, 2])
def test_a_saved_model_scores_the_same(tmp_path, n_models):
    model = ScTransNet(**SMALL, n_models=n_models).fit(make_task())
    model.save(tmp_path / "model")
    back = ScTransNet.load(tmp_path / "model")
    np.testing.assert_array_equal(back.scores().matrix, model.scores().matrix)
    assert back.config == model.config
    assert back.encoders == ()


def test_a_saved_member_of_other_genes_is_refused(tmp_path, monkeypatch):
    from scgrn_tl.models.ensemble_member import Member

    whole = Member.tensors
    monkeypatch.setattr(
        Member, "tensors", lambda self, number, shared: whole(self, number, shared) | {"embeddings.1": torch.ones(3, 2)}
    )
    ScTransNet(**SMALL, n_models=2).fit(make_task()).save(tmp_path / "model")
    with pytest.raises(WeightsError, match=r"embeddings.1.*expected 20 rows"):
        ScTransNet.load(tmp_path / "model")


def test_other_embeddings_can_be_scored_with():
    task = make_task()
    model = ScTransNet(**SMALL, n_models=2).fit(task)
    before = model.scores().matrix
    model.use_embeddings([task.embedding, task.embedding])
    assert not np.array_equal(model.scores().matrix, before)
    # an ensemble that shares one embedding says the same as members that each have it
    shared = model._members[0].inputs
    model._members = [replace(member, inputs=shared) for member in model._members]
    again = model.scores().matrix
    model.use_embeddings([task.embedding, task.embedding])
    np.testing.assert_array_equal(model.scores().matrix, again)
    for wrong in ([task.embedding], [task.embedding[:, :3]] * 2):
        with pytest.raises(ArgumentError, match="each of 2 members"):
            model.use_embeddings(wrong)


# --- what bad input gets ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"joint_blocks": DEPTH + 1}, "from 1 to 3"),
        ({"joint_blocks": 0}, "joint_blocks > 0"),
        ({"joint_cells": 0}, "joint_cells > 0"),
        ({"joint_lr": 0.0}, "joint_lr > 0"),
    ],
)
def test_bad_settings(changes, message):
    with pytest.raises(ArgumentError, match=message):
        ScTransNet(**SMALL | changes).fit(make_task())


def test_cells_that_do_not_fit_the_task():
    task = make_task()
    with pytest.raises(ArgumentError, match="give `embedding`"):
        replace(task, embedding=None)
    with pytest.raises(ArgumentError, match="indices below 20"):
        replace(task, cells=replace(task.cells, genes=task.cells.genes + 5))
    with pytest.raises(ArgumentError, match="5 wide, its encoder 8"):
        ScTransNet(**SMALL).fit(replace(task, embedding=task.embedding[:, :5]))
    with pytest.raises(ArgumentError, match="nothing to train together"):
        ScTransNet(**SMALL).fit(replace(task, cells=replace(task.cells, genes=np.full(len(KNOWN) + 1, -1))))
    for name in ("positions", "genes", "weights"):
        with pytest.raises(ArgumentError, match=f"{name} has shape"):
            replace(task.cells, **{name: getattr(task.cells, name)[1:]})
    with pytest.raises(ArgumentError, match="at least one of each"):
        replace(task.cells, tokens=task.cells.tokens[:0])
    for wrong in (-1.0, np.nan, 0.0):
        with pytest.raises(ArgumentError, match="every gene has to have some"):
            replace(task.cells, weights=np.full_like(task.cells.weights, wrong))
    assert "12 cells × 19 genes" in repr(task.cells)
