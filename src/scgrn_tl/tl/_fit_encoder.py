"""Training a small encoder on an AnnData's own genes, kept in the cache so that it is trained once."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from scgrn_tl._settings import settings
from scgrn_tl.core import ArgumentError, ExpressionError, GeneVocabulary, check_unique_genes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scgrn_tl.models.scbert import ScBERT

    from ._token_stream import Expression

__all__ = ["EncoderTraining", "check_encoder_folder", "fit_encoder", "save_encoder"]

LOGGER = logging.getLogger(__name__)

RECORD = "training.json"
SEEN_GENES = 1.5e6


@dataclass(frozen=True)
class EncoderTraining:
    """Size of an encoder and how it is trained; the defaults take seconds for a thousand genes on two CPU cores.

    Attributes
    ----------
    gene_init
        Gene vectors from co-expression (``"svd"``) or drawn at random (``"random"``).
    dim, depth, heads, dim_head
        Width, layers, attention heads and their width.
    max_epochs
        Passes over the cells; ``None`` for as many as see about 1.5 million genes of cells, 2 at least and 30 at most.
    batch_size, learning_rate, patience, validation_fraction, max_genes
        See :class:`scgrn_tl.models.masked_training.MaskedTrainer`.
    max_cells
        Most cells that are trained on, a random part of them where there are more.
    """

    gene_init: Literal["svd", "random"] = "svd"
    dim: int = 64
    depth: int = 2
    heads: int = 4
    dim_head: int = 16
    max_epochs: int | None = None
    batch_size: int = 4
    learning_rate: float = 3e-3
    patience: int = 3
    validation_fraction: float = 0.1
    max_genes: int = 1024
    max_cells: int = 1024

    def __post_init__(self) -> None:
        if self.gene_init not in {"svd", "random"}:
            msg = f"gene_init is 'svd' or 'random', not {self.gene_init!r}."
            raise ArgumentError(msg)
        for name in ("dim", "depth", "heads", "dim_head", "max_epochs", "batch_size", "patience", "max_genes"):
            if name == "max_epochs" and self.max_epochs is None:
                continue
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                msg = f"{name} is a whole number of at least 1, not {getattr(self, name)!r}."
                raise ArgumentError(msg)
        if self.dim % self.heads:
            msg = f"dim is a multiple of heads; dim={self.dim} and heads={self.heads} are not."
            raise ArgumentError(msg)
        if not isinstance(self.max_cells, int) or self.max_cells < 2:
            msg = f"max_cells is a whole number of at least 2, not {self.max_cells!r}."
            raise ArgumentError(msg)
        if not self.learning_rate > 0:
            msg = f"learning_rate is positive, not {self.learning_rate!r}."
            raise ArgumentError(msg)
        if not 0 < self.validation_fraction < 1:
            msg = f"validation_fraction is a share between 0 and 1, not {self.validation_fraction!r}."
            raise ArgumentError(msg)

    def epochs(self, n_cells: int, n_genes: int) -> int:
        """``max_epochs``, or what suits so many cells and genes."""
        if self.max_epochs is not None:
            return self.max_epochs
        return int(np.clip(round(SEEN_GENES / (n_cells * min(n_genes, self.max_genes))), 2, 30))


def check_encoder_folder(folder: str | os.PathLike[str], *, argument: str = "weights_dir") -> None:
    """Raise :class:`ArgumentError` if ``folder`` holds anything but an encoder written before."""
    folder = Path(folder).expanduser()
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / RECORD).is_file())):
        msg = f"{argument}={str(folder)!r} exists and is no folder of an encoder; name a new or empty one."
        raise ArgumentError(msg)


def fit_encoder(
    expression: Expression,
    var_names: Sequence[str],
    training: EncoderTraining,
    *,
    seed: int,
    device: str,
    folder: str | os.PathLike[str] | None = None,
) -> tuple[Path, dict[str, Any]]:
    """Train an encoder from scratch by masked-expression prediction, and save it.

    Parameters
    ----------
    expression
        The cells to learn from; those without counts are left out.
    var_names
        Gene names, unique: the encoder's vocabulary.
    training
        Size and schedule.
    seed
        Of everything random.
    device
        Torch device to train on.
    folder
        Where to save. ``None`` takes ``sg.settings.cache_dir/encoders/<hash>``, with a hash over expression, genes,
        parameters, seed and package version, and trains only if that is not there yet. Where the cache cannot be
        written, a temporary folder is used and the log says so.

    Returns
    -------
    The folder, and the record of the training: ``n_cells``, ``n_genes``, ``best_epoch``, ``history``,
    ``validation_accuracy`` and ``baseline_accuracy``.
    """
    names = [str(name) for name in var_names]
    check_unique_genes(names)
    cells = np.flatnonzero(~expression.empty_cells)
    if len(cells) < 2:
        msg = f"Training an encoder needs at least two cells with counts; there are {len(cells)}."
        raise ExpressionError(msg)
    if len(cells) > training.max_cells:
        chosen = np.random.default_rng(seed).choice(len(cells), training.max_cells, replace=False)
        cells = cells[np.sort(chosen)]
    values, tokens = expression.sample(cells)
    if folder is not None:
        folder = Path(folder).expanduser()
        model, record = _train(values, tokens, training, seed, device)
        save_encoder(model, names, record, folder)
        return folder, record

    folder = settings.cache_dir / "encoders" / _run_hash(values, tokens, names, training, seed, device)
    if (folder / RECORD).is_file():
        LOGGER.info("Using the encoder trained before on the same data, %s.", folder)
        return folder, json.loads((folder / RECORD).read_text())
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{folder.name[:8]}-", dir=folder.parent))
    except OSError as error:
        folder = beside = Path(tempfile.mkdtemp(prefix="scgrn_tl-encoder-"))
        LOGGER.warning(
            "The cache cannot be written (%s), so the encoder goes to %s, which may not outlast this session. Set "
            "SCGRN_TL_CACHE to a folder that can be written.",
            error,
            folder,
        )
    try:
        model, record = _train(values, tokens, training, seed, device)
        save_encoder(model, names, record, beside)
        if beside != folder:
            _move(beside, folder)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return folder, record


def _run_hash(
    values: Any, tokens: np.ndarray, names: list[str], training: EncoderTraining, seed: int, device: str
) -> str:
    """Hash of all that decides the trained weights on a given machine."""
    import torch

    from scgrn_tl import __version__
    from scgrn_tl.models.threads import n_threads

    described = {
        "training": asdict(training),
        "seed": seed,
        "versions": [__version__, torch.__version__],
        "device": [device.partition(":")[0], n_threads()],
        "shape": tokens.shape,
    }
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    digest.update(GeneVocabulary(names).sha256.encode())
    for array in (tokens, values.data, values.indices, values.indptr):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:32]


def _move(beside: Path, folder: Path) -> None:
    """Put a finished folder in place; another process may have done so in the meantime."""
    try:
        beside.rename(folder)
    except OSError:
        if not (folder / RECORD).is_file():
            raise
        shutil.rmtree(beside)


def save_encoder(model: ScBERT, names: Iterable[str], record: dict[str, Any], folder: str | os.PathLike[str]) -> None:
    """Write weights, vocabulary and record; the record comes last, as the sign that all is there."""
    folder = Path(folder).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD).unlink(missing_ok=True)
    model.save(folder, GeneVocabulary(names))
    beside = folder / f".{RECORD}.{os.getpid()}"
    beside.write_text(json.dumps(record, indent=1))
    beside.replace(folder / RECORD)


def _train(
    values: Any, tokens: np.ndarray, training: EncoderTraining, seed: int, device: str
) -> tuple[ScBERT, dict[str, Any]]:
    import torch
    from tqdm.auto import tqdm

    from scgrn_tl.core import spawn_seeds
    from scgrn_tl.models.coexpression import coexpression_vectors
    from scgrn_tl.models.masked_training import MaskedTrainer
    from scgrn_tl.models.scbert import ScBERT, ScBERTConfig

    weights_seed, training_seed, vectors_seed = spawn_seeds(seed, 3)
    n_cells, n_genes = tokens.shape
    max_epochs = training.epochs(n_cells, n_genes)
    config = ScBERTConfig(
        n_genes=n_genes, dim=training.dim, depth=training.depth, heads=training.heads, dim_head=training.dim_head
    )
    vectors = None
    if training.gene_init == "svd":
        vectors = coexpression_vectors(values, training.dim, seed=vectors_seed)
        # the mean square of a token embedding's entries is 1; the gene vectors speak as loudly
        vectors *= np.sqrt(vectors.size) / max(float(np.linalg.norm(vectors)), 1e-12)
    model = ScBERT(config)
    model.initialize(
        torch.Generator().manual_seed(weights_seed), None if vectors is None else torch.from_numpy(vectors)
    )
    model.to(device)
    with tqdm(
        total=max_epochs, desc="Training an encoder", unit="epoch", delay=2, disable=not settings.progress
    ) as bar:
        trainer = MaskedTrainer(
            model,
            tokens,
            seed=training_seed,
            max_epochs=max_epochs,
            batch_size=training.batch_size,
            learning_rate=training.learning_rate,
            patience=training.patience,
            validation_fraction=training.validation_fraction,
            max_genes=training.max_genes,
            on_epoch=bar.update,
        )
        trainer.run()
    record = {
        "n_cells": n_cells,
        "n_genes": n_genes,
        "best_epoch": trainer.best_epoch,
        "history": trainer.history,
        "validation_accuracy": trainer.accuracy,
        "baseline_accuracy": trainer.baseline_accuracy,
    }
    LOGGER.info(
        "Trained an encoder on %s cells × %s genes: %.1f %% of hidden expression bins right in held-out cells "
        "(%.1f %% by always naming the most common bin), best of epochs: %s.",
        f"{n_cells:,}",
        f"{n_genes:,}",
        100 * trainer.accuracy,
        100 * trainer.baseline_accuracy,
        trainer.best_epoch,
    )
    return model.to("cpu"), record
