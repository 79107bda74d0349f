"""The two methods without a model: hub floor and Pearson correlation, also on the published benchmark pairs."""

from __future__ import annotations

import math
import os

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from scgrn_tl import bm, methods
from scgrn_tl.core import ArgumentError, EdgeSplit, GRNTask, LabeledPairs, SplitError

needs_beeline = pytest.mark.skipif(
    "SCGRN_TL_MIRROR" not in os.environ, reason="needs BEELINE files: set SCGRN_TL_MIRROR to a folder that has them"
)

#          regulator, target, label
TRAIN = [(0, 1, 1), (0, 2, 1), (0, 3, 0), (4, 1, 1), (4, 2, 0), (4, 3, 0), (4, 0, 0), (5, 1, 0)]


def labeled(rows) -> LabeledPairs:
    table = np.array(rows).reshape(-1, 3)
    return LabeledPairs(table[:, :2], table[:, 2])


def make_task(train=TRAIN, validation=(), regulators=(0, 4, 5, 6), n_genes=8) -> GRNTask:
    split = EdgeSplit(labeled(train), labeled(validation), LabeledPairs.empty())
    names = tuple(f"G{index}" for index in range(n_genes))
    return GRNTask(np.zeros((n_genes, 3), dtype=np.float32), names, np.array(regulators), split=split)


def logit(p):
    return math.log(p / (1 - p))


def test_logit_form_by_hand():
    scores = methods.get("hub_floor").run(make_task(), form="logit")
    base = 3 / 8
    of_tf = {0: (2 + base) / 4, 4: (1 + base) / 5, 5: base / 2, 6: base}
    of_gene = {0: base / 2, 1: (2 + base) / 4, 2: (1 + base) / 3, 3: base / 3, 7: base}
    for row, tf in enumerate(scores.regulators.tolist()):
        for gene, rate in of_gene.items():
            assert scores.matrix[row, gene] == pytest.approx(logit(of_tf[tf]) + logit(rate), rel=1e-6)


def test_degree_form_by_hand():
    scores = methods.get("hub_floor").run(make_task(), form="degree")
    out_degree, in_degree = {0: 2, 4: 1, 5: 0, 6: 0}, {0: 0, 1: 2, 2: 1, 3: 0, 7: 0}
    for row, tf in enumerate(scores.regulators.tolist()):
        for gene, degree in in_degree.items():
            assert scores.matrix[row, gene] == pytest.approx(math.log1p(out_degree[tf]) + math.log1p(degree), rel=1e-6)
    assert scores.details == {"form": "degree"}
    assert np.array_equal(scores.hub, scores.matrix)


def test_validation_chooses_the_form():
    rng = np.random.default_rng(0)
    chosen = set()
    for _ in range(30):
        rows = np.array([(r, g, rng.random() < 0.3) for r in (0, 4, 5, 6) for g in range(8) if r != g])
        rng.shuffle(rows)
        task = make_task(rows[:18], rows[18:])
        if not 0 < rows[:18, 2].sum() < 18 or not 0 < rows[18:, 2].sum() < 10:
            continue
        scores = methods.get("hub_floor").run(task)
        forms = {form: methods.get("hub_floor").run(task, form=form) for form in ("logit", "degree")}
        auroc = {form: roc_auc_score(rows[18:, 2], s.at(rows[18:, :2])) for form, s in forms.items()}
        best = "degree" if auroc["degree"] > auroc["logit"] else "logit"
        assert scores.details == {"form": best, "validation_auroc": pytest.approx(auroc)}
        assert np.array_equal(scores.matrix, forms[best].matrix)
        chosen.add(best)
    assert chosen == {"logit", "degree"}


@pytest.mark.parametrize("validation", [(), [(5, 2, 1)], [(5, 2, 0), (5, 3, 0)]])
def test_without_a_usable_validation_part_the_form_is_logit(validation):
    assert methods.get("hub_floor").run(make_task(validation=validation)).details == {"form": "logit"}


def test_training_pairs_of_one_class():
    edges = [row for row in TRAIN if row[2]]
    assert methods.get("hub_floor").run(make_task(edges)).details == {"form": "degree"}
    with pytest.raises(SplitError, match="3 training pairs are all of one class"):
        methods.get("hub_floor").run(make_task(edges), form="logit")


def test_errors():
    with pytest.raises(ArgumentError, match="form is one of 'auto', 'logit' or 'degree', not 'rate'"):
        methods.get("hub_floor").run(make_task(), form="rate")
    with pytest.raises(SplitError, match="no training pairs"):
        methods.get("hub_floor").run(make_task(train=[]))


# ---------------------------------------------------------------- Pearson


def test_pearson_is_the_absolute_correlation():
    rng = np.random.default_rng(1)
    expression = rng.gamma(1.0, size=(30, 50)).astype(np.float32)
    regulators = np.array([3, 10, 28])
    scores = methods.get("pearson").run(GRNTask(expression, tuple(map(str, range(30))), regulators))
    expected = np.abs(np.corrcoef(expression.astype(float)))[regulators]
    expected[np.arange(3), regulators] = 0
    assert np.allclose(scores.matrix, expected, atol=1e-6)
    assert scores.matrix[0, 10] == scores.matrix[1, 3]  # symmetric


def test_pearson_in_blocks_is_the_same(monkeypatch):
    from scgrn_tl.methods import pearson as module

    expression = np.random.default_rng(2).random((23, 40), dtype=np.float32)
    task = GRNTask(expression, tuple(map(str, range(23))), np.array([0, 22]))
    whole = module.pearson(task).matrix
    monkeypatch.setattr(module, "BLOCK_VALUES", 200)
    assert np.allclose(module.pearson(task).matrix, whole, atol=1e-7)


@pytest.mark.parametrize("level", [0.0, 0.1, 1e6])
def test_pearson_of_constant_genes_is_zero(level):
    expression = np.random.default_rng(3).random((5, 7), dtype=np.float32)
    expression[1] = expression[2] = level
    scores = methods.get("pearson").run(GRNTask(expression, tuple("ABCDE"), np.array([0, 1])))
    assert (scores.matrix[1] == 0).all()
    assert (scores.matrix[:, [1, 2]] == 0).all()
    assert (scores.matrix[0, [3, 4]] > 0).all()


def test_pearson_of_copies_is_one_and_of_one_cell_zero():
    row = np.random.default_rng(4).random(9, dtype=np.float32)
    expression = np.stack([row, -3 * row + 5, row])
    scores = methods.get("pearson").run(GRNTask(expression, tuple("ABC"), np.array([0])))
    assert scores.matrix[0, 1:] == pytest.approx([1, 1])
    assert scores.matrix.max() <= 1
    single = methods.get("pearson").run(GRNTask(expression[:, :1], tuple("ABC"), np.array([0, 1])))
    assert (single.matrix == 0).all()


# ---------------------------------------------------------------- published pairs

# AUROC and AUPRC of the test part, for each form; samples 1, 2, 3. The form that the validation part chooses is marked.
PUBLISHED = {
    "hHEP": {
        "logit": [(0.905, 0.845), (0.905, 0.847), (0.904, 0.842)],
        "degree": [(0.901, 0.836), (0.901, 0.833), (0.901, 0.834)],
        "chosen": ["logit", "logit", "logit"],
    },
    "mDC": {
        "logit": [(0.790, 0.179), (0.764, 0.129), (0.774, 0.156)],
        "degree": [(0.818, 0.175), (0.799, 0.137), (0.816, 0.160)],
        "chosen": ["degree", "degree", "degree"],
    },
    "mHSC-L": {
        "logit": [(0.863, 0.857), (0.868, 0.860), (0.860, 0.858)],
        "degree": [(0.854, 0.851), (0.858, 0.851), (0.851, 0.843)],
        "chosen": ["degree", "logit", "logit"],
    },
}


@needs_beeline
@pytest.mark.parametrize("cell_type", list(PUBLISHED))
def test_floor_on_the_published_splits(cell_type):
    from scgrn_tl import datasets

    expected = PUBLISHED[cell_type]
    for sample in (1, 2, 3):
        split = datasets.beeline_split(cell_type, 500, sample)
        task = GRNTask(np.zeros((len(split.genes), 1), dtype=np.float32), split.genes, split.regulators, split=split)
        for form in ("logit", "degree"):
            metrics = bm.evaluate(methods.get("hub_floor").run(task, form=form), split)
            assert tuple(metrics[["auroc", "auprc"]]) == pytest.approx(expected[form][sample - 1], abs=0.0006)
        assert methods.get("hub_floor").run(task).details["form"] == expected["chosen"][sample - 1]


@needs_beeline
def test_pearson_on_real_cells_is_near_random():
    from scgrn_tl import datasets

    adata, split = datasets.beeline("mDC", 500), datasets.beeline_split("mDC", 500, 1)
    task = GRNTask(np.ascontiguousarray(adata.X.T), tuple(adata.var_names), split.regulators)
    metrics = bm.evaluate(methods.get("pearson").run(task), split)
    # .540 / .055 is the mean over five other splits of these genes.
    assert metrics["auroc"] == pytest.approx(0.54, abs=0.05)
    assert metrics["auprc"] == pytest.approx(0.055, abs=0.02)


@needs_beeline
def test_floor_on_held_out_regulators():
    from scgrn_tl import datasets
    from scgrn_tl.core import PriorNetwork

    adata = datasets.beeline("hHEP", 500)
    prior = PriorNetwork.from_any(adata.uns["ground_truth"], adata.var_names)
    values = []
    for fold in range(5):
        split = bm.split_edges(prior, kind="tf", fold=fold)
        task = GRNTask(np.zeros((adata.n_vars, 1), dtype=np.float32), prior.genes, prior.regulators, split=split)
        values.append(bm.evaluate(methods.get("hub_floor").run(task), split)["tf_auroc"])
    assert np.mean(values) == pytest.approx(0.78, abs=0.02)
