"""scTransNet as an object: fit, score, save, load."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from scgrn_tl.core.device import resolve_device
from scgrn_tl.core.door import make_task
from scgrn_tl.core.edge_splits import split_edges
from scgrn_tl.core.errors import ArgumentError, MissingKeyError, WeightsError
from scgrn_tl.core.gene_embedding import embedding_keys, join_embeddings, read_embedding
from scgrn_tl.core.network import PriorNetwork
from scgrn_tl.core.random import spawn_seeds
from scgrn_tl.core.task import GRNScores

from .edge_effects import edge_effects, mean_attention
from .hub_rates import fit_hub_rates
from .joined_embedding import standardize_embedding
from .link_training import LinkTrainer, Supervision, row_blocks
from .member_training import train_members
from .model_folder import check_tensors, read_model_folder, write_model_folder
from .node_features import gene_features
from .prior_graph import message_graph
from .sctransnet import GeneInputs, ScTransNetConfig, ScTransNetModule
from .seeding import dropout_generator, seeded_rng

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Self

    from anndata import AnnData
    from scipy import sparse

    from scgrn_tl.core.random import RNGLike
    from scgrn_tl.core.split import EdgeSplit
    from scgrn_tl.core.task import GRNTask

    from .edge_effects import EdgeEffect
    from .pair_attention import PairGraph
    from .prior_graph import RelationalGraph

__all__ = ["ScTransNet"]


@dataclass(frozen=True, eq=False)
class _Member:
    """One fitted network of the ensemble."""

    module: ScTransNetModule
    history: dict[str, list[float]]
    best_epoch: int


class ScTransNet:
    """The scTransNet model of one dataset's genes.

    Parameters
    ----------
    config
        Hyper-parameters; see :class:`ScTransNetConfig`.
    **changes
        Single hyper-parameters to change in it.

    Examples
    --------
    >>> model = ScTransNet.from_anndata(adata, prior, epochs=50).fit()  # doctest: +SKIP
    >>> model.save("my_network")  # doctest: +SKIP
    >>> ScTransNet.load("my_network").score([("GATA1", "KLF1")])  # doctest: +SKIP
    """

    def __init__(self, config: ScTransNetConfig | None = None, **changes: Any) -> None:
        try:
            self.config = replace(config or ScTransNetConfig(), **changes)
        except TypeError as error:
            known = ", ".join(ScTransNetConfig.__dataclass_fields__)
            msg = f"scTransNet has no such hyper-parameter ({error}). There are: {known}."
            raise ArgumentError(msg) from error
        self.genes: tuple[str, ...] = ()
        self.prior: PriorNetwork | None = None
        self.seed: int | None = None
        self._inputs: GeneInputs | None = None
        self._members: list[_Member] = []
        self._task: GRNTask | None = None

    # ---------------------------------------------------------------- fitting

    @classmethod
    def from_anndata(
        cls,
        adata: AnnData,
        prior: Any,
        *,
        use_rep: str | Iterable[str] | None = "scbert",
        layer: str | None = None,
        tf_names: Iterable[str] | None = None,
        split: EdgeSplit | None = None,
        validation_fraction: float = 0.1,
        device: str | None = None,
        rng: RNGLike = 0,
        **changes: Any,
    ) -> Self:
        """A model that :meth:`fit` then fits to the genes of an AnnData, as :func:`scgrn_tl.tl.fit_grn` would.

        Parameters
        ----------
        adata
            Cells × genes; nothing is written into it.
        prior
            Known edges, in any form that :meth:`scgrn_tl.core.PriorNetwork.from_any` reads.
        use_rep
            Key of the gene embedding in ``varm``, which has to be there, or keys of several; ``None`` for none.
        layer, tf_names, split, validation_fraction, device, rng
            See :func:`scgrn_tl.tl.fit_grn`. The same ``rng`` gives the same model.
        **changes
            Hyper-parameters of :class:`ScTransNetConfig`.
        """
        model = cls(**changes)
        parts = [read_embedding(adata, key) for key in embedding_keys(use_rep)]
        embedding = join_embeddings(parts) if parts else None
        network = PriorNetwork.from_any(prior, adata.var_names, adata=adata)
        split_seed, fit_seed = spawn_seeds(rng, 2)
        if split is None:
            split = split_edges(network, validation_fraction=validation_fraction, test_fraction=0.0, rng=split_seed)
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

    def fit(self, task: GRNTask | None = None, *, on_epoch: Callable[[], object] | None = None) -> Self:
        """Fit to the training pairs of ``task``, stopping on its validation pairs.

        Parameters
        ----------
        task
            Genes, expression, prior, split and embedding; that of :meth:`from_anndata` if ``None``.
        on_epoch
            Called after every epoch of every member.
        """
        task = self._task if task is None else task
        if task is None:
            msg = "Nothing to fit to: give a task, or make the model with `ScTransNet.from_anndata(adata, prior)`."
            raise ArgumentError(msg)
        train, validation = task.supervision()
        if task.prior is None:
            msg = "scTransNet needs a prior network: give one (`prior=`)."
            raise ArgumentError(msg)
        if not self.config.use_gnn and task.embedding is None:
            msg = "Without the GNN and without a gene embedding nothing is left to learn from: give use_rep or use_gnn."
            raise ArgumentError(msg)
        device = torch.device(task.device)
        row_of = np.full(task.n_genes, -1)
        row_of[task.regulators] = np.arange(len(task.regulators))
        shape = (len(task.regulators), task.n_genes)
        labels, mask = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
        rows = row_of[train.pairs[:, 0]]
        mask[rows, train.pairs[:, 1]] = True
        labels[rows[train.labels], train.pairs[train.labels, 1]] = True

        base, regulator_rate, target_rate = 0.0, np.zeros(shape[0]), np.zeros(shape[1])
        if self.config.hub_terms:
            rates = fit_hub_rates(labels, mask)
            base, regulator_rate, target_rate = rates.base, rates.regulator, rates.target
        node_type = np.zeros(task.n_genes, dtype=np.int64)
        node_type[task.regulators] = 1
        features = gene_features(
            task.expression, kind=self.config.gene_features, n_components=self.config.n_components, seed=task.seed
        )
        embedding = None if task.embedding is None else standardize_embedding(task.embedding, task.embedding_widths)
        inputs = GeneInputs(
            torch.from_numpy(features),
            None if embedding is None else torch.from_numpy(embedding),
            node_type=torch.from_numpy(node_type),
            regulators=torch.from_numpy(task.regulators),
            regulator_rate=torch.from_numpy(regulator_rate.astype(np.float32)),
            target_rate=torch.from_numpy(target_rate.astype(np.float32)),
        ).to(device)
        supervision = Supervision(
            labels=torch.from_numpy(labels).to(device),
            mask=torch.from_numpy(mask).to(device),
            graph=self._graph(inputs, task.prior),
            validation=torch.from_numpy(
                np.stack([row_of[validation.pairs[:, 0]], validation.pairs[:, 1]]).astype(np.int64)
            ).to(device),
            validation_labels=validation.labels,
        )
        width = 0 if embedding is None else embedding.shape[1]
        trainers = []
        for seed in spawn_seeds(task.seed, self.config.n_models):
            with seeded_rng(seed, task.device):
                module = self._build(features.shape[1], width, base).to(device)
                dropout = dropout_generator(seed, task.device)
            trainers.append(LinkTrainer(module, inputs, supervision, seed, dropout, on_epoch))
        train_members(trainers)
        members = [_Member(trainer.module, trainer.history, trainer.best_epoch) for trainer in trainers]
        self.genes, self.prior, self.seed = task.genes, task.prior, task.seed
        self._inputs, self._members = inputs, members
        return self

    def _build(self, n_features: int, embedding_width: int, base: float) -> ScTransNetModule:
        return ScTransNetModule(n_features, embedding_width, base=base, config=self.config)

    # ---------------------------------------------------------------- scoring

    @torch.no_grad()
    def scores(self) -> GRNScores:
        """Logit of every pair of a regulator and a gene, all training edges carrying messages."""
        inputs, prior = self._fitted()
        graph = self._graph(inputs, prior)
        regulators = inputs.regulators.cpu().numpy()
        several = len(self._members) > 1
        shape = (len(regulators), len(self.genes))
        matrix = np.empty(shape, dtype=np.float32)
        hub = np.empty(shape, dtype=np.float32) if self.config.hub_terms else None
        std = np.empty(shape, dtype=np.float32) if several else None
        channels = [member.module.channels(inputs, graph) for member in self._members]
        for rows in row_blocks(*shape):
            parts = [
                member.module.logits(of_member, inputs, rows)
                for member, of_member in zip(self._members, channels, strict=True)
            ]
            logits = torch.stack([score + own_hub for score, own_hub in parts]).float().cpu().numpy()
            matrix[rows] = logits.mean(axis=0)
            if hub is not None:
                hub[rows] = torch.stack([own_hub for _, own_hub in parts]).float().cpu().numpy().mean(axis=0)
            if std is not None:
                std[rows] = logits.std(axis=0, ddof=1)
        return GRNScores(
            regulators=regulators,
            matrix=matrix,
            hub=hub,
            std=std,
            is_logit=True,
            history={
                (f"{name}_{number}" if several else name): values
                for number, member in enumerate(self._members)
                for name, values in member.history.items()
            },
            details={"best_epoch": [member.best_epoch for member in self._members]},
            model=self,
        )

    def attention(self) -> sparse.csr_matrix | None:
        """Attention of the graph network (eq. 12), ``(G, G)`` as in ``varp["grn_attention"]``; ``None`` without one."""
        inputs, prior = self._fitted()
        modules = [member.module for member in self._members]
        return mean_attention(modules, inputs, prior, self._graph(inputs, prior)) if self.config.use_gnn else None

    def explain(self, regulator: str, target: str, *, n_messages: int = 10) -> list[EdgeEffect]:
        """What the logit of a pair owes to single edges of the prior: each is left out of the graph in turn.

        Nothing is fitted anew. Tried are the edges of the ``n_messages`` messages that the ``regulator`` attends to
        most, as many of the ``target``, and the pair's own. One :class:`~scgrn_tl.models.EdgeEffect` for each, the
        largest change first. Logits are those of :meth:`score`, which raises the same error on unknown names: before
        calibration.
        """
        row, column = self._places([(str(regulator), str(target))])
        pair, modules = (int(row[0]), int(column[0])), [member.module for member in self._members]
        return edge_effects(modules, *self._fitted(), pair=pair, n_messages=n_messages, graph_of=self._graph)

    def score(self, pairs: Iterable[tuple[str, str]]) -> np.ndarray:
        """Logits ``float32[P]`` of pairs given as (regulator, target) gene names.

        Raises
        ------
        MissingKeyError
            If a name is not among the model's genes, or a regulator not among those scored.
        """
        pairs = [(str(source), str(target)) for source, target in pairs]
        rows, columns = self._places(pairs)
        return self.scores().matrix[rows, columns]

    def _places(self, pairs: list[tuple[str, str]]) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns ``int64 (P,)`` of the scores where pairs of names stand."""
        gene = {name: number for number, name in enumerate(self.genes)}
        row = {name: position for position, name in enumerate(self.regulators)}
        unknown = sorted({t for _, t in pairs if t not in gene} | {s for s, _ in pairs if s not in row})
        if unknown:
            msg = f"Not among the model's {len(row)} regulators and {len(gene)} genes: {', '.join(unknown[:10])}."
            raise MissingKeyError(msg)
        return np.array([row[s] for s, _ in pairs], dtype=int), np.array([gene[t] for _, t in pairs], dtype=int)

    def _graph(self, inputs: GeneInputs, prior: PriorNetwork) -> RelationalGraph | PairGraph | None:
        if not self.config.use_gnn:
            return None
        device = inputs.features.device
        return message_graph(
            torch.from_numpy(np.ascontiguousarray(prior.edge_index)).to(device),
            torch.from_numpy(prior.sign.astype(np.int64)).to(device),
            regulators=inputs.regulators,
            node_type=inputs.node_type,
        )

    def _fitted(self) -> tuple[GeneInputs, PriorNetwork]:
        if self._inputs is None or self.prior is None:
            msg = "This model is not fitted. Call `.fit()` or load one with `ScTransNet.load(folder)`."
            raise ArgumentError(msg)
        return self._inputs, self.prior

    @property
    def regulators(self) -> tuple[str, ...]:
        """Names of the genes scored as regulators."""
        inputs, _ = self._fitted()
        return tuple(self.genes[number] for number in inputs.regulators.tolist())

    def __repr__(self) -> str:
        if self._inputs is None:
            return "ScTransNet(not fitted)"
        return (
            f"ScTransNet({len(self.regulators):,} regulators × {len(self.genes):,} genes, "
            f"{len(self._members)} model{'s' if len(self._members) > 1 else ''}, seed {self.seed})"
        )

    # ---------------------------------------------------------------- files

    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write the fitted model: tensors to ``model.safetensors``, everything else to ``model.json``.

        The folder appears complete or not at all: it is written beside its final place and then moved there.

        Parameters
        ----------
        folder
            Where to write.
        overwrite
            Replace a folder that is there already.
        """
        inputs, prior = self._fitted()
        if Path(folder).exists() and not overwrite:
            msg = f"{str(folder)!r} exists already. Pass overwrite=True to replace it."
            raise ArgumentError(msg)
        tensors = {f"inputs.{name}": value for name, value in inputs.state_dict().items()}
        for number, member in enumerate(self._members):
            tensors |= {f"models.{number}.{name}": value for name, value in member.module.state_dict().items()}
        tensors["prior.edge_index"] = torch.from_numpy(np.ascontiguousarray(prior.edge_index))
        tensors["prior.sign"] = torch.from_numpy(prior.sign.copy())
        tensors["prior.weight"] = torch.from_numpy(prior.weight.copy())
        record = {
            "config": asdict(self.config),
            "genes": list(self.genes),
            "prior_sha256": prior.sha256(),
            "prior_report": dict(prior.report),
            "seed": self.seed,
            "members": [{"history": m.history, "best_epoch": m.best_epoch} for m in self._members],
        }
        write_model_folder(folder, tensors, record)

    @classmethod
    def load(cls, folder: str | Path, *, device: str | None = None) -> ScTransNet:
        """Read a model that :meth:`save` wrote.

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
        """
        record, tensors = read_model_folder(folder)
        where = resolve_device(device)
        try:
            check_tensors(tensors, len(record["genes"]))
            model = cls._from_record(record, tensors, where)
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            msg = f"The model in {str(folder)!r} does not fit its own description: {error}"
            raise WeightsError(msg) from error
        if model.prior is None or model.prior.sha256() != record.get("prior_sha256"):
            msg = f"The prior network in {str(folder)!r} is not the one that its hash was made of."
            raise WeightsError(msg)
        return model

    @classmethod
    def _from_record(cls, record: dict[str, Any], tensors: dict[str, Tensor], device: str) -> ScTransNet:
        settings = dict(record["config"])
        settings["gnn_widths"] = tuple(settings["gnn_widths"])
        model = cls(ScTransNetConfig(**settings))
        inputs = {name.removeprefix("inputs."): t for name, t in tensors.items() if name.startswith("inputs.")}
        inputs.setdefault("embedding", None)  # type: ignore[arg-type]
        features, embedding = inputs.pop("features"), inputs.pop("embedding")
        model.genes = tuple(record["genes"])
        model.seed = record["seed"]
        model.prior = PriorNetwork(
            model.genes,
            tensors["prior.edge_index"].numpy(),
            tensors["prior.sign"].numpy(),
            tensors["prior.weight"].numpy(),
            record["prior_report"],
        )
        model._inputs = GeneInputs(features, embedding, **inputs).to(device)
        for number, member in enumerate(record["members"]):
            prefix = f"models.{number}."
            state = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
            module = model._build(features.shape[1], 0 if embedding is None else embedding.shape[1], 0.0)
            module.load_state_dict(state, strict=True)
            model._members.append(_Member(module.to(device).eval(), member["history"], member["best_epoch"]))
        if not model._members:
            msg = "it has no members."
            raise WeightsError(msg)
        return model
