"""What GRN-Transformer learns without a label: standardised expression, maps known beforehand, masked training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .epochs import descend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from .axial_transformer import AxialTransformer

__all__ = ["MaskedTraining", "draw_masked", "masked_loss", "pair_maps", "prior_maps", "standardize"]

RIDGE = 1e-3
"""Added to the diagonal of the covariance before it is inverted."""
CLIP = 20.0
"""Largest absolute standardised value."""


def standardize(expression: NDArray[np.floating]) -> NDArray[np.float32]:
    """Scale each gene by mean and standard deviation of its non-zero values; its zeros are scaled with them.

    Parameters
    ----------
    expression
        ``(G, N)``.

    Returns
    -------
    ``float32 (G, N)`` between -20 and 20. Non-zero values that are all the same become 0, which the transformer takes
    for missing, and the gene's zeros -20; a gene without any non-zero value is 0 throughout.
    """
    values = expression.astype(np.float64)
    present = values != 0
    n_present = np.maximum(present.sum(axis=1, keepdims=True), 1)
    centred = values - values.sum(axis=1, keepdims=True) / n_present
    # Told by comparison: what rounding leaves of a spread of 0 would be blown up to values of 1.
    top = np.where(present, values, -np.inf).max(axis=1, keepdims=True)
    bottom = np.where(present, values, np.inf).min(axis=1, keepdims=True)
    centred[present & (top == bottom)] = 0
    spread = np.sqrt((centred**2).sum(axis=1, keepdims=True, where=present) / n_present)
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = centred / spread
    return np.nan_to_num(np.clip(scaled, -CLIP, CLIP)).astype(np.float32)


def prior_maps(
    expression: NDArray[np.floating], information: NDArray[np.floating] | None = None
) -> NDArray[np.float32]:
    """The five maps between genes that bias gene attention.

    Parameters
    ----------
    expression
        ``(G, N)``, not standardised.
    information
        ``(G, G)``, PIDC scores; ``None`` for a map of zeros.

    Returns
    -------
    ``float32 (5, G, G)``: Pearson and Spearman correlation (0 where a gene is constant), covariance, inverse of the
    covariance with a ridge of 0.001 and divided by its largest absolute value, and PIDC divided by its largest value.
    """
    from scipy.stats import rankdata

    values = expression.astype(np.float64)
    n_genes, n_cells = values.shape
    maps = np.zeros((5, n_genes, n_genes), dtype=np.float32)
    centred = _centred(values)
    covariance = centred @ centred.T / max(1, n_cells - 1)
    maps[0] = _correlation(centred)
    maps[1] = _correlation(_centred(rankdata(values, axis=1)))
    maps[2] = covariance
    covariance[np.diag_indices(n_genes)] += RIDGE
    precision = np.linalg.inv(covariance)
    maps[3] = precision / np.abs(precision).max()
    if information is not None and (top := information.max()) > 0:
        maps[4] = information / top
    return maps


def _centred(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each row less its mean; a constant row exactly 0, which a rounded mean would not leave."""
    centred = values - values.mean(axis=1, keepdims=True)
    centred[values.max(axis=1) == values.min(axis=1)] = 0
    return centred


def _correlation(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    unit = centred / np.where(norms > 0, norms, 1)
    return unit @ unit.T


def draw_masked(shape: tuple[int, int], share: float, generator: torch.Generator) -> Tensor:
    """``bool`` of that shape: the entries hit by ``share`` times their number of draws *with* replacement."""
    n_entries = shape[0] * shape[1]
    hits = torch.randint(n_entries, (int(share * n_entries),), generator=generator)
    masked = torch.zeros(n_entries, dtype=torch.bool)
    masked[hits] = True
    return masked.view(shape)


def masked_loss(predicted: Tensor, actual: Tensor) -> Tensor:
    """Sum of squared errors ``(K,)`` by their number plus 1e-5, which is 0 where there are none."""
    return (predicted - actual).square().sum() / (len(actual) + 1e-5)


@dataclass(frozen=True)
class MaskedTraining:
    """Trains a transformer to fill in masked entries.

    Attributes
    ----------
    steps
        Steps of the optimiser. In each pass over the cells they are shuffled, and those that fill no batch left out.
    lr, weight_decay
        Step width and decoupled weight decay of AdamW.
    batch_size
        Cells in a batch; where there are fewer, all are one.
    mask_share
        Entries of a batch drawn, with replacement, to be masked, as a share of all.
    clip
        Largest absolute entry of a gradient.
    on_step
        Called after each step, for a progress bar.
    """

    steps: int
    lr: float
    weight_decay: float
    batch_size: int
    mask_share: float
    clip: float
    on_step: Callable[[], object] | None = None

    def fit(
        self, model: AxialTransformer, values: Tensor, present: Tensor, maps: Tensor, *, generator: torch.Generator
    ) -> list[float]:
        """Train ``model`` and leave it in evaluation mode.

        Parameters
        ----------
        model
            On the device of ``values``.
        values
            ``(G, N)``, standardised expression.
        present
            ``bool (G, N)``, the entries that count for the loss when masked.
        maps
            ``(M, G, G)``.
        generator
            Of batches and masks, on the CPU, so that every device sees the same.

        Returns
        -------
        Mean loss of each pass over the cells.
        """
        parameters = list(model.parameters())
        optimizer = torch.optim.AdamW(parameters, lr=self.lr, weight_decay=self.weight_decay)
        optimizer.register_step_pre_hook(lambda *_: torch.nn.utils.clip_grad_value_(parameters, self.clip))

        def loss_of(cells: Tensor) -> Tensor:
            batch, counts = values[:, cells], present[:, cells]
            masked = draw_masked((batch.shape[0], batch.shape[1]), self.mask_share, generator).to(batch.device)
            wanted = masked & counts
            return masked_loss(model(batch.masked_fill(masked, 0), maps, wanted), batch[wanted])

        losses = []
        model.train()
        left = self.steps
        while left > 0:
            batches = self._batches(values.shape[1], generator)[:left]
            on_device = ((cells.to(values.device),) for cells in batches)
            losses.append(descend(on_device, loss_of, optimizer, after_step=self.on_step))
            left -= len(batches)
        model.eval()
        return losses

    def _batches(self, n_cells: int, generator: torch.Generator) -> list[Tensor]:
        size = min(self.batch_size, n_cells)
        order = torch.randperm(n_cells, generator=generator)
        return list(order[: n_cells - n_cells % size].split(size))


def pair_maps(attentions: Iterator[Tensor], regulators: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
    """Attention turned into features of pairs of a regulator and a gene.

    Parameters
    ----------
    attentions
        ``(H, G, G)`` each: row attends, column is attended to.
    regulators
        ``int64 (R,)``, gene indices.

    Returns
    -------
    ``"maps"``, ``float32 (L * H, R, G)``: what the gene of the column pays of attention to the regulator of the row;
    ``"corrected"``, the same less the average product, the sum of the row times that of the column by that of all, each
    over all G × G.
    """
    maps, corrected = [], []
    rows = torch.from_numpy(regulators.copy())
    for attention in attentions:
        paid = attention.mT  # (H, G, G), row is attended to
        received, spent = paid.sum(dim=2), paid.sum(dim=1)  # (H, G)
        part = paid[:, rows.to(paid.device)]  # (H, R, G)
        product = received[:, rows.to(paid.device), None] * spent[:, None] / received.sum(dim=1)[:, None, None]
        maps.append(part.float().cpu().numpy())
        corrected.append((part - product).float().cpu().numpy())
    return {"maps": np.concatenate(maps), "corrected": np.concatenate(corrected)}
