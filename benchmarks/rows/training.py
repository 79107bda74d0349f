"""scTransNet on BEELINE's hHEP against the published GENELink, same split and same number of epochs."""

from __future__ import annotations

from pathlib import Path

from genelink_reference import compare, parse

from .measure import Row

EPOCHS = 20
"""GENELink's own default; its time goes with their number, a quarter of a minute each."""


def training_rows(genelink: Path | None):
    if genelink is None:
        print("(no row of training without --genelink)")
        return
    table = compare(parse(["--genelink", str(genelink), "--epochs", str(EPOCHS), "--weights", "fit"]))
    theirs, ours, floor = (
        table.loc[table["method"] == name].iloc[0] for name in ("GENELink, as published", "scTransNet", "hub floor")
    )
    ratio = theirs["seconds"] / ours["seconds"]
    yield Row(
        f"`fit_grn` on hHEP TFs+500, {EPOCHS} epochs", "GENELink, as published",
        f"{ours['seconds']:.1f} s, AUPRC {ours['auprc']:.3f}", f"{theirs['seconds']:.1f} s, {theirs['auprc']:.3f}",
        f"{ratio:.0f}×; hub floor {floor['auprc']:.3f}", "≥ 5×, better AUPRC",
        ratio >= 5 and ours["auprc"] > theirs["auprc"],
    )  # fmt: skip
