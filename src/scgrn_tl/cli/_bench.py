"""``scgrn-tl bench``: many methods on many datasets, and a report."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import scgrn_tl as sg
from scgrn_tl.io._atomic import replaced_when_complete

from ._flags import in_flags
from ._print import aligned, log_level

if TYPE_CHECKING:
    import argparse

    import pandas as pd

__all__ = ["run_bench"]


def run_bench(arguments: argparse.Namespace) -> int:
    out = Path(arguments.out).expanduser()
    shared: dict[str, Any] = {
        "splits": None if arguments.splits is None else _listed(arguments.splits),
        "seeds": arguments.seeds,
        "n_samples": arguments.samples,
        "n_folds": arguments.folds,
        "weights": arguments.weights,
        "n_jobs": arguments.jobs,
        "timeout": arguments.timeout,
        "out": out,
        "device": arguments.device,
    }
    datasets = _listed(arguments.datasets)
    with log_level("scgrn_tl.bm._runner", logging.INFO):  # how much there is to do, once it is known
        if arguments.methods == "ablation":
            table = sg.bm.ablate(datasets, **shared)
        else:
            methods = "all" if arguments.methods == "all" else _listed(arguments.methods)
            table = sg.bm.run(datasets, methods, **shared)
    failed = table[table["error"] != ""]
    if len(failed) < len(table):
        _report(table, out)
    if len(failed):
        print(f"\n{len(failed)} of {len(table)} runs failed; the same call tries them again.\n\n{_errors(failed)}")
        print(f"\nTracebacks are in {out / 'errors'}")
    return int(len(failed) > 0)


def _report(table: pd.DataFrame, out: Path) -> None:
    print("Writing the report …", flush=True)
    summary = sg.bm.summary(table)
    with replaced_when_complete(out / "summary.csv") as beside:
        summary.to_csv(beside, index=False)
    for suffix in ("html", "md"):
        sg.bm.report(table, out / f"report.{suffix}")
    for split in table["split"].unique():
        print(f"\nSplit {split}: AUROC / AUPRC, mean over folds\n\n{_side_by_side(summary, split)}")
    print(f"\nWrote {out / 'report.html'}, report.md, summary.csv, results.parquet")


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _side_by_side(summary: pd.DataFrame, split: str) -> str:
    """Methods × datasets, the best mean AUROC first."""
    of_split = summary[summary["split"] == split].set_index(["method", "dataset"])
    auroc, auprc = (of_split[of_split["metric"] == metric] for metric in ("auroc", "auprc"))
    order = auroc["mean"].groupby("method").mean().sort_values(ascending=False).index
    cells = auroc.assign(auprc=auprc["mean"]).apply(_cell, axis=1).unstack("dataset")
    datasets = auroc.index.get_level_values("dataset").unique()
    return aligned(cells.loc[order, datasets].rename_axis(index=None, columns=None))


def _cell(row: pd.Series) -> str:
    if row["n_failed"] and not row["n_folds"]:
        return "failed"
    failed = f" ({row['n_failed']} failed)" if row["n_failed"] else ""
    return f"{row['mean']:.3f} / {row['auprc']:.3f}{failed}"


def _errors(failed: pd.DataFrame) -> str:
    """The first line of each distinct error, and of which methods it is."""
    return "\n".join(
        f"  {', '.join(rows['method'].unique())}: {in_flags(str(error).partition(chr(10))[0])}"
        for error, rows in failed.groupby("error", sort=False)
    )
