"""Whatever is handed to a public function: it works, or an error of this package names the argument and is documented.

One argument of a good call (``public_calls.py``) is spoilt at a time, by values of every wrong kind; and by hand, where
what is wrong about a value is its meaning.
"""

from __future__ import annotations

import builtins
import importlib
import inspect
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
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
    WeightsError,
    WeightsUnavailableError,
)
from scgrn_tl.models import ScBERTModel, ScTransNet

if TYPE_CHECKING:
    from collections.abc import Callable

    from public_calls import World

pytestmark = pytest.mark.usefixtures("gene_tables")

NAMESPACES = ("bm", "core", "datasets", "get", "io", "methods", "models", "pl", "pp", "tl")
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
LONG = {"bm.ablate", "bm.run", "tl.edge_evidence", "tl.fit_grn", "tl.scbert_finetune", "tl.scbert_pretrain"}
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
    "rankings": "the table is no ranking",
    "reference": ("prior", "the table of edges"),  # which may be one of many forms of a prior
    "data": "split=",  # of `pl.roc_pr`: a table goes with another kind of split
}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some junk is a good name of a file or a folder, which is then written where the process is."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    with sg.settings.override(progress=False), pytest.MonkeyPatch.context() as patch:
        patch.setattr("pooch.HTTPDownloader.__call__", offline)
        patch.setitem(sys.modules, "decoupler", SimpleNamespace(op=SimpleNamespace(collectri=edges, dorothea=edges)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is left out of results on so few cells
            made = make_world(folder)
        yield made


def offline(*_args: Any) -> None:
    msg = "the network is down"
    raise ConnectionError(msg)


def edges(**_arguments: Any) -> pd.DataFrame:
    """What decoupler downloads."""
    return pd.DataFrame({"source": ["GATA1"], "target": ["KLF1"], "weight": [1.0], "confidence": ["A"]})


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
    return tuple(
        getattr(core, name.strip(), None) or getattr(builtins, name.strip())
        for line in names
        for name in line.split(",")
    )


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


def other_encoder(world: World) -> dict[str, Any]:
    adata = world.adata.copy()
    adata.uns["scbert"]["weights"]["sha256"] = "0" * 64
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
    ("datasets.dorothea", {"organism": "yeast"}, ArgumentError, "yeast"),
    ("datasets.dorothea", {"levels": ["A", "E"]}, ArgumentError, "'E'"),
    ("datasets.gene_names", {"organism": "rat"}, ArgumentError, "'mouse'"),
    ("datasets.scbert_weights", {"path": "nowhere.pth"}, WeightsUnavailableError, "nowhere.pth"),
    ("datasets.simulated", {"n_tfs": 13}, ArgumentError, "between 14"),
    ("datasets.tf_names", {"organism": "rat"}, ArgumentError, "mouse"),
    ("datasets.trrust", {"organism": "mouse"}, ArgumentError, "sg.datasets.collectri"),
    ("get.grn_df", {"key": "other"}, MissingKeyError, "other"),
    ("get.grn_df", {"tfs": ["NOBODY"]}, ArgumentError, "NOBODY"),
    ("get.grn_metrics", {"key": "ground_truth"}, MissingKeyError, "ground_truth"),
    ("get.grn_metrics", {"key": 1}, ArgumentError, "key is a string"),
    ("io.read_rankings", {"rankings": "nowhere.feather"}, ArgumentError, "nowhere.feather"),
    ("io.read_rankings", {"rankings": pd.DataFrame({"KLF1": [0.5]}, index=["GATA1"])}, PriorError, "no ranking"),
    ("io.read_rankings", {"top_n": 0}, ArgumentError, "top_n"),
    ("io.read_rankings", {"motif_to_tf": {"motif9": "GATA1"}}, ArgumentError, "'motif9'"),
    ("io.read_rankings", {"motif_to_tf": pd.DataFrame({"motif": ["motif1"]})}, ArgumentError, "gene_name"),
    ("io.to_celloracle", {"key": "other"}, MissingKeyError, "other"),
    ("io.to_decoupler", {"min_probability": 2.0}, ArgumentError, "min_probability"),
    ("io.to_networkx", {"top_n": -1}, ArgumentError, "top_n"),
    ("io.to_pyscenic", {"targets": ["NOBODY"]}, ArgumentError, "NOBODY"),
    ("io.to_regulons", {"min_probability": -0.1}, ArgumentError, "min_probability"),
    ("io.write_beeline", lambda w: {"path": w.folder / "nowhere" / "rankedEdges.csv"}, ArgumentError, "nowhere"),
    ("io.write_edges", {"path": "edges.xlsx"}, ArgumentError, ".csv"),
    ("io.write_edges", {"format": "loom"}, ArgumentError, "'graphml'"),
    ("io.write_edges", {"path": "edges.gmt.gz"}, ArgumentError, "'.gz'"),
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
    ("pl.edge_evidence", {"key": "by_batch"}, MissingKeyError, "by_batch"),
    ("pl.edge_evidence", {"top_n": 61}, ArgumentError, "from 1 to 60"),
    ("pl.edge_evidence", {"edges": [("NOBODY", "TF01")]}, ArgumentError, "NOBODY"),
    ("pl.edge_evidence", {"edges": [("TF01", "TF02")], "tfs": "TF01"}, ArgumentError, "tfs="),
    ("pl.edge_explanation", {"source": "NOBODY"}, ArgumentError, "NOBODY"),
    ("pl.grn_edges", {"reference": pd.DataFrame({"a": [1]})}, PriorError, "['a']"),
    ("pl.grn_edges", {"compare": "other"}, MissingKeyError, "other"),
    ("pl.roc_pr", {"key": ["grn", "other"]}, MissingKeyError, "other"),
    ("pl.training_history", {"key": "scbert"}, MissingKeyError, "history"),
    ("pp.resolve_genes", {"organism": "rat"}, ArgumentError, "`tables={'rat': names}`"),
    ("pp.resolve_genes", {"duplicates": "max"}, ArgumentError, "'sum'"),
    ("pp.resolve_genes", {"min_overlap": 1.5}, ArgumentError, "min_overlap"),
    ("pp.resolve_genes", {"vocabulary": []}, ArgumentError, "vocabulary"),
    ("pp.resolve_genes", {"tables": {"human": pd.DataFrame({"name": ["A"]})}}, ArgumentError, "kind"),
    ("pp.resolve_genes", {"key_added": "a/b"}, ArgumentError, "key_added"),
    ("pp.resolve_genes", twice, DuplicateGenesError, "var_names_make_unique"),
    ("pp.resolve_genes", other_genes, GeneOverlapError, "Ensembl"),
    ("pp.resolve_names", {"names": "GATA1"}, ArgumentError, "['GATA1']"),
    ("pp.resolve_names", {"organism": "mouse", "vocabulary": "scbert"}, ArgumentError, 'to="human"'),
    ("pp.select_genes", {"n_top": -1}, ArgumentError, "n_top"),
    ("pp.select_genes", {"alpha": 0.0}, ArgumentError, "alpha"),
    ("pp.select_genes", {"pseudotime": "dpt_pseudotime", "groupby": "state"}, ArgumentError, "pseudotime, groupby"),
    ("pp.select_genes", {"groupby": "kind"}, MissingKeyError, "kind"),
    ("pp.select_genes", {"tf_names": ["X1"]}, GeneOverlapError, "X1"),
    ("pp.select_genes", {"p_values": [0.5]}, ArgumentError, "(1,)"),
    ("pp.select_genes", {"layer": "counted"}, MissingKeyError, "counted"),
    ("pp.select_genes", with_expression(np.nan), ExpressionError, "NaN"),
    ("pp.select_genes", twice, DuplicateGenesError, "var_names_make_unique"),
    ("tl.attentive_pool", {"weighting": "median"}, ArgumentError, "'softmax'"),
    ("tl.attentive_pool", {"key": "other"}, MissingKeyError, "other"),
    ("tl.batch_agreement", {"batch_key": "lane"}, MissingKeyError, "lane"),
    ("tl.differential_grn", {"group": "nobody"}, ArgumentError, "nobody"),
    ("tl.edge_evidence", {"n_bootstraps": 1}, ArgumentError, "at least 2"),
    ("tl.edge_evidence", {"confidence": 1.0}, ArgumentError, "confidence"),
    ("tl.edge_evidence", {"key": "other"}, MissingKeyError, "other"),
    ("tl.edge_evidence", {"unit": "donor"}, MissingKeyError, "donor"),
    ("tl.edge_evidence", {"split": None}, SplitError, "split"),
    ("tl.edge_evidence", lambda w: {"adata": w.adata[:20].copy()}, ArgumentError, "30 cells"),
    ("tl.explain_edges", {"edges": [("NOBODY", "TF01")]}, ArgumentError, "NOBODY"),
    ("tl.fit_grn", {"adata": "a.h5ad"}, ArgumentError, "`adata = anndata.read_h5ad('a.h5ad')`"),
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
    ("tl.transfer_grn", {"model": "nowhere"}, WeightsError, "nowhere"),
    ("tl.transfer_grn", {"model": pd.DataFrame()}, ArgumentError, "ScTransNet"),
    ("tl.transfer_grn", other_genes, GeneOverlapError, "model's"),
    ("tl.transfer_grn", twice, DuplicateGenesError, "var_names_make_unique"),
    ("tl.transfer_grn", with_expression(-1.0), ExpressionError, "negative"),
    ("tl.transfer_grn", {"use_rep": "other"}, MissingKeyError, "other"),
    ("tl.transfer_grn", other_encoder, WeightsError, "encoder"),
    ("tl.transfer_grn", {"prior": pd.DataFrame({"source": ["A"], "target": ["B"]})}, PriorError, "genes"),
    ("tl.transfer_grn", {"max_edges": 0}, ArgumentError, "max_edges"),
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


# --------------------------------------------------------------------------------------------- methods of the models


@pytest.fixture(scope="module")
def encoder_model(world: World) -> ScBERTModel:
    adata = world.adata.copy()
    ScBERTModel.setup_anndata(adata, batch_key="batch")
    model = ScBERTModel(adata, dim=8, depth=1, heads=2, dim_head=4)
    model.save(world.folder / "model")
    return model


def file_in_the_way() -> str:
    Path("file").touch()
    return "file/below"


SETUP = ScBERTModel.setup_anndata
BAD_METHODS: list[tuple[Callable, Callable[..., Any], type[ScgrnError], str]] = [
    # the method, a bad call of it, the error, and a word of its message; w: world, m: ScTransNet, b: ScBERTModel
    (ScTransNet, lambda w, m, b: ScTransNet(dropuot=0.1), ArgumentError, "Did you mean 'dropout'?"),
    (ScTransNet, lambda w, m, b: ScTransNet(epochs="many"), ArgumentError, "epochs is"),
    (ScTransNet, lambda w, m, b: ScTransNet("large"), ArgumentError, "config is"),
    (ScTransNet, lambda w, m, b: ScTransNet(lr=0.0), ArgumentError, "lr > 0"),
    (ScTransNet.from_anndata, lambda w, m, b: ScTransNet.from_anndata("a.h5ad", w.prior), ArgumentError, "adata is"),
    (ScTransNet.from_anndata, lambda w, m, b: ScTransNet.from_anndata(w.adata, 7), PriorError, "type int"),
    (ScTransNet.from_anndata, lambda w, m, b: ScTransNet.from_anndata(w.adata, w.prior, use_rep="other"),
     MissingKeyError, "other"),
    (ScTransNet.from_anndata, lambda w, m, b: ScTransNet.from_anndata(w.adata, w.prior, layer="counted"),
     MissingKeyError, "counted"),
    (ScTransNet.from_anndata, lambda w, m, b: ScTransNet.from_anndata(w.adata, w.prior, tf_names=["X1"]),
     GeneOverlapError, "X1"),
    (ScTransNet.from_anndata, lambda w, m, b: ScTransNet.from_anndata(w.adata, w.prior, **other_split(w)),
     SplitError, "genes"),
    (ScTransNet.from_anndata, lambda w, m, b: ScTransNet.from_anndata(w.adata, w.prior, validation_fraction=1.0),
     ArgumentError, "validation_fraction"),
    (ScTransNet.from_anndata, lambda w, m, b: ScTransNet.from_anndata(**with_expression(np.nan)(w), prior=w.prior),
     ExpressionError, "NaN"),
    (ScTransNet.from_anndata, lambda w, m, b: ScTransNet.from_anndata(**twice(w), prior=w.prior),
     DuplicateGenesError, "var_names_make_unique"),
    (ScTransNet.fit, lambda w, m, b: ScTransNet().fit(), ArgumentError, "from_anndata"),
    (ScTransNet.fit, lambda w, m, b: ScTransNet().fit(w.adata), ArgumentError, "task is"),
    (ScTransNet.fit, lambda w, m, b: ScTransNet().fit(core.make_task(w.adata, prior=w.network)), SplitError, "prior="),
    (ScTransNet.score, lambda w, m, b: ScTransNet().score([("TF01", "TF02")]), ArgumentError, "not fitted"),
    (ScTransNet.score, lambda w, m, b: m.score([("NOBODY", "TF01")]), MissingKeyError, "NOBODY"),
    (ScTransNet.score, lambda w, m, b: m.score("TF01"), ArgumentError, "pairs are"),
    (ScTransNet.score, lambda w, m, b: m.score(5), ArgumentError, "'GATA1'"),
    (ScTransNet.score, lambda w, m, b: m.score([("TF01", "TF02")], layer="counts"), ArgumentError, "AnnData"),
    (ScTransNet.score, lambda w, m, b: m.score(w.adata, 5), ArgumentError, "a table of"),
    (ScTransNet.score, lambda w, m, b: m.score(w.adata, [("TF01", "NEW")]), MissingKeyError, "'NEW'"),
    (ScTransNet.transfer, lambda w, m, b: m.transfer(w.adata.X), ArgumentError, "adata is"),
    (ScTransNet.transfer, lambda w, m, b: m.transfer(**other_genes(w)), GeneOverlapError, "model's"),
    (ScTransNet.transfer, lambda w, m, b: m.transfer(**other_encoder(w)), WeightsError, "encoder"),
    (ScTransNet.transfer, lambda w, m, b: m.transfer(w.adata, layer="counted"), MissingKeyError, "counted"),
    (ScTransNet.transfer, lambda w, m, b: m.transfer(w.adata, prior=7), PriorError, "type int"),
    (ScTransNet.explain, lambda w, m, b: m.explain("NOBODY", "TF01"), MissingKeyError, "NOBODY"),
    (ScTransNet.explain, lambda w, m, b: m.explain("TF01", "TF02", n_messages=0), ArgumentError, "n_messages"),
    (ScTransNet.use_embeddings, lambda w, m, b: m.use_embeddings([np.zeros((3, 2))]), ArgumentError, "(3, 2)"),
    (ScTransNet.save, lambda w, m, b: ScTransNet().save("new"), ArgumentError, "not fitted"),
    (ScTransNet.save, lambda w, m, b: m.save(w.folder / "network"), ArgumentError, "overwrite=True"),
    (ScTransNet.save, lambda w, m, b: m.save(5), ArgumentError, "folder is"),
    (ScTransNet.save, lambda w, m, b: m.save(file_in_the_way()), ArgumentError, "below a file"),
    (ScTransNet.card, lambda w, m, b: ScTransNet().card(), ArgumentError, "not fitted"),
    (ScTransNet.load, lambda w, m, b: ScTransNet.load("nowhere"), WeightsError, "nowhere"),
    (ScTransNet.load, lambda w, m, b: ScTransNet.load(file_in_the_way()), WeightsError, "file/below"),
    (ScTransNet.load, lambda w, m, b: ScTransNet.load(5), ArgumentError, "folder is"),
    (ScTransNet.load, lambda w, m, b: ScTransNet.load(w.folder / "network", device="gpu"), ArgumentError, "'cuda'"),
    (ScBERTModel, lambda w, m, b: ScBERTModel(b.adata, gene_init="pca"), ArgumentError, "'svd'"),
    (ScBERTModel, lambda w, m, b: ScBERTModel(b.adata, dim=7), ArgumentError, "heads=4"),
    (ScBERTModel, lambda w, m, b: ScBERTModel(b.adata, vocabulary=["A", "B"]), GeneOverlapError, "0 of 24"),
    (ScBERTModel.setup_anndata, lambda w, m, b: SETUP("a.h5ad"), ArgumentError, "adata is"),
    (ScBERTModel.setup_anndata, lambda w, m, b: SETUP(b.adata, normalize="log"), ArgumentError, "normalize is"),
    (ScBERTModel.from_encoder, lambda w, m, b: ScBERTModel.from_encoder(b.adata, "panglao", w.vocabulary),
     ArgumentError, "sg.models.load_scbert"),
    (ScBERTModel.train, lambda w, m, b: b.train(0), ArgumentError, "max_epochs"),
    (ScBERTModel.train, lambda w, m, b: b.train(1, train_size=2.0), ArgumentError, "train_size"),
    (ScBERTModel.train, lambda w, m, b: b.train(1, lr="fast"), ArgumentError, "lr is"),
    (ScBERTModel.train, lambda w, m, b: b.train(1, mask_fraction=0.0), ArgumentError, "mask_fraction"),
    (ScBERTModel.train, lambda w, m, b: b.train(1, train_blocks=5), ArgumentError, "train_blocks"),
    (ScBERTModel.train, lambda w, m, b: b.train(1, plan_kwargs={"momentum": 1}), ArgumentError, "'momentum'"),
    (ScBERTModel.get_gene_embedding, lambda w, m, b: b.get_gene_embedding(pool="max"), ArgumentError, "pool is"),
    (ScBERTModel.get_gene_embedding, lambda w, m, b: b.get_gene_embedding(indices=[99]), ArgumentError, "indices are"),
    (ScBERTModel.get_gene_embedding, lambda w, m, b: b.get_gene_embedding(batch_size=0), ArgumentError, "batch_size"),
    (ScBERTModel.get_gene_embedding, lambda w, m, b: b.get_gene_embedding(by_label=True), ArgumentError, "labels_key="),
    (ScBERTModel.save, lambda w, m, b: b.save(w.folder / "model"), ArgumentError, "overwrite=True"),
    (ScBERTModel.load, lambda w, m, b: ScBERTModel.load("nowhere"), WeightsUnavailableError, "nowhere"),
    (ScBERTModel.load, lambda w, m, b: ScBERTModel.load(5), ArgumentError, "dir_path is"),
    (ScBERTModel.load, lambda w, m, b: ScBERTModel.load(w.folder / "model", device="gpu"), ArgumentError, "'cuda'"),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:Trying to query inferred values from an untrained model")
@pytest.mark.parametrize(
    ("method", "bad_call", "error", "word"),
    BAD_METHODS,
    ids=[f"{method.__qualname__}-{word}" for method, _, _, word in BAD_METHODS],
)
def test_bad_calls_of_methods(
    world: World, encoder_model: ScBERTModel, method: Callable, bad_call: Callable, error: type[ScgrnError], word: str
) -> None:
    with pytest.raises(error) as caught:
        bad_call(world, world.model, encoder_model)
    assert word in str(caught.value)
    assert isinstance(caught.value, documented(method)), "not in the docstring"


def test_the_main_methods_are_spoilt() -> None:
    """Those of the two models that take arguments and are written here; scvi-tools refuses in its own words."""
    spoilt = {method.__qualname__ for method, *_ in BAD_METHODS}
    left_out = {"ScBERTModel.forget", "ScBERTModel.load_registry", "ScBERTModel.view_setup_args"}
    for cls in (ScTransNet, ScBERTModel):
        for name in dir(cls):
            method = inspect.getattr_static(cls, name)
            function = inspect.unwrap(getattr(method, "__func__", method))
            if name.startswith("_") or not inspect.isfunction(function) or "scgrn_tl" not in function.__module__:
                continue
            takes = set(inspect.signature(function).parameters) - {"self", "cls"}
            assert not takes or f"{cls.__name__}.{name}" in left_out or getattr(cls, name).__qualname__ in spoilt, name
