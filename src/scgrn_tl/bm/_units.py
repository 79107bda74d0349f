"""What a benchmark has to do, run by run."""

from __future__ import annotations

import hashlib
import inspect
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scgrn_tl.core import ArgumentError, GRNTask, MissingKeyError, read_embedding
from scgrn_tl.core.gene_embedding import JoinedEmbedding, join_embeddings

from ._work import EMBEDDINGS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ._datasets import BenchmarkDataset, NamedSplit
    from ._variants import Variant

__all__ = ["Unit", "make_units"]


@dataclass(frozen=True, eq=False)
class Unit:
    """One run of a method, and the splits that it is judged on.

    Attributes
    ----------
    dataset, variant, seed
        What is run.
    splits
        One for a method that learns; all that are asked for of one that does not.
    weights
        Where the gene embedding comes from; empty if none is read.
    """

    dataset: BenchmarkDataset
    variant: Variant
    seed: int
    splits: tuple[NamedSplit, ...]
    weights: str

    def rows(self) -> list[dict[str, Any]]:
        """What tells its rows from all others: the :data:`~scgrn_tl.bm._results_folder.KEY` columns, split by split."""
        return [
            {
                "dataset": self.dataset.name,
                "data": self.dataset.fingerprint,
                "method": self.variant.label,
                "params": self.variant.described(),
                "split": split.kind,
                "fold": split.fold,
                "seed": self.seed,
                "weights": self.weights,
                "inputs": _digest(self._inputs(), self._regulators().tolist(), split.fingerprint),
            }
            for split in self.splits
        ]

    def _inputs(self) -> list[Any]:
        """What the result depends on beside the columns: all parameters, defaults too, and what the AnnData gives."""
        entry, varm = self.variant.entry, self.dataset.adata.varm
        settings = {**entry.parameters, **self.variant.params}
        embedding = "+".join(self.dataset.embedding_hash(key) for key in self.variant.embeddings if key in varm)
        return [json.loads(json.dumps(settings, default=str, sort_keys=True)), embedding, self._pseudotime_hash()]

    def _pseudotime_hash(self) -> str:
        try:
            time = self.dataset.pseudotime if self.variant.entry.uses_pseudotime else None
        except ArgumentError:  # its run will say so, and others go on
            return "unusable"
        return "" if time is None else hashlib.sha256(time.tobytes()).hexdigest()[:16]

    def task(self, device: str) -> GRNTask:
        """What the method may see, but for an embedding and a preparation that are made elsewhere."""
        dataset, split = self.dataset, self.splits[0].pairs
        supervised = self.variant.entry.supervised
        in_varm = bool(self.variant.embeddings) and self.embedding_name is None
        embedding = self.embedding() if in_varm else None
        return GRNTask(
            expression=dataset.expression,
            genes=dataset.prior.genes,
            regulators=self._regulators(),
            prior=dataset.prior if supervised else None,
            split=split if supervised else None,
            embedding=None if embedding is None else embedding.values,
            embedding_widths=() if embedding is None else embedding.widths,
            seed=self.seed,
            device=device,
            n_jobs=1,
            pseudotime=dataset.pseudotime if self.variant.entry.uses_pseudotime else None,
        )

    def embedding(self, made: Mapping[str, np.ndarray] | None = None) -> JoinedEmbedding:
        """The embeddings that the method is given: those of the AnnData, the others out of those ``made``."""
        adata = self.dataset.adata
        return join_embeddings(
            [read_embedding(adata, key) if key in adata.varm else (made or {})[key] for key in self.variant.embeddings]
        )

    @property
    def embedding_name(self) -> str | None:
        """Name under which the embedding is kept; ``None`` if it needs none, or the AnnData has all."""
        if all(key in self.dataset.adata.varm for key in self.variant.embeddings):
            return None
        return f"embedding-{_digest(self.dataset.fingerprint, self.weights, self.seed)}"

    @property
    def preparation_name(self) -> str | None:
        """Name under which what the method prepares is kept; ``None`` if nothing, or anew for each model."""
        entry, variant = self.variant.entry, self.variant
        if entry.prepare is None or (variant.n_models > 1 and "n_models" not in entry.parameters):
            return None
        read = inspect.signature(entry.prepare).parameters
        params, embedding, pseudotime = self._inputs()
        params = {name: value for name, value in params.items() if name in read}
        return self._name("prepared", variant.method, params, embedding, pseudotime)

    @property
    def scores_name(self) -> str | None:
        """Name under which all scores of a method that does not learn are kept; ``None`` for one that does."""
        if self.variant.entry.supervised:
            return None
        return self._name("scores", self.variant.described(), self.weights, self._inputs())

    def _name(self, what: str, *parts: Any) -> str:
        return f"{what}-{_digest(self.dataset.fingerprint, self.seed, self._regulators().tolist(), *parts)}"

    def _regulators(self) -> np.ndarray:
        """Gene indices of the regulators to score: for a method that learns, those with a known target."""
        dataset, of_splits = self.dataset, [split.pairs.regulators for split in self.splits]
        known = dataset.prior.regulators if self.variant.entry.supervised else dataset.candidate_regulators
        return np.unique(np.concatenate([known, *of_splits]))


def make_units(
    dataset: BenchmarkDataset,
    variants: Sequence[Variant],
    splits: Sequence[NamedSplit],
    *,
    seeds: Sequence[int],
    weights: str,
) -> list[Unit]:
    """Every run on a dataset. A deterministic method runs with the first seed alone.

    Raises
    ------
    MissingKeyError
        If a variant names an embedding that is neither there nor can be made.
    """
    units: list[Unit] = []
    for variant in variants:
        keys, entry = variant.embeddings, variant.entry
        missing = [key for key in keys if key not in dataset.adata.varm]
        for key in missing:
            if key not in EMBEDDINGS:
                msg = f"Did not find .varm[{key!r}] in {dataset.name!r}. Keys of .varm: {sorted(dataset.adata.varm)}."
                raise MissingKeyError(msg)
        source = weights if missing else "varm" if keys else ""
        for seed in seeds if entry.stochastic else seeds[:1]:
            groups = [(split,) for split in splits] if entry.supervised else [tuple(splits)]
            units += [Unit(dataset, variant, seed, group, source) for group in groups]
    return units


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
