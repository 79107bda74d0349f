"""Code of the documentation runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import scgrn_tl as sg
from scgrn_tl.methods import _registry

DOCS = Path(__file__).parents[1] / "docs"


def python_blocks(page: str) -> str:
    """All python blocks of a page, as one program."""
    return "\n".join(re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(encoding="utf-8"), re.M | re.S))


@pytest.fixture
def _registry_as_before(monkeypatch):
    monkeypatch.setattr(_registry, "_REGISTRY", dict(_registry._REGISTRY))


@pytest.mark.usefixtures("_registry_as_before")
def test_adding_a_method_takes_what_the_page_says():
    names: dict[str, object] = {"__name__": "a_notebook"}
    exec(compile(python_blocks("add-a-method.md"), "add-a-method.md", "exec"), names)
    assert {"spearman", "nearest_target"} <= set(sg.methods.names())
    table = names["table"]
    assert (table["error"] == "").all()
    assert table["method"].unique().tolist() == ["spearman", "pearson", "hub_floor"]
    assert names["adata"].uns["grn"]["params"]["method"] == "nearest_target"


@pytest.mark.slow
def test_batches():
    names: dict[str, object] = {"__name__": "a_notebook"}
    exec(compile(python_blocks("batches.md"), "batches.md", "exec"), names)
    adata = names["adata"]
    assert adata.uns["scbert"]["params"]["batch_key"] == "batch"
    assert adata.uns["batch_agreement"]["embeddings"]["cells"].tolist() == ["all", "half", "half", "half"]
    assert list(adata.uns["halves"]["groups"]) == ["batch1_0", "batch1_1", "batch2_0", "batch2_1"]


def test_the_table_of_methods_has_a_row_for_each():
    rows = [row for row in (DOCS / "methods.md").read_text(encoding="utf-8").splitlines() if row.startswith("|")]
    listed = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert listed == set(sg.methods.names())
