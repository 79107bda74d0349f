"""What a model has to keep of the data it was fitted to, to read the genes of other data as it read theirs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .joined_embedding import EmbeddingScale
from .node_features import MomentScale

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["InputScales"]


@dataclass(frozen=True, eq=False)
class InputScales:
    """How inputs were standardised.

    Attributes
    ----------
    embedding
        ``None`` of a model without a gene embedding, and where every member of an ensemble has one of its own.
    moments
        Of the node features; ``None`` where these are expression itself.
    """

    embedding: EmbeddingScale | None
    moments: MomentScale | None

    def tensors(self) -> dict[str, Tensor]:
        """Name → tensor, for the model's file."""
        tensors: dict[str, np.ndarray] = {}
        if self.embedding is not None:
            tensors |= {"embedding_mean": self.embedding.mean, "embedding_std": self.embedding.std}
        if self.moments is not None:
            tensors |= {"moment_mean": self.moments.mean, "moment_std": self.moments.std}
        return {f"scales.{name}": torch.from_numpy(np.ascontiguousarray(value)) for name, value in tensors.items()}

    def record(self) -> dict[str, Any]:
        """What goes into the model's json."""
        if self.embedding is None:
            return {}
        return {"widths": list(self.embedding.widths), "marked": list(self.embedding.marked)}

    @classmethod
    def restore(cls, record: dict[str, Any], tensors: dict[str, Tensor]) -> InputScales:
        """What :meth:`tensors` and :meth:`record` gave."""
        embedding = moments = None
        if record:
            widths, marked = (tuple(map(int, record[name])) for name in ("widths", "marked"))
            mean, std = (tensors[f"scales.embedding_{name}"].numpy() for name in ("mean", "std"))
            if len(mean) != sum(widths) or mean.shape != std.shape or not set(marked) <= set(range(len(widths))):
                msg = f"embeddings of widths {widths} do not go with scales of {mean.shape} and {std.shape}."
                raise ValueError(msg)
            embedding = EmbeddingScale(mean, std, widths, marked)
        if "scales.moment_mean" in tensors:
            moments = MomentScale(tensors["scales.moment_mean"].numpy(), tensors["scales.moment_std"].numpy())
            if moments.mean.shape != (3,) or moments.std.shape != (3,):
                msg = f"moments are three, not of shapes {moments.mean.shape} and {moments.std.shape}."
                raise ValueError(msg)
        return cls(embedding, moments)
