"""What is benchmarked: a method, with its parameters and the gene embedding it is given."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scgrn_tl import methods as registry
from scgrn_tl.core import ArgumentError
from scgrn_tl.core.gene_embedding import embedding_keys

if TYPE_CHECKING:
    from scgrn_tl.methods import Method

__all__ = ["ABLATION", "BASELINE", "MEAN_POOLING", "WITH_ENCODER", "Variant", "resolve_methods"]

BASELINE = "hub_floor"
WITH_ENCODER = "with encoder"
MEAN_POOLING = "with encoder, mean pooling"

ABLATION: Mapping[str, Mapping[str, Any]] = {
    "full": {"method": "sctransnet"},
    "w/o hub terms": {"method": "sctransnet", "hub_terms": False},
    "w/o latent factors": {"method": "sctransnet", "latent_factors": 0},
    "w/o expression effects": {"method": "sctransnet", "expression_effects": False},
    "w/o GNN": {"method": "sctransnet", "use_gnn": False},
    WITH_ENCODER: {"method": "sctransnet", "use_rep": "scbert"},
    MEAN_POOLING: {"method": "sctransnet", "use_rep": "scbert_mean"},
    "permuted expression": {"method": "permuted_expression"},
    "random encoder": {"method": "random_encoder"},
    BASELINE: {"method": BASELINE},
}
"""scTransNet, what is left of it without each of its parts, what the paper's encoder adds, and two controls."""


@dataclass(frozen=True)
class Variant:
    """A row's worth of method.

    Attributes
    ----------
    label
        As it stands in the results.
    method
        Name in the registry.
    use_rep
        Key of the gene embedding in ``varm``, or keys of several; ``None`` for none, or for the one that the method
        does not do without.
    n_models
        Runs from different seeds that are averaged.
    params
        The method's own parameters that differ from their defaults.
    """

    label: str
    method: str
    use_rep: str | Sequence[str] | None = None
    n_models: int = 1
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def entry(self) -> Method:
        """The method."""
        return registry.get(self.method)

    @property
    def embeddings(self) -> tuple[str, ...]:
        """Keys of the embeddings that the method will be given, if it reads any."""
        use_rep = self.entry.default_rep if self.use_rep is None else self.use_rep
        return embedding_keys(use_rep) if self.entry.uses_embedding else ()

    def described(self) -> str:
        """All that tells two variants of one label apart, as JSON."""
        keys = self.embeddings
        use_rep = list(keys) if len(keys) > 1 else keys[0] if keys else None
        about = {"method": self.method, "use_rep": use_rep, "n_models": self.n_models, **self.params}
        return json.dumps({key: about[key] for key in sorted(about)}, default=str)


def resolve_methods(methods: Any) -> list[Variant]:
    """Variants out of ``"all"``, names, or a mapping from labels to names or to settings.

    The hub floor is put at the end where it is not among them.

    Raises
    ------
    ArgumentError
        If a method or a parameter is unknown, before anything runs.
    """
    if isinstance(methods, str):
        methods = registry.names() if methods == "all" else [methods]
    if isinstance(methods, Mapping):
        variants = [_variant(str(label), settings) for label, settings in methods.items()]
    elif isinstance(methods, Sequence):
        variants = [_variant(str(name), str(name)) for name in methods]
    else:
        msg = f"methods is 'all', a name, a list of names, or a mapping; not a {type(methods).__name__}."
        raise ArgumentError(msg)
    labels = [variant.label for variant in variants]
    if repeated := sorted({label for label in labels if labels.count(label) > 1}):
        msg = f"Two methods have the label {repeated[0]!r}. Name them by a mapping, `{{'one': …, 'other': …}}`."
        raise ArgumentError(msg)
    if wrong := [variant.method for variant in variants if variant.label == BASELINE != variant.method]:
        msg = (
            f"{BASELINE!r} is the label of what all are held against, and cannot be given to {wrong[0]!r}. "
            "Choose another label."
        )
        raise ArgumentError(msg)
    if BASELINE not in labels:
        variants.append(_variant(BASELINE, BASELINE))
    for variant in variants:
        variant.entry.check_parameters(variant.params, n_models=variant.n_models)
        embedding_keys(variant.use_rep)
    return variants


def _variant(label: str, settings: str | Mapping[str, Any]) -> Variant:
    if isinstance(settings, str):
        return Variant(label, registry.get(settings).name)
    params = dict(settings)
    if "method" not in params:
        msg = f"{label!r} does not say which method it is: give {{'method': …, …}}."
        raise ArgumentError(msg)
    return Variant(
        label,
        registry.get(params.pop("method")).name,
        use_rep=params.pop("use_rep", None),
        n_models=params.pop("n_models", 1),
        params=params,
    )
