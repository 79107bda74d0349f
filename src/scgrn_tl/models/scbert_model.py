"""scBERT as a model of scvi-tools: ``setup_anndata``, ``train``, ``save``, ``load`` as there."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from lightning.pytorch.callbacks import EarlyStopping
from scvi import REGISTRY_KEYS
from scvi.data import AnnDataManager
from scvi.data.fields import CategoricalObsField, LayerField
from scvi.train import TrainRunner

from scgrn_tl._settings import settings
from scgrn_tl.core.argument_types import typed_arguments
from scgrn_tl.core.device import resolve_device
from scgrn_tl.core.errors import ArgumentError
from scgrn_tl.core.genes import GeneVocabulary, check_unique_genes
from scgrn_tl.core.random import spawn_seeds

from .coexpression import coexpression_vectors
from .lightning_manners import best_precision, keyboard_interrupt_as_usual, lightning_device, quiet_lightning
from .masked_expression import ExpressionMasker
from .scbert import ScBERT, ScBERTConfig
from .scbert_cells import MaskedCells, cells_with_counts, gene_vectors, split_cells, tokenizer_of
from .scbert_embeddings import ALL_CELLS, pooled_embeddings
from .scbert_module import ScBERTModule
from .scbert_training import BestEpoch, MaskedTrainingPlan, as_before_on_failure, check_training
from .seeding import seeded_rng
from .skipgram import skipgram_vectors
from .stored_model import StoredModel
from .threads import threads_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Self

    from anndata import AnnData

    from scgrn_tl.core.tokens import Normalize

__all__ = ["GeneInit", "ScBERTModel"]

GeneInit = Literal["svd", "skipgram", "random"]
SEEN_GENES = 1.5e6
EPOCHS = (2, 30)


class ScBERTModel(StoredModel):
    """scBERT (Yang et al. 2022) as a model of scvi-tools, to be trained on cells by masked-expression prediction.

    Parameters
    ----------
    adata
        Registered by :meth:`setup_anndata`.
    registry
        Of an earlier model, for one without data.
    vocabulary
        The genes that the encoder knows; those of ``adata`` if ``None``.
    dim, depth, heads, dim_head, ff_mult, n_features
        Shape of the encoder; see :class:`ScBERTConfig`.
    gene_init
        What gene vectors start from: a truncated SVD of the genes' correlations (``"svd"``), skip-grams over
        co-expressed pairs (``"skipgram"``, as gene2vec), or chance (``"random"``).
    min_overlap
        Least share of the AnnData's genes that the vocabulary has to know.
    seed
        Of the first weights.

    Raises
    ------
    ArgumentError, DuplicateGenesError, ExpressionError, GeneOverlapError
        If an argument or the AnnData cannot be used, or the vocabulary knows too few of its genes.

    Examples
    --------
    >>> import scgrn_tl as sg
    >>> ScBERTModel = sg.models.ScBERTModel  # doctest: +SKIP
    >>> ScBERTModel.setup_anndata(adata, layer="counts", batch_key="batch")  # doctest: +SKIP
    >>> model = ScBERTModel(adata, dim=64, depth=2)  # doctest: +SKIP
    >>> model.train(max_epochs=20)  # doctest: +SKIP
    >>> adata.varm["scbert"] = model.get_gene_embedding()  # doctest: +SKIP
    """

    _training_plan_cls = MaskedTrainingPlan
    _train_runner_cls = TrainRunner

    @typed_arguments
    def __init__(
        self,
        adata: AnnData | None = None,
        registry: dict[str, Any] | None = None,
        *,
        vocabulary: Iterable[str] | GeneVocabulary | None = None,
        dim: int = 64,
        depth: int = 2,
        heads: int = 4,
        dim_head: int = 16,
        ff_mult: int = 4,
        n_features: int | None = None,
        gene_init: GeneInit = "svd",
        min_overlap: float = 0.5,
        seed: int = 0,
    ) -> None:
        super().__init__(adata, registry)
        if not 0 <= min_overlap <= 1:
            msg = f"min_overlap is a share between 0 and 1, not {min_overlap!r}."
            raise ArgumentError(msg)
        vocabulary = self._names(vocabulary)
        self.vocabulary = GeneVocabulary(vocabulary)
        self._min_overlap = min_overlap
        config = ScBERTConfig(len(vocabulary), dim, depth, heads, dim_head, ff_mult, n_features)
        self.module = ScBERTModule(config, self.summary_stats.n_batch)
        weights_seed, vectors_seed = spawn_seeds(seed, 2)
        vectors = None
        if self.adata is not None and gene_init != "random":
            make = coexpression_vectors if gene_init == "svd" else skipgram_vectors
            tokenizer = tokenizer_of(self.adata_manager, self.vocabulary, min_overlap)
            vectors = gene_vectors(make, self.adata_manager, tokenizer, len(vocabulary), dim, vectors_seed)
        self.module.encoder.initialize(torch.Generator().manual_seed(weights_seed), vectors)
        self.module.eval()
        self.best_epoch_ = 0
        self.history_: dict[str, Any] | None = None
        self.init_params_ = self._get_init_params(locals())
        self._model_summary_string = (
            f"ScBERTModel with {len(vocabulary):,} genes, {depth} layers × {heads} heads, {dim} wide, "
            f"{self.module.encoder.n_parameters:,} parameters, batches: {self.summary_stats.n_batch}."
        )

    @classmethod
    @typed_arguments
    def setup_anndata(
        cls,
        adata: AnnData,
        layer: str | None = None,
        *,
        batch_key: str | None = None,
        labels_key: str | None = None,
        normalize: Normalize = "auto",
        **kwargs: Any,
    ) -> None:
        """Register an AnnData.

        Parameters
        ----------
        adata
            Cells × genes, counts or log-normalised expression.
        layer
            Layer with the expression; ``X`` by default.
        batch_key
            Column of ``obs`` with batches. Each gets a vector that training adds to the encoder's input, and encoding
            averages out.
        labels_key
            Column of ``obs`` with cell types, for ``get_gene_embedding(by_label=True)``.
        normalize
            Whether values are counts; ``"auto"`` takes whole numbers for counts.
        **kwargs
            See :meth:`scvi.data.AnnDataManager.register_fields`.

        Raises
        ------
        ArgumentError
            If a cell has no batch or label, or an argument is of another type.
        KeyError, ValueError
            If there is no such column or layer; scvi-tools' own.
        """
        setup_method_args = cls._get_setup_method_args(**locals())
        for name, key in (("batch_key", batch_key), ("labels_key", labels_key)):
            if key is not None and key in adata.obs and (n_missing := int(adata.obs[key].isna().sum())):
                msg = (
                    f"obs[{key!r}] ({name}=) has no value for {n_missing} cells. Leave them out, "
                    f"`adata = adata[adata.obs[{key!r}].notna()].copy()`, or give them one."
                )
                raise ArgumentError(msg)
        manager = AnnDataManager(
            fields=[
                LayerField(REGISTRY_KEYS.X_KEY, layer, is_count_data=False),
                CategoricalObsField(REGISTRY_KEYS.BATCH_KEY, batch_key),
                CategoricalObsField(REGISTRY_KEYS.LABELS_KEY, labels_key),
            ],
            setup_method_args=setup_method_args,
        )
        manager.register_fields(adata, **kwargs)
        cls.register_manager(manager)

    @classmethod
    @typed_arguments
    def from_encoder(
        cls, adata: AnnData, encoder: ScBERT, vocabulary: GeneVocabulary, *, min_overlap: float = 0.5
    ) -> Self:
        """A model that goes on from an encoder's weights, such as the published ones.

        Parameters
        ----------
        adata
            Registered by :meth:`setup_anndata`.
        encoder, vocabulary
            As :func:`load_scbert` returns them. The encoder is not changed.
        min_overlap
            Least share of the AnnData's genes that the vocabulary has to know.

        Raises
        ------
        ArgumentError
            If the encoder cannot be trained, or an argument is none of these.
        """
        sizes = asdict(encoder.config)
        if sizes.pop("n_tokens") != ScBERTConfig.n_tokens:
            msg = f"Training takes encoders of {ScBERTConfig.n_tokens} tokens, not of {encoder.config.n_tokens}."
            raise ArgumentError(msg)
        del sizes["n_genes"]
        model = cls(adata, vocabulary=vocabulary.symbols, gene_init="random", min_overlap=min_overlap, **sizes)
        model.module.encoder.load_state_dict(encoder.state_dict())
        return model

    def get_encoder(self) -> ScBERT:
        """A copy of the encoder as it is used after training: batches averaged out, in evaluation mode."""
        return self.module.averaged_encoder()

    @typed_arguments
    def train(
        self,
        max_epochs: int | None = None,
        *,
        accelerator: str = "auto",
        devices: int | list[int] | str = "auto",
        train_size: float | None = None,
        validation_size: float | None = None,
        batch_size: int = 4,
        max_genes: int = 1024,
        train_blocks: int | None = None,
        lr: float = 3e-3,
        early_stopping: bool = True,
        early_stopping_monitor: str = "validation_loss",
        early_stopping_min_delta: float = 0.0,
        early_stopping_patience: int = 3,
        early_stopping_mode: Literal["min", "max"] = "min",
        mask_fraction: float = 0.15,
        replace_probability: float = 0.9,
        precision: str = "auto",
        seed: int = 0,
        on_epoch: Callable[[int], object] | None = None,
        plan_kwargs: dict[str, Any] | None = None,
        datasplitter_kwargs: dict[str, Any] | None = None,
        **trainer_kwargs: Any,
    ) -> None:
        """Train by masked-expression prediction, and keep the epoch with the least validation loss.

        Which one that was stands in ``best_epoch_``, counted from 1 over all trainings of the model. If training fails
        or is interrupted, the model is as it was before.

        Parameters
        ----------
        max_epochs
            Most passes over the cells; ``None`` for as many as see about 1.5 million genes of cells, 2 to 30.
        accelerator, devices
            As in Lightning, but one device; ``"auto"`` is ``sg.settings.device``.
        train_size, validation_size
            Share of the cells trained on (0.9 if ``None``), and of those that validate (the rest, one cell at least, if
            ``None``). Cells that express none of the genes are left out of both.
        batch_size
            Cells in a minibatch. ``accumulate_grad_batches=`` takes a step on the mean of several.
        max_genes
            Most genes in a step's sequence, a random part of them where there are more.
        train_blocks
            How many of the last blocks learn, with the final norm, the prediction head and the batches' vectors;
            ``None`` for the whole encoder.
        lr
            Largest learning rate of Adam.
        early_stopping, early_stopping_monitor, early_stopping_min_delta, early_stopping_patience, early_stopping_mode
            Whether to stop after so many epochs without a better value of the measure.
        mask_fraction, replace_probability
            Share of a cell's expressed genes that are to be predicted, and of these that are masked (Yang et al. 2022).
        precision
            Of Lightning's; ``"auto"`` is bfloat16 mixed precision on GPUs that have it, and float32 elsewhere.
        seed
            Of the held-out cells, their order, masks and genes. The same seed gives the same weights on a CPU with as
            many threads.
        on_epoch
            Called after each epoch with ``max_epochs``. With it, scvi-tools' own progress bar is not shown.
        plan_kwargs
            See :class:`~scgrn_tl.models.scbert_training.MaskedTrainingPlan`.
        datasplitter_kwargs
            ``external_indexing`` (rows to train on, to validate with, and of the rest), or what
            :class:`scvi.dataloaders.AnnDataLoader` takes, such as ``num_workers``.
        **trainer_kwargs
            See :class:`scvi.train.Trainer`: ``logger=``, ``callbacks=``, ``enable_checkpointing=True``, ….

        Raises
        ------
        ArgumentError
            If an argument cannot be used, there are too few cells to hold any out, or training diverges.
        """
        check_training(
            max_epochs=max_epochs,
            batch_size=batch_size,
            max_genes=max_genes,
            lr=lr,
            mask_fraction=mask_fraction,
            replaced=replace_probability,
        )
        if self.adata is None:
            msg = "The model has no AnnData to train on. Load it with one: ScBERTModel.load(folder, adata)."
            raise ArgumentError(msg)
        self._validate_anndata(self.adata)
        split_seed, masks_seed, order_seed = spawn_seeds(seed, 3)
        tokenizer = tokenizer_of(self.adata_manager, self.vocabulary, self._min_overlap)
        masker = ExpressionMasker(tokenizer.positions, int(max_genes), mask_fraction, replace_probability)
        loader_kwargs = dict(datasplitter_kwargs or {})
        parts = loader_kwargs.pop("external_indexing", None)
        if parts is None:
            expressed = cells_with_counts(self.adata_manager, tokenizer)
            parts = split_cells(expressed, train_size, validation_size, split_seed)
        parts = [np.asarray(part, dtype=np.int64) for part in [*parts, [], []][:3]]
        cells = MaskedCells(
            self.adata_manager,
            tokenizer,
            masker,
            parts=parts,
            seed=masks_seed,
            batch_size=int(batch_size),
            **loader_kwargs,
        )
        if loader_kwargs.get("drop_last") and len(parts[0]) < batch_size:
            msg = f"{len(parts[0])} cells make no batch of batch_size={batch_size}, and drop_last=True drops others."
            raise ArgumentError(msg)
        n_genes = min(len(tokenizer.positions), int(max_genes))
        if max_epochs is None:
            max_epochs = int(np.clip(round(SEEN_GENES / (self.adata.n_obs * n_genes)), *EPOCHS))
        best = BestEpoch(max(map(len, (self.history_ or {}).values()), default=0), on_epoch)
        callbacks = [*(trainer_kwargs.pop("callbacks", None) or []), best]
        if early_stopping and cells.n_val and not any(isinstance(each, EarlyStopping) for each in callbacks):
            stopping = EarlyStopping(
                early_stopping_monitor,
                min_delta=early_stopping_min_delta,
                patience=early_stopping_patience,
                mode=early_stopping_mode,
            )
            callbacks.append(stopping)
        options = {
            "log_every_n_steps": 1,
            "gradient_clip_val": 1.0,
            "benchmark": False,
            "check_val_every_n_epoch": 1 if cells.n_val else None,
            "enable_progress_bar": on_epoch is None and settings.progress,
        }
        where: dict[str, Any] = {"accelerator": accelerator, "devices": devices}
        if accelerator == "auto":
            where = lightning_device(resolve_device())
        with as_before_on_failure(self), quiet_lightning():
            self.module.train().train_only(train_blocks)
            self.module.note_batches(self.adata_manager.get_from_registry(REGISTRY_KEYS.BATCH_KEY)[parts[0]])
            runner = self._train_runner_cls(
                self,
                training_plan=self._training_plan_cls(self.module, **({"lr": lr} | (plan_kwargs or {}))),
                data_splitter=cells,
                max_epochs=int(max_epochs),
                callbacks=callbacks,
                precision=best_precision(where["accelerator"]) if precision == "auto" else precision,
                **(where | options | trainer_kwargs),
            )
            if runner.trainer.world_size > 1:
                msg = f"ScBERTModel trains on one device, not on {runner.trainer.world_size}: pass devices=1."
                raise ArgumentError(msg)
            # scvi-tools appends to the history of loggers that keep one, and of no other: here all are appended below
            earlier, self.history_, self.is_trained_ = self.history_, None, False
            with (
                threads_for(int(batch_size) * n_genes * self.module.encoder.config.dim),
                seeded_rng(order_seed, runner.device),
                keyboard_interrupt_as_usual(),
            ):
                runner()
            if best.diverged():
                msg = f"Training of the encoder diverged: no epoch had a finite loss (lr={lr:g}). Take a smaller one."
                raise ArgumentError(msg)
            self.history_ = best.history_after(earlier)
            self.best_epoch_ = best.epoch or max(map(len, self.history_.values()))

    @typed_arguments
    def get_gene_embedding(
        self,
        adata: AnnData | None = None,
        *,
        indices: np.ndarray | list[int] | None = None,
        pool: Literal["attention", "mean"] = "attention",
        by_label: bool = False,
        batch_size: int = 16,
    ) -> np.ndarray | dict[str, np.ndarray]:
        r"""Gene embeddings pooled over cells, each batch weighing the same.

        .. math:: Z_t = \frac{1}{|B|} \sum_{b ∈ B} \frac{\sum_{n ∈ b} a_{t,n} h_{t,n}}{\sum_{n ∈ b} a_{t,n}}

        with attention sums a (Kommu et al. 2024, eq. 6, where there is one batch).

        Parameters
        ----------
        adata
            Cells to encode; the model's own by default.
        indices
            Rows of it; all by default.
        pool
            ``"attention"`` or ``"mean"``.
        by_label
            One embedding per label instead, from the cells that have it.
        batch_size
            Cells encoded at a time.

        Returns
        -------
        ``float32 (n_vars, D)``, NaN for genes that the vocabulary does not know. With ``by_label`` a dict of label →
        such an array.

        Raises
        ------
        ArgumentError
            If there is no AnnData, no label with ``by_label``, no such cell, or an argument cannot be used.
        ExpressionError, GeneOverlapError
            If the AnnData cannot be read, or the vocabulary knows too few of its genes.
        """
        self._check_if_trained(warn=True)
        if adata is None and self.adata is None:
            msg = "The model has no AnnData: pass one, get_gene_embedding(adata), or load it with one."
            raise ArgumentError(msg)
        adata = self._validate_anndata(adata)
        manager = self.get_anndata_manager(adata, required=True)
        embeddings = pooled_embeddings(
            self.get_encoder(),
            manager,
            tokenizer_of(manager, self.vocabulary, self._min_overlap),
            indices=indices,
            pool=pool,
            by_label=by_label,
            batch_size=batch_size,
        )
        return embeddings if by_label else embeddings[ALL_CELLS]

    def _names(self, vocabulary: Iterable[str] | GeneVocabulary | None) -> list[str]:
        """The vocabulary's genes, in their order."""
        if vocabulary is None and self.adata is None:
            msg = "Without an AnnData, name the encoder's genes: vocabulary=."
            raise ArgumentError(msg)
        if isinstance(vocabulary, (str, set, frozenset)):
            msg = f"vocabulary is a list of gene names, in the order of the gene vectors; not {vocabulary!r}."
            raise ArgumentError(msg)
        given = vocabulary.symbols if isinstance(vocabulary, GeneVocabulary) else vocabulary
        names = list(map(str, self.adata.var_names if given is None else given))
        check_unique_genes(names)
        return names
