"""Draw the figure of ``explain.md`` with the code of that page: ``python docs/explain_figure.py``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent


def main() -> None:
    """Run the page's first block and save what it draws."""
    code = re.search(r"^```python\n(.*?)^```", (DOCS / "explain.md").read_text(encoding="utf-8"), re.M | re.S)
    names: dict[str, Any] = {}
    exec(compile(code[1] if code else "", "explain.md", "exec"), names)
    names["axes"][0].figure.savefig(DOCS / "_static" / "edge_explanation.png", dpi=200)


if __name__ == "__main__":
    main()
