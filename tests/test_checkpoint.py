from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scgrn_tl.core.errors import ArgumentError, WeightsError, WeightsUnavailableError
from scgrn_tl.core.genes import GeneVocabulary
from scgrn_tl.models import ScBERT, ScBERTConfig, load_scbert
from scgrn_tl.models.checkpoint import load_checkpoint, weights_sha256

N_PUBLISHED = 16_906
SMALL = ScBERTConfig(n_genes=12, dim=8, depth=2, heads=2, dim_head=6, n_features=10)


def published_shapes(  # written from the published code, not from ours
    n_genes: int, dim: int = 200, depth: int = 6, heads: int = 10, dim_head: int = 64, m: int = 266
) -> dict[str, tuple[int, ...]]:
    inner = heads * dim_head
    shapes = {"token_emb.weight": (7, dim), "pos_emb.emb.weight": (n_genes + 1, dim)}
    for i in range(depth):
        layer = f"performer.net.layers.{i}"
        shapes |= {
            f"{layer}.0.norm.weight": (dim,),
            f"{layer}.0.norm.bias": (dim,),
            f"{layer}.0.fn.fast_attention.projection_matrix": (m, dim_head),
            f"{layer}.0.fn.to_q.weight": (inner, dim),
            f"{layer}.0.fn.to_k.weight": (inner, dim),
            f"{layer}.0.fn.to_v.weight": (inner, dim),
            f"{layer}.0.fn.to_out.weight": (dim, inner),
            f"{layer}.0.fn.to_out.bias": (dim,),
            f"{layer}.1.norm.weight": (dim,),
            f"{layer}.1.norm.bias": (dim,),
            f"{layer}.1.fn.fn.w1.weight": (4 * dim, dim),
            f"{layer}.1.fn.fn.w1.bias": (4 * dim,),
            f"{layer}.1.fn.fn.w2.weight": (dim, 4 * dim),
            f"{layer}.1.fn.fn.w2.bias": (dim,),
        }
    return shapes | {"norm.weight": (dim,), "norm.bias": (dim,), "to_out.weight": (7, dim), "to_out.bias": (7,)}


def published_state(n_genes: int, **shape: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    state = {
        name: torch.randn(size, generator=generator) * 0.1 for name, size in published_shapes(n_genes, **shape).items()
    }
    # gene2vec was read from a float64 array, and the checkpoint keeps it so
    state["pos_emb.emb.weight"] = state["pos_emb.emb.weight"].double()
    state["pos_emb.emb.weight"][-1] = 0
    state["performer.calls_since_last_redraw"] = torch.tensor(7)
    return state


def small_state() -> dict[str, torch.Tensor]:
    return published_state(12, dim=8, depth=2, heads=2, dim_head=6, m=10)


def vocabulary(n: int) -> GeneVocabulary:
    return GeneVocabulary(f"G{i}" for i in range(n))


def write(path: Path, state: dict[str, torch.Tensor]) -> Path:
    content = {
        "epoch": 5,
        "model_state_dict": state,
        "optimizer_state_dict": {"state": {0: {"step": 3, "exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1e-4}]},
        "scheduler_state_dict": {"base_lrs": [1e-6], "cycle": 0},
        "losses": 0.5,
    }
    torch.save(content, path)
    return path


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write(tmp_path / "small.pth", small_state())


def test_published_layout_loads_strictly(tmp_path: Path) -> None:
    state = published_state(N_PUBLISHED)
    path = write(tmp_path / "panglao_pretrain.pth", state)
    model = ScBERT.from_checkpoint(path, vocabulary(N_PUBLISHED))
    assert model.config == ScBERTConfig(n_genes=N_PUBLISHED, n_features=266)
    assert not model.training
    loaded = model.state_dict()
    assert set(loaded) == set(published_shapes(N_PUBLISHED))
    for name, tensor in loaded.items():
        assert torch.equal(tensor, state[name].float()), name
    hidden, attention = model.encode(torch.zeros(1, 3, dtype=torch.int64), torch.tensor([0, 5, 16_905]))
    assert hidden.isfinite().all()
    assert attention.isfinite().all()


def test_small_checkpoint_gives_its_own_shape(checkpoint: Path) -> None:
    model, genes = load_scbert(checkpoint, vocabulary(12))
    assert model.config == SMALL
    assert genes == vocabulary(12)


def test_bare_state_dict_loads(tmp_path: Path) -> None:
    torch.save(small_state(), tmp_path / "bare.pth")
    assert ScBERT.from_checkpoint(tmp_path / "bare.pth", vocabulary(12)).config == SMALL


def test_repeated_layers_of_performer_pytorch_are_dropped(tmp_path: Path) -> None:
    state = small_state()
    state |= {
        name.replace("performer.net", "performer.proj_updater.instance"): tensor
        for name, tensor in state.items()
        if name.startswith("performer.net")
    }
    state["performer.proj_updater.calls_since_last_redraw"] = torch.tensor(0)
    loaded = load_checkpoint(write(tmp_path / "repeated.pth", state))
    assert set(loaded) == set(small_state()) - {"performer.calls_since_last_redraw"}
    assert ScBERT.from_checkpoint(tmp_path / "repeated.pth", vocabulary(12)).config == SMALL


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
def test_truncated_file_is_refused(checkpoint: Path, share: float) -> None:
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(WeightsError, match=r"small\.pth.*(truncated|damaged)"):
        load_checkpoint(checkpoint)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bytes_load_or_are_refused(checkpoint: Path, data: st.DataObject) -> None:
    content = bytearray(checkpoint.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    damaged = checkpoint.with_name("damaged.pth")
    damaged.write_bytes(content)
    with contextlib.suppress(WeightsError):
        ScBERT.from_checkpoint(damaged, vocabulary(12))


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"<html>404</html>", b"PK\x03\x04", b"\x80\x02."])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"weights\.pth"):
        load_checkpoint(path)


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = str(target)

    def __reduce__(self) -> tuple[object, tuple[str, int]]:
        return os.mkdir, (self.target, 0o777)


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle"])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path, kind: str) -> None:
    target, path = tmp_path / "was_run", tmp_path / "malicious.pth"
    content = {"model_state_dict": small_state(), "extra": Malicious(target)}
    if kind == "pickle":
        path.write_bytes(pickle.dumps(content["extra"], protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(WeightsError, match="could run code; it was not loaded"):
        load_scbert(path, vocabulary(12))
    assert not target.exists()


def test_missing_file_is_unavailable(tmp_path: Path) -> None:
    for call in (load_checkpoint, weights_sha256, ScBERT.load):
        with pytest.raises(WeightsUnavailableError, match=r"no weights at .*absent"):
            call(tmp_path / "absent")


def test_a_saved_model_names_its_encoder(tmp_path: Path) -> None:
    model = ScBERT(ScBERTConfig(n_genes=12, dim=8, depth=1, heads=2, dim_head=4))
    model.initialize(torch.Generator().manual_seed(0)).save(tmp_path / "mine" / "encoder", vocabulary(12))
    with pytest.raises(WeightsUnavailableError, match=r"mine is a model of ScBERTModel.*folder: .*mine.encoder\."):
        load_scbert(tmp_path / "mine")
    load_scbert(tmp_path / "mine" / "encoder")


def refused(tmp_path: Path, state: dict[str, torch.Tensor], match: str) -> None:
    with pytest.raises(WeightsError, match=match):
        ScBERT.from_checkpoint(write(tmp_path / "wrong.pth", state), vocabulary(12))


@pytest.mark.parametrize("name", sorted(published_shapes(12, dim=8, depth=2, heads=2, dim_head=6, m=10)))
def test_any_missing_tensor_is_named(tmp_path: Path, name: str) -> None:
    state = small_state()
    del state[name]
    refused(tmp_path, state, f"missing.*{name}|{name}.*missing")


def test_unknown_tensor_is_named(tmp_path: Path) -> None:
    refused(tmp_path, small_state() | {"to_out.conv1.weight": torch.zeros(2)}, r"do not belong.*to_out\.conv1\.weight")


def test_wrong_shapes_are_named_with_got_and_expected(tmp_path: Path) -> None:
    wrong = {"performer.net.layers.1.0.fn.to_v.weight": torch.zeros(12, 9)}
    refused(tmp_path, small_state() | wrong, r"layers\.1\.0\.fn\.to_v\.weight' has shape \(12, 9\); expected \(12, 8\)")
    refused(tmp_path, small_state() | {"token_emb.weight": torch.zeros(7)}, r"token_emb\.weight' has shape \(7,\)")
    projection = "performer.net.layers.0.0.fn.fast_attention.projection_matrix"
    refused(tmp_path, small_state() | {projection: torch.zeros(10, 5)}, "attention width 12 is no multiple of 5")


def test_values_that_are_no_weights_are_named(tmp_path: Path) -> None:
    refused(tmp_path, small_state() | {"norm.bias": torch.full((8,), torch.nan)}, "'norm.bias' holds NaN")
    refused(tmp_path, small_state() | {"norm.bias": torch.zeros(8, dtype=torch.int64)}, "'norm.bias' is torch.int64")
    torch.save({"model_state_dict": small_state() | {"norm.bias": 3}}, tmp_path / "number.pth")
    with pytest.raises(WeightsError, match=r"'norm\.bias' is a int"):
        load_checkpoint(tmp_path / "number.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(WeightsError, match="no state dict"):
        load_checkpoint(tmp_path / "list.pth")


def test_vocabulary_of_another_size_is_refused(checkpoint: Path) -> None:
    with pytest.raises(WeightsError, match="13 rows; expected 12"):
        ScBERT.from_checkpoint(checkpoint, vocabulary(11))
    with pytest.raises(ArgumentError, match="pass vocabulary="):
        load_scbert(checkpoint)


# ------------------------------------------------------------------------------------------------------ folders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ScBERT(SMALL).initialize(torch.Generator().manual_seed(3)).save(tmp_path / "model", vocabulary(12))
    return tmp_path / "model"


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_save_and_load_are_bit_equal(tmp_path: Path) -> None:
    model = ScBERT(SMALL).initialize(torch.Generator().manual_seed(3))
    model.save(tmp_path / "a" / "b", vocabulary(12))
    for loaded, genes in (ScBERT.load(tmp_path / "a" / "b"), load_scbert(tmp_path / "a" / "b", vocabulary(12))):
        assert genes == vocabulary(12)
        assert loaded.config == model.config
        assert not loaded.training
        for name, tensor in model.state_dict().items():
            assert torch.equal(loaded.state_dict()[name], tensor)
        tokens = torch.zeros(2, 12, dtype=torch.int64)
        assert torch.equal(loaded.encode(tokens).hidden, model.encode(tokens).hidden)


def test_default_number_of_features_survives(tmp_path: Path) -> None:
    config = ScBERTConfig(n_genes=4, dim=8, depth=1, heads=2, dim_head=6)
    ScBERT(config).save(tmp_path, vocabulary(4))
    assert ScBERT.load(tmp_path)[0].config == config


def test_folder_holds_two_files_and_nothing_else(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    content = json.loads((folder / "config.json").read_text())
    assert content["vocabulary_sha256"] == vocabulary(12).sha256
    assert content["format_version"] == 1
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert content["weights_sha256"] == weights_sha256(folder) == weights_sha256(folder / "model.safetensors") == digest


def test_failed_save_leaves_what_was_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def disk_full(tensors: object, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("scgrn_tl.models.checkpoint.save_file", disk_full)
    with pytest.raises(OSError, match="No space"):
        ScBERT(SMALL).save(folder, vocabulary(12))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_saving_again_replaces(folder: Path) -> None:
    other = ScBERT(SMALL).initialize(torch.Generator().manual_seed(4))
    other.save(folder, vocabulary(12))
    assert torch.equal(ScBERT.load(folder)[0].token_emb.weight, other.token_emb.weight)


def test_files_of_two_models_are_noticed(folder: Path, tmp_path: Path) -> None:
    ScBERT(SMALL).save(tmp_path / "other", vocabulary(12))
    (tmp_path / "other" / "model.safetensors").replace(folder / "model.safetensors")
    with pytest.raises(WeightsError, match=r"SHA-256.*expects"):
        ScBERT.load(folder)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (
            {"format_version": 2, "scgrn_tl_version": "9.0"},
            r"version 2 \(written by scgrn_tl 9\.0\).*pip install --upgrade",
        ),
        ({"format_version": "new"}, "version 'new'"),
        ({"format": "scgpt"}, "format 'scgpt'"),
        ({"genes": ["A", "B"]}, "genes do not have the recorded"),
        ({"genes": ["A", "A"]}, "stand more than once"),
        ({"genes": None}, "'genes' should be a list"),
        ({"config": {"n_genes": 12, "size": 3}}, "damaged.*size"),
        ({"config": {"n_genes": -1}}, "n_genes"),
        ({"config": {"n_genes": 13}}, "13 genes in the shape, 12 in the list"),
        ({"config": {"n_genes": 12}}, "missing|shape"),
    ],
)
def test_wrong_configurations_are_refused(folder: Path, changes: dict[str, object], match: str) -> None:
    edit_config(folder, **changes)
    with pytest.raises(WeightsError, match=match):
        ScBERT.load(folder)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe"])
def test_damaged_configuration_is_refused(folder: Path, content: bytes) -> None:
    (folder / "config.json").write_bytes(content)
    with pytest.raises(WeightsError, match=r"config\.json"):
        ScBERT.load(folder)


def test_incomplete_folder_and_damaged_weights_are_refused(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(WeightsError, match="SHA-256"):
        ScBERT.load(folder)
    edit_config(folder, weights_sha256=hashlib.sha256(weights.read_bytes()).hexdigest())
    with pytest.raises(WeightsError, match="damaged"):
        ScBERT.load(folder)
    weights.unlink()
    with pytest.raises(WeightsUnavailableError, match=r"model\.safetensors"):
        ScBERT.load(folder)


def test_folder_for_other_genes_is_refused(folder: Path) -> None:
    with pytest.raises(WeightsError, match="was made for"):
        load_scbert(folder, GeneVocabulary(f"H{i}" for i in range(12)))
    with pytest.raises(ArgumentError, match="has 3 genes, but this encoder has 12"):
        ScBERT(SMALL).save(folder, vocabulary(3))
