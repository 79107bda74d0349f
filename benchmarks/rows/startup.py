"""What `import scgrn_tl` adds to `import anndata`."""

from __future__ import annotations

import numpy as np

from .measure import Row, in_child


def startup_rows(repeats: int):
    runs = [in_child("import_once.py") for _ in range(max(3, repeats))]
    took = float(np.median([run["seconds"] for run in runs]))
    lazy = not any(run["torch"] for run in runs)
    yield Row(
        "`import scgrn_tl`", "after `import anndata`", f"{took:.3f} s", "", f"{took:.3f} s",
        "< 0.3 s, no torch", took < 0.3 and lazy,
    )  # fmt: skip
