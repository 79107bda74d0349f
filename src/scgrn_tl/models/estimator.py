"""scTransNet as an object: fit, score, transfer, save, load."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scgrn_tl.core.argument_types import typed_arguments
from scgrn_tl.core.device import resolve_device
from scgrn_tl.core.door import make_task, open_anndata
from scgrn_tl.core.edge_splits import split_edges
from scgrn_tl.core.embedding_source import EmbeddingSource
from scgrn_tl.core.errors import ArgumentError, WeightsError
from scgrn_tl.core.gene_embedding import embedding_keys, join_embeddings, read_embedding
from scgrn_tl.core.names import did_you_mean
from scgrn_tl.core.network import PriorNetwork
from scgrn_tl.core.random import spawn_seeds

from .ensemble_member import Member
from .fit_inputs import make_fit_inputs
from .fitted_state import FittedState, present_versions, state_from_files
from .joint_training import FrozenCells, JointEncoder
from .link_training import LinkTrainer
from .member_training import train_members
from .model_card import model_card
from .model_folder import check_tensors, read_model_folder, write_model_folder
from .scoring_model import ScoringModel
from .sctransnet import ScTransNetConfig, ScTransNetModule
from .seeding import dropout_generator, seeded_rng

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable
    from typing import Self

    from anndata import AnnData
    from mudata import MuData

    from scgrn_tl.core.random import RNGLike
    from scgrn_tl.core.split import EdgeSplit
    from scgrn_tl.core.task import GRNTask

__all__ = ["ScTransNet"]


class ScTransNet(ScoringModel):
    """The scTransNet model: fitted to one dataset's genes, it scores pairs of these, and of other datasets.

    Parameters
    ----------
    config
        Hyper-parameters; see :class:`ScTransNetConfig`.
    **changes
        Single hyper-parameters to change in it.

    Raises
    ------
    ArgumentError
        If there is no such hyper-parameter, or its value cannot be used.

    Examples
    --------
    >>> model = ScTransNet.from_anndata(adata, prior, epochs=50).fit()  # doctest: +SKIP
    >>> model.save("my_network")  # doctest: +SKIP
    >>> ScTransNet.load("my_network").score([("GATA1", "KLF1")])  # doctest: +SKIP
    >>> ScTransNet.load("my_network").score(other_adata)  # doctest: +SKIP
    """

    @typed_arguments
    def __init__(self, config: ScTransNetConfig | None = None, **changes: Any) -> None:
        known = ScTransNetConfig.__dataclass_fields__
        if unknown := [name for name in changes if name not in known]:
            msg = (
                f"scTransNet has no such hyper-parameter: {unknown[0]!r}.{did_you_mean(unknown[0], known)} There are: "
                f"{', '.join(known)}."
            )
            raise ArgumentError(msg)
        super().__init__(replace(config or ScTransNetConfig(), **changes))
        self._task: GRNTask | None = None

    # ---------------------------------------------------------------- fitting

    @classmethod
    @typed_arguments
    def from_anndata(
        cls,
        adata: AnnData | MuData,
        prior: Any,
        *,
        use_rep: str | Iterable[str] | None = None,
        layer: str | None = None,
        tf_names: Iterable[str] | None = None,
        split: EdgeSplit | None = None,
        validation_fraction: float = 0.1,
        device: str | None = None,
        rng: RNGLike = 0,
        modality: str = "rna",
        **changes: Any,
    ) -> Self:
        """A model that :meth:`fit` then fits to the genes of an AnnData, as :func:`scgrn_tl.tl.fit_grn` would.

        Parameters
        ----------
        adata
            Cells × genes, or a MuData with ``modality``; nothing is written into it.
        prior
            Known edges, in any form that :meth:`scgrn_tl.core.PriorNetwork.from_any` reads.
        use_rep
            Key of the gene embedding in ``varm``, which has to be there, or keys of several; ``None`` for none.
        layer, tf_names, split, validation_fraction, device, rng, modality
            See :func:`scgrn_tl.tl.fit_grn`. The same ``rng`` gives the same model.
        **changes
            Hyper-parameters of :class:`ScTransNetConfig`.

        Raises
        ------
        ArgumentError
            If an argument cannot be used.
        DuplicateGenesError, ExpressionError, GeneOverlapError
            If ``var_names`` are not unique, expression is negative, NaN or infinite anywhere, or none of ``tf_names``
            is among the genes.
        MissingKeyError
            If the layer or an embedding is not there.
        PriorError
            If the prior cannot be read, or has too few edges among the genes.
        SplitError
            If the split is of other genes, or none can be drawn.
        """
        model = cls(**changes)
        adata = open_anndata(adata, modality=modality)
        keys = embedding_keys(use_rep)
        parts = [read_embedding(adata, key) for key in keys]
        embedding = join_embeddings(parts) if parts else None
        network = PriorNetwork.from_any(prior, adata.var_names, adata=adata)
        split_seed, fit_seed = spawn_seeds(rng, 2)
        if split is None:
            split = split_edges(network, validation_fraction=validation_fraction, test_fraction=0.0, rng=split_seed)
        model.sources = tuple(EmbeddingSource.read(adata, key) for key in keys)
        model._task = make_task(
            adata,
            layer=layer,
            prior=network,
            split=split,
            tf_names=tf_names,
            embedding=None if embedding is None else embedding.values,
            embedding_widths=() if embedding is None else embedding.widths,
            seed=fit_seed,
            device=resolve_device(device),
        )
        return model

    @typed_arguments
    def fit(self, task: GRNTask | None = None, *, on_epoch: Callable[[], object] | None = None) -> Self:
        """Fit to the training pairs of ``task``, stopping on its validation pairs.

        Parameters
        ----------
        task
            Genes, expression, prior, split and embedding; that of :meth:`from_anndata` if ``None``. With ``cells``,
            the last blocks of the embedding's encoder are trained along.
        on_epoch
            Called after every epoch of every member.

        Raises
        ------
        ArgumentError
            If there is nothing to fit to, or training diverges.
        SplitError
            If the task has no pairs to train on.
        """
        if task is None:
            task = self._task
        elif task is not self._task:
            self.sources = ()
        if task is None:
            msg = "Nothing to fit to: give a task, or make the model with `ScTransNet.from_anndata(adata, prior)`."
            raise ArgumentError(msg)
        inputs, supervision, base, scales, factor_variance = make_fit_inputs(task, self.config)
        device = inputs.features.device
        width = 0 if inputs.embedding is None else inputs.embedding.shape[1]
        cells = None
        if task.cells is not None and task.embedding is not None:
            cells = FrozenCells.prepare(task.cells, task.embedding, n_blocks=self.config.joint_blocks, device=device)
        trainers = []
        for seed in spawn_seeds(task.seed, self.config.n_models):
            with seeded_rng(seed, task.device):
                n_features = inputs.features.shape[1]
                module = ScTransNetModule(n_features, width, base=base, config=self.config).to(device)
                dropout = dropout_generator(seed, task.device)
            encoder = None if cells is None else JointEncoder(cells)
            trainers.append(LinkTrainer(module, inputs, supervision, seed, dropout, on_epoch, encoder))
        train_members(trainers)
        members = [Member.of(trainer) for trainer in trainers]
        self.genes, self.prior, self.seed = task.genes, task.prior, task.seed
        self._inputs, self._members = members[0].inputs, members
        self._scales, self._summary, self._labels = scales, None, _without_data(task)
        self._data = _counts(task) | {"factor_variance": factor_variance}
        self._versions = present_versions()
        if not self.sources and task.embedding is not None:
            widths = task.embedding_widths or (task.embedding.shape[1],)
            self.sources = tuple(EmbeddingSource(None, each) for each in widths)
        return self

    def __repr__(self) -> str:
        if self._inputs is None:
            return "ScTransNet(not fitted)"
        return (
            f"ScTransNet({len(self.regulators):,} regulators × {len(self.genes):,} genes, "
            f"{len(self._members)} model{'s' if len(self._members) > 1 else ''}, seed {self.seed})"
        )

    # ---------------------------------------------------------------- files

    @typed_arguments
    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = False, description: str | None = None) -> None:
        """Write the fitted model: tensors to ``model.safetensors``, everything else to ``model.json``.

        Beside them ``README.md``, the model's :meth:`card`. The folder appears complete or not at all: it is written
        beside its final place and then moved there.

        Parameters
        ----------
        folder
            Where to write.
        overwrite
            Replace a folder that is there already.
        description
            What the model is, in the words of who made it: tissue, source of the known edges, licence. It goes into the
            card. That of an earlier :meth:`save` if ``None``.

        Raises
        ------
        ArgumentError
            If the model is not fitted, or something is there that is not to be replaced.
        """
        if Path(folder).exists() and not overwrite:
            msg = f"{str(folder)!r} exists already. Pass overwrite=True to replace it."
            raise ArgumentError(msg)
        if description is not None:
            self._description = description
        state = self._state()
        write_model_folder(folder, state.tensors(), state.record(), model_card(state))

    def card(self) -> str:
        """What the model is, what it was fitted to and how good it is, in Markdown: its ``README.md``.

        Raises
        ------
        ArgumentError
            If the model is not fitted.
        """
        return model_card(self._state())

    @classmethod
    @typed_arguments
    def load(cls, folder: str | os.PathLike[str], *, device: str | None = None) -> ScTransNet:
        """Read a model that :meth:`save` wrote, in this version or an earlier one. Nothing is unpickled.

        Parameters
        ----------
        folder
            Where it was written.
        device
            Where to put it; see :func:`scgrn_tl.core.resolve_device`.

        Raises
        ------
        WeightsError
            If files are missing, damaged, of a newer format, or do not fit each other.
        ArgumentError
            If there is no such device.
        """
        record, tensors = read_model_folder(folder)
        where = resolve_device(device)
        try:
            check_tensors(tensors, len(record["genes"]))
            state = state_from_files(record, tensors, where)
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            msg = f"The model in {str(folder)!r} does not fit its own description: {error}"
            raise WeightsError(msg, page="transfer") from error
        if state.prior.sha256() != record.get("prior_sha256"):
            msg = f"The prior network in {str(folder)!r} is not the one that its hash was made of."
            raise WeightsError(msg, page="transfer")
        return cls._of(state)

    @classmethod
    def _of(cls, state: FittedState) -> ScTransNet:
        model = cls(state.config)
        model.genes, model.prior, model.seed, model.sources = state.genes, state.prior, state.seed, state.sources
        model._inputs, model._members, model._scales = state.inputs, state.members, state.scales
        model._summary, model._data = state.summary, state.data
        model._description, model._versions = state.description, state.versions
        return model


def _without_data(task: GRNTask) -> GRNTask:
    """The task's labels, without what is large."""
    nothing = np.empty((task.n_genes, 0), dtype=np.float32)
    return replace(
        task, expression=nothing, embedding=None, embedding_widths=(), cells=None, pseudotime=None, prepared=None
    )


def _counts(task: GRNTask) -> dict[str, Any]:
    train, validation = task.supervision()
    return {
        "n_cells": int(task.expression.shape[1]),
        "n_training_pairs": len(train),
        "n_training_edges": int(train.labels.sum()),
        "n_validation_pairs": len(validation),
        "n_validation_edges": int(validation.labels.sum()),
        "joint": task.cells is not None,
    }
