"""Gene names of another kind, and priors with too little or too much in them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

import scgrn_tl as sg
from scgrn_tl.core import (
    GeneOverlapError,
    PriorError,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

from reliability_world import HUMAN, N_GENES, World, do_as_told, embed, ensembl, fit, refused

# ------------------------------------------- Ensembl ids where symbols are expected, mouse symbols for the human model


def mouse(names: list[str]) -> list[str]:
    return [name.capitalize() for name in names]


IDENTIFIERS = {
    # names, a column of var, what they look like, what is told to be done
    "Ensembl ids, symbols in var": (ensembl(), HUMAN, "like Ensembl gene ids.", "astype(str)"),
    "Ensembl ids": (ensembl(), None, "like Ensembl gene ids.", "sg.pp.resolve_genes(adata)"),
    "mouse Ensembl ids": (
        ensembl("ENSMUSG", 20_000_000),
        None,
        "like Ensembl gene ids (mouse)",
        'organism="mouse", to="human"',
    ),
    "mouse symbols": (mouse(HUMAN), None, "like mouse gene symbols", 'organism="mouse", to="human"'),
    "numbers": ([str(number) for number in range(N_GENES)], None, "like integers", 'weights="fit"'),
}


@pytest.mark.usefixtures("gene_tables")
@pytest.mark.parametrize("verb", [embed, fit], ids=["scbert_embed", "fit_grn"])
@pytest.mark.parametrize(("names", "column", "looks", "remedy"), IDENTIFIERS.values(), ids=IDENTIFIERS)
def test_other_identifiers(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    verb: Callable,
    names: list[str],
    column: list[str] | None,
    looks: str,
    remedy: str,
) -> None:
    adata = world.adata.copy()
    adata.var_names = names
    if column is not None:
        adata.var["gene_symbols"] = pd.Categorical(column)
    renamed = dict(zip(HUMAN, names, strict=True))
    prior = world.prior.assign(source=world.prior["source"].map(renamed), target=world.prior["target"].map(renamed))
    monkeypatch.setenv("SCGRN_TL_WEIGHTS", str(world.encoder))
    with refused(adata, GeneOverlapError, "0 of 40 genes (0%)", "min_overlap", looks, remedy, "weights=") as message:
        verb(adata, world, **({"weights": "panglao"} if verb is embed else {"prior": prior}))
    if remedy != 'weights="fit"':
        do_as_told(message[0], adata=adata, sg=sg)
        embed(adata, world)
        np.testing.assert_array_equal(adata.varm["scbert"], world.embedded.varm["scbert"])


def test_ensembl_ids_with_an_encoder_of_their_own(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What those are told whose genes cannot be renamed."""
    monkeypatch.setattr("scgrn_tl.models.scbert_model.SEEN_GENES", 1.0)  # two epochs
    adata = world.adata.copy()
    adata.var_names = ensembl()
    renamed = dict(zip(HUMAN, ensembl(), strict=True))
    prior = world.prior.assign(source=world.prior["source"].map(renamed), target=world.prior["target"].map(renamed))
    sg.tl.scbert_embed(adata, weights="fit")
    fit(adata, world, prior=prior)
    assert np.isfinite(adata.varm["scbert"]).all()
    assert adata.uns["grn"]["params"]["use_rep"] == "scbert"
    assert adata.uns["grn"]["params"]["n_genes_without_embedding"] == 0


# --------------------------------------------- prior with unknown genes, duplicates, self loops, conflicting signs


def test_what_is_dropped_from_a_prior_is_counted(world: World, caplog: pytest.LogCaptureFixture) -> None:
    clean = world.prior
    first, second = clean.iloc[0], clean.iloc[1]
    extra = pd.DataFrame(
        [
            ("NOT_THERE", "HBB", 1),
            ("GATA1", "NOT_THERE", 1),
            (None, "HBB", 1),
            ("GATA1", "Hbb", 1),
            ("GATA1", "GATA1", 1),  # loop
            (first["source"], first["target"], 1),  # duplicate
            (second["source"], second["target"], -1),  # contradiction
        ],
        columns=["source", "target", "sign"],
    )
    given = pd.concat([clean, extra], ignore_index=True)
    before, adata = given.copy(), world.embedded.copy()
    with (
        caplog.at_level("INFO", logger="scgrn_tl"),
        pytest.warns(UserWarning, match=r"but for their case, such as 'Hbb' \('HBB'\)"),
    ):
        fit(adata, world, prior=given)
    pd.testing.assert_frame_equal(given, before)
    counts = {
        "edges_given": len(given),
        "unnamed": 1,
        "unknown_regulator": 1,
        "unknown_target": 2,
        "self_loops": 1,
        "duplicates": 2,
        "conflicting_signs": 1,
    }
    assert adata.uns["grn"]["prior_report"] == counts
    for name, count in counts.items():
        assert f"{count} {name.replace('_', ' ')}" in caplog.text
    kept = adata.uns["grn"]["prior"].set_index(["source", "target"])["sign"]
    assert len(kept) == len(clean)
    assert kept[first["source"], first["target"]] == 1
    assert kept[second["source"], second["target"]] == 0


LITTLE_PRIORS = {
    "nine edges": (lambda prior: prior.head(9), "9 edges of"),
    "one TF": (lambda _: pd.DataFrame({"source": "GATA1", "target": HUMAN[1:20]}), "19 edges of 1 regulators"),
    "nine edges after cleaning": (
        lambda prior: pd.concat([prior.head(9), prior.head(9), prior.head(9).assign(target="NOT_THERE")]),
        "9 unknown target, 9 duplicates",
    ),
    "self loops only": (lambda _: pd.DataFrame({"source": HUMAN, "target": HUMAN}), "40 self loops"),
    "other genes": (lambda _: pd.DataFrame({"source": ensembl(), "target": ensembl()}), "like Ensembl gene ids"),
    "no edges": (lambda prior: prior.head(0), "0 edges"),
}


@pytest.mark.parametrize(("make", "found"), LITTLE_PRIORS.values(), ids=LITTLE_PRIORS)
@pytest.mark.usefixtures("no_compute")
def test_too_little_prior(world: World, make: Callable, found: str) -> None:
    adata = world.adata.copy()  # not embedded: nor does it get so
    with refused(adata, PriorError, found, "at least 10 edges and 2 regulators", "`sg.datasets.collectri()`"):
        fit(adata, world, prior=make(world.prior))
    assert callable(sg.datasets.collectri)


# ------------------------------------------------------------------------------------ prior without the needed columns


@pytest.mark.parametrize("form", ["frame", "file"])
@pytest.mark.usefixtures("no_compute")
def test_prior_columns(world: World, tmp_path: Path, form: str) -> None:
    adata = world.adata.copy()
    prior = world.prior.rename(columns={"source": "from", "target": "to"})
    prior.to_csv(tmp_path / "prior.csv", index=False)
    accepted = ("source", "TF", "Gene1", "regulator", "target", "Gene2", "gene")
    with refused(adata, PriorError, "['from', 'to', 'sign']", *accepted, ".rename(") as message:
        fit(adata, world, prior=prior if form == "frame" else tmp_path / "prior.csv")
    mended = eval(re.search(r"`(table\.rename\(.*?\))`", message[0])[1], {"table": prior})
    assert list(mended.columns) == list(world.prior.columns)
