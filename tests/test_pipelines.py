"""Real PBMC through everybody's pipeline: scanpy before and after, decoupler, MuData, files, and back again."""

from __future__ import annotations

import re
from copy import deepcopy
from types import SimpleNamespace

import anndata as ad
import matplotlib as mpl
import matplotlib.pyplot as plt
import mudata as md
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse
from scipy.stats import mannwhitneyu

import scgrn_tl as sg
from scgrn_tl.core import ExpressionError

pytestmark = [
    # the files are of an older anndata
    pytest.mark.filterwarnings("ignore:.*was written without encoding metadata"),
    pytest.mark.filterwarnings("ignore:Moving element from .uns"),
    # genes and proteins of one name
    pytest.mark.filterwarnings("ignore:Cannot join columns with the same name:UserWarning"),
    pytest.mark.filterwarnings("ignore:var_names are not unique:UserWarning"),
    # scanpy's colour maps, and matplotlib's newest wish for them
    pytest.mark.filterwarnings("ignore:The set_bad function:PendingDeprecationWarning"),
]

ENCODER = {"dim": 16, "depth": 1, "heads": 2, "dim_head": 8, "max_epochs": 1, "max_cells": 64, "max_genes": 256}
LINEAGES = ["PAX5", "EBF1", "SPI1", "CEBPB"]

# Textbook regulators of blood cells, for machines that cannot reach CollecTRI.
TEXTBOOK = pd.DataFrame(
    [
        (tf, target, 1)
        for tf, targets in {
            "SPI1": ["CST3", "LYZ", "FCER1G", "FTL", "AIF1", "TYROBP", "LST1", "IFI30"],
            "IRF8": ["HLA-DRA", "HLA-DRB1", "CD74", "CTSS", "LYZ", "AIF1"],
            "GATA3": ["CD3D", "CD3E", "IL7R", "CD8A", "LCK", "CD28", "CD27"],
            "IRF1": ["IL1B", "IL18", "CD40", "CCL5"],
        }.items()
        for target in targets
    ],
    columns=["source", "target", "weight"],
)


def pbmc68k() -> ad.AnnData:
    """700 cells × 765 genes that come with scanpy: ``X`` is scaled, ``raw`` holds natural logarithms."""
    return sc.datasets.pbmc68k_reduced()


def snapshot(adata: ad.AnnData) -> dict[tuple[str, str], object]:
    slots = ("obs", "var", "obsm", "varm", "obsp", "varp", "uns", "layers")
    return {
        (slot, key): deepcopy(getattr(adata, slot)[key])
        for slot in slots
        for key in getattr(adata, slot)
        if key is not None
    }


def assert_same(one: object, other: object) -> None:
    """Bit for bit, whatever an AnnData holds."""
    assert type(one) is type(other)
    if isinstance(one, pd.Series):
        pd.testing.assert_series_equal(one, other)
    elif isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(one, other)
    elif sparse.issparse(one):
        assert (one != other).nnz == 0
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key, value in one.items():
            assert_same(value, other[key])
    else:
        np.testing.assert_array_equal(one, other)


def assert_kept(adata: ad.AnnData, before: dict[tuple[str, str], object], x: np.ndarray) -> None:
    """Everything that was there is there as it was, X and raw too."""
    for (slot, key), value in before.items():
        assert_same(getattr(adata, slot)[key], value)
    np.testing.assert_array_equal(adata.X, x)
    assert (adata.raw.X != pbmc68k().raw.X).nnz == 0


# ------------------------------------------------------------------------------------------------- scaled X and raw


@pytest.mark.parametrize(
    "call",
    [
        lambda adata, **layer: sg.tl.scbert_embed(adata, weights="fit", **layer),
        lambda adata, **layer: sg.tl.fit_grn(adata, TEXTBOOK, use_rep=None, epochs=1, **layer),
        lambda adata, **layer: sg.tl.infer_grn(adata, method="pearson", tf_names=["SPI1", "GATA3"], **layer),
        lambda adata, **layer: sg.tl.scbert_pretrain(adata, **ENCODER, **layer),
        lambda adata, **layer: sg.tl.differential_grn(
            adata, groupby="phase", group="G1", reference="S", edges=TEXTBOOK, n_permutations=20, **layer
        ),
    ],
    ids=["scbert_embed", "fit_grn", "infer_grn", "scbert_pretrain", "differential_grn"],
)
def test_scaled_data_is_refused_with_the_call_that_mends_it(call, request):
    adata = pbmc68k()
    before, x = snapshot(adata), adata.X.copy()
    with pytest.raises(ExpressionError, match=r"negative value.*Scaled.*adata\.raw has none below 0") as refused:
        call(adata)
    assert set(snapshot(adata)) == set(before)
    assert_kept(adata, before, x)
    code, last = re.findall(r"`(.*?)`", str(refused.value).split("`layer=`. ")[1])
    exec(code, {"adata": adata})
    if request.node.callspec.id in {"fit_grn", "infer_grn"}:  # the others take longer, and read by the same function
        eval(f"call(adata, {last})", {"call": call, "adata": adata})
        assert "grn" in adata.varp


@pytest.fixture(scope="module")
def pbmc(tmp_path_factory):
    """Scanpy's PBMC with a network of textbook edges, by a small encoder; and what it was before."""
    adata = pbmc68k()
    adata.layers["log"] = adata.raw[:, adata.var_names].X
    adata.uns["log1p"] = {"base": None}
    before, x = snapshot(adata), adata.X.copy()
    with sg.settings.override(progress=False):
        weights = sg.tl.scbert_pretrain(
            adata, layer="log", weights_dir=tmp_path_factory.mktemp("encoder") / "e", **ENCODER
        )
        del adata.uns["scbert_training"]
        sg.tl.scbert_embed(adata, weights=weights, layer="log")
        sg.tl.fit_grn(adata, TEXTBOOK, use_rep="scbert", layer="log", epochs=15)
    return SimpleNamespace(adata=adata, before=before, x=x)


def test_what_scanpy_wrote_is_as_it_was(pbmc):
    assert_kept(pbmc.adata, pbmc.before, pbmc.x)
    new = set(snapshot(pbmc.adata)) - set(pbmc.before)
    assert {key.split("_")[0] for _, key in new} == {"scbert", "grn"}


def test_scanpy_goes_on_after_a_network(pbmc):
    adata = pbmc.adata.copy()
    sc.pp.pca(adata, n_comps=10)
    sc.tl.rank_genes_groups(adata, "bulk_labels", groups=["CD19+ B"], method="t-test")
    frame = sc.get.obs_df(adata, keys=["SPI1", "bulk_labels", "scbert_pooled"], layer="log")
    assert frame["scbert_pooled"].all()
    assert sc.get.var_df(adata, keys=["grn_is_tf"])["grn_is_tf"].sum() == TEXTBOOK["source"].nunique()


def test_chosen_genes_and_cells_keep_their_edges(pbmc):
    genes = pbmc.adata.var_names[::2].union(TEXTBOOK["source"]).union(TEXTBOOK["target"][:8])
    part = pbmc.adata[pbmc.adata.obs["bulk_labels"] == "CD14+ Monocyte", pbmc.adata.var_names.isin(genes)].copy()
    whole = sg.get.grn_df(pbmc.adata, min_probability=None)
    expected = whole[whole[["source", "target"]].isin(part.var_names).all(axis=1)].reset_index(drop=True)
    pd.testing.assert_frame_equal(sg.get.grn_df(part, min_probability=None), expected)
    part.obs["bulk_labels"] = part.obs["bulk_labels"].cat.remove_unused_categories().astype("object")
    with pytest.warns(UserWarning, match="without cells. The network was fitted to 700 cells, and there are 129"):
        sg.tl.explain_edges(part, expected[:3])
    assert part.uns["edge_explanation"]["messages"]["gene"].isin(part.var_names).all()


def test_concatenated_results_are_one_result(pbmc):
    halves = [pbmc.adata[::2].copy(), pbmc.adata[1::2].copy()]
    joined = ad.concat(halves, merge="same", uns_merge="same", label="half", index_unique="-")
    pd.testing.assert_frame_equal(
        sg.get.grn_df(joined, min_probability=None), sg.get.grn_df(pbmc.adata, min_probability=None)
    )
    np.testing.assert_array_equal(joined.varm["scbert"], pbmc.adata.varm["scbert"])
    without = ad.concat(halves)
    with pytest.raises(sg.core.MissingKeyError, match=r"Did not find \.varp\['grn'\]"):
        sg.get.grn_df(without)


def test_results_in_a_backed_file(pbmc, tmp_path):
    pbmc.adata.write_h5ad(tmp_path / "pbmc.h5ad")
    backed = ad.read_h5ad(tmp_path / "pbmc.h5ad", backed="r")
    pd.testing.assert_frame_equal(sg.get.grn_df(backed), sg.get.grn_df(pbmc.adata))
    ax = sg.pl.grn_edges(backed, top_n=10, min_probability=None)
    assert ax.get_title() or ax.texts
    plt.close(ax.figure)
    backed.file.close()


def test_plots_under_scanpys_settings(pbmc):
    with mpl.rc_context():
        sc.set_figure_params(dpi=60, fontsize=18, color_map="magma", frameon=False)
        axes = [
            sg.pl.grn_edges(pbmc.adata, top_n=15, min_probability=None),
            sg.pl.training_history(pbmc.adata),
            *sc.pl.umap(pbmc.adata, color=["bulk_labels", "SPI1"], layer="log", show=False),
        ]
        for ax in axes:
            ax.figure.canvas.draw()
            plt.close(ax.figure)


def test_expression_corrected_by_combat_is_refused_in_favour_of_counts():
    adata = sg.datasets.simulated(n_cells=80, n_genes=60, n_batches=2)
    sc.pp.combat(adata, key="batch")
    assert adata.X.min() < 0
    with pytest.raises(ExpressionError, match=r"layers\['counts'\] has none below 0.*pass `layer='counts'`"):
        sg.tl.infer_grn(adata, method="pearson")


@pytest.mark.internet
def test_from_scanpys_pbmc_to_activities(pbmc):
    """SPI1 makes myeloid cells: there it is active, and the new targets that the network gives it are expressed."""
    import decoupler as dc

    adata = pbmc.adata.copy()
    sg.tl.fit_grn(adata, sg.datasets.collectri(), use_rep="scbert", layer="log", epochs=30)
    net = sg.get.grn_df(adata, min_probability=0.1)
    dc.mt.ulm(adata, net, raw=True)
    scores = dc.pp.get_obsm(adata, "score_ulm")
    assert {"SPI1", "FOS"} <= set(scores.var_names)
    myeloid = adata.obs["bulk_labels"].isin(["CD14+ Monocyte", "Dendritic"]).to_numpy()
    lymphoid = adata.obs["bulk_labels"].str.startswith(("CD4+", "CD8+", "CD19+")).to_numpy()
    activity = scores.to_df()["SPI1"].to_numpy()
    assert mannwhitneyu(activity[myeloid], activity[lymphoid], alternative="greater").pvalue < 1e-20

    ranked = sg.get.grn_df(adata, tfs="SPI1", min_probability=None).query("not in_prior")
    ranked = ranked.sort_values("specificity", ascending=False)["target"]
    log = sc.get.obs_df(adata, keys=ranked.tolist(), layer="log")
    contrast = (log[myeloid].mean() - log[lymphoid].mean())[ranked]
    assert mannwhitneyu(contrast[:30], contrast[30:], alternative="greater").pvalue < 1e-3

    ax = sc.pl.umap(scores, color="SPI1", cmap="RdBu_r", vcenter=0, show=False)
    np.testing.assert_array_equal(ax.collections[0].get_offsets().shape, (adata.n_obs, 2))
    plt.close(ax.figure)


# ------------------------------------------------------------------------------------------------ raw counts, MuData


@pytest.fixture(scope="module")
def counts(mirror):
    """200 PBMC with counts of 16,727 genes and 14 surface proteins, up to the choice of genes, as scanpy does it."""
    rna = ad.read_h5ad(mirror / "counts" / "pbmc_10k_protein_v3.h5ad")
    proteins = [name.removesuffix("_TotalSeqB") for name in rna.uns.pop("protein_names")]
    prot = ad.AnnData(
        rna.obsm.pop("protein_expression").astype(np.float32),
        obs=pd.DataFrame(index=rna.obs_names),
        var=pd.DataFrame(index=proteins),
    )
    sc.pp.filter_genes(rna, min_cells=5)
    rna.layers["counts"] = rna.X.copy()
    sc.pp.normalize_total(rna, target_sum=1e4)
    sc.pp.log1p(rna)
    sc.pp.highly_variable_genes(rna, n_top_genes=500, flavor="cell_ranger")
    rna = rna[:, rna.var["highly_variable"] | rna.var_names.isin(LINEAGES)].copy()
    sc.pp.log1p(prot)
    return md.MuData({"rna": rna, "prot": prot})


@pytest.fixture(scope="module")
def fitted(counts, tmp_path_factory):
    """The MuData after the whole way, each step by ``modality="rna"``."""
    mdata = counts.copy()
    folder = tmp_path_factory.mktemp("counts")
    with sg.settings.override(progress=False):
        weights = sg.tl.scbert_pretrain(mdata, layer="counts", weights_dir=folder / "encoder", **ENCODER)
        sg.tl.scbert_embed(mdata, weights=weights, layer="counts", hidden_to=folder / "hidden.zarr")
        sg.tl.attentive_pool(mdata, weighting="softmax", hidden=folder / "hidden.zarr", key_added="softmax")
        sg.tl.fit_grn(mdata, sg.datasets.collectri(), use_rep="scbert", layer="counts", epochs=15)
    return SimpleNamespace(mdata=mdata, weights=weights, prior=sg.datasets.collectri())


@pytest.mark.internet
def test_activities_go_with_surface_proteins(fitted):
    """Which cells are monocytes and B cells, their proteins tell; the network has seen RNA alone."""
    import decoupler as dc

    rna, prot = fitted.mdata["rna"].copy(), fitted.mdata["prot"].to_df()
    dc.mt.ulm(rna, sg.get.grn_df(rna, min_probability=0.1))
    scores = dc.pp.get_obsm(rna, "score_ulm").to_df()
    relative = prot.sub(prot.mean(axis=1), axis=0)  # centred log ratios
    assert scores["SPI1"].corr(relative["CD14"]) > 0.5
    assert scores["CEBPB"].corr(relative["CD14"]) > 0.5
    assert abs(scores["SPI1"].corr(relative["CD19"])) < 0.3


@pytest.mark.slow
@pytest.mark.internet
def test_a_modality_is_treated_as_the_anndata_that_it_is(fitted, counts):
    rna = counts["rna"].copy()
    sg.tl.scbert_embed(rna, weights=fitted.weights, layer="counts")
    sg.tl.fit_grn(rna, fitted.prior, use_rep="scbert", layer="counts", epochs=15)
    pd.testing.assert_frame_equal(sg.get.grn_df(fitted.mdata), sg.get.grn_df(rna))
    assert "grn" not in fitted.mdata.varp
    assert set(fitted.mdata["prot"].varp) == set()
    with pytest.raises(sg.core.MissingKeyError, match=r"no modality 'gex'.*\['prot', 'rna'\]"):
        sg.get.grn_df(fitted.mdata, modality="gex")


@pytest.mark.internet
@pytest.mark.parametrize("suffix", ["h5mu", pytest.param("zarr", marks=pytest.mark.slow)])
def test_a_mudata_is_written_read_and_gone_on_with(fitted, tmp_path, suffix):
    path = tmp_path / f"pbmc.{suffix}"
    if suffix == "h5mu":
        fitted.mdata.write_h5mu(path)
        back = md.read_h5mu(path)
    else:
        fitted.mdata.write_zarr(path)
        back = md.read_zarr(path)
    pd.testing.assert_frame_equal(sg.get.grn_df(back), sg.get.grn_df(fitted.mdata))
    sg.io.write_edges(back, tmp_path / "edges.csv", top_n=20, min_probability=None)
    assert len(pd.read_csv(tmp_path / "edges.csv")) == 20
    sg.tl.fit_grn(back, fitted.prior, layer="counts", use_rep="softmax", epochs=1, key_added="softmax_grn")
    sg.tl.explain_edges(back, top_n=2)
    assert {"softmax_grn", "edge_explanation"} <= set(back["rna"].uns)
    ax = sg.pl.grn_edges(back, top_n=10, min_probability=None)
    plt.close(ax.figure)
    sc.pp.pca(back["rna"], n_comps=5)
    ax = sc.pl.pca(back["rna"], color="SPI1", show=False)
    plt.close(ax.figure)


@pytest.mark.internet
def test_a_network_out_of_a_file_is_that_of_memory(fitted, tmp_path):
    """The same embedding and counts, read from h5ad, give the same network, bit for bit."""
    fitted.mdata["rna"].write_h5ad(tmp_path / "rna.h5ad")
    back = ad.read_h5ad(tmp_path / "rna.h5ad")
    sg.tl.fit_grn(back, fitted.prior, use_rep="scbert", layer="counts", epochs=15, key_added="again")
    assert (back.varp["again"] != fitted.mdata["rna"].varp["grn"]).nnz == 0
