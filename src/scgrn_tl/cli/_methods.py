"""``scgrn-tl methods``: which methods there are, and what one does."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import scgrn_tl as sg

if TYPE_CHECKING:
    import argparse

    from scgrn_tl.methods import Method

__all__ = ["run_methods"]


def run_methods(arguments: argparse.Namespace) -> None:
    if arguments.method is not None:
        print(_described(sg.methods.get(arguments.method)))
        return
    row = "{:<21}{:<9}{:<12}{:<10}{}"
    print(row.format("name", "role", "supervised", "directed", "description"))
    for name in sg.methods.names():
        entry = sg.methods.get(name)
        traits = ("yes" if trait else "no" for trait in (entry.supervised, entry.directed))
        print(row.format(name, entry.role, *traits, entry.description))
    print("\nSupervised methods learn from known edges: `scgrn-tl fit`. The others: `scgrn-tl infer`.")
    print("`scgrn-tl methods --method NAME` says more of one.")


def _described(method: Method) -> str:
    """A method's docstring, without its markup, and what its parameters are by default."""
    traits = [
        method.role,
        "supervised" if method.supervised else "unsupervised",
        "directed" if method.directed else "symmetric",
        "stochastic" if method.stochastic else "deterministic",
        *(["reads a gene embedding"] if method.uses_embedding else []),
        *(["needs a pseudotime"] if method.uses_pseudotime else []),
    ]
    text = re.sub(r"(?::\w+)?:\w+:`~?([^`]*)`", r"\1", method.doc).replace("``", "")
    defaults = ", ".join(f"{name}={value!r}" for name, value in method.parameters.items())
    verb = "fit_grn(adata, prior" if method.supervised else "infer_grn(adata"
    lines = [f"{method.name}: {', '.join(traits)}; {method.reference}", "", text]
    if defaults:
        lines += ["", f"Defaults: {defaults}.", f"In Python: sg.tl.{verb}, method={method.name!r}, …)."]
    return "\n".join(lines)
