"""Published data: BEELINE, scBERT's vocabulary and weights, TF names, CollecTRI."""

from __future__ import annotations

import gzip
import hashlib
import io
import logging
import subprocess
import sys
import types

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import scgrn_tl as sg
from scgrn_tl.core.errors import (
    ArgumentError,
    DownloadError,
    MissingDependencyError,
    SplitError,
    WeightsUnavailableError,
)
from scgrn_tl.datasets import _beeline, _priors, _scbert
from scgrn_tl.datasets._files import PinnedFile, Source
from scgrn_tl.datasets._registry import SCBERT_WEIGHTS, beeline_paths

needs_real_data = pytest.mark.usefixtures("mirror")
SOURCE = Source("Test files", "CC0", "nobody")


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No mirror, an empty cache, and every download refused."""
    import pooch

    def refuse(self, url, output_file, pooch):
        msg = "the network is switched off"
        raise OSError(msg)

    monkeypatch.delenv("SCGRN_TL_MIRROR", raising=False)
    monkeypatch.delenv("SCGRN_TL_WEIGHTS", raising=False)
    monkeypatch.setenv("SCGRN_TL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", refuse)
    return tmp_path / "cache"


# --- BEELINE -----------------------------------------------------------------------------------------------------


@needs_real_data
@pytest.mark.parametrize(
    ("cell_type", "n_cells", "n_genes", "n_tfs", "n_edges", "n_scored"),
    [("hHEP", 425, 948, 448, 9939, 30), ("mDC", 383, 821, 323, 756, 20), ("mHSC-L", 847, 560, 61, 4398, 16)],
)
def test_beeline_holds_the_published_experiment(cell_type, n_cells, n_genes, n_tfs, n_edges, n_scored):
    adata = sg.datasets.beeline(cell_type)
    assert adata.shape == (n_cells, n_genes)
    assert adata.X.dtype == np.float32
    assert adata.X.min() == 0
    assert adata.var_names.is_unique
    assert adata.obs_names.is_unique
    assert adata.var["is_tf"].dtype == bool
    assert adata.var["is_tf"].sum() == n_tfs
    truth = adata.uns["ground_truth"]
    assert list(truth.columns) == ["source", "target"]
    assert len(truth) == n_edges
    assert truth["source"].nunique() == n_scored
    assert not truth.duplicated().any()
    assert not (truth["source"] == truth["target"]).any()
    assert adata.var.loc[truth["source"].unique(), "is_tf"].all()
    assert truth["target"].isin(adata.var_names).all()
    assert adata.uns["beeline"]["cell_type"] == cell_type
    assert adata.uns["beeline"]["organism"] == ("human" if cell_type[0] == "h" else "mouse")


@pytest.mark.parametrize("cell_type", ["hHEP", "mDC", "mHSC-L"])
def test_beeline_edges_by_index_are_the_edges_by_name(cell_type, mirror):
    """BL--network.csv, which the loader does not read, names the genes of each edge."""
    folder = f"{mirror}/beeline/data/benchmark_datasets/Specific Dataset/{cell_type}/TFs+500"
    network = pd.read_csv(f"{folder}/BL--network.csv.gz", keep_default_na=False)
    truth = sg.datasets.beeline(cell_type).uns["ground_truth"]
    assert set(zip(truth["source"], truth["target"], strict=True)) == set(
        zip(network["Gene1"], network["Gene2"], strict=True)
    )
    assert len(truth) == len(network)


def test_beeline_expression_is_the_published_text(mirror):
    folder = f"{mirror}/beeline/data/benchmark_datasets/Specific Dataset/mDC/TFs+500"
    adata = sg.datasets.beeline("mdc")
    with gzip.open(f"{folder}/BL--ExpressionData.csv.gz", "rt") as stream:
        cells = stream.readline().rstrip("\n").split(",")[1:]
        for gene, line in zip(adata.var_names, stream, strict=True):
            name, *values = line.rstrip("\n").split(",")
            assert name == gene
            np.testing.assert_array_equal(adata[:, gene].X.ravel(), np.array(values, dtype=np.float64).astype("f4"))
    assert [cell.strip('"') for cell in cells] == list(adata.obs_names)


@needs_real_data
def test_beeline_survives_writing(tmp_path):
    adata = sg.datasets.beeline("mHSC-L")
    adata.write_h5ad(tmp_path / "beeline.h5ad")
    back = ad.read_h5ad(tmp_path / "beeline.h5ad")
    np.testing.assert_array_equal(back.X, adata.X)
    assert (back.uns["ground_truth"].to_numpy() == adata.uns["ground_truth"].to_numpy()).all()
    assert back.uns["beeline"]["n_genes"] == 500


@needs_real_data
@pytest.mark.parametrize("sample", [1, 2, 3])
@pytest.mark.parametrize(
    ("cell_type", "sizes"),
    [("hHEP", {19_002, 2_845, 6_563}), ("mDC", None), ("mHSC-L", {5_976, 892, 2_076})],
)
def test_beeline_split_is_the_published_one(cell_type, sizes, sample):
    adata = sg.datasets.beeline(cell_type)
    split = sg.datasets.beeline_split(cell_type, 500, sample)
    assert split.kind == "given"
    if sizes:
        assert {len(part) for part in split.parts} == sizes
    split.check_genes(list(adata.var_names))
    genes = adata.var_names.to_numpy()
    truth = set(map(tuple, adata.uns["ground_truth"].to_numpy()))
    positives = set()
    for part in split.parts:
        named = list(map(tuple, genes[part.pairs]))
        assert [pair in truth for pair in named] == part.labels.tolist()
        assert (part.pairs[:, 0] != part.pairs[:, 1]).all()
        positives |= set(map(tuple, genes[part.positives]))
    assert positives == truth  # every known edge stands in one of the three parts
    assert set(genes[split.regulators]) == set(adata.uns["ground_truth"]["source"])


@needs_real_data
def test_beeline_samples_differ():
    first, second = (sg.datasets.beeline_split("mDC", sample=sample) for sample in (1, 2))
    assert not np.array_equal(first.test.pairs, second.test.pairs[: len(first.test)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("hepatocyte",), "'hHEP'.*not 'hepatocyte'"),
        (("hESC", 750), "500 and 1000.*not 750"),
        (("hESC", 500, "chip"), "'specific', 'string' or 'nonspecific', not 'chip'"),
    ],
)
def test_beeline_lists_what_there_is(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        sg.datasets.beeline(*arguments)


@pytest.mark.parametrize(
    ("sample", "message"),
    [(0, "1, 2, 3, 4 and 5"), (6, "1, 2, 3, 4 and 5"), ("1", "sample is a whole number")],
)
def test_beeline_split_lists_the_samples(sample, message):
    with pytest.raises(ArgumentError, match=message):
        sg.datasets.beeline_split("hESC", 500, sample)


def test_every_experiment_and_split_stands_in_the_registry(monkeypatch):
    wanted = []

    class Stop(Exception):  # noqa: N818
        pass

    def record(path, **_):
        wanted.append(path)
        return frames[path.rpartition("/")[2]].copy()

    pairs = {"Train": [0, 1, 1], "Validation": [1, 0, 0], "Test": [0, 2, 0]}
    frames = {
        f"{part}_set.csv.gz": pd.DataFrame([row], columns=["TF", "Target", "Label"]) for part, row in pairs.items()
    }
    frames |= {
        "Target.csv.gz": pd.DataFrame({"Gene": ["A", "B", "C"], "index": [0, 1, 2]}),
        "TF.csv.gz": pd.DataFrame({"TF": ["B"], "index": [1]}),
        "Label.csv.gz": pd.DataFrame({"TF": [1], "Target": [2]}),
        "BL--ExpressionData.csv.gz": pd.DataFrame(np.ones((3, 2)), index=["A", "B", "C"], columns=["c1", "c2"]),
    }
    monkeypatch.setattr(_beeline, "_read", record)
    for cell_type in ("hESC", "hHEP", "mDC", "mESC", "mHSC-E", "mHSC-GM", "mHSC-L"):
        for n_genes in (500, 1000):
            for network in ("specific", "string", "nonspecific"):
                adata = sg.datasets.beeline(cell_type.upper(), n_genes, network)
                assert adata.uns["ground_truth"].to_numpy().tolist() == [["B", "C"]]
                for sample in range(1, 6):
                    sg.datasets.beeline_split(cell_type, n_genes, sample, network=network)
    assert set(wanted) <= set(beeline_paths())
    assert len(set(wanted)) == 7 * 2 * 3 * (4 + 5 * 3)


@pytest.mark.parametrize(
    ("name", "frame"),
    [
        ("Target.csv.gz", {"Gene": ["A", "C", "B"], "index": [0, 1, 2]}),
        ("Target.csv.gz", {"Gene": ["A", "B"], "index": [0, 1]}),
        ("TF.csv.gz", {"TF": ["B"], "index": [3]}),
        ("TF.csv.gz", {"TF": ["A"], "index": [1]}),
    ],
)
def test_indices_that_mean_other_genes_are_an_error(monkeypatch, name, frame):
    frames = {
        "Target.csv.gz": pd.DataFrame({"Gene": ["A", "B", "C"], "index": [0, 1, 2]}),
        "TF.csv.gz": pd.DataFrame({"TF": ["B"], "index": [1]}),
        "Label.csv.gz": pd.DataFrame({"TF": [1], "Target": [2]}),
        "BL--ExpressionData.csv.gz": pd.DataFrame(np.ones((3, 2)), index=["A", "B", "C"], columns=["c1", "c2"]),
    }
    frames[name] = pd.DataFrame(frame)
    monkeypatch.setattr(_beeline, "_read", lambda path, **_: frames[path.rpartition("/")[2]])
    with pytest.raises(DownloadError, match=name.replace(".", r"\.")):
        sg.datasets.beeline("hESC")


def test_pairs_that_stand_twice_in_published_parts_are_an_error(monkeypatch):
    part = pd.DataFrame({"TF": [0], "Target": [1], "Label": [1]})
    target = pd.DataFrame({"Gene": ["a", "b"], "index": [0, 1]})
    monkeypatch.setattr(_beeline, "_read", lambda path, **_: target if "Target.csv" in path else part)
    with pytest.raises(SplitError, match="more than once"):
        sg.datasets.beeline_split("hESC")


def test_a_gene_called_nan_stays_a_gene(monkeypatch, tmp_path):
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb") as stream:
        stream.write(b",Gene,index\n0,NAN,0\n1,NA,1\n")
    path = tmp_path / "Target.csv.gz"
    path.write_bytes(buffer.getvalue())
    monkeypatch.setattr(_beeline, "fetch", lambda file: path)
    monkeypatch.setattr(_beeline, "beeline_file", lambda path: None)
    assert _beeline._read("Target.csv.gz")["Gene"].tolist() == ["NAN", "NA"]


# --- scBERT ------------------------------------------------------------------------------------------------------


@needs_real_data
def test_scbert_vocabulary():
    vocabulary = sg.datasets.scbert_vocabulary()
    assert len(vocabulary) == 16_906
    assert vocabulary.sha256 == "4c09ba1912e184682fe5e7f32e2b443bdfb7883d0d0191551b38c6c2f155600f"
    assert {"GATA1", "TP53", "ALB"} <= set(vocabulary.symbols)
    found = vocabulary.align(sg.datasets.beeline("hHEP").var_names)
    assert len(found.columns) == 915


def test_scbert_vocabulary_with_other_names_is_refused(monkeypatch, tmp_path):
    path = tmp_path / "gene_order.txt"
    path.write_text("A\nB\n")
    monkeypatch.setattr(_scbert, "fetch", lambda file: path)
    with pytest.raises(DownloadError, match="does not hold scBERT's gene names"):
        sg.datasets.scbert_vocabulary()


def test_weights_that_cannot_be_had_name_every_way_out(offline):
    with pytest.raises(WeightsUnavailableError) as caught:
        sg.datasets.scbert_weights()
    message = str(caught.value)
    for part in (
        "the network is switched off",
        SCBERT_WEIGHTS.url,
        "1_Pgk_o8AtQtoXr_ZLQx0eJYoSWzjxC8f",
        "panglao_pretrain.pth",
        str(offline / "scbert" / "panglao_pretrain.pth"),
        "SCGRN_TL_WEIGHTS",
        "SCGRN_TL_MIRROR",
        'weights="fit"',
    ):
        assert part in message
    assert isinstance(caught.value, FileNotFoundError)
    assert not (offline / "scbert" / "panglao_pretrain.pth").exists()


def test_published_weights_are_found_in_cache_and_mirror(offline, monkeypatch, tmp_path):
    content = b"a checkpoint"
    pinned = PinnedFile(
        SCBERT_WEIGHTS.path, SCBERT_WEIGHTS.url, SOURCE, len(content), hashlib.sha256(content).hexdigest()
    )
    monkeypatch.setattr(_scbert, "SCBERT_WEIGHTS", pinned)
    for folder in (offline, tmp_path / "mirror"):
        path = folder / "scbert" / "panglao_pretrain.pth"
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        with sg.settings.override(mirror=tmp_path / "mirror"):
            assert sg.datasets.scbert_weights() == path
    path.write_bytes(content[:-1])
    (offline / "scbert" / "panglao_pretrain.pth").unlink()
    with sg.settings.override(mirror=tmp_path / "mirror"), pytest.raises(WeightsUnavailableError):
        sg.datasets.scbert_weights()


def test_weights_of_ones_own(offline, monkeypatch, tmp_path, caplog):
    mine = tmp_path / "mine.pth"
    mine.write_bytes(b"fine-tuned")
    with caplog.at_level(logging.INFO, logger="scgrn_tl"):
        assert sg.datasets.scbert_weights(mine) == mine
        assert sg.datasets.scbert_weights(str(mine)) == mine
    assert "weights of your own" in caplog.text
    assert hashlib.sha256(b"fine-tuned").hexdigest() in caplog.text
    monkeypatch.setenv("SCGRN_TL_WEIGHTS", str(tmp_path))  # a folder
    assert sg.datasets.scbert_weights() == tmp_path
    assert sg.datasets.scbert_weights(mine) == mine  # an argument goes before the variable
    monkeypatch.setenv("SCGRN_TL_WEIGHTS", str(tmp_path / "nowhere.pth"))
    with pytest.raises(WeightsUnavailableError, match=r"path in SCGRN_TL_WEIGHTS, .*nowhere\.pth, is not there"):
        sg.datasets.scbert_weights()
    with pytest.raises(WeightsUnavailableError, match="is not there"):
        sg.datasets.scbert_weights(tmp_path / "nowhere.pth")


# --- priors ------------------------------------------------------------------------------------------------------


@needs_real_data
def test_tf_names():
    human, mouse = sg.datasets.tf_names(), sg.datasets.tf_names("mouse")
    assert len(human) == len(set(human)) == 1_639
    assert {"GATA1", "TP53", "SOX2"} <= set(human)
    assert len(mouse) == len(set(mouse))
    assert {"Gata1", "Pou2f2", "Zfp423"} <= set(mouse)
    assert all(name == name.strip() and name for name in human + mouse)


def test_tf_names_of_an_unknown_organism():
    with pytest.raises(ArgumentError, match="organism is 'human' or 'mouse', not 'yeast'"):
        sg.datasets.tf_names("yeast")


@needs_real_data
def test_collectri_out_of_the_mirror():
    edges = sg.datasets.collectri()
    assert list(edges.columns) == ["source", "target", "weight"]
    assert len(edges) == 43_178
    assert set(edges["weight"].unique()) == {-1.0, 1.0}
    assert not edges.duplicated(["source", "target"]).any()
    assert len(edges[(edges["source"] == "MYC") & (edges["target"] == "TERT")]) == 1


def test_collectri_through_decoupler(offline, monkeypatch):
    asked = []

    def collectri(organism):
        asked.append(organism)
        return pd.DataFrame(
            {"source": ["Myc"], "target": ["Tert"], "weight": [1], "resources": ["x"], "references": ["y"]}, index=[7]
        )

    monkeypatch.setitem(sys.modules, "decoupler", types.SimpleNamespace(op=types.SimpleNamespace(collectri=collectri)))
    edges = sg.datasets.collectri("mouse")
    assert asked == ["mouse"]
    expected = pd.DataFrame({"source": ["Myc"], "target": ["Tert"], "weight": np.array([1], dtype=np.float32)})
    pd.testing.assert_frame_equal(edges, expected)


def test_collectri_without_decoupler_or_network(offline, monkeypatch):
    def fail(organism):
        msg = "no route to host"
        raise OSError(msg)

    monkeypatch.setitem(sys.modules, "decoupler", types.SimpleNamespace(op=types.SimpleNamespace(collectri=fail)))
    with pytest.raises(DownloadError, match=r"no route to host.*SCGRN_TL_MIRROR.*priors/collectri_human\.csv"):
        sg.datasets.collectri()
    monkeypatch.setitem(sys.modules, "decoupler", None)
    with pytest.raises(MissingDependencyError, match="pip install") as caught:
        sg.datasets.collectri()
    assert isinstance(caught.value, ImportError)
    with pytest.raises(ArgumentError, match="yeast"):
        _priors.collectri("yeast")


def test_dorothea_through_decoupler(offline, monkeypatch):
    asked = []

    def dorothea(organism, levels):
        asked.append((organism, levels))
        return pd.DataFrame(
            {"source": ["Myc"], "target": ["Tert"], "weight": [-0.5], "confidence": pd.Categorical(["B"])}, index=[7]
        )

    monkeypatch.setitem(sys.modules, "decoupler", types.SimpleNamespace(op=types.SimpleNamespace(dorothea=dorothea)))
    edges = sg.datasets.dorothea("mouse", "AB")
    assert asked == [("mouse", ["A", "B"])]
    assert edges.to_dict("list") == {"source": ["Myc"], "target": ["Tert"], "weight": [-0.5], "confidence": ["B"]}
    assert edges.attrs["name"] == "dorothea"
    with pytest.raises(ArgumentError, match="'yeast'"):
        sg.datasets.dorothea("yeast")
    for levels in (["A", "F"], []):
        with pytest.raises(ArgumentError, match="levels are some of 'A', 'B', 'C', 'D'"):
            sg.datasets.dorothea(levels=levels)
    monkeypatch.setitem(sys.modules, "decoupler", None)
    with pytest.raises(MissingDependencyError, match="DoRothEA comes through decoupler"):
        sg.datasets.dorothea()


@needs_real_data
def test_trrust_out_of_the_mirror():
    edges = sg.datasets.trrust()
    assert len(edges) == 9_396
    assert edges.iloc[0].tolist() == ["AATF", "BAX", "Repression", "22909821"]
    assert set(edges["mode"]) == {"Activation", "Repression", "Unknown"}
    assert edges.attrs["name"] == "trrust"
    with pytest.raises(ArgumentError, match=r"'human', not for organism='mouse'.*collectri"):
        sg.datasets.trrust("mouse")


def test_import_is_light():
    code = (
        "import sys, scgrn_tl.datasets\n"
        "heavy = {'torch', 'torch_geometric', 'scanpy', 'scvi', 'matplotlib', 'sklearn', 'pooch', 'decoupler'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
