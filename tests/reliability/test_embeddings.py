"""Genes without a vector."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from reliability_world import FAST, HUMAN, N_GENES, N_KNOWN, World, contents, fit, refused
from safetensors.torch import load_file

import scgrn_tl as sg
from scgrn_tl.core import (
    ArgumentError,
    PriorNetwork,
    make_task,
)

if TYPE_CHECKING:
    from pathlib import Path

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
