"""Calls that `make fuzz` found to end in an error from the depths; findings in priors and files stand with those."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import scgrn_tl as sg
from scgrn_tl.core import ArgumentError, GeneOverlapError, PriorNetwork, ScgrnError, gene_indices, tokenize
from scgrn_tl.models import gene_features

if TYPE_CHECKING:
    from collections.abc import Callable

MANY = [np.zeros((2, 2)), pd.DataFrame({"a": [1, 2]})]  # of which `==` is no single truth


def split_kind(junk: Any) -> None:
    prior = pd.DataFrame({"source": ["A", "B"], "target": ["B", "C"]})
    network = PriorNetwork.from_any(prior, ["A", "B", "C"], min_edges=1, min_regulators=1)
    sg.bm.split_edges(network, kind=junk)


def least_probability(junk: Any) -> None:
    adata = sg.datasets.simulated(12, 20, 4, mean_targets=4, rng=0)
    sg.tl.infer_grn(adata, method="pearson")
    sg.get.grn_df(adata, min_probability=junk)


@pytest.mark.parametrize("junk", MANY, ids=["array", "table"])
@pytest.mark.parametrize(
    ("call", "name"),
    [
        (split_kind, "kind"),
        (lambda junk: gene_features(np.ones((4, 3)), kind=junk), "kind"),
        (least_probability, "min_probability"),
    ],
    ids=["split_edges", "gene_features", "grn_df"],
)
def test_an_array_in_place_of_a_word(call: Callable, name: str, junk: Any) -> None:
    with pytest.raises(ArgumentError, match=name):
        call(junk)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: tokenize(np.ones((3, 4)), np.ones((2, 2))), ArgumentError, r"totals.*\(3,\).*\(2, 2\)"),
        (lambda: gene_indices(["a"], [1]), GeneOverlapError, r"None of the 1 genes \('a'\)"),
    ],
    ids=["totals of other cells", "genes that are numbers"],
)
def test_other_calls(call: Callable, error: type[ScgrnError], words: str) -> None:
    with pytest.raises(error, match=words):
        call()
