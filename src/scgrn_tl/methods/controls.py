"""scTransNet robbed of a part of its input: what is left is what that part did not earn."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ._handed_on import with_parameters_of
from ._registry import method
from .sctransnet import check_sctransnet, sctransnet

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scgrn_tl.core.task import GRNScores, GRNTask

__all__ = ["permuted_expression", "random_encoder"]


@method(
    name="permuted_expression",
    role="control",
    supervised=True,
    directed=True,
    stochastic=True,
    uses_embedding=True,
    reference="this package",
    check=check_sctransnet,
)
@with_parameters_of(sctransnet)
def permuted_expression(task: GRNTask, **params: Any) -> GRNScores:
    """ScTransNet with every gene given another gene's expression and embedding.

    The features are the same ones and still tell genes apart, but say nothing about the gene that has them. What
    scTransNet is ahead of this, it owes to what expression says.

    Parameters
    ----------
    task
        As for scTransNet.
    **params
        scTransNet's.

    Returns
    -------
    As scTransNet's.
    """
    other = np.random.default_rng(task.seed).permutation(task.n_genes)
    embedding = None if task.embedding is None else task.embedding[other]
    return sctransnet(replace(task, expression=task.expression[other], embedding=embedding), **params)


def _encode(task: GRNTask) -> Mapping[str, np.ndarray]:
    from scgrn_tl.models.random_encoding import random_encoding

    return {"embedding": random_encoding(task.expression, seed=task.seed, device=task.device)}


@method(
    name="random_encoder",
    role="control",
    supervised=True,
    directed=True,
    stochastic=True,
    reference="this package",
    check=check_sctransnet,
    prepare=_encode,
)
@with_parameters_of(sctransnet)
def random_encoder(task: GRNTask, **params: Any) -> GRNScores:
    """ScTransNet with the embedding of an encoder whose weights are random.

    What scTransNet is ahead of this, it owes to what the encoder has learned.

    Parameters
    ----------
    task
        As for scTransNet; its embedding is not read.
    **params
        scTransNet's.

    Returns
    -------
    As scTransNet's.
    """
    prepared = _encode(task) if task.prepared is None else task.prepared
    return sctransnet(replace(task, embedding=prepared["embedding"], embedding_widths=()), **params)
