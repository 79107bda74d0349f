"""What the tests of reliability share: a small world, the verbs as a user calls them, and how to compare."""

from __future__ import annotations

import hashlib
import pkgutil
import re
import shutil
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

import scgrn_tl as sg
from scgrn_tl.core import (
    GeneVocabulary,
    PriorNetwork,
    make_task,
)
from scgrn_tl.models import ScBERT, ScBERTConfig, ScTransNet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ENCODE = "scgrn_tl.models.scbert.ScBERT.encode"
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


def make_world(folder: Path) -> World:
    """Simulated cells under human gene symbols, a prior, and in files: an encoder, a checkpoint and a network."""
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


def embed(adata: ad.AnnData, world: World, **changes: Any) -> None:
    sg.tl.scbert_embed(adata, **({"weights": world.encoder} | changes))


def pool(adata: ad.AnnData, world: World, **changes: Any) -> None:
    sg.tl.attentive_pool(adata, **({"weighting": "mean", "key_added": "pooled"} | changes))


def pretrain(adata: ad.AnnData, world: World, **changes: Any) -> None:
    sg.tl.scbert_pretrain(adata, **TINY | changes)


def fit(adata: ad.AnnData, world: World, **changes: Any) -> None:
    changes = {"prior": world.prior} | changes
    sg.tl.fit_grn(adata, changes.pop("prior"), **FAST | {"use_rep": "scbert"} | changes)


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


def ensembl(prefix: str = "ENSG", first: int = 10_000_001) -> list[str]:
    """Ids that the genes of ``HUMAN`` have in the table of names of the tests, with versions."""
    return [f"{prefix}{number:011d}.{number % 9}" for number in range(first, first + N_GENES)]


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")


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


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def whole_chain(folder: str) -> str:
    """A digest of all that training, embedding, pooling and fitting give; run here and in another process."""
    adata = sg.datasets.simulated(24, 30, 6, mean_targets=6, rng=3)
    weights = sg.tl.scbert_pretrain(adata, weights_dir=folder, **TINY)
    sg.tl.scbert_embed(adata, weights=weights, n_cells=20, groupby="state", device="cpu")
    sg.tl.attentive_pool(adata, weighting="top_k", top_k=5)
    sg.tl.fit_grn(adata, adata.uns["ground_truth"], use_rep="scbert", n_models=2, device="cpu", **FAST)
    digest = hashlib.sha256((Path(folder) / "model.safetensors").read_bytes())
    for slot in (adata.varm, adata.varp, adata.obsm):
        digest.update(repr([contents(slot[key]) for key in sorted(slot)]).encode())
    digest.update(sg.get.grn_df(adata).to_csv().encode())
    return digest.hexdigest()
