"""The convolutional network of CNNC (Yuan & Bar-Joseph 2019), and how Keras, which it was written in, trains it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .expression_images import ExpressionImages

__all__ = ["BLOCK_IMAGES", "CNNC", "EMBEDDING_WIDTH", "ImageCNN", "decaying_sgd", "glorot"]

EMBEDDING_WIDTH = 512
BLOCK_IMAGES = 256
"""Images that the network is given at a time: what it makes of more leaves the processor's cache."""
_WIDTHS = (32, 64, 128)
_DECAY = 1e-6


class ImageCNN(nn.Module):
    """From an image to a vector: three blocks of two 3 × 3 convolutions, and a dense layer.

    Per block, of width 32, 64 and 128::

        x = ReLU(conv_same(x))
        x = dropout(maxpool₂(ReLU(conv_valid(x))))

    and ``dense(flatten(x))``, without activation. An image of 32 pixels a side goes 32 → 30 → 15 → 13 → 6 → 4 → 2.

    Parameters
    ----------
    n_bins
        Pixels a side, K.
    dropout
        Share of entries dropped after each block in training.
    dtype
        Of what the blocks compute; the parameters and the vectors are float32.
    """

    def __init__(self, *, n_bins: int = 32, dropout: float = 0.5, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.dtype = dtype
        blocks: list[nn.Module] = []
        before, side = 1, n_bins
        for width in _WIDTHS:
            blocks += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3)]
            # The largest of what ReLU leaves is what ReLU leaves of the largest; this order does a quarter of the work.
            blocks += [nn.MaxPool2d(2), nn.ReLU(), nn.Dropout(dropout)]
            before, side = width, (side - 2) // 2
        self.blocks = nn.Sequential(*blocks)
        self.dense = nn.Linear(side * side * before, EMBEDDING_WIDTH)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # faster on CPUs

    def forward(self, images: Tensor) -> Tensor:
        """Vectors ``(B, 512)`` of images ``(B, 1, K, K)``."""
        half = self.dtype != torch.float32
        with torch.autocast(images.device.type, self.dtype if half else None, enabled=half):
            features: Tensor = self.blocks(images)  # (B, 128, 2, 2)
        embedding: Tensor = self.dense(features.flatten(1).to(self.dense.weight.dtype))
        return embedding


class CNNC(nn.Module):
    """Whether gene a regulates gene b, told from the image of (a, b): ``w · dropout(ReLU(trunk(image))) + c``.

    Parameters
    ----------
    images
        Makes the images.
    dropout, head_dropout
        Share of entries dropped in training: after each block of the trunk, and before the output.
    dtype
        Of the trunk's convolutions.
    """

    def __init__(
        self,
        images: ExpressionImages,
        *,
        dropout: float = 0.5,
        head_dropout: float = 0.5,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.images = images
        self.trunk = ImageCNN(n_bins=images.n_bins, dropout=dropout, dtype=dtype)
        self.head = nn.Sequential(nn.ReLU(), nn.Dropout(head_dropout), nn.Linear(EMBEDDING_WIDTH, 1))
        glorot(self)

    def forward(self, pairs: Tensor) -> Tensor:
        """Logits ``(B,)`` of gene pairs ``int64 (B, 2)``."""
        logits = [self.head(self.trunk(self.images(block))) for block in pairs.split(BLOCK_IMAGES)]
        return torch.cat(logits).squeeze(1)


def glorot(module: nn.Module) -> None:
    """First weights as Keras draws them: Glorot-uniform kernels, zero bias."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def decaying_sgd(
    parameters: Iterable[nn.Parameter], lr: float
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Descent with Nesterov's momentum of 0.9 and Keras' decay in time, ``lr / (1 + 10⁻⁶ t)`` at step t.

    Parameters
    ----------
    parameters
        What is to move.
    lr
        First step width.

    Returns
    -------
    The optimiser, and the schedule to move on after each step.
    """
    optimizer = torch.optim.SGD(parameters, lr=lr, momentum=0.9, nesterov=True)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + _DECAY * step))
