"""Draw the figures of ``figures.md`` with the code of that page: ``python docs/figures_figure.py``."""

from __future__ import annotations

from pathlib import Path

from explain_figure import names_of_first_block

DOCS = Path(__file__).parent

if __name__ == "__main__":
    names = names_of_first_block("figures.md")
    names["figure"].savefig(DOCS / "_static" / "network_sizes.png", dpi=150)
    names["largest"].figure.savefig(DOCS / "_static" / "network_large.png", dpi=110)
