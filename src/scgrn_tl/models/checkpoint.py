"""Weights on disk: scBERT's published checkpoint, and the folder that this package writes.

A folder holds ``model.safetensors`` and ``config.json`` (configuration, genes, hashes, versions). Neither kind of file
can run code when it is read.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from scgrn_tl.core.argument_types import typed_arguments
from scgrn_tl.core.errors import ArgumentError, WeightsError, WeightsUnavailableError
from scgrn_tl.core.genes import GeneVocabulary

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor, nn

    from .scbert import ScBERT

__all__ = [
    "file_sha256",
    "infer_config",
    "load_checkpoint",
    "load_scbert",
    "load_weights",
    "read_folder",
    "save_tensors",
    "weights_sha256",
    "write_beside",
    "write_folder",
]

FORMAT = "scgrn_tl.scbert"
FORMAT_VERSION = 1
WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"

# The bookkeeping of redrawn projections: a counter in the published checkpoint, and in performer-pytorch 1.1 a module
# that repeats every layer under its own name. Neither is a weight.
_NOT_WEIGHTS = ("performer.calls_since_last_redraw", "performer.proj_updater.")


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read the weights in a PyTorch checkpoint in scBERT's layout.

    Parameters
    ----------
    path
        A file written by :func:`torch.save`: a dict with ``model_state_dict``, as scBERT publishes it, or a state dict.

    Returns
    -------
    Tensor name → tensor on the CPU, without the bookkeeping of redrawn projections.

    Raises
    ------
    WeightsUnavailableError
        If there is no such file.
    WeightsError
        If the file is damaged, holds Python objects other than tensors and plain containers, or no scBERT weights.
    """
    path = Path(path)
    _check_exists(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # an operand that no pickle of tensors has is met in other kinds of files (a web page, for instance)
        if "global" in str(error).lower() or ("Unsupported" in str(error) and "operand" not in str(error)):
            msg = (
                f"{path} holds Python objects beyond tensors, which could run code; it was not loaded. "
                'Save the state dict alone: torch.save({"model_state_dict": model.state_dict()}, path).'
            )
        else:
            msg = f"{path} is not a PyTorch checkpoint, or a damaged one. Download it again."
        raise WeightsError(msg) from error
    except MemoryError:
        raise
    except Exception as error:
        # a damaged archive fails wherever its first wrong byte is met, with whatever that code raises
        msg = (
            f"{path} ({path.stat().st_size:,} bytes) is truncated, damaged or no PyTorch checkpoint. Download it again."
        )
        raise WeightsError(msg) from error
    state = content.get("model_state_dict", content) if isinstance(content, dict) else content
    if not isinstance(state, dict) or not state or not all(isinstance(name, str) for name in state):
        msg = f"{path} holds no state dict: expected a dict of tensors under 'model_state_dict'."
        raise WeightsError(msg)
    state = {name: tensor for name, tensor in state.items() if not name.startswith(_NOT_WEIGHTS)}
    for name, tensor in state.items():
        if not isinstance(tensor, torch.Tensor):
            msg = f"{path}: {name!r} is a {type(tensor).__name__}; expected a tensor."
            raise WeightsError(msg)
    return state


def infer_config(state: Mapping[str, Tensor]) -> dict[str, int]:
    """Arguments of :class:`~scgrn_tl.models.ScBERTConfig` that the shapes of an encoder's tensors imply.

    Raises
    ------
    WeightsError
        If a tensor that decides is missing or its shape makes no sense.
    """

    def shape(name: str) -> tuple[int, int]:
        if name not in state:
            msg = f"These are not scBERT weights: tensor {name!r} is missing."
            raise WeightsError(msg)
        rows_columns = tuple(state[name].shape)
        if len(rows_columns) != 2 or 0 in rows_columns:
            msg = f"Tensor {name!r} has shape {rows_columns}; expected two dimensions, both at least 1."
            raise WeightsError(msg)
        return rows_columns

    n_tokens, dim = shape("token_emb.weight")
    n_positions, _ = shape("pos_emb.emb.weight")
    first_layer = "performer.net.layers.0"
    inner_dim, _ = shape(f"{first_layer}.0.fn.to_q.weight")
    n_features, dim_head = shape(f"{first_layer}.0.fn.fast_attention.projection_matrix")
    ff_dim, _ = shape(f"{first_layer}.1.fn.fn.w1.weight")
    layers = {name.split(".")[3] for name in state if name.startswith("performer.net.layers.")}
    for what, total, part in (("attention", inner_dim, dim_head), ("feed-forward", ff_dim, dim)):
        if total % part:
            msg = f"The {what} width {total} is no multiple of {part}: these shapes are not an scBERT encoder's."
            raise WeightsError(msg)
    return {
        "n_genes": n_positions - 1,
        "dim": dim,
        "depth": len(layers),
        "heads": inner_dim // dim_head,
        "dim_head": dim_head,
        "ff_mult": ff_dim // dim,
        "n_features": n_features,
        "n_tokens": n_tokens,
    }


def load_weights(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Copy ``state`` into ``model``, all of it or nothing.

    Raises
    ------
    WeightsError
        If a tensor is missing, unknown, of another shape, not of floating point, or not finite. The message names it.
    """
    expected = model.state_dict()
    if missing := [name for name in expected if name not in state]:
        msg = f"{source}: {len(missing)} of {len(expected)} tensors are missing: {_first(missing)}."
        raise WeightsError(msg)
    if unexpected := [name for name in state if name not in expected]:
        msg = f"{source}: {len(unexpected)} tensors do not belong to an scBERT encoder: {_first(unexpected)}."
        raise WeightsError(msg)
    for name, tensor in state.items():
        if tensor.shape != expected[name].shape:
            msg = f"{source}: tensor {name!r} has shape {tuple(tensor.shape)}; expected {tuple(expected[name].shape)}."
            raise WeightsError(msg)
        if not tensor.is_floating_point() or tensor.layout != torch.strided:
            msg = f"{source}: tensor {name!r} is {tensor.dtype}, {tensor.layout}; expected dense floating point."
            raise WeightsError(msg)
        if not bool(tensor.isfinite().all()):
            msg = f"{source}: tensor {name!r} holds NaN or infinite values."
            raise WeightsError(msg)
    model.load_state_dict(state)


def write_folder(
    folder: str | os.PathLike[str],
    state: Mapping[str, Tensor],
    *,
    config: Mapping[str, Any],
    vocabulary: GeneVocabulary,
) -> None:
    """Write ``model.safetensors`` and ``config.json`` into ``folder``.

    Each file is written beside its place and then moved there, so that a full disk or a killed process leaves what was
    there before. The configuration holds the hash of the weights, so that files of two different models are noticed.
    """
    from scgrn_tl import __version__

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with write_beside(folder / WEIGHTS_FILE) as weights, write_beside(folder / CONFIG_FILE) as description:
        save_tensors(state, weights)
        content = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "scgrn_tl_version": __version__,
            "config": dict(config),
            "weights_sha256": file_sha256(weights),
            "vocabulary_sha256": vocabulary.sha256,
            "genes": list(vocabulary.symbols),
        }
        description.write_text(json.dumps(content, indent=1), encoding="utf-8")


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write a safetensors file.

    Raises
    ------
    OSError
        If the disk is full or cannot be written, which safetensors reports as an error of its own.
    """
    try:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)
    except SafetensorError as error:
        msg = f"Cannot write {path}: {error}."
        raise OSError(msg) from error


def read_folder(folder: str | os.PathLike[str]) -> tuple[dict[str, Any], GeneVocabulary, dict[str, Tensor]]:
    """Read what :func:`write_folder` wrote: configuration, vocabulary and state dict.

    Raises
    ------
    WeightsUnavailableError
        If the folder or one of its files is not there.
    WeightsError
        If a file is damaged, of another format or of a newer version, or if the files do not belong together.
    """
    folder = Path(folder)
    for path in (folder, folder / CONFIG_FILE, folder / WEIGHTS_FILE):
        _check_exists(path)
    description = folder / CONFIG_FILE
    try:
        content = json.loads(description.read_text(encoding="utf-8"))
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        msg = f"{description} is damaged: {error}."
        raise WeightsError(msg) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        msg = f"{description} has format {found!r}; expected {FORMAT!r}, which ScBERT.save writes."
        raise WeightsError(msg)
    version = content.get("format_version")
    if not isinstance(version, int) or not 1 <= version <= FORMAT_VERSION:
        msg = (
            f"{description} has format version {version!r} (written by scgrn_tl {content.get('scgrn_tl_version')}); "
            f"this scgrn_tl reads up to version {FORMAT_VERSION}. Update it: pip install --upgrade scgrn_tl."
        )
        raise WeightsError(msg)
    for key, kind in (("config", dict), ("genes", list), ("vocabulary_sha256", str), ("weights_sha256", str)):
        if not isinstance(content.get(key), kind):
            msg = f"{description} is damaged: {key!r} should be a {kind.__name__}."
            raise WeightsError(msg)
    try:
        vocabulary = GeneVocabulary(content["genes"])
    except ValueError as error:
        msg = f"{description} is damaged: {error}"
        raise WeightsError(msg) from error
    if vocabulary.sha256 != content["vocabulary_sha256"]:
        msg = f"{description} is damaged: the genes do not have the recorded SHA-256 {content['vocabulary_sha256']}."
        raise WeightsError(msg)
    weights = folder / WEIGHTS_FILE
    if (found := file_sha256(weights)) != content["weights_sha256"]:
        _finish_saving(weights, content["weights_sha256"])
    if (found := file_sha256(weights)) != content["weights_sha256"]:
        msg = f"{weights} has SHA-256 {found}, but {description} expects {content['weights_sha256']}: one was changed."
        raise WeightsError(msg)
    try:
        state = load_file(weights)
    except (SafetensorError, ValueError, KeyError) as error:
        msg = f"{weights} is damaged: {error}."
        raise WeightsError(msg) from error
    return content["config"], vocabulary, state


@typed_arguments
def load_scbert(
    path: str | os.PathLike[str], vocabulary: GeneVocabulary | None = None
) -> tuple[ScBERT, GeneVocabulary]:
    """Read an encoder from a published checkpoint or from a folder that :meth:`ScBERT.save` wrote.

    Parameters
    ----------
    path
        The file or folder.
    vocabulary
        The encoder's genes: needed with a checkpoint, which does not hold them; checked where a folder is given.

    Raises
    ------
    ArgumentError
        If ``path`` is a checkpoint and there is no ``vocabulary``.
    WeightsUnavailableError
        If there is nothing at ``path``.
    WeightsError
        If the weights cannot be used, or a folder's genes are not those of ``vocabulary``.
    """
    from .scbert import ScBERT

    _check_exists(Path(path))
    if Path(path).is_dir():
        model, stored = ScBERT.load(path)
        if vocabulary is not None and vocabulary.sha256 != stored.sha256:
            msg = f"{path} was made for {stored!r}, not for {vocabulary!r}."
            raise WeightsError(msg)
        return model, stored
    if vocabulary is None:
        msg = f"{path} is a checkpoint, which does not name its genes: pass vocabulary=GeneVocabulary([…])."
        raise ArgumentError(msg)
    return ScBERT.from_checkpoint(path, vocabulary), vocabulary


def weights_sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a checkpoint, or of the weights in a folder that :meth:`ScBERT.save` wrote.

    Raises
    ------
    WeightsUnavailableError
        If there are none.
    """
    path = Path(path)
    path = path / WEIGHTS_FILE if path.is_dir() else path
    _check_exists(path)
    return file_sha256(path)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check_exists(path: Path) -> None:
    if not path.exists():
        msg = f"There are no weights at {path}. Pass the path of a checkpoint, or of a folder that ScBERT.save wrote."
        if (inside := path.parent / "encoder" / path.name).exists():
            msg = f"{path.parent} is a model of ScBERTModel.save, which keeps its encoder in a folder: {inside.parent}."
        raise WeightsUnavailableError(msg)


def _first(names: list[str], n: int = 3) -> str:
    return ", ".join(map(repr, names[:n])) + (", …" if len(names) > n else "")


def _finish_saving(weights: Path, sha256: str) -> None:
    """Put weights in their place that a process had written beside it, and was killed before it moved them."""
    for written in weights.parent.glob(f".{weights.name}.*"):
        if file_sha256(written) == sha256:
            written.replace(weights)
            return


@contextmanager
def write_beside(target: Path) -> Iterator[Path]:
    """A path to write to, moved to ``target`` when the block ends well and deleted when it does not."""
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    """The process's file mode mask, which :func:`tempfile.mkstemp` does not follow."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
