"""``scgrn-tl bench``: many methods on many datasets, and a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import scgrn_tl as sg
from scgrn_tl.io._atomic import replaced_when_complete

from ._print import aligned, say

if TYPE_CHECKING:
    import argparse

    import pandas as pd

__all__ = ["run_bench"]


def run_bench(arguments: argparse.Namespace) -> None:
    out = Path(arguments.out).expanduser()
    shared: dict[str, Any] = {
        "splits": _listed(arguments.splits),
        "seeds": arguments.seeds,
        "n_samples": arguments.samples,
        "n_folds": arguments.folds,
        "weights": arguments.weights,
        "n_jobs": arguments.jobs,
        "timeout": arguments.timeout,
        "out": out,
        "device": arguments.device or "cpu",
    }
    datasets = _listed(arguments.datasets)
    say("bench", f"{arguments.methods} on {arguments.datasets}, splits {arguments.splits}; results go to {out}")
    if arguments.methods == "ablation":
        table = sg.bm.ablate(datasets, **shared)
    else:
        methods = "all" if arguments.methods == "all" else _listed(arguments.methods)
        table = sg.bm.run(datasets, methods, **shared)
    summary = sg.bm.summary(table)
    with replaced_when_complete(out / "summary.csv") as beside:
        summary.to_csv(beside, index=False)
    for suffix in ("html", "md"):
        sg.bm.report(table, out / f"report.{suffix}")
    for split in table["split"].unique():
        print(f"\nSplit {split}: AUROC / AUPRC, mean over folds\n\n{_side_by_side(summary, split)}")
    n_failed = int((table["error"] != "").sum())
    if n_failed:
        print(f"\n{n_failed} of {len(table)} runs failed; the report says why, and the same call tries them again.")
    print(f"\nWrote {out / 'report.html'}, report.md, summary.csv, results.parquet")


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _side_by_side(summary: pd.DataFrame, split: str) -> str:
    """Methods × datasets, the best mean AUROC first."""
    of_split = summary[summary["split"] == split]
    means = of_split.pivot_table(index="method", columns=["dataset", "metric"], values="mean", sort=False)
    order = means.xs("auroc", axis=1, level="metric").mean(axis=1).sort_values(ascending=False).index
    shown = {
        dataset: means[dataset].loc[order].apply(lambda row: f"{row['auroc']:.3f} / {row['auprc']:.3f}", axis=1)
        for dataset in means.columns.get_level_values("dataset").unique()
    }
    import pandas as pd

    return aligned(pd.DataFrame(shown).rename_axis(None))
