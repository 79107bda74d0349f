"""The trainer and the sampler that the supervised methods share."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
import torch
import tqdm
from sklearn.metrics import average_precision_score, roc_auc_score

import scgrn_tl as sg
from scgrn_tl.core import ArgumentError
from scgrn_tl.methods._progress import progress
from scgrn_tl.models.epochs import EpochLoop, check_training, descend
from scgrn_tl.models.pair_sampling import PairSampler, score_matrix

LABELS = np.array([True, False, True, False, False])
# scores of the validation pairs after each epoch: AUROC 0.5, 1, 5/6, 1, 0.5
PATHS = [
    [0.0, 0.0, 0.0, 0.0, 0.0],
    [0.1, 0.0, 0.1, 0.0, 0.0],
    [2.0, 0.0, 0.5, 1.0, 0.0],
    [9.0, -9.0, 9.0, -9.0, -9.0],
    [0.0, 0.0, 0.0, 0.0, 0.0],
]


class Counter(torch.nn.Module):
    """Its one weight counts the epochs, and so tells which was kept."""

    def __init__(self) -> None:
        super().__init__()
        self.epoch = torch.nn.Parameter(torch.zeros(()))

    def step(self) -> float:
        assert self.training
        with torch.no_grad():
            self.epoch += 1
        return float(self.epoch.detach())

    def predict(self) -> torch.Tensor:
        assert not self.training
        assert not torch.is_grad_enabled()
        return torch.tensor(PATHS[min(int(self.epoch), 5) - 1])


def loop(**changes) -> EpochLoop:
    module = Counter()
    settings = {"epochs": 5, "patience": 99, "validation_labels": LABELS} | changes
    made = EpochLoop(module, module.step, module.predict, **settings)
    made.run()
    assert not module.training
    return made


@pytest.mark.parametrize(("select", "expected"), [("auroc", 2), ("auprc", 2), ("loss", 4), ("last", 5)])
def test_the_epoch_of_the_best_validation_is_kept(select, expected):
    made = loop(select=select)
    assert made.best_epoch == int(made.module.epoch) == expected


def test_history_is_of_scikit_learn():
    made = loop()
    assert made.history["train_loss"] == [1, 2, 3, 4, 5]
    assert made.history["validation_auroc"] == [roc_auc_score(LABELS, path) for path in PATHS]
    assert made.history["validation_auprc"] == [average_precision_score(LABELS, path) for path in PATHS]
    signs = np.where(LABELS, -1, 1)
    by_hand = [np.mean([-np.log(1 / (1 + np.exp(sign * s))) for sign, s in zip(signs, p, strict=True)]) for p in PATHS]
    np.testing.assert_allclose(made.history["validation_loss"], by_hand)
    assert "validation_loss" not in loop(is_logit=False).history


def test_patience_ends_training_but_not_of_the_last_epoch():
    seen = []
    made = loop(patience=2, on_epoch=lambda: seen.append(1))
    assert len(seen) == len(made.history["train_loss"]) == 4
    assert len(loop(patience=1, select="last").history["train_loss"]) == 5


@pytest.mark.parametrize("labels", [np.zeros(5, dtype=bool), np.ones(5, dtype=bool), np.empty(0, dtype=bool)])
def test_without_two_classes_the_last_epoch_is_kept(labels):
    made = loop(validation_labels=labels, patience=1)
    assert made.best_epoch == int(made.module.epoch) == 5
    assert made.history["validation_auroc"] == []


def test_the_start_is_a_candidate_only_if_asked_for():
    module = Counter()
    made = EpochLoop(
        module,
        module.step,
        lambda: torch.tensor(PATHS[3] if module.epoch == 0 else PATHS[0]),
        validation_labels=LABELS,
        epochs=5,
        patience=3,
        from_start=True,
    )
    made.run()
    assert made.best_epoch == int(module.epoch) == 0
    assert len(made.history["validation_auroc"]) == len(made.history["train_loss"]) + 1 == 4


def test_an_epoch_that_diverged_is_never_kept():
    module = Counter()
    made = EpochLoop(
        module,
        module.step,
        lambda: torch.full((5,), torch.nan) if module.epoch > 1 else torch.tensor(PATHS[0]),
        validation_labels=LABELS,
        epochs=4,
        patience=9,
    )
    made.run()
    assert made.best_epoch == int(module.epoch) == 1
    assert {len(values) for values in made.history.values()} == {4}
    assert np.isnan(made.history["validation_auroc"][1:]).all()


def test_descend_is_gradient_descent_and_weighs_batches_by_size():
    weight = torch.nn.Parameter(torch.tensor(1.0))
    batches = [(torch.tensor([1.0, 3.0]),), (torch.tensor([5.0]),)]
    steps = []
    loss = descend(
        batches,
        lambda x: (weight * x).mean(),
        torch.optim.SGD([weight], lr=0.1),
        after_step=lambda: steps.append(weight.item()),
    )
    assert steps == pytest.approx([1 - 0.1 * 2, 0.8 - 0.1 * 5])
    assert loss == pytest.approx((1 * 2 * 2 + 0.8 * 5) / 3)
    assert np.isnan(descend([], lambda x: x, torch.optim.SGD([weight], lr=0.1)))


@pytest.mark.parametrize(
    "bad",
    [{"epochs": 0}, {"lr": 0}, {"patience": 0}, {"select": "test"}, {"batch_size": 0}, {"dropout": 1.0}],
    ids=str,
)
def test_senseless_settings_are_refused(bad):
    good = {"epochs": 1, "lr": 1e-3, "patience": 1, "select": "auroc"}
    check_training(**good)
    with pytest.raises(ArgumentError, match=next(iter(bad))):
        check_training(**good | bad)


# --- the sampler ------------------------------------------------------------------------------------------------------


def sampler(**changes) -> PairSampler:
    """Regulator 0 has 2 edges and 8 non-edges, regulator 1 has 7 and 3, regulator 5 none and 10."""
    pairs = torch.tensor([(r, g) for r in (0, 1, 5) for g in range(10, 20)])
    labels = torch.tensor([1.0] * 2 + [0] * 8 + [1] * 7 + [0] * 3 + [0] * 10)
    settings = {"batch_size": 4, "generator": torch.Generator().manual_seed(0)} | changes
    return PairSampler(pairs, labels, **settings)


def epoch(batches: PairSampler) -> list[tuple[int, int, float]]:
    return [(*p.tolist(), float(y)) for pairs, labels in batches for p, y in zip(pairs, labels, strict=True)]


def test_an_epoch_sees_every_pair_once_in_a_new_order():
    batches = sampler()
    first, second = epoch(batches), epoch(batches)
    everything = [(*p.tolist(), float(y)) for p, y in zip(batches.pairs, batches.labels, strict=True)]
    assert sorted(first) == sorted(second) == sorted(everything)
    assert first != second
    assert epoch(sampler()) == first
    assert [len(labels) for _, labels in sampler()] == [4] * 7 + [2]


def test_balanced_negatives_are_of_the_same_regulator_and_drawn_anew():
    batches = sampler(negatives="balanced")
    draws = [epoch(batches) for _ in range(20)]
    for drawn in draws:
        counts = {(r, y): sum(1 for a, _, b in drawn if (a, b) == (r, y)) for r in (0, 1, 5) for y in (0.0, 1.0)}
        assert counts == {(0, 1.0): 2, (0, 0.0): 2, (1, 1.0): 7, (1, 0.0): 3, (5, 1.0): 0, (5, 0.0): 0}
        assert len(set(drawn)) == len(drawn)
    assert {g for drawn in draws for r, g, y in drawn if r == 0 and y == 0} == set(range(12, 20))


def test_by_target_keeps_the_pairs_of_a_target_together():
    drawn = epoch(sampler(by_target=True))
    targets = [gene for _, gene, _ in drawn]
    assert sorted(drawn) == sorted(epoch(sampler()))
    assert sum(a != b for a, b in itertools.pairwise(targets)) == 9
    assert targets != sorted(targets)


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_score_matrix_asks_for_every_pair(block):
    regulators = np.array([3, 5])
    matrix = score_matrix(lambda p: 10.0 * p[:, 0] + p[:, 1], regulators, 6, device="cpu", block=block)
    np.testing.assert_array_equal(matrix, 10 * regulators[:, None] + np.arange(6))
    assert matrix.dtype == np.float32


def test_what_comes_before_the_first_epoch_is_not_counted_as_one(monkeypatch):
    """A minute of preparing made a hundred epochs of a second look like an hour and a half."""
    clock, bars = [0.0], []

    class Bar(tqdm.tqdm):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs, file=io.StringIO())
            bars.append(self)
            self._time, self.start_t, self.last_print_t = (lambda: clock[0]), 0.0, 0.0

    monkeypatch.setattr("tqdm.auto.tqdm", Bar)
    with sg.settings.override(progress=True), progress("scTransNet", 100) as advance:
        clock[0] = 60.0
        advance()
        clock[0] = 61.0
        advance()
        seen = bars[0].format_dict
    assert (seen["n"], seen["elapsed"]) == (2, 1.0)
