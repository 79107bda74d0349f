"""Draw the figure of ``trust.md`` with the code of that page: ``python docs/trust_figure.py``."""

from __future__ import annotations

from pathlib import Path

from explain_figure import names_of_first_block

DOCS = Path(__file__).parent

if __name__ == "__main__":
    names_of_first_block("trust.md")["ax"].figure.savefig(DOCS / "_static" / "edge_evidence.png", dpi=200)
