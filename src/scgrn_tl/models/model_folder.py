"""A fitted model as a folder: tensors in ``model.safetensors``, everything else in ``model.json``.

``README.md`` beside them is for people; nothing reads it back. Format 2 has, beyond format 1, how inputs were
standardised, where embeddings came from, calibration and metrics, and versions; format 3 has pair effects.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from scgrn_tl.core.errors import ArgumentError, WeightsError
from scgrn_tl.core.replaced_folder import put_back, replaced_folder

from .checkpoint import save_tensors

if TYPE_CHECKING:
    import os

    from torch import Tensor

__all__ = ["check_tensors", "read_model_folder", "write_model_folder"]

FORMAT = "scgrn_tl.ScTransNet"
FORMAT_VERSION = 3


def write_model_folder(
    folder: str | os.PathLike[str], tensors: dict[str, Tensor], record: dict[str, Any], card: str
) -> None:
    """Write a model beside its final place, then move it there: the folder is complete, as before, or not there.

    Parameters
    ----------
    folder
        Where to write; what is there is replaced.
    tensors
        Name → tensor.
    record
        What json takes; format and version are added.
    card
        Text of ``README.md``.

    Raises
    ------
    ArgumentError
        If there can be no folder there.
    """
    from scgrn_tl import __version__

    folder = Path(folder)
    record = {"format": FORMAT, "format_version": FORMAT_VERSION, "scgrn_tl_version": __version__, **record}
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        msg = f"Cannot write {str(folder)!r}: {str(folder.parent)!r} lies below a file, or is one. Name another folder."
        raise ArgumentError(msg) from error
    with replaced_folder(folder) as beside:
        beside.mkdir()
        save_tensors(tensors, beside / "model.safetensors")
        (beside / "model.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
        (beside / "README.md").write_text(card, encoding="utf-8")
        # safetensors writes files that are their owner's alone; let them be as any new file
        (beside / "model.safetensors").chmod((beside / "model.json").stat().st_mode & 0o777)


def read_model_folder(folder: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Record and tensors that :func:`write_model_folder` wrote.

    Raises
    ------
    WeightsError
        If files are missing, damaged, of another kind or of a newer format.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    put_back(folder)
    try:
        record = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / "model.safetensors")
    except (FileNotFoundError, NotADirectoryError) as error:
        msg = f"{str(folder)!r} holds no saved ScTransNet: {Path(str(error.filename)).name} is missing."
        raise WeightsError(msg, page="transfer") from error
    except (json.JSONDecodeError, UnicodeDecodeError, SafetensorError) as error:
        msg = f"The model in {str(folder)!r} is damaged: {error}"
        raise WeightsError(msg, page="transfer") from error
    found = record.get("format") if isinstance(record, dict) else type(record).__name__
    if found != FORMAT:
        msg = f"{str(folder)!r} holds no ScTransNet, but {found!r}."
        raise WeightsError(msg, page="transfer")
    version = record.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        msg = (
            f"The model in {str(folder)!r} has format {version!r} (scgrn_tl {record.get('scgrn_tl_version')}); "
            f"this version reads up to {FORMAT_VERSION}. Upgrade scgrn_tl."
        )
        raise WeightsError(msg, page="transfer")
    return record, tensors


def check_tensors(tensors: dict[str, Tensor], n_genes: int) -> None:
    """Raise :class:`WeightsError`, naming the tensor, unless all are finite and the inputs are of ``n_genes`` genes."""
    n_regulators = len(tensors["inputs.regulators"])
    rows = dict.fromkeys(("features", "embedding", "node_type", "target_rate", "factors"), n_genes)
    rows |= dict.fromkeys(("regulators", "regulator_rate", "loadings"), n_regulators)
    below = {"inputs.node_type": 2, "inputs.regulators": n_genes}
    shapes = _shapes_of_effects(tensors, n_regulators, n_genes)
    for name, tensor in tensors.items():
        n_rows = n_genes if name.startswith("embeddings.") else rows.get(name.removeprefix("inputs."))
        if n_rows is not None and (tensor.ndim == 0 or len(tensor) != n_rows):
            msg = f"tensor {name!r} has shape {tuple(tensor.shape)}; expected {n_rows} rows."
            raise WeightsError(msg, page="transfer")
        if tuple(tensor.shape) != shapes.get(name, tuple(tensor.shape)):
            msg = f"tensor {name!r} has shape {tuple(tensor.shape)}; expected {shapes[name]}."
            raise WeightsError(msg, page="transfer")
        indices = name in below
        if indices and (tensor.dtype != torch.int64 or bool((tensor < 0).any() | (tensor >= below[name]).any())):
            msg = f"tensor {name!r} has to hold int64 below {below[name]}."
            raise WeightsError(msg, page="transfer")
        is_float = name in shapes or (n_rows and not indices)
        if not bool(tensor.isfinite().all()) or (is_float and tensor.dtype != torch.float32):
            msg = f"tensor {name!r} ({tensor.dtype}) has to hold finite float32."
            raise WeightsError(msg, page="transfer")


def _shapes_of_effects(tensors: dict[str, Tensor], n_regulators: int, n_genes: int) -> dict[str, tuple[int, ...]]:
    """By name the shapes of latent factors, all or none of which are there, and of what expression tells."""
    factors = tensors.get("inputs.factors")
    if factors is not None and factors.ndim != 2:
        msg = f"tensor 'inputs.factors' has shape {tuple(factors.shape)}; expected two axes."
        raise WeightsError(msg, page="transfer")
    n_factors = 0 if factors is None else factors.shape[1]
    shapes: dict[str, tuple[int, ...]] = {
        "inputs.loadings": (n_regulators, n_factors),
        "inputs.factors": (n_genes, n_factors),
        "inputs.factor_mean": (n_factors,),
    }
    missing = [name for name in shapes if name not in tensors]
    if missing and len(missing) < len(shapes):
        msg = f"tensor {missing[0]} is missing, which goes with the other latent factors."
        raise WeightsError(msg, page="transfer")
    return shapes | {"inputs.by_expression": (1 + n_factors, n_genes)}
