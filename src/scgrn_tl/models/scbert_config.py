"""Shape of an scBERT encoder."""

from __future__ import annotations

from dataclasses import dataclass, fields

from scgrn_tl.core.errors import ArgumentError

__all__ = ["ScBERTConfig"]


@dataclass(frozen=True)
class ScBERTConfig:
    """Shape of an :class:`ScBERT`. The defaults are those of the published encoder.

    Attributes
    ----------
    n_genes
        Genes in the vocabulary (16,906 in the published encoder).
    dim
        D, the width of the model.
    depth
        L, the number of layers.
    heads
        H, the number of attention heads; ``dim`` is a multiple of it.
    dim_head
        d, the width of a head.
    ff_mult
        Width of the feed-forward layer over ``dim``.
    n_features
        m, the number of random features; ``None`` for ⌊d ln d⌋ (266 where d = 64).
    n_tokens
        Expression bins and the mask.
    """

    n_genes: int
    dim: int = 200
    depth: int = 6
    heads: int = 10
    dim_head: int = 64
    ff_mult: int = 4
    n_features: int | None = None
    n_tokens: int = 7

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name == "n_features" and value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                msg = f"ScBERTConfig: {f.name} is a whole number of at least 1, not {value!r}."
                raise ArgumentError(msg)
        if self.dim % self.heads:
            msg = f"ScBERTConfig: dim={self.dim} should be a multiple of heads={self.heads}."
            raise ArgumentError(msg)
