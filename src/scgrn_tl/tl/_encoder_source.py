"""From ``weights=`` to an encoder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scgrn_tl.core import ArgumentError, WeightsUnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scgrn_tl.core import GeneVocabulary
    from scgrn_tl.models.scbert import ScBERT

    from ._token_stream import Expression

__all__ = ["EncoderSource", "check_weights", "load_encoder"]


@dataclass(frozen=True, eq=False)
class EncoderSource:
    """An encoder, and where it came from.

    Attributes
    ----------
    model
        On the CPU, float32.
    vocabulary
        The genes it knows.
    kind
        ``"panglao"``, ``"fit"`` or ``"path"``.
    path
        The file or folder it was read from.
    sha256
        Of the weights.
    """

    model: ScBERT
    vocabulary: GeneVocabulary
    kind: str
    path: Path
    sha256: str

    def record(self) -> dict[str, Any]:
        """What ``uns`` keeps of it."""
        return {"kind": self.kind, "path": str(self.path), "sha256": self.sha256, "n_vocabulary": len(self.vocabulary)}


def check_weights(weights: str | os.PathLike[str]) -> None:
    """Raise unless ``weights`` is ``"panglao"``, ``"fit"`` or a path that exists."""
    if not isinstance(weights, (str, os.PathLike)):
        msg = f"weights is 'panglao', 'fit' or a path, not {weights!r}."
        raise ArgumentError(msg)
    if weights in {"panglao", "fit"}:
        return
    if not Path(weights).expanduser().exists():
        msg = (
            f"weights={str(weights)!r} is neither 'panglao' (the published scBERT checkpoint), nor 'fit' (an encoder "
            "trained on this AnnData, no download), nor a path that exists (scBERT's .pth file, or a folder that "
            "`sg.tl.scbert_pretrain` wrote)."
        )
        raise WeightsUnavailableError(msg)


def load_encoder(
    weights: str | os.PathLike[str], expression: Expression, var_names: Sequence[str], *, seed: int, device: str
) -> EncoderSource:
    """The encoder that ``weights`` names; for ``"fit"`` the one trained on ``expression`` with ``seed``.

    Raises
    ------
    WeightsUnavailableError
        If the weights cannot be had. There is no fall-back on random weights.
    WeightsError
        If the file is damaged or does not fit the model.
    """
    from scgrn_tl import datasets
    from scgrn_tl.models import load_scbert
    from scgrn_tl.models.checkpoint import weights_sha256

    if weights == "fit":
        from ._encoder_training import EncoderShape, EncoderTraining
        from ._fit_encoder import fit_encoder

        path, _ = fit_encoder(expression, var_names, EncoderShape(), EncoderTraining(), seed=seed, device=device)
        kind = "fit"
    else:
        kind = "panglao" if weights == "panglao" else "path"
        path = datasets.scbert_weights(None if weights == "panglao" else weights)
    # scBERT's own file holds no gene names; a folder written here does
    model, vocabulary = load_scbert(path, None if path.is_dir() else datasets.scbert_vocabulary())
    return EncoderSource(model, vocabulary, kind, path, weights_sha256(path))
