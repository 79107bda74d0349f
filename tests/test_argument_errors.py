"""Whatever is handed to a public function: it works, or an error of this package names the argument and is documented.

One argument of a good call (``public_calls.py``) is spoilt at a time, by values of every wrong kind; and by hand, where
what is wrong about a value is its meaning.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from public_calls import CALLS, make_world

import scgrn_tl as sg
from scgrn_tl import core
from scgrn_tl.core import (
    ArgumentError,
    DownloadError,
    DuplicateGenesError,
    ExpressionError,
    GeneOverlapError,
    MissingKeyError,
    PriorError,
    ScgrnError,
    SplitError,
    WeightsUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from public_calls import World

NAMESPACES = ("bm", "core", "datasets", "get", "io", "methods", "models", "pl", "tl")
PUBLIC = {
    f"{namespace}.{name}": getattr(module, name)
    for namespace in NAMESPACES
    for module in [importlib.import_module(f"scgrn_tl.{namespace}")]
    for name in module.__all__
    if inspect.isfunction(getattr(module, name))
}
WITHOUT_ARGUMENTS = {name for name, function in PUBLIC.items() if not inspect.signature(function).parameters}
EXEMPT = {
    "core.by_rows": "gives back what it does not know; `summarize_expression` and `iter_cells` refuse it",
    "core.to_dense": "numpy's own conversion in the innermost loop, of blocks that `iter_cells` has read",
}
"""Public functions that need not refuse anything, and why."""
LONG = {"bm.ablate", "bm.run", "tl.fit_grn", "tl.scbert_finetune", "tl.scbert_pretrain"}
"""Calls that train, wherever the junk is as good as another value."""

JUNK = {
    "None": None,
    "negative": -1,
    "NaN": float("nan"),
    "nonsense": "nonsense",
    "fraction": 1.5,
    "list": [],
    "object": object(),
}
MORE_JUNK = JUNK | {
    "zero": 0,
    "infinite": float("inf"),
    "names": ["a", "b"],
    "numbers": [1],
    "dict": {},
    "flag": True,
    "bytes": b"x",
    "array": np.zeros((2, 2)),
    "table": pd.DataFrame({"a": [1]}),
}
ALSO_CALLED = {
    "names": "genes",  # which these are names of
    "metrics": "metric",
    "prior": "the table of edges",  # what the error is about stands in a DataFrame or file of whatever name
    "reference": ("prior", "the table of edges"),  # which may be one of many forms of a prior
    "data": "split=",  # of `pl.roc_pr`: a table goes with another kind of split
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    with sg.settings.override(progress=False), pytest.MonkeyPatch.context() as patch:
        patch.setattr("pooch.HTTPDownloader.__call__", offline)
        yield make_world(folder)


def offline(*_args: Any) -> None:
    msg = "the network is down"
    raise ConnectionError(msg)


def call(name: str, arguments: dict[str, Any]) -> None:
    function = PUBLIC[name]
    try:
        result = function(**arguments)
        if isinstance(result, Iterator):
            for _ in result:
                pass
    finally:
        plt.close("all")


def documented(function: Callable) -> tuple[type[Exception], ...]:
    """The errors of this package that the docstring's section ``Raises`` lists."""
    section = re.search(
        r"^Raises\n-+\n(.*?)(?=^\w[\w ]*\n-{3,}$|\Z)", inspect.getdoc(function) or "", flags=re.MULTILINE | re.DOTALL
    )
    names = re.findall(r"^(\w[\w, ]*)$", section[1], flags=re.MULTILINE) if section else []
    return tuple(getattr(core, name.strip()) for line in names for name in line.split(","))


def says_which(message: str, argument: str, value: Any) -> bool:
    """Whether a message names the argument, or shows the name that was given for it."""
    plain = " ".join(message.replace("_", " ").lower().split())
    given = value[0] if isinstance(value, list) and value else value
    called = ALSO_CALLED.get(argument, argument)
    return (
        argument.replace("_", " ") in plain
        or (isinstance(given, str) and given in message)
        or any(name in plain for name in ([called] if isinstance(called, str) else called))
    )


def mishaps(name: str, world: World, junk: dict[str, Any]) -> list[str]:
    """What comes of each argument being junk in turn, unless it is as it should be."""
    function, found = PUBLIC[name], []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        for label, value in junk.items():
            what = f"{parameter.name}={label}"
            try:
                call(name, CALLS[name](world) | {parameter.name: value})
            except ScgrnError as error:
                if not isinstance(error, documented(function)):
                    found.append(f"{what}: {type(error).__name__} is not in the docstring")
                if not says_which(str(error), parameter.name, value) and not isinstance(error, DownloadError):
                    found.append(f"{what}: which argument? {error}")
            except Exception as error:  # noqa: BLE001 – that any other comes through is what is looked for
                found.append(f"{what}: {type(error).__name__} {error}")
    return found


SWEPT = sorted(CALLS.keys() - WITHOUT_ARGUMENTS - EXEMPT.keys())


@pytest.mark.filterwarnings("ignore")  # what junk makes numpy and matplotlib warn of is not the point
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.fuzz if name == "bm.ablate" else pytest.mark.slow)
        if name in LONG
        else name
        for name in SWEPT
    ],
)
def test_junk_is_refused_by_name(world: World, name: str) -> None:
    assert mishaps(name, world, JUNK) == []


@pytest.mark.fuzz
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted({*SWEPT} - {"bm.ablate", "bm.run"}))  # these start processes each time
def test_more_junk_is_refused_by_name(world: World, name: str) -> None:
    assert mishaps(name, world, MORE_JUNK) == []


@pytest.mark.parametrize("name", ["core.spawn_seeds", "get.grn_df", "methods.get", "pl.training_history"])
def test_the_good_calls_are_good(world: World, name: str) -> None:
    """Else all that the sweep sees of them were the same refusal; the others' are made by the table below."""
    call(name, CALLS[name](world))


# ------------------------------------------------------------------------------ values of the right kind, but no good


def with_expression(value: float) -> Callable[[World], dict[str, Any]]:
    def spoil(world: World) -> dict[str, Any]:
        adata = world.adata.copy()
        adata.X = adata.X.toarray()
        adata.X[3, 4] = value
        return {"adata": adata}

    return spoil


def twice(world: World) -> dict[str, Any]:
    adata = world.adata.copy()
    adata.var_names = [adata.var_names[0], *adata.var_names[:-1]]
    return {"adata": adata}


def other_genes(world: World) -> dict[str, Any]:
    adata = world.adata.copy()
    adata.var_names = [f"ENSG{number:011d}" for number in range(adata.n_vars)]
    return {"adata": adata}


def other_split(world: World) -> dict[str, Any]:
    network = core.PriorNetwork.from_any(world.prior, [*world.adata.var_names, "NEW"])
    return {"split": sg.bm.split_edges(network, rng=0)}


def negative_matrix(world: World) -> dict[str, Any]:
    return {"matrix": -world.adata.X[:8].toarray()}


BAD: list[tuple[str, Any, type[ScgrnError], str]] = [
    # function, what is changed about its good call, the error, and a word of its message
    ("bm.ablate", {"weights": "nowhere"}, WeightsUnavailableError, "nowhere"),
    ("bm.ablate", {"seeds": 0}, ArgumentError, "seeds"),
    ("bm.check_ranking", {"y_true": np.full(40, 2)}, ArgumentError, "0 or 1"),
    ("bm.edge_metrics", {"y_score": np.full(40, np.inf)}, ArgumentError, "infinite"),
    ("bm.evaluate", {"part": "all"}, ArgumentError, "'validation'"),
    ("bm.expected_calibration_error", {"probability": np.full(40, 1.5)}, ArgumentError, "between 0 and 1"),
    ("bm.paired_bootstrap", {"confidence": 1.0}, ArgumentError, "confidence"),
    ("bm.per_regulator_metrics", {"regulators": np.zeros(3)}, ArgumentError, "(3,)"),
    ("bm.precision_at_k", {"k": -1}, ArgumentError, "k is"),
    ("bm.read_results", {"out": "nowhere"}, ArgumentError, "nowhere"),
    ("bm.report", {"path": "report.pdf"}, ArgumentError, ".html"),
    ("bm.report", lambda w: {"table": w.results.drop(columns="seed")}, MissingKeyError, "seed"),
    ("bm.run", {"methods": ["perason"]}, ArgumentError, "Did you mean 'pearson'?"),
    ("bm.run", {"n_folds": 0}, ArgumentError, "n_folds"),
    ("bm.split_edges", {"kind": "tf", "n_folds": 99}, SplitError, "99"),
    ("bm.split_edges", {"validation_fraction": 1.0}, ArgumentError, "validation_fraction"),
    ("bm.summary", lambda w: {"table": w.results.drop(columns="method")}, MissingKeyError, "method"),
    ("bm.summary", {"baseline": "nobody"}, MissingKeyError, "nobody"),
    ("core.check_unique_genes", {"names": ["A", "B", "A"]}, DuplicateGenesError, "'A'"),
    ("core.expression_matrix", {"layer": "counted"}, MissingKeyError, "counted"),
    ("core.expression_matrix", lambda w: {"adata": w.adata[:0]}, ExpressionError, "0 cells"),
    ("core.gene_indices", {"names": ["X1", "X2"]}, GeneOverlapError, "'X1'"),
    ("core.gene_indices", {"names": []}, ArgumentError, "empty"),
    ("core.genes_by_cells", with_expression(-1.0), ExpressionError, "negative"),
    ("core.iter_cells", {"batch_size": 0}, ArgumentError, "batch_size"),
    ("core.iter_cells", {"matrix": np.zeros(3)}, ExpressionError, "cells × genes"),
    ("core.log_base_factor", {"adata": "path.h5ad"}, ArgumentError, "an AnnData"),
    ("core.make_task", twice, DuplicateGenesError, "var_names_make_unique"),
    ("core.make_task", other_split, SplitError, "genes"),
    ("core.needs_normalization", {"normalize": "log"}, ArgumentError, "normalize"),
    ("core.open_anndata", {"data": pd.DataFrame()}, ArgumentError, "a MuData"),
    ("core.parallel_map", {"n_jobs": 0}, ArgumentError, "n_jobs"),
    ("core.read_embedding", {"key": "none"}, MissingKeyError, "none"),
    ("core.read_pseudotime", {"columns": ["time"]}, MissingKeyError, "time"),
    ("core.read_pseudotime", {"columns": ["state"]}, ArgumentError, "state"),
    ("core.resolve_device", {"device": "gpu"}, ArgumentError, "'cuda'"),
    ("core.spawn_seeds", {"rng": -1}, ArgumentError, "rng"),
    ("core.summarize_expression", negative_matrix, ExpressionError, "cell 0"),
    ("core.tokenize", {"block": [[1.0]]}, ArgumentError, "a numpy array"),
    ("datasets.beeline", {"cell_type": "hESCs"}, ArgumentError, "hESC"),
    ("datasets.beeline_split", {"sample": 0}, ArgumentError, "sample"),
    ("datasets.collectri", {"organism": "yeast"}, ArgumentError, "yeast"),
    ("datasets.scbert_weights", {"path": "nowhere.pth"}, WeightsUnavailableError, "nowhere.pth"),
    ("datasets.simulated", {"n_tfs": 13}, ArgumentError, "between 14"),
    ("datasets.tf_names", {"organism": "rat"}, ArgumentError, "mouse"),
    ("get.grn_df", {"key": "other"}, MissingKeyError, "other"),
    ("get.grn_df", {"tfs": ["NOBODY"]}, ArgumentError, "NOBODY"),
    ("get.grn_metrics", {"key": "ground_truth"}, MissingKeyError, "ground_truth"),
    ("get.grn_metrics", {"key": 1}, ArgumentError, "key is a string"),
    ("io.to_decoupler", {"min_probability": 2.0}, ArgumentError, "min_probability"),
    ("io.to_networkx", {"top_n": -1}, ArgumentError, "top_n"),
    ("io.write_edges", {"path": "edges.xlsx"}, ArgumentError, ".csv"),
    ("methods.get", {"name": "genie"}, ArgumentError, "genie3"),
    ("methods.names", {"role": "baseline"}, ArgumentError, "role"),
    ("models.fit_hub_rates", {"mask": np.zeros((4, 4), dtype=bool)}, ArgumentError, "0 pairs"),
    ("models.gene_features", {"expression": [[1.0]]}, ArgumentError, "genes × cells"),
    ("models.load_scbert", {"path": "nowhere.pth"}, WeightsUnavailableError, "nowhere.pth"),
    ("models.seeded_rng", {"seed": "one"}, ArgumentError, "seed"),
    ("pl.ablation", {"full": "whole"}, ArgumentError, "whole"),
    ("pl.benchmark", {"width": 0.0}, ArgumentError, "width"),
    ("pl.calibration", {"part": "all"}, ArgumentError, "part"),
    ("pl.calibration", other_split, SplitError, "genes"),
    ("pl.differential_grn", {"key": "other"}, MissingKeyError, "other"),
    ("pl.differential_grn", {"ax": "axes"}, ArgumentError, "ax is an Axes"),
    ("pl.edge_explanation", {"source": "NOBODY"}, ArgumentError, "NOBODY"),
    ("pl.grn_edges", {"reference": pd.DataFrame({"a": [1]})}, PriorError, "['a']"),
    ("pl.grn_edges", {"compare": "other"}, MissingKeyError, "other"),
    ("pl.roc_pr", {"key": ["grn", "other"]}, MissingKeyError, "other"),
    ("pl.training_history", {"key": "scbert"}, MissingKeyError, "history"),
    ("tl.attentive_pool", {"weighting": "median"}, ArgumentError, "'softmax'"),
    ("tl.attentive_pool", {"key": "other"}, MissingKeyError, "other"),
    ("tl.batch_agreement", {"batch_key": "lane"}, MissingKeyError, "lane"),
    ("tl.differential_grn", {"group": "nobody"}, ArgumentError, "nobody"),
    ("tl.explain_edges", {"edges": [("NOBODY", "TF01")]}, ArgumentError, "NOBODY"),
    ("tl.fit_grn", {"method": "pearson"}, ArgumentError, "sg.tl.infer_grn"),
    ("tl.fit_grn", {"dropuot": 0.1}, ArgumentError, "Did you mean 'dropout'?"),
    ("tl.fit_grn", {"prior": pd.DataFrame({"source": ["TF01"], "target": ["TF02"]})}, PriorError, "1 edges"),
    ("tl.fit_grn", with_expression(np.nan), ExpressionError, "NaN"),
    ("tl.fit_grn", twice, DuplicateGenesError, "var_names_make_unique"),
    ("tl.fit_grn", other_split, SplitError, "genes"),
    ("tl.fit_grn", {"tf_names": ["X1"]}, GeneOverlapError, "X1"),
    ("tl.fit_grn", {"use_rep": "other"}, MissingKeyError, "other"),
    ("tl.infer_grn", {"method": "sctransnet"}, ArgumentError, "sg.tl.fit_grn"),
    ("tl.infer_grn", with_expression(np.inf), ExpressionError, "infinite"),
    ("tl.infer_grn", {"layer": "counted"}, MissingKeyError, "counted"),
    ("tl.scbert_embed", other_genes, GeneOverlapError, "Ensembl"),
    ("tl.scbert_embed", with_expression(-1.0), ExpressionError, "negative"),
    ("tl.scbert_embed", {"weights": "nowhere.pth"}, WeightsUnavailableError, "nowhere.pth"),
    ("tl.scbert_embed", {"groupby": "kind"}, MissingKeyError, "kind"),
    ("tl.scbert_finetune", other_genes, GeneOverlapError, "Ensembl"),
    ("tl.scbert_finetune", {"weights": "nowhere.pth"}, WeightsUnavailableError, "nowhere.pth"),
    ("tl.scbert_pretrain", {"heads": 0}, ArgumentError, "heads"),
    ("tl.scbert_pretrain", {"genes": ["X1", "X2"]}, GeneOverlapError, "24 genes"),
    ("tl.scbert_pretrain", twice, DuplicateGenesError, "var_names_make_unique"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "change", "error", "word"), BAD, ids=[f"{row[0]}-{row[3]}" for row in BAD])
def test_bad_calls(world: World, name: str, change: Any, error: type[ScgrnError], word: str) -> None:
    changes = change(world) if callable(change) else change
    with pytest.raises(error) as caught:
        call(name, CALLS[name](world) | changes)
    assert word in str(caught.value)
    assert isinstance(caught.value, (ValueError, KeyError, OSError))  # also what Python has for it
    assert isinstance(caught.value, documented(PUBLIC[name])), "not in the docstring"


def test_every_public_function_is_spoilt() -> None:
    assert set(CALLS) == set(PUBLIC)
    assert {row[0] for row in BAD} == set(PUBLIC) - WITHOUT_ARGUMENTS - set(EXEMPT) - {"methods.method"}
    assert set(EXEMPT) <= set(PUBLIC)


def test_a_method_is_registered_once() -> None:
    with pytest.raises(ArgumentError, match="role is"):
        sg.methods.method(
            name="new", supervised=False, directed=True, stochastic=False, reference="nobody", role="baseline"
        )(lambda task: task)
    assert "new" not in sg.methods.names()
    assert ArgumentError in documented(sg.methods.method)
