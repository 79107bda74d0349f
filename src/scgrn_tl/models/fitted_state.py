"""All that a fitted scTransNet consists of, and its way into a folder and back."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scgrn_tl.core.embedding_source import EmbeddingSource
from scgrn_tl.core.network import PriorNetwork

from .ensemble_member import Member
from .fit_summary import FitSummary
from .input_scales import InputScales
from .sctransnet import GeneInputs, ScTransNetConfig, ScTransNetModule

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["FittedState", "present_versions", "state_from_files"]


@dataclass(frozen=True, eq=False)
class FittedState:
    """A fitted model.

    Attributes
    ----------
    config, genes, prior, seed
        See :class:`~scgrn_tl.models.ScTransNet`.
    inputs, members
        What is known of the genes, and the networks.
    scales
        How the inputs were standardised; ``None`` of a file of format 1, which does not tell.
    sources
        Where the gene embeddings came from; empty without one.
    summary
        Calibration, and metrics on the validation pairs.
    data
        Counts of what was fitted to; plain numbers.
    description
        What somebody wrote of the model when it was saved.
    versions
        Of the packages that it was fitted with.
    """

    config: ScTransNetConfig
    genes: tuple[str, ...]
    prior: PriorNetwork
    seed: int | None
    inputs: GeneInputs
    members: list[Member]
    scales: InputScales | None
    sources: tuple[EmbeddingSource, ...]
    summary: FitSummary
    data: dict[str, Any]
    description: str
    versions: dict[str, str]

    @property
    def regulators(self) -> tuple[str, ...]:
        """Names of the genes scored as regulators."""
        return tuple(self.genes[number] for number in self.inputs.regulators.tolist())

    @property
    def reads_expression(self) -> bool:
        """Whether genes' expression is read, by the graph or by the pair effects."""
        return self.config.use_gnn or self.inputs.by_expression is not None

    def tensors(self) -> dict[str, Tensor]:
        """Name → tensor."""
        tensors = {f"inputs.{name}": value for name, value in self.inputs.state_dict().items()}
        for number, member in enumerate(self.members):
            tensors |= member.tensors(number, self.inputs)
        tensors["prior.edge_index"] = torch.from_numpy(np.ascontiguousarray(self.prior.edge_index))
        tensors["prior.sign"] = torch.from_numpy(self.prior.sign.copy())
        tensors["prior.weight"] = torch.from_numpy(self.prior.weight.copy())
        return tensors | ({} if self.scales is None else self.scales.tensors())

    def record(self) -> dict[str, Any]:
        """Everything else, as json takes it."""
        return {
            "config": asdict(self.config),
            "genes": list(self.genes),
            "prior_sha256": self.prior.sha256(),
            "prior_report": dict(self.prior.report),
            "seed": self.seed,
            "members": [{"history": m.history, "best_epoch": m.best_epoch} for m in self.members],
            "scales": None if self.scales is None else self.scales.record(),
            "embeddings": [asdict(source) for source in self.sources],
            **self.summary.record(),
            "data": self.data,
            "description": self.description,
            "versions": self.versions,
        }


def present_versions() -> dict[str, str]:
    """Of this package and of those that a fit depends on."""
    from scgrn_tl import __version__

    others = {name: version(name) for name in ("torch", "torch-geometric", "numpy")}
    return {"scgrn_tl": __version__, "python": platform.python_version(), **others}


def state_from_files(record: dict[str, Any], tensors: dict[str, Tensor], device: str) -> FittedState:
    """What :meth:`FittedState.record` and :meth:`FittedState.tensors` gave, put on a device.

    Of format 1, which has neither scales nor calibration nor versions, the rest.
    """
    settings = dict(record["config"])
    settings["gnn_widths"] = tuple(settings["gnn_widths"])
    if record["format_version"] < 3:  # pair effects were hub rates
        settings |= {"latent_factors": 0, "expression_effects": False}
    config = ScTransNetConfig(**settings)
    inputs = {name.removeprefix("inputs."): t for name, t in tensors.items() if name.startswith("inputs.")}
    inputs.setdefault("embedding", None)  # type: ignore[arg-type]
    features, embedding = inputs.pop("features"), inputs.pop("embedding")
    genes = tuple(record["genes"])
    shared = GeneInputs(features, embedding, **inputs).to(device)
    width = 0 if embedding is None else embedding.shape[1]
    members = []
    for number, of_member in enumerate(record["members"]):
        prefix = f"models.{number}."
        state = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
        module = ScTransNetModule(features.shape[1], width, base=0.0, config=config)
        module.load_state_dict(state, strict=True)
        own = tensors.get(f"embeddings.{number}")
        gene_inputs = shared if own is None else shared.with_embedding(own)
        members.append(Member(module.to(device).eval(), gene_inputs, of_member["history"], of_member["best_epoch"]))
    if not members:
        msg = "it has no members."
        raise ValueError(msg)
    scales = record.get("scales")
    return FittedState(
        config=config,
        genes=genes,
        prior=PriorNetwork(
            genes,
            tensors["prior.edge_index"].numpy(),
            tensors["prior.sign"].numpy(),
            tensors["prior.weight"].numpy(),
            record["prior_report"],
        ),
        seed=record["seed"],
        inputs=shared,
        members=members,
        scales=None if scales is None else InputScales.restore(scales, tensors),
        sources=tuple(EmbeddingSource(**source) for source in record.get("embeddings", [])),
        summary=FitSummary.restore(record),
        data=dict(record.get("data", {})),
        description=str(record.get("description", "")),
        versions=dict(record.get("versions", {"scgrn_tl": str(record.get("scgrn_tl_version"))})),
    )
