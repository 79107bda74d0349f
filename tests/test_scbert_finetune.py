from __future__ import annotations

from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from mudata import MuData
from scipy import sparse

import scgrn_tl as sg
from scgrn_tl.core import (
    ArgumentError,
    GeneOverlapError,
    GeneVocabulary,
    MissingKeyError,
    WeightsError,
    WeightsUnavailableError,
)
from scgrn_tl.models import ScBERT, ScBERTConfig, load_scbert
from scgrn_tl.models.checkpoint import weights_sha256

if TYPE_CHECKING:
    from pathlib import Path

GENES = [f"GENE{i}" for i in range(20)]
VOCABULARY = GeneVocabulary(["OTHER", *GENES[::-1]])


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    model = ScBERT(ScBERTConfig(n_genes=len(VOCABULARY), dim=16, depth=3, heads=2, dim_head=8))
    model.initialize(torch.Generator().manual_seed(0)).save(tmp_path / "encoder", VOCABULARY)
    return tmp_path / "encoder"


def make_adata() -> ad.AnnData:
    counts = np.random.default_rng(0).poisson(2.0, (40, 20))
    obs = pd.DataFrame({"donor": np.resize(["a", "b"], 40)}, index=[f"c{i}" for i in range(40)])
    return ad.AnnData(sparse.csr_matrix(counts.astype(np.float32)), obs=obs, var=pd.DataFrame(index=GENES))


def changed(one: Path, other: Path) -> set[str]:
    before, after = (dict(load_scbert(path)[0].state_dict()) for path in (one, other))
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_the_last_two_blocks_and_the_norm_learn(encoder: Path, tmp_path: Path) -> None:
    adata = make_adata()
    before = adata.X.copy()
    folder = sg.tl.scbert_finetune(adata, weights=encoder, weights_dir=tmp_path / "tuned", max_epochs=2)
    names = changed(encoder, folder)
    assert all(
        name.startswith(("performer.net.layers.1.", "performer.net.layers.2.", "norm.", "to_out.")) for name in names
    )
    assert {name.split(".")[0] for name in names} == {"performer", "norm", "to_out"}
    assert {name.split(".")[3] for name in names if name.startswith("performer")} == {"1", "2"}
    assert (before != adata.X).nnz == 0

    record = adata.uns["scbert_training"]
    assert record["weights"]["sha256"] == weights_sha256(encoder)
    assert record["weights_dir"] == str(folder)
    assert record["params"]["train_blocks"] == 2
    assert len(record["history"]["validation_loss"]) == 2
    adata.write_h5ad(tmp_path / "adata.h5ad")
    assert ad.read_h5ad(tmp_path / "adata.h5ad").uns["scbert_training"]["weights_dir"] == str(folder)

    _, vocabulary = load_scbert(folder)
    assert vocabulary.symbols == VOCABULARY.symbols
    sg.tl.scbert_embed(adata, weights=folder)
    assert adata.varm["scbert"].shape == (20, 16)
    again = sg.tl.scbert_finetune(adata, weights=folder, weights_dir=tmp_path / "twice", max_epochs=1)
    assert changed(folder, again)


def test_the_whole_encoder_and_nothing_but_the_head(encoder: Path, tmp_path: Path) -> None:
    adata = make_adata()
    whole = sg.tl.scbert_finetune(adata, weights=encoder, weights_dir=tmp_path / "a", train_blocks=None, max_epochs=1)
    assert {"token_emb.weight", "pos_emb.emb.weight"} < changed(encoder, whole)
    head = sg.tl.scbert_finetune(adata, weights=encoder, weights_dir=tmp_path / "b", train_blocks=0, max_epochs=1)
    assert changed(encoder, head) == {"norm.weight", "norm.bias", "to_out.weight", "to_out.bias"}


def test_same_seed_same_weights_and_the_cache(encoder: Path, tmp_path: Path) -> None:
    with sg.settings.override(cache_dir=tmp_path / "cache"):
        arguments = {"weights": encoder, "max_epochs": 1}
        folders = [sg.tl.scbert_finetune(make_adata(), **arguments, rng=seed) for seed in (0, 0, 1)]
        assert folders[0] == folders[1] != folders[2]
        other = sg.tl.scbert_finetune(make_adata(), **arguments, batch_key="donor")
        assert other not in folders
    folder = sg.tl.scbert_finetune(make_adata(), **arguments, weights_dir=tmp_path / "a")
    assert weights_sha256(folder) == weights_sha256(folders[0])


def test_the_cache_tells_vocabularies_apart(encoder: Path, tmp_path: Path) -> None:
    """The same tensors, for genes in another order, are another encoder."""
    model, vocabulary = load_scbert(encoder)
    model.save(tmp_path / "other", GeneVocabulary(vocabulary.symbols[::-1]))
    with sg.settings.override(cache_dir=tmp_path / "cache"):
        folders = [
            sg.tl.scbert_finetune(make_adata(), weights=path, max_epochs=1) for path in (encoder, tmp_path / "other")
        ]
    assert folders[0] != folders[1]
    assert load_scbert(folders[1])[1].symbols == vocabulary.symbols[::-1]


def test_batches_change_the_bins_embeddings_alone_before_the_blocks(encoder: Path, tmp_path: Path) -> None:
    """The mean of the batches' vectors is folded into them."""
    adata = make_adata()
    folder = sg.tl.scbert_finetune(
        adata, weights=encoder, weights_dir=tmp_path / "a", batch_key="donor", train_blocks=1, max_epochs=2
    )
    assert adata.uns["scbert_training"]["n_batches"] == 2
    names = changed(encoder, folder)
    assert "token_emb.weight" in names
    assert "pos_emb.emb.weight" not in names
    before, after = (load_scbert(path)[0].token_emb.weight for path in (encoder, folder))
    torch.testing.assert_close(
        (after - before).detach(), (after - before).detach()[:1].expand(7, -1), atol=1e-6, rtol=0
    )


def test_a_modality(encoder: Path, tmp_path: Path) -> None:
    mdata = MuData({"gex": make_adata()})
    sg.tl.scbert_finetune(mdata, weights=encoder, weights_dir=tmp_path / "a", max_epochs=1, modality="gex")
    assert "scbert_training" in mdata["gex"].uns


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"weights": "fit"}, ArgumentError, "scbert_pretrain"),
        ({"weights": "nowhere"}, WeightsUnavailableError, "nowhere"),
        ({"train_blocks": 4}, ArgumentError, "the encoder has 3"),
        ({"train_blocks": -1}, ArgumentError, "train_blocks"),
        ({"batch_key": "plate"}, MissingKeyError, "plate"),
        ({"min_overlap": 2}, ArgumentError, "min_overlap"),
        ({"learning_rate": 0.0}, ArgumentError, "learning_rate"),
        ({"key_added": ""}, ArgumentError, "key_added"),
        ({"modality": "x", "layer": "nope"}, MissingKeyError, "layers"),
    ],
)
def test_wrong_arguments(
    encoder: Path,
    tmp_path: Path,
    arguments: dict,
    error: type[Exception],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("scgrn_tl.models.scbert_model.ScBERTModel.train", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(error, match=message):
        sg.tl.scbert_finetune(make_adata(), **({"weights": encoder, "weights_dir": tmp_path / "a"} | arguments))
    assert not (tmp_path / "a").exists()


def test_genes_and_files_that_do_not_fit(encoder: Path, tmp_path: Path) -> None:
    adata = make_adata()
    adata.var_names = [f"x{i}" for i in range(20)]
    with pytest.raises(GeneOverlapError, match="0 of 20"):
        sg.tl.scbert_finetune(adata, weights=encoder, weights_dir=tmp_path / "a")
    (encoder / "model.safetensors").write_bytes(b"x")
    with pytest.raises(WeightsError, match="SHA-256"):
        sg.tl.scbert_finetune(make_adata(), weights=encoder, weights_dir=tmp_path / "a")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").touch()
    with pytest.raises(ArgumentError, match="no folder of an encoder"):
        sg.tl.scbert_finetune(make_adata(), weights=encoder, weights_dir=tmp_path / "thesis")
