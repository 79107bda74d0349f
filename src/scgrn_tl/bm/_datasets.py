"""What is benchmarked on: expression, known edges, and pairs to train, validate and test on."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd

from scgrn_tl.core import (
    ArgumentError,
    EdgeSplit,
    MissingKeyError,
    PriorNetwork,
    genes_by_cells,
    read_embedding,
    read_pseudotime,
)
from scgrn_tl.core.edge_splits import split_edges
from scgrn_tl.core.names import did_you_mean

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["BenchmarkDataset", "NamedSplit", "SplitSpec", "named_splits", "resolve_datasets"]

SplitSpec = Literal["given", "random", "tf", "target", "both"]

_BEELINE_NAME = re.compile(r"(?P<cell_type>.+?)(?P<n_genes>500|1000)(?:-(?P<network>[a-z-]+))?", re.IGNORECASE)
TRUTH = "ground_truth"


@dataclass(frozen=True, eq=False)
class BenchmarkDataset:
    """Cells with a network to be found again.

    Attributes
    ----------
    name
        As it stands in the results.
    adata
        Cells × genes.
    prior
        The known edges.
    beeline
        Arguments of :func:`scgrn_tl.datasets.beeline_split`, where there are published splits.
    """

    name: str
    adata: AnnData
    prior: PriorNetwork
    beeline: tuple[str, int, str] | None = None

    @cached_property
    def expression(self) -> np.ndarray:
        """``float32 (G, N)``, log-normalised."""
        return genes_by_cells(self.adata)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of genes, expression and known edges: results of other data are not taken for those of these."""
        digest = hashlib.sha256("\n".join(self.prior.genes).encode())
        digest.update(self.prior.sha256().encode())
        digest.update(self.expression.tobytes())
        return digest.hexdigest()[:16]

    @property
    def candidate_regulators(self) -> np.ndarray:
        """Gene indices of the regulators for unsupervised methods: ``var["is_tf"]`` and the known ones."""
        known = self.prior.regulators
        if "is_tf" not in self.adata.var:
            return known
        return np.union1d(known, np.flatnonzero(self.adata.var["is_tf"].to_numpy(dtype=bool)))

    @cached_property
    def pseudotime(self) -> np.ndarray | None:
        """``obs["dpt_pseudotime"]``, else the place of each cell's ``obs["stage"]`` if that is ordered; or ``None``."""
        if "dpt_pseudotime" in self.adata.obs:
            return read_pseudotime(self.adata, ["dpt_pseudotime"])
        stage = self.adata.obs.get("stage")
        if stage is None or not isinstance(stage.dtype, pd.CategoricalDtype) or not stage.cat.ordered:
            return None
        places = stage.cat.codes.to_numpy().astype(np.float64)
        return np.where(places < 0, np.nan, places)

    @cached_property
    def _embedding_hashes(self) -> dict[str, str]:
        return {}

    def embedding_hash(self, key: str) -> str:
        """Hash of ``varm[key]``."""
        if key not in self._embedding_hashes:
            self._embedding_hashes[key] = hashlib.sha256(read_embedding(self.adata, key).tobytes()).hexdigest()[:16]
        return self._embedding_hashes[key]


@dataclass(frozen=True, eq=False)
class NamedSplit:
    """A split with its place in the results: kind and number."""

    kind: str
    fold: int
    pairs: EdgeSplit

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all its pairs and labels."""
        digest = hashlib.sha256()
        for part in (self.pairs.train, self.pairs.validation, self.pairs.test):
            digest.update(np.int64(len(part)).tobytes() + part.pairs.tobytes() + part.labels.tobytes())
        return digest.hexdigest()[:16]


def resolve_datasets(datasets: Any) -> list[BenchmarkDataset]:
    """Datasets out of names, AnnData, .h5ad files, or a mapping from names to these.

    Raises
    ------
    ArgumentError
        If a name is unknown, a file is not there, something is no AnnData, or two have the same name.
    MissingKeyError
        If an AnnData has no known edges.
    """
    from anndata import AnnData

    if isinstance(datasets, (str, os.PathLike, AnnData)):
        datasets = [datasets]
    if isinstance(datasets, Mapping):
        named = [(str(name), value) for name, value in datasets.items()]
    elif isinstance(datasets, Sequence):
        named = [("", value) for value in datasets]
    else:
        msg = f"datasets is a name, an AnnData, a list or a mapping of them; not a {type(datasets).__name__}."
        raise ArgumentError(msg, page="benchmark")
    if not named:
        msg = "No dataset is given: datasets is empty. Name one, such as 'simulated', or give an AnnData."
        raise ArgumentError(msg, page="benchmark")
    found = [_resolve(name, value) for name, value in named]
    names = [dataset.name for dataset in found]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        msg = f"Two datasets are called {repeated[0]!r}: name them by a mapping, `{{'mine': adata, …}}`."
        raise ArgumentError(msg, page="benchmark")
    return found


def _resolve(name: str, value: Any) -> BenchmarkDataset:
    from scgrn_tl import datasets

    beeline = None
    if isinstance(value, (str, os.PathLike)) and Path(value).suffix == ".h5ad":
        adata, name = _read(Path(value).expanduser()), name or Path(value).stem
    elif isinstance(value, str):
        if value == "simulated":
            adata, name = datasets.simulated(), name or value
        else:
            match = _BEELINE_NAME.fullmatch(value)
            if match is None:
                hint = did_you_mean(value, _known_names())
                msg = (
                    f"There is no dataset {value!r}.{hint} BEELINE's are called 'hHEP500', 'mDC1000' or "
                    "'hESC500-string'; 'simulated' is another. Your own is an AnnData, or an .h5ad file, with the "
                    "known edges in .uns['ground_truth']."
                )
                raise ArgumentError(msg, page="benchmark")
            adata = datasets.beeline(match["cell_type"], int(match["n_genes"]), match["network"] or "specific")  # type: ignore[arg-type]
            about = adata.uns["beeline"]
            beeline = about["cell_type"], about["n_genes"], about["network"]
            network = "" if about["network"] == "specific" else f"-{about['network']}"
            name = name or f"{about['cell_type']}{about['n_genes']}{network}"
    else:
        adata, name = value, name or "data"
    if not hasattr(adata, "var_names"):
        msg = f"A dataset is a name or an AnnData, not a {type(adata).__name__}."
        raise ArgumentError(msg, page="benchmark")
    if TRUTH not in adata.uns:
        msg = (
            f"Did not find .uns[{TRUTH!r}] in {name!r}: the known edges, a DataFrame of source and target. "
            f"Set `adata.uns[{TRUTH!r}] = edges`, with columns 'source' and 'target'."
        )
        raise MissingKeyError(msg, page="benchmark")
    prior = PriorNetwork.from_any(adata.uns[TRUTH], adata.var_names)
    return BenchmarkDataset(name, adata, prior, beeline)


def _read(path: Path) -> AnnData:
    from anndata import read_h5ad

    if not path.is_file():
        msg = (
            f"The dataset {str(path)!r} is not there, or is no file. "
            "Give the path of an .h5ad file, an AnnData, or a name such as 'hHEP500'."
        )
        raise ArgumentError(msg, page="benchmark")
    return read_h5ad(path)


def _known_names() -> list[str]:
    from scgrn_tl.datasets._beeline import CELL_TYPES

    return ["simulated", *(f"{cell_type}{n_genes}" for cell_type in CELL_TYPES for n_genes in (500, 1000))]


def named_splits(
    dataset: BenchmarkDataset,
    splits: str | Sequence[str] | Mapping[str, EdgeSplit | Sequence[EdgeSplit]] | None,
    *,
    n_samples: int,
    n_folds: int,
) -> list[NamedSplit]:
    """The splits of a dataset: of each kind its folds, or samples, or those handed over.

    Without a kind, the published ones of a dataset that has them, and random ones of any other.

    Raises
    ------
    ArgumentError
        If a kind is unknown, or ``"given"`` is asked of a dataset without published splits.
    SplitError
        If a split is impossible, or of other genes.
    """
    if isinstance(splits, Mapping):
        made = []
        for kind, given in splits.items():
            for fold, split in enumerate([given] if isinstance(given, EdgeSplit) else given):
                split.check_genes(dataset.prior.genes)
                made.append(NamedSplit(str(kind), fold, split))
        return made
    if splits is None:
        splits = "random" if dataset.beeline is None else "given"
    kinds = [splits] if isinstance(splits, str) else splits
    return [split for kind in kinds for split in _of_kind(dataset, kind, n_samples, n_folds)]


def _of_kind(dataset: BenchmarkDataset, kind: str, n_samples: int, n_folds: int) -> list[NamedSplit]:
    from scgrn_tl import datasets

    if kind not in get_args(SplitSpec):
        msg = f"splits are of the kinds {', '.join(map(repr, get_args(SplitSpec)))}, not {kind!r}."
        raise ArgumentError(msg, page="benchmark")
    if kind == "given":
        if dataset.beeline is None:
            msg = (
                f"{dataset.name!r} has no published splits: use splits='random', or hand over your own as a mapping, "
                "`splits={'mine': split}`."
            )
            raise ArgumentError(msg, page="benchmark")
        cell_type, n_genes, network = dataset.beeline
        samples = range(1, n_samples + 1)
        return [
            NamedSplit(kind, sample, datasets.beeline_split(cell_type, n_genes, sample, network=network))  # type: ignore[arg-type]
            for sample in samples
        ]
    if kind == "random":
        return [NamedSplit(kind, fold, split_edges(dataset.prior, kind=kind, rng=fold)) for fold in range(n_samples)]  # type: ignore[arg-type]
    return [
        NamedSplit(kind, fold, split_edges(dataset.prior, kind=kind, fold=fold, n_folds=n_folds, rng=0))  # type: ignore[arg-type]
        for fold in range(n_folds)
    ]
