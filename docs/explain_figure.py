"""Draw the figure of ``explain.md`` with the code of that page: ``python docs/explain_figure.py``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent


def names_of_first_block(page: str) -> dict[str, Any]:
    """Run the first block of a page, and give back what it defined."""
    code = re.search(r"^```python\n(.*?)^```", (DOCS / page).read_text(encoding="utf-8"), re.M | re.S)
    names: dict[str, Any] = {}
    exec(compile(code[1] if code else "", page, "exec"), names)
    return names


if __name__ == "__main__":
    axes = names_of_first_block("explain.md")["axes"]
    axes[0].figure.savefig(DOCS / "_static" / "edge_explanation.png", dpi=200)
