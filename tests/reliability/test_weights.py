"""Weights that cannot be had, and what a damaged file of them gets."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from scgrn_tl.core import (
    ArgumentError,
    GeneOverlapError,
    MissingKeyError,
    WeightsError,
    WeightsUnavailableError,
)
from scgrn_tl.models import ScBERT, ScBERTConfig, ScTransNet, load_scbert

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

from reliability_world import HUMAN, VOCABULARY, World, copy_of, embed, fit, pool, refused

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
