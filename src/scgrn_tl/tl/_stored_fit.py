"""A fit of ``fit_grn``, read back from what it left, so that it can be run again on other cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scgrn_tl.core import ArgumentError, EdgeSplit, PriorNetwork, SplitError, spawn_seeds
from scgrn_tl.get._slots import n_renamed, read_network, read_record, stored_prior

from ._fitted_embedding import data_record, mean_expression

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from scipy import sparse

    from scgrn_tl.core import GRNTask
    from scgrn_tl.methods import Method

__all__ = ["StoredFit", "read_stored_fit"]

_SAME_MEAN = 1e-5
"""Relative: sums of the same float32 values, stored in another order."""


@dataclass(frozen=True, eq=False)
class StoredFit:
    """What a network was fitted with.

    Attributes
    ----------
    entry, params, n_models
        The method, its parameters, and how many models are averaged.
    network
        ``varp[key]``.
    prior, split
        The known edges, none of a test part among them, and the pairs that were trained and validated on.
    regulators
        Names of the genes that were scored as regulators.
    reps
        Keys of the gene embeddings in ``varm``.
    layer
        Of the expression; ``X`` if ``None``.
    mean_expression
        Over genes and cells, as the method saw it; ``None`` of a version that did not note it.
    seconds
        What the fit took.
    """

    entry: Method
    params: dict[str, Any]
    n_models: int
    network: sparse.csr_matrix
    prior: PriorNetwork
    split: EdgeSplit
    regulators: list[str]
    reps: tuple[str, ...]
    layer: str | None
    mean_expression: float | None
    seconds: float

    def check_expression(self, task: GRNTask) -> None:
        """Raise :class:`ArgumentError` where ``task`` holds other expression than the fit saw, normalised since."""
        before, now = self.mean_expression, mean_expression(task)
        if before is not None and not np.isclose(now, before, rtol=_SAME_MEAN, atol=0):
            where = "adata.X" if self.layer is None else f"layers[{self.layer!r}]"
            msg = (
                f"{where} was changed since the network was fitted: its mean, logged, was {before:.6g}, is {now:.6g}. "
                "Run `sg.tl.fit_grn` again, or put back what it was fitted to."
            )
            raise ArgumentError(msg, page="trust")


def read_stored_fit(adata: AnnData, key: str, split: EdgeSplit | None) -> StoredFit:
    """The fit whose network is stored under ``key``.

    Parameters
    ----------
    adata
        Cells × genes, as they were when the network was fitted.
    key
        ``key_added`` of :func:`scgrn_tl.tl.fit_grn`.
    split
        The split that the fit was given; ``None`` where it made its own.

    Raises
    ------
    MissingKeyError
        If there is no such network or no record beside it.
    ArgumentError
        If the network is of another kind, or the data have changed since.
    SplitError
        If the split of the fit is not known, or is not ``split``.
    """
    from scgrn_tl import methods

    network, record = read_network(adata, key), read_record(adata, key)
    params: Mapping[str, Any] = record.get("params", {})
    entry = methods.get(str(params["method"])) if "method" in params else None
    if entry is None or not entry.supervised:
        msg = (
            f".varp[{key!r}] was not fitted to known edges, and has no probabilities of which evidence could be given. "
            "Run `sg.tl.fit_grn(adata, prior)`; `sg.tl.infer_grn(n_models=…)` gives the spread of its scores."
        )
        raise ArgumentError(msg, page="trust")
    _check_is_plain(record, params, key)
    reps = tuple(np.atleast_1d(params.get("use_rep", [])).astype(str).tolist())
    _check_data(adata, record, key, reps)
    frame = stored_prior(adata, key)
    if frame is None or "trained_on" not in frame:
        msg = f".uns[{key!r}] does not tell which edges were trained on. Run `sg.tl.fit_grn` again."
        raise ArgumentError(msg, page="trust")
    prior = PriorNetwork.from_any(frame, adata.var_names, min_edges=1, min_regulators=1)
    return StoredFit(
        entry=entry,
        params=_method_parameters(entry, params),
        n_models=int(params.get("n_models", 1)),
        network=network.matrix,
        prior=prior,
        split=_split_of(prior, frame, params, split, key),
        regulators=network.genes[network.is_regulator].astype(str).tolist(),
        reps=reps,
        layer=None if params.get("layer") is None else str(params["layer"]),
        mean_expression=record["data"].get("mean_expression"),
        seconds=float(record.get("seconds", np.nan)),
    )


def _check_is_plain(record: Mapping[str, Any], params: Mapping[str, Any], key: str) -> None:
    """Raise for networks that are not one fit to the cells."""
    if "transfer" in record:
        msg = (
            f".varp[{key!r}] is of a model that was fitted to other data (`sg.tl.transfer_grn`): nothing was fitted to "
            "these cells. Ask for the evidence where the model was fitted, or fit here: `sg.tl.fit_grn(adata, prior)`."
        )
        raise ArgumentError(msg, page="trust")
    if "group" in params:
        msg = (
            f".varp[{key!r}] is the network of a group of cells, which is pooled with that of all cells. Ask for the "
            "evidence of all cells' network, or fit to the group alone: `sg.tl.fit_grn(adata[cells].copy(), prior)`."
        )
        raise ArgumentError(msg, page="trust")
    if bool(params.get("joint", False)):
        msg = (
            f".varp[{key!r}] was fitted with joint=True, which trains the encoder along: every resample would have to "
            "train it anew. Fit with joint=False, or keep the encoder (`joint_to=`) and fit to its embedding."
        )
        raise ArgumentError(msg, page="trust")


def _check_data(adata: AnnData, record: Mapping[str, Any], key: str, reps: tuple[str, ...]) -> None:
    """Raise unless cells, genes and embeddings are those of the fit."""
    data = record.get("data", {})
    if not data or n_renamed(adata, key):
        msg = f"Genes were renamed, or an older version fitted .varp[{key!r}]. Run `sg.tl.fit_grn` again."
        raise ArgumentError(msg, page="trust")
    for name, found, what in (("n_cells", adata.n_obs, "cells"), ("n_genes", adata.n_vars, "genes")):
        if int(data[name]) != found:
            msg = (
                f".varp[{key!r}] was fitted to {int(data[name]):,} {what}, and there are {found:,}: resamples would be "
                "of other data than the network. Run `sg.tl.fit_grn` again."
            )
            raise ArgumentError(msg, page="trust")
    now = data_record(adata, reps).get("embedding_sha256", [])
    before = np.atleast_1d(data.get("embedding_sha256", [])).astype(str).tolist()
    if changed := [rep for rep, one, other in zip(reps, now, before, strict=True) if one != other]:
        msg = f"varm[{changed[0]!r}] was changed since the network was fitted with it: run `sg.tl.fit_grn` again."
        raise ArgumentError(msg, page="trust")


def _method_parameters(entry: Method, params: Mapping[str, Any]) -> dict[str, Any]:
    """The method's own parameters, as Python's types again; those that were ``None`` are not in the record."""
    found = {name: params[name] for name in entry.parameters if name in params and name != "n_models"}
    plain = {}
    for name, value in found.items():
        if isinstance(value, np.ndarray):
            value = tuple(value.tolist())
        plain[name] = value.item() if isinstance(value, np.generic) else value
    return plain


def _split_of(
    prior: PriorNetwork, frame: Any, params: Mapping[str, Any], split: EdgeSplit | None, key: str
) -> EdgeSplit:
    """The split, checked against the edges that the record says were trained and validated on."""
    from scgrn_tl.core.edge_splits import split_edges

    given = split is not None
    if split is None:
        if "rng" not in params:
            msg = (
                f".varp[{key!r}] was fitted with a generator as rng, so that its split cannot be drawn again. Pass "
                "the split that the fit was given, or fit with a seed: `sg.tl.fit_grn(…, rng=0)`."
            )
            raise SplitError(msg, page="trust")
        (seed,) = spawn_seeds(int(params["rng"]), 1)
        fraction = float(params["validation_fraction"])
        split = split_edges(prior, validation_fraction=fraction, test_fraction=0.0, rng=seed)
    elif not isinstance(split, EdgeSplit):
        msg = f"split is an EdgeSplit, such as `sg.bm.split_edges` makes; not a {type(split).__name__}."
        raise ArgumentError(msg, page="trust")
    split.check_genes(prior.genes)
    names = frame[["source", "target"]].astype(str).to_numpy()
    is_trained = frame["trained_on"].to_numpy(dtype=bool)
    genes = np.asarray(prior.genes, dtype=object)
    same = all(
        set(map(tuple, genes[part.positives])) == set(map(tuple, names[chosen]))
        for part, chosen in ((split.train, is_trained), (split.validation, ~is_trained))
    )
    if not same:
        msg = (
            f"The split given is not the one that .varp[{key!r}] was fitted with: their edges differ. "
            "Pass the one that it was given, or fit again with this one."
            if given
            else f"The split that .varp[{key!r}] was fitted with is not stored: pass the one that `fit_grn` was given."
        )
        raise SplitError(msg, page="trust")
    return split
