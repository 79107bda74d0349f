"""GRNBoost2 and GENIE3 on two processes against a plain loop of scikit-learn, on BEELINE's hHEP."""

from __future__ import annotations

import numpy as np
from tree_methods_speed import measure

import scgrn_tl as sg

from .measure import Row

CASES = (
    ("grnboost2", "all 448 TFs × 948 genes", 448, 500, 1),
    ("genie3", "60 TFs × 200 genes, 100 trees", 60, 140, 100),
)


def tree_rows(repeats: int):
    sg.settings.progress = False
    for wanted, what, n_tfs, n_others, n_trees in CASES:
        runs = []
        for name, loop, ours, same in measure("hHEP", n_tfs, n_others, n_trees, 2, repeats):
            if name == wanted:
                runs.append((loop, ours, same))
            if name == wanted == "grnboost2" and len(runs) == repeats:
                break  # GENIE3 has a case of its own
        loop, ours = np.median([run[:2] for run in runs], axis=0)
        ratio, same = float(np.median([run[0] / run[1] for run in runs])), all(run[2] for run in runs)
        yield Row(
            f"`infer_grn(method={wanted!r})`, two processes, {what}", "scikit-learn's loop",
            f"{ours:.1f} s", f"{loop:.1f} s", f"{ratio:.2f}×, {'identical' if same else 'different'}",
            "≥ 1.8×, identical", ratio >= 1.8 and same,
        )  # fmt: skip
