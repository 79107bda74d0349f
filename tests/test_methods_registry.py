"""The registry: finding, describing, checking and adding methods."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pytest

from scgrn_tl import methods
from scgrn_tl.core import (
    ArgumentError,
    EdgeSplit,
    GRNScores,
    GRNTask,
    LabeledPairs,
    MissingKeyError,
    SplitError,
    spawn_seeds,
)
from scgrn_tl.methods import _registry


@pytest.fixture(autouse=True)
def _registry_as_before(monkeypatch):
    monkeypatch.setattr(_registry, "_REGISTRY", dict(_registry._REGISTRY))


@pytest.fixture
def task() -> GRNTask:
    expression = np.random.default_rng(0).random((6, 20), dtype=np.float32)
    return GRNTask(expression, tuple("ABCDEF"), np.array([0, 2]))


def register(func=None, **traits):
    traits = {"supervised": False, "directed": True, "stochastic": False, "reference": "Nobody 2000"} | traits
    decorator = methods.method(name="toy", **traits)
    return decorator(func) if func else decorator


def constant(task, *, level=1.0):
    """The same score for every pair.

    More words.
    """
    return GRNScores(task.regulators, np.full((len(task.regulators), task.n_genes), level))


def test_the_decorator_is_all_it_takes(task):
    assert register(constant) is constant
    toy = methods.get("toy")
    assert (toy.run(task, level=3.0).matrix == 3).all()
    assert (toy(task).matrix == 1).all()
    assert toy.parameters == {"level": 1.0}
    assert toy.description == "The same score for every pair"
    assert toy.doc.endswith("More words.")
    assert repr(toy) == "Method(toy: unsupervised, directed, deterministic; Nobody 2000)"
    assert "toy" in methods.names()
    row = methods.show().loc["toy"]
    assert row["parameters"] == "level=1.0"
    assert row["reference"] == "Nobody 2000"


def test_show_has_a_full_row_for_every_method():
    table = methods.show()
    assert table.index.tolist() == methods.names() == sorted(methods.names())
    assert {"hub_floor", "pearson"} <= set(table.index)
    assert not table.isna().any(axis=None)
    assert (table["description"].str.len() > 10).all()
    assert (table["reference"].str.len() > 3).all()
    assert set(table["role"]) == {"method", "floor", "control"}
    for column in ("supervised", "directed", "stochastic", "uses_embedding", "uses_pseudotime"):
        assert table[column].dtype == bool


def test_every_parameter_of_every_method_is_documented():
    for name in methods.names():
        entry = methods.get(name)
        if entry.role == "control" or name == "sctransnet_paper":  # says that they are scTransNet's
            assert list(entry.parameters) == list(methods.get("sctransnet").parameters)
            continue
        described = {word for line in re.findall(r"^\w+(?:, \w+)*$", entry.doc, re.M) for word in line.split(", ")}
        assert set(entry.parameters) <= described, name


def test_names_of_a_kind():
    register(constant, role="floor")
    assert "toy" in methods.names(role="floor")
    assert "toy" not in methods.names(role="method")
    assert "toy" not in methods.names(role="floor", supervised=True)
    assert set(methods.names(supervised=True)) | set(methods.names(supervised=False)) == set(methods.names())
    assert repr(methods.get("toy")).startswith("Method(toy: floor, unsupervised")


def test_all_methods_of_the_paper_are_there():
    unsupervised = {"pearson", "mutual_information", "scode", "genie3", "grnboost2"}
    supervised = {"gne", "cnnc", "deepdrim", "genelink", "gnnlink", "grn_transformer"}
    assert set(methods.names(role="method")) == unsupervised | supervised | {"pidc", "sctransnet", "sctransnet_paper"}
    assert set(methods.names(role="floor")) == {"hub_floor", "tf_rate", "target_rate", "gene_identity", "random"}
    assert set(methods.names(role="control")) == {"permuted_expression", "random_encoder"}
    table = methods.show()
    assert not table.loc[sorted(unsupervised), "supervised"].any()
    assert table.loc[sorted(supervised), "supervised"].all()


# --- several models ---------------------------------------------------------------------------------------------------


def noisy(task, *, level=1.0):
    """Random scores around a level."""
    draws = np.random.default_rng(task.seed).normal(level, 1, (len(task.regulators), task.n_genes))
    return GRNScores(
        task.regulators,
        draws,
        hub=draws / 2,
        is_logit=True,
        history={"loss": [draws[0, 0]]},
        details={"seed": task.seed},
    )


def test_several_models_are_averaged(task):
    register(noisy, stochastic=True)
    toy = methods.get("toy")
    seeds = spawn_seeds(task.seed, 3)
    members = [toy.run(replace(task, seed=seed), level=2.0) for seed in seeds]
    mean = toy.run(task, n_models=3, level=2.0)
    stacked = np.stack([member.matrix for member in members])
    np.testing.assert_allclose(mean.matrix, stacked.mean(0), rtol=1e-6)
    np.testing.assert_allclose(mean.std, stacked.std(0, ddof=1), rtol=1e-5)
    np.testing.assert_allclose(mean.hub, stacked.mean(0) / 2, rtol=1e-6)
    assert mean.is_logit
    assert mean.details == {"seed": seeds}
    assert mean.history == {f"loss_{number}": member.history["loss"] for number, member in enumerate(members)}
    np.testing.assert_array_equal(toy(task, n_models=1).matrix, toy(task).matrix)
    assert toy(task).std is None


def test_several_models_of_a_method_without_chance_are_refused(task):
    register(constant)
    with pytest.raises(ArgumentError, match="'toy' is deterministic: 2 models"):
        methods.get("toy").run(task, n_models=2)
    for wrong in (0, 1.5, True):
        with pytest.raises(ArgumentError, match="n_models is a whole number"):
            methods.get("toy").run(task, n_models=wrong)


def test_a_method_that_averages_by_itself_is_left_to_it(task):
    def several(task, *, n_models=1):
        """How many models were asked for."""
        return GRNScores(task.regulators, np.full((len(task.regulators), task.n_genes), n_models))

    register(several, stochastic=True)
    assert (methods.get("toy").run(task, n_models=4).matrix == 4).all()


# --- what is computed beforehand --------------------------------------------------------------------------------------


def test_what_knows_no_label_is_prepared_apart_and_can_be_given_again(task):
    calls = []

    def prepare(task, *, level=1.0):
        calls.append((task.prior, task.split, level))
        return {"level": np.array(level)}

    def prepared(task, *, level=1.0, other=0):
        """The level that was prepared."""
        return constant(task, level=float(task.prepared["level"]))

    register(prepared, prepare=prepare)
    toy = methods.get("toy")
    split = EdgeSplit(LabeledPairs([[0, 1], [2, 1]], [1, 0]), LabeledPairs.empty(), LabeledPairs.empty())
    labelled = replace(task, split=split)
    assert (toy.run(labelled, level=2.0, other=5).matrix == 2).all()
    assert calls == [(None, None, 2.0)]
    given = replace(labelled, prepared=toy.prepared(task, level=7.0, other=5))
    assert (toy.run(given).matrix == 7).all()
    assert len(calls) == 2  # not computed again
    assert methods.get("pearson").prepared(task) == {}


def test_every_model_has_a_preparation_of_its_own(task):
    def prepare(task):
        return {"drawn": np.random.default_rng(task.seed).random(task.n_genes)}

    def toy(task):
        """What was prepared."""
        return GRNScores(task.regulators, np.tile(task.prepared["drawn"], (len(task.regulators), 1)))

    register(toy, stochastic=True, prepare=prepare)
    entry = methods.get("toy")
    shared = replace(task, prepared=entry.prepared(task))
    np.testing.assert_array_equal(entry.run(shared, n_models=3).matrix, entry.run(task, n_models=3).matrix)
    assert entry.run(shared, n_models=3).std.min() > 0.01


def test_training_pairs_without_edges_teach_nothing(task):
    part = LabeledPairs(np.array([[0, 1], [2, 1]]), np.zeros(2))
    supervised = replace(task, split=EdgeSplit(part, LabeledPairs.empty(), LabeledPairs.empty()))
    for name in methods.names(supervised=True):
        entry = methods.get(name)
        if entry.role == "floor":
            assert np.isfinite(entry.run(supervised).matrix).all()
        else:
            with pytest.raises(SplitError, match=f"'{name}' learns from edges, and the 2 training pairs are all non-"):
                entry.run(supervised)


def test_a_pseudotime_that_is_asked_for_has_to_be_there(task):
    register(constant, uses_pseudotime=True)
    with pytest.raises(MissingKeyError, match="needs the cells' pseudotime"):
        methods.get("toy").run(task)
    methods.get("toy").run(replace(task, pseudotime=np.linspace(0, 1, 20)))


def test_an_unknown_role_is_refused():
    with pytest.raises(ArgumentError, match="role is one of 'method', 'floor' or 'control', not 'king'"):
        register(constant, role="king")


def test_unknown_method_lists_what_there_is():
    with pytest.raises(
        ArgumentError, match=r"no method 'pearsn'. There are: .*hub_floor.*pearson.*Did you mean 'pearson'"
    ):
        methods.get("pearsn")


def test_unknown_parameters_are_refused_before_any_compute(task):
    calls = []

    def recorded(task, *, level=1.0, depth=2):
        """Score nothing."""
        calls.append(task)

    register(recorded)
    with pytest.raises(
        ArgumentError, match=r"'toy' has no parameter 'levl'; it takes level, depth\. Did you mean 'level'"
    ):
        methods.get("toy").run(task, levl=2.0)
    with pytest.raises(ArgumentError, match="'pearson' has no parameter 'a', 'b'; it takes no parameters"):
        methods.get("pearson").check_parameters({"a": 1, "b": 2})
    assert not calls


def test_a_supervised_method_needs_training_pairs(task):
    register(constant, supervised=True)
    with pytest.raises(SplitError, match="Give `prior=`"):
        methods.get("toy").run(task)


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (lambda task: None, "has to return GRNScores"),
        (lambda task: GRNScores(task.regulators[::-1], np.zeros((2, 6))), "in their order"),
        (lambda task: GRNScores(task.regulators, np.zeros((2, 5))), r"shape \(2, 5\); expected \(2, 6\)"),
        (lambda task: GRNScores(task.regulators, np.full((2, 6), np.nan)), "12 scores that are NaN or infinite"),
    ],
)
def test_what_a_method_returns_is_checked(task, result, words):
    register(result)
    with pytest.raises(ArgumentError, match=words):
        methods.get("toy").run(task)


def with_positional(task, level=1):
    """Positional."""


def with_required(task, *, level):
    """Required."""


def with_any(task, **params):
    """Any."""


def without_task(*, level=1):
    """No task."""


@pytest.mark.parametrize("func", [with_positional, with_required, with_any, without_task, lambda: None])
def test_signatures_that_could_not_be_checked_are_refused(func):
    with pytest.raises(ArgumentError, match=r"signature \(.*\); a method is `func\(task, \*, a=1, b=2\)`"):
        register(func)


def test_a_name_is_taken_once_but_a_module_may_be_reloaded(task):
    register(constant)
    with pytest.raises(ArgumentError, match=r"a method 'toy' already, .*constant"):
        register(with_other_name)

    def define():
        def again(task):
            """Defined twice, as a notebook cell run twice does."""
            return constant(task)

        return again

    first, second = define(), define()
    methods.method(name="cell", supervised=False, directed=True, stochastic=False, reference="x")(first)
    methods.method(name="cell", supervised=False, directed=True, stochastic=False, reference="x")(second)
    assert methods.get("cell").func is second


def with_other_name(task):
    """Another function."""


def test_methods_travel_to_other_processes():
    copy = pickle.loads(pickle.dumps(methods.get("pearson")))
    assert copy.func is methods.get("pearson").func


def test_a_new_file_in_a_package_is_found_without_any_edit(tmp_path, monkeypatch):
    package = tmp_path / "grn_plugin"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "_private.py").write_text("raise RuntimeError('private modules are not imported')")
    (package / "mean.py").write_text(
        textwrap.dedent(
            '''
            from scgrn_tl.core import GRNScores
            from scgrn_tl.methods import method

            @method(name="plugin_mean", supervised=False, directed=True, stochastic=False, reference="A 2020")
            def plugin_mean(task):
                """Mean expression of the target."""
                return GRNScores(task.regulators, task.expression.mean(1)[None].repeat(len(task.regulators), 0))
            '''
        )
    )
    monkeypatch.syspath_prepend(tmp_path)
    _registry.discover("grn_plugin", [str(package)])
    assert "plugin_mean" in methods.show().index


def test_importing_methods_is_light():
    code = (
        "import sys, scgrn_tl.methods, scgrn_tl.bm; "
        "heavy = {'torch', 'torch_geometric', 'sklearn', 'scanpy', 'anndata', 'matplotlib', 'networkx'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_closest_name_is_suggested_whatever_its_case():
    from scgrn_tl.core.names import did_you_mean

    assert did_you_mean("hhep50", ["hHEP500", "simulated"]) == " Did you mean 'hHEP500'?"
    assert did_you_mean("zebra", ["hHEP500", "simulated"]) == ""
