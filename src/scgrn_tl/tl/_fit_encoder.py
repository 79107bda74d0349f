"""Training an encoder on an AnnData's cells, from scratch or from given weights, and keeping it in a folder."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scgrn_tl._settings import settings
from scgrn_tl.core import ArgumentError, GeneVocabulary, check_unique_genes
from scgrn_tl.core.progress_bar import progress_bar
from scgrn_tl.core.slots import Slots, run_record, write_slots

from ._encoder_training import EncoderShape, TrainingCells

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from anndata import AnnData
    from mudata import MuData

    from scgrn_tl.core import RNGLike
    from scgrn_tl.core.tokens import Normalize
    from scgrn_tl.models import ScBERTModel
    from scgrn_tl.models.scbert import ScBERT

    from ._cell_groups import CellGroups
    from ._encoder_source import EncoderSource
    from ._encoder_training import EncoderTraining
    from ._token_stream import Expression

__all__ = ["check_encoder_folder", "fit_encoder", "save_encoder", "write_training_record"]

LOGGER = logging.getLogger(__name__)

RECORD = "training.json"


def check_encoder_folder(folder: str | os.PathLike[str], *, argument: str = "weights_dir") -> None:
    """Raise :class:`ArgumentError` if ``folder`` holds anything but an encoder written before."""
    folder = Path(folder).expanduser()
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / RECORD).is_file())):
        msg = f"{argument}={str(folder)!r} exists and is no folder of an encoder; name a new or empty one."
        raise ArgumentError(msg)


def fit_encoder(
    expression: Expression,
    var_names: Sequence[str],
    start: EncoderShape | EncoderSource,
    training: EncoderTraining,
    *,
    seed: int,
    device: str,
    vocabulary: Sequence[str] | None = None,
    batches: CellGroups | None = None,
    min_overlap: float = 0.5,
    folder: str | os.PathLike[str] | None = None,
) -> tuple[Path, dict[str, Any]]:
    """Train an encoder by masked-expression prediction, and save it.

    Parameters
    ----------
    expression
        The cells to learn from; those without counts are left out.
    var_names
        Gene names, unique.
    start
        A shape, to begin from scratch; or an encoder, to go on from.
    training
        Schedule.
    seed
        Of everything random.
    device
        Torch device to train on.
    vocabulary
        The genes of a new encoder; ``var_names`` by default.
    batches
        Batches, each of which gets a vector; cells without one are left out.
    min_overlap
        Least share of ``var_names`` that the encoder has to know.
    folder
        Where to save. ``None`` takes ``sg.settings.cache_dir/encoders/<hash>``, with a hash over expression, genes,
        parameters, seed and package version, and trains only if that is not there yet. Where the cache cannot be
        written, a temporary folder is used and the log says so.

    Returns
    -------
    The folder, and the record of the training: ``n_cells``, ``n_genes``, ``n_batches``, ``best_epoch``, ``history``,
    ``validation_accuracy`` and ``baseline_accuracy``.
    """
    check_unique_genes(list(map(str, var_names)))
    names = list(map(str, var_names if vocabulary is None else vocabulary))
    check_unique_genes(names)
    cells = TrainingCells.draw(expression, var_names, batches, training.max_cells, seed)

    def make() -> tuple[ScBERT, GeneVocabulary, dict[str, Any]]:
        return _train(cells, start, names, training, seed, device, min_overlap)

    if folder is not None:
        folder = Path(folder).expanduser()
        model, known, record = make()
        save_encoder(model, known, record, folder)
        return folder, record

    folder = settings.cache_dir / "encoders" / _run_hash(cells, start, names, training, seed, device)
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
        model, known, record = make()
        save_encoder(model, known, record, beside)
        if beside != folder:
            _move(beside, folder)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return folder, record


def _run_hash(
    cells: TrainingCells,
    start: EncoderShape | EncoderSource,
    names: list[str],
    training: EncoderTraining,
    seed: int,
    device: str,
) -> str:
    """Hash of all that decides the trained weights on a given machine."""
    import torch

    from scgrn_tl import __version__
    from scgrn_tl.models.threads import n_threads

    described = {
        "start": asdict(start) if isinstance(start, EncoderShape) else [start.sha256, start.vocabulary.sha256],
        "training": asdict(training),
        "seed": seed,
        "versions": [__version__, torch.__version__],
        "device": [device.partition(":")[0], n_threads()],
        "shape": cells.values.shape,
        "normalize": cells.normalize,
        "batches": None if cells.batches is None else cells.batches.tolist(),
    }
    digest = hashlib.sha256(json.dumps(described, sort_keys=True, default=int).encode())
    for genes in (cells.var_names, names):
        digest.update(GeneVocabulary(genes).sha256.encode())
    for array in (cells.values.data, cells.values.indices, cells.values.indptr):
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


def save_encoder(
    model: ScBERT, vocabulary: GeneVocabulary, record: dict[str, Any], folder: str | os.PathLike[str]
) -> None:
    """Write weights, vocabulary and record; the record comes last, as the sign that all is there."""
    from scgrn_tl.models.checkpoint import write_beside

    folder = Path(folder).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD).unlink(missing_ok=True)
    model.save(folder, vocabulary)
    with write_beside(folder / RECORD) as beside:
        beside.write_text(json.dumps(record, indent=1))


def _train(
    cells: TrainingCells,
    start: EncoderShape | EncoderSource,
    names: list[str],
    training: EncoderTraining,
    seed: int,
    device: str,
    min_overlap: float,
) -> tuple[ScBERT, GeneVocabulary, dict[str, Any]]:
    from scgrn_tl.core import spawn_seeds
    from scgrn_tl.models import ScBERTModel
    from scgrn_tl.models.lightning_manners import lightning_device

    weights_seed, training_seed = spawn_seeds(seed, 2)
    adata = cells.register()
    model: ScBERTModel
    try:
        if isinstance(start, EncoderShape):
            model = ScBERTModel(adata, vocabulary=names, seed=weights_seed, min_overlap=min_overlap, **asdict(start))
        else:
            model = ScBERTModel.from_encoder(adata, start.model, start.vocabulary, min_overlap=min_overlap)
        with progress_bar(desc="Training an encoder", unit="epoch") as bar:

            def on_epoch(max_epochs: int) -> None:
                bar.total = max_epochs
                bar.update()

            model.train(
                training.max_epochs,
                **lightning_device(device),
                train_size=1 - training.validation_fraction,
                batch_size=training.batch_size,
                max_genes=training.max_genes,
                train_blocks=training.train_blocks,
                lr=training.learning_rate,
                early_stopping_patience=training.patience,
                seed=training_seed,
                on_epoch=on_epoch,
            )
        record = _record(model, cells)
        return model.get_encoder().to("cpu"), model.vocabulary, record
    finally:  # scvi-tools keeps every AnnData that was ever set up
        ScBERTModel.forget(adata)


def _record(model: ScBERTModel, cells: TrainingCells) -> dict[str, Any]:
    """What is told of a training, and the log line about it."""
    history = {
        name: model.history[name].iloc[:, 0].astype(float).tolist()
        for name in ("train_loss", "validation_loss", "validation_accuracy")
    }
    n_cells, n_genes = cells.values.shape
    record = {
        "n_cells": n_cells,
        "n_genes": n_genes,
        "n_batches": 1 if cells.batches is None else len(np.unique(cells.batches)),
        "best_epoch": model.best_epoch_,
        "history": history,
        "validation_accuracy": history["validation_accuracy"][model.best_epoch_ - 1],
        "baseline_accuracy": float(model.history["validation_accuracy_usual_bin"].iloc[0, 0]),
    }
    LOGGER.info(
        "Trained an encoder on %s cells × %s genes: %.1f %% of hidden expression bins right in held-out cells "
        "(%.1f %% by always naming the gene's most common bin), best of epochs: %s.",
        f"{n_cells:,}",
        f"{n_genes:,}",
        100 * record["validation_accuracy"],
        100 * record["baseline_accuracy"],
        record["best_epoch"],
    )
    return record


def write_training_record(
    data: AnnData | MuData,
    key: str,
    params: dict[str, Any],
    normalize: Normalize,
    rng: RNGLike,
    folder: Path,
    record: dict[str, Any],
    *,
    modality: str,
) -> None:
    """Write ``uns[key]``: what a training was asked for, and what came of it."""
    slots = Slots()
    slots.uns[key] = run_record(
        params | {"normalize": normalize if isinstance(normalize, str) else bool(normalize)},
        seed=rng if isinstance(rng, (int, np.integer)) else None,
        weights_dir=folder,
        **record,
    )
    write_slots(data, slots, modality=modality)
