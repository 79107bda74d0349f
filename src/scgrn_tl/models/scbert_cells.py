"""The cells of a registered AnnData, on their way into the training of a :class:`ScBERTModel`."""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import sparse
from scvi import REGISTRY_KEYS
from scvi.dataloaders import AnnDataLoader, DataSplitter

from scgrn_tl.core.errors import ArgumentError
from scgrn_tl.core.expression_places import usable_expression
from scgrn_tl.core.log_scale import warn_of_scale
from scgrn_tl.core.matrix import expression_matrix, summarize_expression
from scgrn_tl.core.tokens import log_base_factor, needs_normalization

from .masked_expression import CellTokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from scvi.data import AnnDataManager
    from torch import Tensor

    from scgrn_tl.core.genes import GeneVocabulary

    from .masked_expression import ExpressionMasker

__all__ = ["MaskedCells", "cell_loader", "cells_with_counts", "gene_vectors", "split_cells", "tokenizer_of"]

CELLS_OF_VECTORS = 5000
"""Most cells that gene vectors are computed from."""
LOADED = {REGISTRY_KEYS.X_KEY: np.float64, REGISTRY_KEYS.BATCH_KEY: np.int64, REGISTRY_KEYS.LABELS_KEY: np.int64}
"""What a loader reads of a cell; in float64, so that a value just below a whole number keeps its bin."""


class MaskedCells(DataSplitter):
    """Cells as masked tokens, divided into training and validation cells.

    Masks are drawn anew in each training step. Those of the validation cells are the same in every epoch, so that
    epochs can be compared.

    Parameters
    ----------
    adata_manager
        Of the registered AnnData.
    tokenizer, masker
        What makes tokens of expression, and what hides some of them.
    parts
        Row numbers of the training, validation and test cells.
    seed
        Of the masks and, where there are more than a step takes, the genes.
    batch_size
        Cells in a minibatch.
    **loader_kwargs
        Such as ``num_workers``; see :class:`scvi.dataloaders.AnnDataLoader`.
    """

    def __init__(
        self,
        adata_manager: AnnDataManager,
        tokenizer: CellTokenizer,
        masker: ExpressionMasker,
        *,
        parts: list[np.ndarray],
        seed: int,
        batch_size: int,
        **loader_kwargs: Any,
    ) -> None:
        refused = {"batch_size", "data_and_attributes", "iter_ndarray", "load_sparse_tensor", "shuffle_set_split"}
        if strange := sorted(refused & set(loader_kwargs)):
            msg = f"datasplitter_kwargs cannot have {', '.join(strange)}: `train` sets how cells are read."
            raise ArgumentError(msg)
        with warnings.catch_warnings():  # a batch of one or two cells is no trouble without batch normalisation
            warnings.filterwarnings("ignore", message="Last batch will have a small size")
            super().__init__(
                adata_manager,
                batch_size=batch_size,
                external_indexing=parts,
                data_and_attributes=dict(LOADED),
                **loader_kwargs,
            )
        self._tokenizer, self._masker = tokenizer, masker
        # masks are drawn on the CPU, so that every device sees the same ones
        self._draws = torch.Generator().manual_seed(seed)
        self._validation_seed = int(torch.randint(2**62, (), generator=self._draws))
        self._validation_draws = torch.Generator()
        masker.count(tokenizer(block) for block in _blocks(adata_manager, parts[0]))

    def rewind(self) -> None:
        """Start the validation cells' masks from their beginning."""
        self._validation_draws.manual_seed(self._validation_seed)

    def on_before_batch_transfer(self, batch: dict[str, Tensor], dataloader_idx: int) -> dict[str, Tensor]:
        """Expression becomes masked tokens (Lightning's hook)."""
        training = self.trainer is not None and self.trainer.training
        tokens = self._tokenizer(batch[REGISTRY_KEYS.X_KEY].numpy())
        masked = self._masker.mask(tokens, self._draws if training else self._validation_draws)
        rest = {key: value for key, value in batch.items() if key != REGISTRY_KEYS.X_KEY}
        return rest | masked._asdict()


def tokenizer_of(manager: AnnDataManager, vocabulary: GeneVocabulary, min_overlap: float) -> CellTokenizer:
    """What makes tokens of a registered AnnData, whose expression is checked.

    Raises
    ------
    ExpressionError
        If a value is negative, NaN or infinite.
    GeneOverlapError
        If the vocabulary knows less than ``min_overlap`` of the genes.
    """
    adata, setup = manager.adata, manager.registry["setup_args"]
    layer = setup["layer"]
    matrix, mend = expression_matrix(adata, layer), partial(usable_expression, adata, besides=layer)
    summary = summarize_expression(matrix, adata.obs_names, adata.var_names, mend=mend)
    normalize = needs_normalization(setup["normalize"], summary)
    alignment = vocabulary.align([str(name) for name in adata.var_names], min_overlap=min_overlap, var=adata.var)
    to_log2 = 1.0 if normalize else log_base_factor(adata)
    if not normalize:
        warn_of_scale(summary.constant_totals, to_log2)
    return CellTokenizer(alignment.columns, alignment.positions, normalize, to_log2)


def cells_with_counts(manager: AnnDataManager, tokenizer: CellTokenizer) -> np.ndarray:
    """``bool[N]``, the cells that express any gene that the encoder knows."""
    parts = [(tokenizer(block) > 0).any(axis=1) for block in _blocks(manager, np.arange(manager.adata.n_obs))]
    return np.concatenate(parts)


def split_cells(
    expressed: np.ndarray, train_size: float | None, validation_size: float | None, seed: int
) -> list[np.ndarray]:
    """Ascending rows to train on, to validate with (the rest, and one at least, by default), and of the rest.

    Cells that express nothing, ``bool[N]``, are among the rest.

    Raises
    ------
    ArgumentError
        If a share is not one, both are more than all, or no cell is left to train on.
    """
    train_size = 0.9 if train_size is None else train_size
    cells, without = np.flatnonzero(expressed), np.flatnonzero(~expressed)
    n_cells = len(cells)
    for name, share in (("train_size", train_size), ("validation_size", validation_size)):
        if share is not None and not 0 <= share <= 1:
            msg = f"{name} is a share between 0 and 1, not {share!r}."
            raise ArgumentError(msg)
    if validation_size is not None and train_size + validation_size > 1 + 1e-9:
        msg = f"train_size={train_size} and validation_size={validation_size} are more than all cells together."
        raise ArgumentError(msg)
    share = 1 - train_size if validation_size is None else validation_size
    n_validation = max(round(share * n_cells), int(share > 0))
    n_train = n_cells - n_validation
    if validation_size is not None:
        n_train = min(n_train, round(train_size * n_cells))
    if n_train < 1:
        msg = (
            f"Of {n_cells} cells with counts none is left to train on (train_size={train_size:g}): training needs two "
            "cells, one of them to hold out."
        )
        raise ArgumentError(msg)
    rows = np.random.default_rng(seed).permutation(cells)
    train, validation, rest = np.split(rows[::-1], [n_train, n_train + n_validation])
    return [np.sort(part) for part in (train, validation, np.concatenate([rest, without]))]


def gene_vectors(
    make: Callable[..., np.ndarray],
    manager: AnnDataManager,
    tokenizer: CellTokenizer,
    n_genes: int,
    dim: int,
    seed: int,
) -> Tensor:
    """``(n_genes, D)`` of a whole vocabulary, as loud as the bins' embeddings: a mean square of 1.

    Parameters
    ----------
    make
        What computes vectors of log-expression, such as :func:`coexpression_vectors`.
    manager, tokenizer
        Of the registered AnnData.
    n_genes, dim
        Size of the vocabulary, and width.
    seed
        Of the cells, where there are too many, and of ``make``.
    """
    cells = np.arange(manager.adata.n_obs)
    if len(cells) > CELLS_OF_VECTORS:
        cells = np.sort(np.random.default_rng(seed).choice(cells, CELLS_OF_VECTORS, replace=False))
    blocks = [sparse.csr_matrix(tokenizer.logarithms(block), dtype=np.float32) for block in _blocks(manager, cells)]
    expression = sparse.vstack(blocks, format="csr")
    known = make(expression, dim, seed=seed)
    vectors = np.zeros((n_genes, dim), dtype=np.float32)
    vectors[tokenizer.positions] = known * (np.sqrt(known.size) / max(float(np.linalg.norm(known)), 1e-12))
    return torch.from_numpy(vectors)


def _blocks(manager: AnnDataManager, cells: np.ndarray) -> Iterator[np.ndarray]:
    """Expression ``float64 (n, G)`` of ``cells`` as stored, a block at a time."""
    wanted = {REGISTRY_KEYS.X_KEY: np.float64}
    for batch in cell_loader(manager, cells, batch_size=256, wanted=wanted):
        yield batch[REGISTRY_KEYS.X_KEY].numpy()


def cell_loader(
    manager: AnnDataManager,
    cells: np.ndarray | list[int] | None,
    *,
    batch_size: int,
    wanted: Mapping[str, Any] = LOADED,
) -> AnnDataLoader:
    """Cells in their order. A loader draws a seed for its workers whenever it starts; here not from global state."""
    return AnnDataLoader(
        manager,
        indices=cells,
        batch_size=batch_size,
        data_and_attributes=dict(wanted),
        generator=torch.Generator(),
    )
