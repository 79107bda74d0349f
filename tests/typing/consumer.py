"""What somebody else's strictly typed code sees of the package: run through mypy by ``test_typing.py``, never run."""

from pathlib import Path
from typing import assert_type

import anndata as ad
import numpy as np
import pandas as pd
from mudata import MuData

import scgrn_tl as sg
from scgrn_tl.models import ScTransNet
from scgrn_tl.tl import fit_grn


def infer(adata: ad.AnnData, prior: pd.DataFrame, folder: Path) -> pd.DataFrame:
    assert_type(sg.__version__, str)
    assert_type(sg.settings.cache_dir, Path)
    assert_type(sg.tl.scbert_pretrain(adata, weights_dir=folder, rng=np.random.default_rng(0)), Path)
    assert_type(sg.tl.scbert_embed(adata, weights=folder, pool="mean", copy=True), ad.AnnData | MuData | None)
    assert_type(sg.tl.fit_grn(adata, prior, n_models=2), ad.AnnData | MuData | None)
    split = sg.bm.split_edges(sg.core.PriorNetwork.from_any(prior, list(adata.var_names)), kind="tf")
    assert_type(split, sg.core.EdgeSplit)
    model = sg.models.ScTransNet.from_anndata(adata, prior, split=split).fit()
    assert_type(model, ScTransNet)
    assert_type(model.scores(), sg.core.GRNScores)
    assert_type(sg.bm.evaluate(model.scores(), split), pd.Series)
    assert_type(sg.methods.get("genie3"), sg.methods.Method)
    assert_type(sg.datasets.tf_names("mouse"), list[str])
    sg.tl.transfer_grn(adata, model, prior=prior, device="cpu")
    assert_type(sg.tl.edge_evidence(adata, n_bootstraps=2, copy=True), ad.AnnData | MuData | None)
    assert_type(sg.pp.resolve_genes(adata, duplicates="sum", vocabulary=prior), ad.AnnData | MuData | None)
    assert_type(sg.pp.resolve_names(["CTGF"], tables={"human": prior}), pd.DataFrame)
    assert_type(sg.pp.select_genes(adata, p_values=np.ones(3)), ad.AnnData | MuData | None)
    assert_type(sg.io.to_regulons(adata, top_n=3), dict[str, dict[str, float]])
    assert_type(sg.io.read_rankings(folder / "rankings.feather", motif_to_tf={"motif": "GATA1"}), pd.DataFrame)
    assert_type(sg.datasets.gene_names("mouse"), pd.DataFrame)
    assert_type(model.score(adata, [("GATA1", "KLF1")]), pd.DataFrame)
    assert_type(model.transfer(adata), sg.models.TransferredNetwork)
    assert_type(ScTransNet.load(folder), ScTransNet)
    sg.pl.edge_evidence(adata, ("GATA1", "KLF1")).set_title("evidence")
    sg.pl.training_history(adata).set_title("loss")
    sg.io.write_edges(adata, folder / "edges.csv", format="tsv")
    try:
        fit_grn(adata, prior)
    except sg.ScgrnError as error:
        assert_type(error, sg.ScgrnError)
    return sg.get.grn_df(adata, tfs=["GATA1"], top_n=10)


def mistakes(adata: ad.AnnData) -> None:
    """Each of these is one; an ignore that is not needed is an error too, so none goes unseen."""
    sg.tl.fit_grn(adata)  # type: ignore[call-arg]
    sg.tl.fit_grn(adata, None, n_models="two")  # type: ignore[arg-type]
    sg.tl.scbert_embed(adata, pool="median")  # type: ignore[arg-type]
    sg.tl.embed(adata)  # type: ignore[attr-defined]
    sg.models.ScTransformer()  # type: ignore[attr-defined]
    sg.tl.infer_grn(adata, n_jobs=1.5)  # type: ignore[arg-type]
    sg.get.grn_df(adata, top_n="all")  # type: ignore[arg-type]
    sg.pp.resolve_genes(adata, duplicates="max")  # type: ignore[arg-type]
    sg.io.write_edges(adata, "edges.loom", format="loom")  # type: ignore[arg-type]
    sg.datasets.gene_names("rat")  # type: ignore[arg-type]
    sg.tl.edge_evidence(adata, n_bootstraps=0.5)  # type: ignore[arg-type]
    sg.tl.transfer_grn(adata)  # type: ignore[call-arg]
    sg.models.ScTransNet.load(5)  # type: ignore[arg-type]
    sg.nothing  # type: ignore[attr-defined]  # noqa: B018
