"""Expression that is negative, NaN, infinite or zero, and every form an AnnData comes in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scgrn_tl.core import (
    DuplicateGenesError,
    ExpressionError,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

from reliability_world import (
    HUMAN,
    N_CELLS,
    N_KNOWN,
    World,
    contents,
    do_as_told,
    embed,
    every_verb,
    fit,
    pool,
    pretrain,
    ready,
    refused,
)

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
