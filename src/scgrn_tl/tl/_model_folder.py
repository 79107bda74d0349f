"""The fitted model of a verb, on its way into a folder and out of one."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from scgrn_tl.core import ArgumentError
from scgrn_tl.core.embedding_source import EmbeddingSource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from scgrn_tl.core import GRNScores
    from scgrn_tl.methods import Method
    from scgrn_tl.models import ScTransNet

__all__ = ["check_model_to", "open_model", "save_model"]


def check_model_to(
    folder: str | os.PathLike[str] | None, entry: Method, joint_to: str | os.PathLike[str] | None
) -> None:
    """Raise :class:`ArgumentError` if the method leaves no model, or ``folder`` cannot be one of a model's own.

    It may hold nothing but a model saved before, which the new one takes the place of; so it cannot be that of the
    encoder, ``joint_to``, or one above it.
    """
    if folder is None:
        return
    if entry.name not in ("sctransnet", "sctransnet_paper"):
        msg = f"model_to keeps a fitted scTransNet; method={entry.name!r} leaves none. Use method='sctransnet'."
        raise ArgumentError(msg)
    path = Path(folder).expanduser()
    if path.exists() and not (path.is_dir() and (_is_model(path) or not any(path.iterdir()))):
        msg = f"model_to={str(folder)!r} exists and is no folder of a model; name a new or empty one."
        raise ArgumentError(msg)
    if joint_to is not None and Path(joint_to).expanduser().absolute().is_relative_to(path.absolute()):
        msg = (
            f"model_to={str(folder)!r} would take the place of the encoder in joint_to={str(joint_to)!r}: name another "
            "folder."
        )
        raise ArgumentError(msg)
    at = next(parent for parent in path.absolute().parents if parent.exists())
    if not at.is_dir() or not os.access(at, os.W_OK):
        msg = f"model_to={str(folder)!r} cannot be written: {str(at)!r} is no folder, or not to be written to."
        raise ArgumentError(msg)


def _is_model(folder: Path) -> bool:
    try:
        record = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and record.get("format") == "scgrn_tl.ScTransNet"


def save_model(
    folder: str | os.PathLike[str],
    scores: GRNScores,
    adata: AnnData,
    reps: Sequence[str],
    *,
    joint_to: str | os.PathLike[str] | None,
) -> None:
    """Write the model that gave ``scores``, and with it where its gene embeddings came from.

    Parameters
    ----------
    folder
        Where to.
    scores
        What scTransNet returned.
    adata, reps
        What holds the embeddings, and under which keys of ``varm``.
    joint_to
        Folder of the encoder that was trained along, whose embedding the model reads.
    """
    model: ScTransNet = scores.model
    sources = tuple(EmbeddingSource.read(adata, key) for key in reps)
    if model.encoders:
        sources = tuple(replace(source, sha256=None, encoder=None, encoder_sha256=None) for source in sources)
        if joint_to is not None:
            from scgrn_tl.models.checkpoint import weights_sha256

            trained = Path(joint_to).expanduser()
            name, sha256 = EmbeddingSource.name_of(trained), weights_sha256(trained)
            sources = tuple(replace(source, encoder=name, encoder_sha256=sha256) for source in sources)
    model.sources = sources
    model.save(Path(folder).expanduser(), overwrite=True)


def open_model(model: ScTransNet | str | os.PathLike[str], *, device: str | None) -> ScTransNet:
    """The model itself, or the one in a folder.

    Raises
    ------
    ArgumentError
        If it is neither.
    WeightsError
        See :meth:`scgrn_tl.models.ScTransNet.load`.
    """
    from scgrn_tl.models import ScTransNet

    if isinstance(model, ScTransNet):
        return model
    if not hasattr(model, "__fspath__") and not isinstance(model, str):
        msg = (
            f"model is a folder that `sg.tl.fit_grn(…, model_to=…)` or `ScTransNet.save` wrote, or a fitted "
            f"sg.models.ScTransNet; not a {type(model).__name__}."
        )
        raise ArgumentError(msg)
    return ScTransNet.load(Path(model).expanduser(), device=device)
