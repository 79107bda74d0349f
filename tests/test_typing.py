"""Type checkers see the package through and through, the namespaces that are loaded on first use included."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import scgrn_tl as sg

PACKAGE = Path(sg.__file__).parent
STUBS = sorted(PACKAGE.rglob("*.pyi"))


@pytest.mark.slow
def test_a_strictly_typed_consumer(tmp_path: Path) -> None:
    """Right calls have the types they say, wrong ones are found: an ignore without an error below it is one too."""
    pytest.importorskip("mypy")
    consumer = Path(__file__).parent / "typing" / "consumer.py"
    options = ["--strict", "--ignore-missing-imports", "--follow-imports=silent", "--config-file=", "--cache-dir"]
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", *options, str(tmp_path), str(consumer)],
        env=os.environ | {"MYPYPATH": str(PACKAGE.parent)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("stub", STUBS, ids=lambda path: path.parent.name)
def test_a_stub_says_what_its_namespace_has(stub: Path) -> None:
    """``import`` reads the stub too, so it could only differ by names that the module defines besides."""
    tree = ast.parse(stub.read_text(encoding="utf-8"))
    imported = [alias for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    declared = [node.target.id for node in tree.body if isinstance(node, ast.AnnAssign)]
    assert all(alias.asname == alias.name for alias in imported)  # without it, type checkers take a name for private
    namespace = sg if stub.parent == PACKAGE else getattr(sg, stub.parent.name)
    assert sorted([*(alias.name for alias in imported), *declared]) == sorted(namespace.__all__)
    for name in namespace.__all__:
        assert getattr(namespace, name) is not None


def test_every_lazy_namespace_has_a_stub() -> None:
    lazy = {path.parent for path in PACKAGE.rglob("__init__.py") if "lazy_loader" in path.read_text(encoding="utf-8")}
    assert lazy == {stub.parent for stub in STUBS}
