"""What bad input gets, and what must never happen: the whole table in one place, through the calls a user makes.

Every refusal is checked for its class, for what its message names and for the call that mends it, and for what it left
behind: nothing computed, nothing written into the AnnData, the matrix as it was.
"""

from __future__ import annotations

import hashlib
import json
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy import sparse

import scgrn_tl as sg
from scgrn_tl.core import (
    ArgumentError,
    DownloadError,
    DuplicateGenesError,
    ExpressionError,
    GeneOverlapError,
    GeneVocabulary,
    MissingKeyError,
    PriorError,
    PriorNetwork,
    WeightsError,
    WeightsUnavailableError,
    make_task,
)
from scgrn_tl.models import ScBERT, ScBERTConfig, ScTransNet, load_scbert

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HUMAN = [
    "GATA1", "KLF1", "TAL1", "SPI1", "CEBPA", "RUNX1", "MYC", "TP53", "STAT1", "STAT3", "JUN", "FOS", "SOX2",
    "NANOG", "POU5F1", "KLF4", "HBB", "HBA1", "HBG1", "ALAS2", "EPOR", "GYPA", "SLC4A1", "ACTB", "GAPDH",
    "CD34", "CD38", "KIT", "MPO", "ELANE", "LYZ", "CSF1R", "ITGAM", "PTPRC", "CCND1", "CDK1", "MKI67", "TOP2A",
    "BCL2", "MCL1",
]  # fmt: skip
N_GENES, N_CELLS, N_KNOWN = len(HUMAN), 24, 36
VOCABULARY = GeneVocabulary([*HUMAN[:N_KNOWN], "ABSENT1", "ABSENT2"])
FAST = {"epochs": 2, "gnn_widths": (8, 8), "gnn_heads": 2, "channel_hidden": 8, "channel_width": 4}
TINY = {"dim": 8, "depth": 1, "heads": 2, "dim_head": 4, "max_epochs": 1}


class World(NamedTuple):
    """What all tests share; none of them changes it."""

    adata: ad.AnnData
    embedded: ad.AnnData
    prior: pd.DataFrame
    encoder: Path
    checkpoint: Path
    network: Path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("reliability")
    simulated = sg.datasets.simulated(N_CELLS, N_GENES, 8, mean_targets=8, rng=1)
    names = dict(zip(simulated.var_names, HUMAN, strict=True))
    prior = simulated.uns["ground_truth"]
    prior = pd.DataFrame({"source": prior["source"].map(names), "target": prior["target"].map(names), "sign": 1})
    adata = ad.AnnData(
        simulated.layers["counts"].astype(np.float32),
        obs=pd.DataFrame({"type": ["B", "CD4/T"] * 12, "batch": ["a"] * 9 + ["b"] * 15}, index=simulated.obs_names),
        var=pd.DataFrame(index=HUMAN),
    )
    model = ScBERT(ScBERTConfig(n_genes=len(VOCABULARY), dim=8, depth=1, heads=2, dim_head=4))
    model.initialize(torch.Generator().manual_seed(0)).save(folder / "encoder", VOCABULARY)
    torch.save({"model_state_dict": model.state_dict()}, folder / "scbert.pth")
    with sg.settings.override(progress=False):
        embedded = sg.tl.scbert_embed(adata, weights=folder / "encoder", copy=True)
        network = PriorNetwork.from_any(prior, HUMAN)
        task = make_task(
            adata, prior=network, split=sg.bm.split_edges(network, rng=0), embedding=embedded.varm["scbert"]
        )
        ScTransNet(**FAST).fit(task).save(folder / "network")
    return World(adata, embedded, prior, folder / "encoder", folder / "scbert.pth", folder / "network")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No mirror, no weights, an empty cache, and a network that is down."""
    for name in ("SCGRN_TL_MIRROR", "SCGRN_TL_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SCGRN_TL_CACHE", str(tmp_path / "cache"))
    download(monkeypatch, error=ConnectionError("the network is down"))


def download(monkeypatch: pytest.MonkeyPatch, content: bytes = b"", error: BaseException | None = None) -> list[str]:
    """Let every download bring ``content`` and then fail with ``error``; the addresses asked for."""
    asked: list[str] = []

    def bring(_self: object, url: str, output_file: str, _pooch: object) -> None:
        asked.append(url)
        Path(output_file).write_bytes(content)
        time.sleep(0.05)
        if error is not None:
            raise error

    monkeypatch.setattr("pooch.HTTPDownloader.__call__", bring)
    return asked


@pytest.fixture
def no_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Encoding and training are not reached."""

    def reached(*_args: object, **_kwargs: object) -> None:
        pytest.fail("long work had begun")

    monkeypatch.setattr(ScBERT, "encode", reached)
    monkeypatch.setattr("scgrn_tl.models.scbert_model.ScBERTModel.train", reached)
    monkeypatch.setattr("scgrn_tl.models.link_training.LinkTrainer.run", reached)


# The verbs as a user calls them, on an AnnData that is ready for them.


def embed(adata: ad.AnnData, world: World, **changes: Any) -> None:
    sg.tl.scbert_embed(adata, **({"weights": world.encoder} | changes))


def pool(adata: ad.AnnData, world: World, **changes: Any) -> None:
    sg.tl.attentive_pool(adata, **({"weighting": "mean", "key_added": "pooled"} | changes))


def pretrain(adata: ad.AnnData, world: World, **changes: Any) -> None:
    sg.tl.scbert_pretrain(adata, **TINY | changes)


def fit(adata: ad.AnnData, world: World, **changes: Any) -> None:
    changes = {"prior": world.prior} | changes
    sg.tl.fit_grn(adata, changes.pop("prior"), **FAST | changes)


VERBS = {"scbert_embed": embed, "attentive_pool": pool, "scbert_pretrain": pretrain, "fit_grn": fit}
every_verb = pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)


def ready(world: World, verb: Callable) -> ad.AnnData:
    return (world.embedded if verb in (pool, fit) else world.adata).copy()


def contents(value: Any) -> Any:
    """A copy of anything an AnnData holds, of plain parts that compare: the bytes and types of arrays, no views."""
    if isinstance(value, ad.AnnData):
        slots = ("X", "obs", "var", "layers", "obsm", "varm", "varp", "uns")
        return {slot: contents(getattr(value, slot)) for slot in slots} | {
            "names": [*value.obs_names, *value.var_names]
        }
    if isinstance(value, pd.DataFrame):
        return {str(name): contents(column.to_numpy()) for name, column in value.items()} | {"index": list(value.index)}
    if hasattr(value, "items") and not sparse.issparse(value):
        return {key: contents(inner) for key, inner in value.items() if key is not None}
    if sparse.issparse(value):
        parts = {name: contents(getattr(value, name)) for name in ("data", "indices", "indptr")}
        return parts | {"format": value.format, "shape": value.shape}
    if isinstance(value, np.ndarray):
        return value.tolist() if value.dtype == object else (value.dtype.str, value.shape, value.tobytes())
    return value.item() if isinstance(value, np.generic) else value


@contextmanager
def refused(adata: ad.AnnData, error: type[Exception], *words: str) -> Iterator[list[str]]:
    """The block raises ``error`` with all of ``words`` in its message (yielded), and leaves ``adata`` as it was."""
    before, message = contents(adata), []
    with pytest.raises(error) as caught:
        yield message
    assert isinstance(caught.value, sg.ScgrnError)
    message.append(str(caught.value))
    for word in words:
        assert word in message[0]
    assert contents(adata) == before


def do_as_told(message: str, n: int = 0, **names: Any) -> None:
    """Run the n-th call that stands in backticks in ``message``."""
    exec([quoted for quoted in re.findall(r"`([^`]*)`", message) if "(" in quoted][n], names)


def copy_of(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to) if folder.is_dir() else shutil.copy(folder, to))


# ------------------------------------------------------------------------- negative, NaN or infinite expression


@every_verb
@pytest.mark.parametrize(
    ("value", "words"),
    [(-1.5, ("negative", "`layer=`")), (np.nan, ("NaN", "drop those cells")), (np.inf, ("infinite", "Set such"))],
    ids=["negative", "NaN", "infinite"],
)
@pytest.mark.parametrize("convert", [np.asarray, sparse.csc_matrix], ids=["dense", "csc"])
@pytest.mark.usefixtures("no_compute")
def test_bad_expression(world: World, verb: Callable, value: float, words: tuple[str, ...], convert: Callable) -> None:
    adata = ready(world, verb)
    dense = adata.X.toarray()
    dense[5, 7] = dense[6, 2] = value
    adata.X = convert(dense)
    with refused(adata, ExpressionError, *words, repr(adata.obs_names[5]), repr(adata.var_names[7])):
        verb(adata, world)


# ----------------------------------------------------------------------------------------- a cell with all zeros


def test_all_zero_cells_from_embedding_to_network(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    adata = world.adata.copy()
    empty = np.isin(np.arange(N_CELLS), [0, 7])
    adata.X = sparse.csr_matrix(np.where(empty[:, None], 0, adata.X.toarray()))
    before = contents(adata.X)
    monkeypatch.setenv("SCGRN_TL_WEIGHTS", str(world.encoder))
    with pytest.warns(UserWarning, match=r"2 of 24 cells have no counts.*scanpy\.pp\.filter_cells"):
        fit(adata, world)  # which embeds first
    pool(adata, world)
    others = adata[~empty].copy()
    embed(others, world)
    for key, expected in (("scbert", "scbert"), ("scbert_mean", "scbert_mean"), ("pooled", "scbert_mean")):
        np.testing.assert_allclose(adata.varm[key], others.varm[expected], atol=1e-6)
    np.testing.assert_allclose(adata.obsm["scbert_attention"][empty], 1 / N_KNOWN, rtol=1e-6)
    assert adata.obs["scbert_pooled"].tolist() == (~empty).tolist()
    assert adata.uns["scbert"]["cells"]["empty"] == 2
    assert np.isfinite(adata.varp["grn"].data).all()
    assert contents(adata.X) == before


@pytest.mark.parametrize("verb", [embed, pretrain])
@pytest.mark.usefixtures("no_compute")
def test_nothing_but_zeros(world: World, verb: Callable) -> None:
    adata = world.adata.copy()
    adata.X = sparse.csr_matrix(adata.shape, dtype=np.float32)
    with refused(adata, ExpressionError):
        verb(adata, world)


# -------------------------------------------------------------------------------------------- `var_names` duplicated


@every_verb
@pytest.mark.usefixtures("no_compute")
def test_duplicated_var_names(world: World, verb: Callable) -> None:
    adata = ready(world, verb)
    adata.var_names = ["KLF1", "KLF1", *HUMAN[2:]]
    with refused(adata, DuplicateGenesError, "1 gene names", "'KLF1'", "`adata.var_names_make_unique()`") as message:
        verb(adata, world)
    do_as_told(message[0], adata=adata)
    assert adata.var_names.is_unique


# ------------------------------------------- Ensembl ids where symbols are expected, mouse symbols for the human model


def ensembl(prefix: str = "ENSG", first: int = 10_000_001) -> list[str]:
    """Ids that the genes of ``HUMAN`` have in the table of names of the tests, with versions."""
    return [f"{prefix}{number:011d}.{number % 9}" for number in range(first, first + N_GENES)]


def mouse(names: list[str]) -> list[str]:
    return [name.capitalize() for name in names]


IDENTIFIERS = {
    # names, a column of var, what they look like, what is told to be done
    "Ensembl ids, symbols in var": (ensembl(), HUMAN, "like Ensembl gene ids.", "astype(str)"),
    "Ensembl ids": (ensembl(), None, "like Ensembl gene ids.", "sg.pp.resolve_genes(adata)"),
    "mouse Ensembl ids": (
        ensembl("ENSMUSG", 20_000_000),
        None,
        "like Ensembl gene ids (mouse)",
        'organism="mouse", to="human"',
    ),
    "mouse symbols": (mouse(HUMAN), None, "like mouse gene symbols", 'organism="mouse", to="human"'),
    "numbers": ([str(number) for number in range(N_GENES)], None, "like integers", 'weights="fit"'),
}


@pytest.mark.usefixtures("gene_tables")
@pytest.mark.parametrize("verb", [embed, fit], ids=["scbert_embed", "fit_grn"])
@pytest.mark.parametrize(("names", "column", "looks", "remedy"), IDENTIFIERS.values(), ids=IDENTIFIERS)
def test_other_identifiers(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    verb: Callable,
    names: list[str],
    column: list[str] | None,
    looks: str,
    remedy: str,
) -> None:
    adata = world.adata.copy()
    adata.var_names = names
    if column is not None:
        adata.var["gene_symbols"] = pd.Categorical(column)
    renamed = dict(zip(HUMAN, names, strict=True))
    prior = world.prior.assign(source=world.prior["source"].map(renamed), target=world.prior["target"].map(renamed))
    monkeypatch.setenv("SCGRN_TL_WEIGHTS", str(world.encoder))
    with refused(adata, GeneOverlapError, "0 of 40 genes (0%)", "min_overlap", looks, remedy, "weights=") as message:
        verb(adata, world, **({"weights": "panglao"} if verb is embed else {"prior": prior}))
    if remedy != 'weights="fit"':
        do_as_told(message[0], adata=adata, sg=sg)
        embed(adata, world)
        np.testing.assert_array_equal(adata.varm["scbert"], world.embedded.varm["scbert"])


def test_ensembl_ids_with_an_encoder_of_their_own(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What those are told whose genes cannot be renamed."""
    monkeypatch.setattr("scgrn_tl.models.scbert_model.SEEN_GENES", 1.0)  # two epochs
    adata = world.adata.copy()
    adata.var_names = ensembl()
    renamed = dict(zip(HUMAN, ensembl(), strict=True))
    prior = world.prior.assign(source=world.prior["source"].map(renamed), target=world.prior["target"].map(renamed))
    sg.tl.scbert_embed(adata, weights="fit")
    fit(adata, world, prior=prior)
    assert np.isfinite(adata.varm["scbert"]).all()
    assert adata.uns["grn"]["params"]["use_rep"] == "scbert"
    assert adata.uns["grn"]["params"]["n_genes_without_embedding"] == 0


# --------------------------------------------- prior with unknown genes, duplicates, self loops, conflicting signs


def test_what_is_dropped_from_a_prior_is_counted(world: World, caplog: pytest.LogCaptureFixture) -> None:
    clean = world.prior
    first, second = clean.iloc[0], clean.iloc[1]
    extra = pd.DataFrame(
        [
            ("NOT_THERE", "HBB", 1),
            ("GATA1", "NOT_THERE", 1),
            (None, "HBB", 1),
            ("GATA1", "Hbb", 1),
            ("GATA1", "GATA1", 1),  # loop
            (first["source"], first["target"], 1),  # duplicate
            (second["source"], second["target"], -1),  # contradiction
        ],
        columns=["source", "target", "sign"],
    )
    given = pd.concat([clean, extra], ignore_index=True)
    before, adata = given.copy(), world.embedded.copy()
    with (
        caplog.at_level("INFO", logger="scgrn_tl"),
        pytest.warns(UserWarning, match=r"but for their case, such as 'Hbb' \('HBB'\)"),
    ):
        fit(adata, world, prior=given)
    pd.testing.assert_frame_equal(given, before)
    counts = {
        "edges_given": len(given),
        "unnamed": 1,
        "unknown_regulator": 1,
        "unknown_target": 2,
        "self_loops": 1,
        "duplicates": 2,
        "conflicting_signs": 1,
    }
    assert adata.uns["grn"]["prior_report"] == counts
    for name, count in counts.items():
        assert f"{count} {name.replace('_', ' ')}" in caplog.text
    kept = adata.uns["grn"]["prior"].set_index(["source", "target"])["sign"]
    assert len(kept) == len(clean)
    assert kept[first["source"], first["target"]] == 1
    assert kept[second["source"], second["target"]] == 0


LITTLE_PRIORS = {
    "nine edges": (lambda prior: prior.head(9), "9 edges of"),
    "one TF": (lambda _: pd.DataFrame({"source": "GATA1", "target": HUMAN[1:20]}), "19 edges of 1 regulators"),
    "nine edges after cleaning": (
        lambda prior: pd.concat([prior.head(9), prior.head(9), prior.head(9).assign(target="NOT_THERE")]),
        "9 unknown target, 9 duplicates",
    ),
    "self loops only": (lambda _: pd.DataFrame({"source": HUMAN, "target": HUMAN}), "40 self loops"),
    "other genes": (lambda _: pd.DataFrame({"source": ensembl(), "target": ensembl()}), "like Ensembl gene ids"),
    "no edges": (lambda prior: prior.head(0), "0 edges"),
}


@pytest.mark.parametrize(("make", "found"), LITTLE_PRIORS.values(), ids=LITTLE_PRIORS)
@pytest.mark.usefixtures("no_compute")
def test_too_little_prior(world: World, make: Callable, found: str) -> None:
    adata = world.adata.copy()  # not embedded: nor does it get so
    with refused(adata, PriorError, found, "at least 10 edges and 2 regulators", "`sg.datasets.collectri()`"):
        fit(adata, world, prior=make(world.prior))
    assert callable(sg.datasets.collectri)


# ------------------------------------------------------------------------------------ prior without the needed columns


@pytest.mark.parametrize("form", ["frame", "file"])
@pytest.mark.usefixtures("no_compute")
def test_prior_columns(world: World, tmp_path: Path, form: str) -> None:
    adata = world.adata.copy()
    prior = world.prior.rename(columns={"source": "from", "target": "to"})
    prior.to_csv(tmp_path / "prior.csv", index=False)
    accepted = ("source", "TF", "Gene1", "regulator", "target", "Gene2", "gene")
    with refused(adata, PriorError, "['from', 'to', 'sign']", *accepted, ".rename(") as message:
        fit(adata, world, prior=prior if form == "frame" else tmp_path / "prior.csv")
    mended = eval(re.search(r"`(table\.rename\(.*?\))`", message[0])[1], {"table": prior})
    assert list(mended.columns) == list(world.prior.columns)


# ------------------------------------------------------------------------ `use_rep` absent and weights not obtainable

WAYS_OUT = ("panglao_pretrain.pth", "https://", "`weights=`", "SCGRN_TL_WEIGHTS", "SCGRN_TL_MIRROR", 'weights="fit"')


@pytest.mark.parametrize("verb", [embed, fit], ids=["scbert_embed", "fit_grn"])
@pytest.mark.parametrize("given", ["nothing", "SCGRN_TL_WEIGHTS that is not there", "a mirror with another file"])
@pytest.mark.usefixtures("no_compute")
def test_no_weights(world: World, verb: Callable, given: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    words = [*WAYS_OUT, str(tmp_path / "cache" / "scbert")]
    if given.startswith("SCGRN"):
        monkeypatch.setenv("SCGRN_TL_WEIGHTS", str(tmp_path / "gone.pth"))
        words.append(str(tmp_path / "gone.pth"))
    elif given.startswith("a mirror"):
        (tmp_path / "scbert").mkdir()
        copy_of(world.checkpoint, tmp_path / "scbert" / "panglao_pretrain.pth")
        monkeypatch.setenv("SCGRN_TL_MIRROR", str(tmp_path))
    if not given.startswith("SCGRN"):
        words.append("the network is down")
    adata = world.adata.copy()
    with refused(adata, WeightsUnavailableError, *words):
        verb(adata, world, **({"weights": "panglao"} if verb is embed else {}))
    assert issubclass(WeightsUnavailableError, FileNotFoundError)


def test_weights_obtained_as_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    adata = world.adata.copy()
    monkeypatch.setenv("SCGRN_TL_WEIGHTS", str(world.encoder))
    fit(adata, world)
    np.testing.assert_array_equal(adata.varm["scbert"], world.embedded.varm["scbert"])
    assert adata.uns["scbert"]["weights"]["path"] == str(world.encoder)


@pytest.mark.usefixtures("no_compute")
def test_named_things_that_are_not_there(world: World, tmp_path: Path) -> None:
    adata = world.adata.copy()
    with refused(adata, WeightsUnavailableError, "nowhere.pth", "'panglao'", "'fit'", "`sg.tl.scbert_pretrain`"):
        embed(adata, world, weights=tmp_path / "nowhere.pth")
    with refused(adata, MissingKeyError, ".varm['X_mine']", "vectors.reindex(adata.var_names)", "[]"):
        fit(adata, world, use_rep="X_mine")
    with refused(adata, MissingKeyError, "uns['scbert']", "`sg.tl.scbert_embed(adata, key_added='scbert')`"):
        pool(adata, world)
    for load in (ScBERT.load, load_scbert):
        with refused(adata, WeightsUnavailableError, "nowhere"):
            load(tmp_path / "nowhere")
    with refused(adata, WeightsError, "nowhere", "model.json is missing"):
        ScTransNet.load(tmp_path / "nowhere")
    embedded = world.embedded.copy()
    embedded.uns["scbert"]["weights"]["path"] = str(tmp_path / "gone")
    with refused(embedded, WeightsUnavailableError, "gone", "`hidden=`"):
        pool(embedded, world)


@pytest.mark.usefixtures("no_compute")
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"tf_names": ["ENSG00000111704"]}, GeneOverlapError),
        ({"layer": "nope"}, MissingKeyError),
        ({"max_edges": 0}, ArgumentError),
        ({"dropuot": 0.1}, ArgumentError),
        ({"dropout": 2}, ArgumentError),
        ({"epochs": 0}, ArgumentError),
    ],
    ids=str,
)
def test_fit_looks_at_its_arguments_before_it_embeds(
    world: World, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], error: type[Exception]
) -> None:
    monkeypatch.setenv("SCGRN_TL_WEIGHTS", str(world.encoder))
    adata = world.adata.copy()
    with refused(adata, error):
        fit(adata, world, **arguments)


# ------------------------------------ weights file truncated, wrong hash, wrong shapes, or a pickle with code in it


class Code:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple[Callable, tuple[str]]:
        return os.mkdir, (self.folder,)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def of_other_shape(path: Path) -> None:
    state = torch.load(path, weights_only=True)["model_state_dict"]
    state["performer.net.layers.0.0.fn.to_v.weight"] = torch.zeros(8, 7)
    torch.save({"model_state_dict": state}, path)


def with_nan(path: Path) -> None:
    state = torch.load(path, weights_only=True)["model_state_dict"]
    state["norm.bias"][3] = torch.nan
    torch.save({"model_state_dict": state}, path)


def without_a_tensor(path: Path) -> None:
    state = torch.load(path, weights_only=True)["model_state_dict"]
    del state["norm.bias"]
    torch.save({"model_state_dict": state}, path)


def of_other_genes(path: Path) -> None:
    state = torch.load(path, weights_only=True)["model_state_dict"]
    state["pos_emb.emb.weight"] = state["pos_emb.emb.weight"][:-1]
    torch.save({"model_state_dict": state}, path)


def with_code(path: Path) -> None:
    state = torch.load(path, weights_only=True)["model_state_dict"]
    torch.save({"model_state_dict": state, "extra": Code(path.with_name("was_run"))}, path)


def change_json(name: str, **changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def swapped(path: Path) -> None:
    ScBERT(ScBERTConfig(n_genes=len(VOCABULARY), dim=8, depth=1, heads=2, dim_head=4)).save(path / "b", VOCABULARY)
    (path / "b" / "model.safetensors").replace(path / "model.safetensors")


DAMAGED_WEIGHTS = {
    "truncated": ("checkpoint", truncated, ("truncated", "Download it again")),
    "empty": ("checkpoint", lambda path: path.write_bytes(b""), ("(0 bytes)", "Download it again")),
    "a web page": ("checkpoint", lambda path: path.write_bytes(b"<html>sign in</html>"), ("Download it again",)),
    "wrong shape": ("checkpoint", of_other_shape, ("to_v.weight' has shape (8, 7); expected (8, 8)",)),
    "NaN": ("checkpoint", with_nan, ("'norm.bias'", "NaN")),
    "missing tensor": ("checkpoint", without_a_tensor, ("'norm.bias'", "missing")),
    "other genes": ("checkpoint", of_other_genes, ("'pos_emb.emb.weight' has 38 rows; expected 39",)),
    "a pickle with code": ("checkpoint", with_code, ("could run code; it was not loaded", "torch.save(")),
    "folder, wrong hash": ("encoder", swapped, ("has SHA-256", "expects")),
    "folder, truncated": ("encoder", lambda path: truncated(path / "model.safetensors"), ("has SHA-256",)),
    "folder, other genes": ("encoder", change_json("config.json", genes=["A"]), ("recorded SHA-256",)),
    "folder, newer": ("encoder", change_json("config.json", format_version=9), ("pip install --upgrade",)),
}


@pytest.mark.parametrize("through", ["weights=", "SCGRN_TL_WEIGHTS", "fit_grn", "load_scbert"])
@pytest.mark.parametrize(("what", "damage", "words"), DAMAGED_WEIGHTS.values(), ids=DAMAGED_WEIGHTS)
@pytest.mark.usefixtures("no_compute")
def test_damaged_weights(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    through: str,
    what: str,
    damage: Callable[[Path], Any],
    words: tuple[str, ...],
) -> None:
    path = copy_of(getattr(world, what), tmp_path / "given")
    damage(path)
    monkeypatch.setattr("scgrn_tl.datasets.scbert_vocabulary", lambda: VOCABULARY)
    adata = world.adata.copy()
    with refused(adata, WeightsError, str(path), *words):
        if through == "weights=":
            embed(adata, world, weights=path)
        elif through == "load_scbert":
            load_scbert(path, None if path.is_dir() else VOCABULARY)
        else:
            monkeypatch.setenv("SCGRN_TL_WEIGHTS", str(path))
            embed(adata, world, weights="panglao") if through == "SCGRN_TL_WEIGHTS" else fit(adata, world)
    assert not (tmp_path / "was_run").exists()


def test_sound_weights_are_taken(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the damage above was done to."""
    monkeypatch.setattr("scgrn_tl.datasets.scbert_vocabulary", lambda: VOCABULARY)
    for weights in (world.checkpoint, world.encoder):
        adata = world.adata.copy()
        embed(adata, world, weights=weights)
        np.testing.assert_array_equal(adata.varm["scbert"], world.embedded.varm["scbert"])


@pytest.mark.usefixtures("no_compute")
def test_weights_that_changed_since_the_embedding(world: World, tmp_path: Path) -> None:
    adata = world.embedded.copy()
    path = copy_of(world.encoder, tmp_path / "encoder")
    adata.uns["scbert"]["weights"]["path"] = str(path)
    swapped(path)
    config = json.loads((path / "b" / "config.json").read_text())
    change_json("config.json", weights_sha256=config["weights_sha256"])(path)
    known = adata.uns["scbert"]["weights"]["sha256"]
    with refused(adata, WeightsError, config["weights_sha256"], known, "`hidden=`", "`sg.tl.scbert_embed`"):
        pool(adata, world)


def change_tensor(name: str, change: Callable) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        tensors[name] = change(tensors[name]).contiguous()
        save_file(tensors, folder / "model.safetensors")

    return damage


DAMAGED_NETWORKS = {
    "truncated": (lambda folder: truncated(folder / "model.safetensors"), "damaged"),
    "truncated json": (lambda folder: truncated(folder / "model.json"), "damaged"),
    "another json": (lambda folder: (folder / "model.json").write_text("[]"), "holds no ScTransNet, but 'list'"),
    "no version": (change_json("model.json", format_version=None), "Upgrade scgrn_tl"),
    "newer": (change_json("model.json", format_version=99), "Upgrade scgrn_tl"),
    "other genes": (change_json("model.json", genes=HUMAN[1:]), "tensor 'inputs."),
    "no genes": (change_json("model.json", genes=None), "does not fit its own description"),
    "no members": (change_json("model.json", members=[]), "it has no members"),
    "other config": (change_json("model.json", config="x"), "does not fit its own description"),
    "other prior": (change_json("model.json", prior_sha256="0"), "not the one that its hash was made of"),
    "wrong shape": (change_tensor("models.0.scorer.tf_hub.weight", lambda t: t[:, :-1]), "scorer.tf_hub.weight"),
    "wrong rows": (change_tensor("inputs.features", lambda t: t[:-1]), "'inputs.features' has shape (39, "),
    "wrong type": (change_tensor("inputs.node_type", lambda t: t.float()), "'inputs.node_type' has to hold int64"),
    "out of range": (change_tensor("inputs.regulators", lambda t: t + 99), "'inputs.regulators' has to hold int64"),
    "NaN": (change_tensor("models.0.base", lambda t: t * torch.nan), "'models.0.base' (torch.float32) has to hold"),
    "edges": (change_tensor("prior.edge_index", lambda t: t + 99), "edge_index points outside the 40 genes"),
}


@pytest.mark.parametrize(("damage", "word"), DAMAGED_NETWORKS.values(), ids=DAMAGED_NETWORKS)
def test_damaged_network(world: World, tmp_path: Path, damage: Callable[[Path], Any], word: str) -> None:
    folder = copy_of(world.network, tmp_path / "network")
    damage(folder)
    with refused(world.adata, WeightsError, repr(str(folder)), word):
        ScTransNet.load(folder, device="cpu")
    assert ScTransNet.load(world.network, device="cpu").genes == tuple(HUMAN)


# -------------------------------------------------------------------------------------------- download interrupted


@pytest.fixture
def pinned(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """What the list of human TFs holds here."""
    from scgrn_tl.datasets import _priors
    from scgrn_tl.datasets._files import PinnedFile

    content = "\n".join(HUMAN[:16]).encode()
    source = _priors.TF_NAMES["human"].source
    digest = hashlib.sha256(content).hexdigest()
    file = PinnedFile("priors/tf.txt", "https://example.org/tf.txt", source, len(content), digest)
    monkeypatch.setitem(_priors.TF_NAMES, "human", file)
    return content


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")


INTERRUPTIONS = {
    "connection lost": (ConnectionError("reset by peer"), DownloadError),
    "Ctrl-C": (KeyboardInterrupt(), KeyboardInterrupt),
    "a short answer": (None, DownloadError),
    "disk full": (OSError(28, "No space left on device"), DownloadError),
}


@pytest.mark.parametrize(("error", "raised"), INTERRUPTIONS.values(), ids=INTERRUPTIONS)
def test_download_interrupted(
    pinned: bytes,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    error: BaseException | None,
    raised: type[BaseException],
) -> None:
    download(monkeypatch, pinned[:20], error)
    with pytest.raises(raised) as caught:
        sg.datasets.tf_names("human")
    assert left_in(tmp_path) == []
    if raised is DownloadError:
        for word in ("tf.txt", "https://example.org", "SCGRN_TL_MIRROR", "SCGRN_TL_CACHE", str(tmp_path / "cache")):
            assert word in str(caught.value)
    asked = download(monkeypatch, pinned)
    assert sg.datasets.tf_names("human") == sg.datasets.tf_names("human") == HUMAN[:16]
    assert len(asked) == 1
    assert left_in(tmp_path) == ["tf.txt"]


def test_one_waits_for_the_other(pinned: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, names = download(monkeypatch, pinned), []
    threads = [threading.Thread(target=lambda: names.append(sg.datasets.tf_names("human"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names == [HUMAN[:16]] * 3
    assert len(asked) == 1


@pytest.mark.usefixtures("no_compute")
def test_download_of_weights_interrupted(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    download(monkeypatch, b"half", KeyboardInterrupt())
    adata = world.adata.copy()
    before = contents(adata)
    with pytest.raises(KeyboardInterrupt):
        sg.tl.scbert_embed(adata)
    assert left_in(tmp_path) == []
    assert contents(adata) == before


# ------------------------------------------------------------------------------------------ NaN rows in `varm[use_rep]`


@pytest.mark.parametrize("hole", [np.nan, np.inf], ids=["NaN", "infinite"])
def test_genes_without_a_vector(world: World, tmp_path: Path, hole: float) -> None:
    adata = world.embedded.copy()
    embedding = adata.varm["scbert"].copy()
    embedding[3, 2] = hole  # one value, and the row is of no use
    adata.varm["mine"] = embedding
    embedding = embedding.copy()
    embedding[3] = np.nan
    adata.varm["clean"] = embedding
    before = contents(adata.varm["mine"])
    for key in ("mine", "clean"):
        fit(adata, world, use_rep=key, key_added=f"grn_{key}")
        assert adata.uns[f"grn_{key}"]["params"]["n_genes_without_embedding"] == N_GENES - N_KNOWN + 1
    np.testing.assert_array_equal(adata.varp["grn_mine"].toarray(), adata.varp["grn_clean"].toarray())
    assert contents(adata.varm["mine"]) == before

    network = PriorNetwork.from_any(world.prior, HUMAN)
    task = make_task(
        adata, prior=network, split=sg.bm.split_edges(network, rng=0), embedding=np.asarray(adata.varm["mine"])
    )
    sg.methods.get("sctransnet").run(task, **FAST).model.save(tmp_path / "saved")
    fed = load_file(tmp_path / "saved" / "model.safetensors")["inputs.embedding"].numpy()
    without = [*range(N_KNOWN, N_GENES), 3]
    assert fed.shape == (N_GENES, adata.varm["mine"].shape[1] + 1)
    assert not fed[without].any()
    assert (np.delete(fed, without, axis=0)[:, -1] == 1).all()


@pytest.mark.usefixtures("no_compute")
def test_no_gene_has_a_vector(world: World) -> None:
    adata = world.embedded.copy()
    adata.varm["scbert"][:] = np.nan
    with refused(adata, ArgumentError, "no gene with finite values"):
        fit(adata, world)


# -------------------------------------------- views of AnnData, backed AnnData, CSC, int dtypes, one cell, one TF


def backed(mode: str, convert: Callable = lambda x: x) -> Callable:
    def make(adata: ad.AnnData, folder: Path) -> ad.AnnData:
        adata.X = convert(adata.X)
        adata.write_h5ad(folder / "backed.h5ad")
        return ad.read_h5ad(folder / "backed.h5ad", backed=mode)

    return make


def holding(convert: Callable) -> Callable:
    def make(adata: ad.AnnData, _: Path) -> ad.AnnData:
        adata.X = convert(adata.X)
        return adata

    return make


FORMS = {
    "CSC": holding(sparse.csc_matrix),
    "dense": holding(lambda x: x.toarray()),
    "Fortran order": holding(lambda x: np.asfortranarray(x.toarray().astype(np.float64))),
    "read-only": holding(lambda x: np.frombuffer(x.toarray().tobytes(), dtype=x.dtype).reshape(x.shape)),
    "int64": holding(lambda x: x.toarray().astype(np.int64)),
    "uint16 CSR": holding(lambda x: x.astype(np.uint16)),
    "csr_array": holding(sparse.csr_array),
    "view": lambda adata, _: ad.concat([adata, adata[:3]], merge="same", index_unique="-")[:N_CELLS],
    "backed, r": backed("r"),
    "backed, r+": backed("r+"),
    "backed CSC": backed("r", sparse.csc_matrix),
    "backed dense": backed("r", lambda x: x.toarray()),
}


@pytest.fixture(scope="module")
def expected(world: World) -> ad.AnnData:
    adata = world.adata.copy()
    with sg.settings.override(progress=False):
        for verb in (embed, pool, fit):
            verb(adata, world)
    return adata


@pytest.mark.parametrize("make", FORMS.values(), ids=FORMS)
def test_forms_of_anndata(world: World, expected: ad.AnnData, tmp_path: Path, make: Callable) -> None:
    adata = make(world.adata.copy(), tmp_path)
    file = tmp_path / "backed.h5ad"
    before = contents(adata.to_memory() if adata.isbacked else adata)
    stored = file.read_bytes() if file.exists() else b""
    for verb in (embed, pool, fit):
        verb(adata, world)
    after = contents(adata.to_memory() if adata.isbacked else adata)
    assert (after["X"], after["names"]) == (before["X"], before["names"])
    assert (file.read_bytes() if file.exists() else b"") == stored
    for key in ("scbert", "scbert_mean", "pooled"):
        np.testing.assert_allclose(adata.varm[key], expected.varm[key], atol=1e-5)
    np.testing.assert_allclose(adata.varp["grn"].toarray(), expected.varp["grn"].toarray(), atol=1e-3)


def test_one_cell(world: World) -> None:
    adata = world.adata[:1].copy()
    for verb in (embed, pool, fit):
        verb(adata, world)
    np.testing.assert_allclose(adata.varm["scbert"], adata.varm["scbert_mean"], atol=1e-6)
    assert np.isfinite(adata.varp["grn"].data).all()
    with refused(adata, ExpressionError, "at least two cells", "there are 1"):
        embed(adata, world, weights="fit")


def test_two_tfs(world: World) -> None:
    """The fewest that are taken; what a single one gets is seen above."""
    adata = world.embedded.copy()
    prior = pd.DataFrame({"source": ["GATA1"] * 8 + ["KLF1"] * 8, "target": [*HUMAN[2:10], *HUMAN[8:16]]})
    fit(adata, world, prior=prior)
    assert adata.var_names[adata.var["grn_is_tf"]].tolist() == ["GATA1", "KLF1"]


# ---------------------------------------------------------------------------------------------- Ctrl-C in a long run


def interrupt(monkeypatch: pytest.MonkeyPatch, where: str, after: int = 0) -> list[int]:
    """Ctrl-C at the call of ``where`` that follows ``after`` others. The list grows with each call."""
    calls: list[int] = []
    holder, _, name = where.rpartition(".")
    target = pkgutil.resolve_name(holder)
    original = getattr(target, name)

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == after + 1:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    monkeypatch.setattr(target, name, interrupted)
    return calls


ENCODE = "scgrn_tl.models.scbert.ScBERT.encode"
TRAIN_ENCODER = "scgrn_tl.models.scbert_model.ScBERTModel.train"
TRAIN_EPOCH = "scgrn_tl.models.link_training.LinkTrainer._draw"
TRAIN_NETWORK = "scgrn_tl.models.link_training.LinkTrainer.run"
LONG_WORK = {
    "scbert_embed, at the start": (embed, ENCODE, 0, {"batch_size": 5}),
    "scbert_embed, in the middle": (embed, ENCODE, 3, {"batch_size": 5}),
    "attentive_pool": (pool, ENCODE, 0, {}),
    "scbert_pretrain": (pretrain, TRAIN_ENCODER, 0, {}),
    "fit_grn, first epoch": (fit, TRAIN_EPOCH, 0, {}),
    "fit_grn, second epoch": (fit, TRAIN_EPOCH, 1, {}),
    "fit_grn, second model": (fit, TRAIN_NETWORK, 1, {"n_models": 2}),
}


@pytest.mark.parametrize(("verb", "where", "after", "arguments"), LONG_WORK.values(), ids=LONG_WORK)
def test_ctrl_c(
    world: World, monkeypatch: pytest.MonkeyPatch, verb: Callable, where: str, after: int, arguments: dict[str, Any]
) -> None:
    adata, untouched = ready(world, verb), ready(world, verb)
    before = contents(adata)
    with monkeypatch.context() as patch:
        interrupt(patch, where, after)
        with pytest.raises(KeyboardInterrupt):
            verb(adata, world, **arguments)
    assert contents(adata) == before
    assert left_in(sg.settings.cache_dir) == []
    for each in (adata, untouched):
        verb(each, world, **arguments)
    for slot in ("varm", "varp", "obsm"):
        assert contents(getattr(adata, slot)) == contents(getattr(untouched, slot))


@every_verb
def test_ctrl_c_while_results_are_written(world: World, monkeypatch: pytest.MonkeyPatch, verb: Callable) -> None:
    """At whichever slot: all of the results or none, those of an earlier run included."""
    adata = ready(world, verb)
    arguments = {"groupby": "type"} if verb in (embed, pool) else {}
    verb(adata, world, **arguments)
    before = contents(adata)
    arguments = {"rng": 1} if verb in (fit, pretrain) else {"groupby": "batch"}
    for number in range(100):
        with monkeypatch.context() as patch:
            calls = interrupt(patch, "scgrn_tl.core.slots._put", number)
            try:
                verb(adata, world, **arguments)
            except KeyboardInterrupt:
                assert contents(adata) == before
                continue
        assert len(calls) == number > 0
        break
    assert contents(adata) != before


def test_ctrl_c_in_the_fit_keeps_the_finished_embedding(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCGRN_TL_WEIGHTS", str(world.encoder))
    adata = world.adata.copy()
    with monkeypatch.context() as patch:
        interrupt(patch, "scgrn_tl.models.link_training.LinkTrainer.run")
        with pytest.raises(KeyboardInterrupt):
            fit(adata, world)
    assert contents(adata.varm) == contents(world.embedded.varm)
    assert contents(adata.obsm) == contents(world.embedded.obsm)
    assert not adata.varp
    assert "grn" not in adata.uns
    encoded = interrupt(monkeypatch, ENCODE, after=1000)
    fit(adata, world)
    assert not encoded


def test_ctrl_c_resumes(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    adata = world.adata.copy()
    arguments = {"batch_size": 4, "resume_from": tmp_path / "resume", "hidden_to": tmp_path / "hidden.zarr"}
    monkeypatch.setattr("scgrn_tl.tl._resume_folder.SAVE_SHARE", np.inf)  # save after every batch
    with monkeypatch.context() as patch:
        interrupt(patch, ENCODE, after=4)
        with pytest.raises(KeyboardInterrupt):
            embed(adata, world, **arguments)
    embedded = world.embedded.copy()
    with refused(embedded, ArgumentError, "did not finish", "`sg.tl.scbert_embed`"):
        pool(embedded, world, hidden=tmp_path / "hidden.zarr")
    encoded = interrupt(monkeypatch, ENCODE, after=1000)
    embed(adata, world, **arguments)
    assert len(encoded) == 2  # of six batches
    whole = world.adata.copy()
    embed(whole, world, batch_size=4)
    assert contents(adata.varm) == contents(whole.varm)
    assert contents(adata.obsm) == contents(whole.obsm)
    pool(adata, world, hidden=tmp_path / "hidden.zarr")
    np.testing.assert_allclose(adata.varm["pooled"], whole.varm["scbert_mean"], atol=1e-6)


# -------------------------------------------------------------------------------------------- disk full while saving


@contextmanager
def full_disk() -> Iterator[None]:
    """No file grows beyond 100 bytes: the system refuses, as it does on a full disk, whatever writes."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def save_encoder(folder: Path, world: World, _: ad.AnnData) -> None:
    model, vocabulary = ScBERT.load(world.encoder)
    model.save(folder / "encoder", vocabulary)


def save_network(folder: Path, world: World, _: ad.AnnData) -> None:
    ScTransNet.load(world.network, device="cpu").save(folder / "network", overwrite=True)


def save_edges(suffix: str) -> Callable:
    def save(folder: Path, _: World, expected: ad.AnnData) -> None:
        sg.io.write_edges(expected, folder / f"edges.{suffix}", min_probability=None)

    return save


SAVES = {
    "ScBERT.save": save_encoder,
    "ScTransNet.save": save_network,
    **{f"write_edges, {suffix}": save_edges(suffix) for suffix in ("csv", "tsv", "csv.gz", "graphml")},
}


@pytest.mark.parametrize("save", SAVES.values(), ids=SAVES)
def test_disk_full_while_saving(world: World, expected: ad.AnnData, tmp_path: Path, save: Callable) -> None:
    save(tmp_path, world, expected)
    before = files_in(tmp_path)
    assert all(len(content) > 100 for content in before.values())
    with pytest.raises(OSError, match=r"File too large|No space"), full_disk():
        save(tmp_path, world, expected)
    assert files_in(tmp_path) == before  # the old file is whole, and nothing lies beside it
    save(tmp_path, world, expected)


def test_disk_full_while_an_encoder_is_kept(world: World, tmp_path: Path) -> None:
    """The weights of before are whole, and without a record of training: the next call trains again."""
    adata, folder = world.adata.copy(), tmp_path / "weights"
    pretrain(adata, world, weights_dir=folder)
    before, weights = contents(adata), (folder / "model.safetensors").read_bytes()
    with pytest.raises(OSError, match=r"File too large|No space"), full_disk():
        pretrain(adata, world, weights_dir=folder, rng=1)
    assert contents(adata) == before
    assert (folder / "model.safetensors").read_bytes() == weights
    assert left_in(folder) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("argument", ["hidden_to", "resume_from"])
def test_disk_full_while_embedding(world: World, tmp_path: Path, argument: str) -> None:
    adata = world.adata.copy()
    before = contents(adata)
    with pytest.raises(OSError, match=r"File too large|No space"), full_disk():
        embed(adata, world, **{argument: tmp_path / "there"})
    assert contents(adata) == before
    embed(adata, world, **{argument: tmp_path / "there"})
    np.testing.assert_array_equal(adata.varm["scbert"], world.embedded.varm["scbert"])


def test_a_network_that_cannot_take_its_place_leaves_the_old_one(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy_of(world.network, tmp_path / "network")
    model, before = ScTransNet.load(folder, device="cpu"), files_in(tmp_path)
    rename = Path.rename

    def fail(path: Path, target: Path) -> Path:
        if Path(target) == folder and path.name != folder.name:
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(KeyboardInterrupt):
        model.save(folder, overwrite=True)
    assert files_in(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["network"]


# ------------------------------------------------------------- same seed, same machine, same threads: the same bits


def whole_chain(folder: str) -> str:
    """A digest of all that training, embedding, pooling and fitting give; run here and in another process."""
    adata = sg.datasets.simulated(24, 30, 6, mean_targets=6, rng=3)
    weights = sg.tl.scbert_pretrain(adata, weights_dir=folder, **TINY)
    sg.tl.scbert_embed(adata, weights=weights, n_cells=20, groupby="state", device="cpu")
    sg.tl.attentive_pool(adata, weighting="top_k", top_k=5)
    sg.tl.fit_grn(adata, adata.uns["ground_truth"], n_models=2, device="cpu", **FAST)
    digest = hashlib.sha256((Path(folder) / "model.safetensors").read_bytes())
    for slot in (adata.varm, adata.varp, adata.obsm):
        digest.update(repr([contents(slot[key]) for key in sorted(slot)]).encode())
    digest.update(sg.get.grn_df(adata).to_csv().encode())
    return digest.hexdigest()


@pytest.fixture(scope="module", autouse=True)
def other_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    """A process that goes through the whole chain while the tests before run."""
    command = f"import runpy; print(runpy.run_path({__file__!r})['whole_chain']({str(tmp_path_factory.mktemp('w'))!r}))"
    with subprocess.Popen(
        [sys.executable, "-c", command],
        env=os.environ | {"PYTHONHASHSEED": "1", "TQDM_DISABLE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()


def test_same_seed_same_bits_in_another_process(other_process: subprocess.Popen[str], tmp_path: Path) -> None:
    """Another process, with other hashes of its strings and nothing done before, comes to the same bits."""
    printed, errors = other_process.communicate()
    assert other_process.returncode == 0, errors
    assert printed.strip() == whole_chain(str(tmp_path))


# --------------------------------------------------------------------------- results round-trip through h5ad and zarr


def read_back(value: Any) -> Any:
    """``contents`` of a result, in what files keep: a list is an array, text comes in one type."""
    if isinstance(value, pd.DataFrame):
        return {str(name): read_back(column.to_numpy()) for name, column in value.items()}
    if hasattr(value, "items") and not sparse.issparse(value):
        return {key: read_back(inner) for key, inner in value.items() if key is not None}
    if isinstance(value, list):
        value = np.asarray(value)
    if isinstance(value, np.ndarray) and value.dtype.kind in "OTU":
        return [str(text) for text in value]
    return contents(value)


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_everything_round_trips(world: World, tmp_path: Path, suffix: str) -> None:
    adata = world.adata.copy()
    pretrain(adata, world, weights_dir=tmp_path / "weights")
    embed(adata, world, groupby="type", n_cells=20, rng=4, hidden_to=tmp_path / "hidden.zarr")
    pool(adata, world, groupby="type", batch_key="batch", hidden=tmp_path / "hidden.zarr")
    pool(adata, world, weighting="top_k", top_k=3, key_added="top")
    fit(adata, world, n_models=2, tf_names=["CD34"], rng=np.random.default_rng(0))
    sg.tl.fit_grn(adata, world.prior, method="hub_floor", key_added="floor")
    path = tmp_path / f"adata.{suffix}"
    getattr(adata, f"write_{suffix}")(path)
    back = getattr(ad, f"read_{suffix}")(path)
    assert set(adata.uns) >= {"scbert_training", "scbert", "pooled", "top", "grn", "floor"}
    for slot in ("X", "obs", "var", "obsm", "varm", "varp", "uns"):
        assert read_back(getattr(back, slot)) == read_back(getattr(adata, slot)), slot
    for key in ("grn", "floor"):
        pd.testing.assert_frame_equal(sg.get.grn_df(back, key=key), sg.get.grn_df(adata, key=key))
        pd.testing.assert_frame_equal(sg.get.grn_metrics(back, key=key), sg.get.grn_metrics(adata, key=key))
    for each in (adata, back):  # what was read is as good to go on from
        pool(each, world, weighting="softmax", temperature=0.01, key_added="soft")
        fit(each, world, use_rep="soft", key_added="again")
    assert contents(back.varm) == contents(adata.varm)
    assert contents(back.varp["again"]) == contents(adata.varp["again"])
