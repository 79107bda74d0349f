"""``bm.report``: a benchmark on one page, tables and figures inside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scgrn_tl.core import ArgumentError
from scgrn_tl.io._atomic import replaced_when_complete

from ._page import Block, Heading, Image, Paragraph, Table, to_html, to_markdown
from ._summary import summary
from ._variants import ABLATION, BASELINE

if TYPE_CHECKING:
    import os

    from matplotlib.figure import Figure

__all__ = ["report"]

_METRICS = {"auroc": "AUROC", "auprc": "AUPRC", "tf_auroc": "AUROC per TF", "epr": "EPR"}
_WITH_INTERVAL = ("auroc", "auprc")
_KINDS = {
    "given": "Published pairs.",
    "random": "A third of each regulator's edges held out.",
    "tf": "Whole regulators held out.",
    "target": "Whole targets held out.",
    "both": "Neither the regulator nor the target seen in training.",
}
_LEGEND = (
    f"Mean over folds, seeds averaged first. In brackets the difference from {BASELINE} and, for AUROC and AUPRC, its "
    "95 % interval (paired bootstrap over regulators). EPR: precision among as many top pairs as there are edges, "
    "divided by prevalence. Seconds: one fit, on one thread. MB: most memory of its process, libraries included."
)


def report(table: pd.DataFrame, path: str | os.PathLike[str], *, title: str = "GRN benchmark") -> None:
    """Write the results of a benchmark to one self-contained page.

    For each kind of split: a figure, and a table of every method with its difference from the hub floor, the interval
    of that difference, time and memory; then what went wrong, and what was run on what.

    Parameters
    ----------
    table
        As :func:`run` or :func:`ablate` returns it.
    path
        ``.html`` or ``.md``; figures are inside the file.
    title
        Heading of the page.

    Raises
    ------
    ArgumentError
        If the file has another suffix, its folder is not there, or there is no result to report.
    MissingKeyError
        If a column of :func:`run` or the hub floor is not there.
    """
    path = Path(path).expanduser()
    renderers = {".html": to_html, ".md": to_markdown}
    if path.suffix not in renderers:
        msg = f"A report is an .html or .md file, not {path.name!r}."
        raise ArgumentError(msg)
    found = summary(table, list(_METRICS))
    if not len(table) or (table["error"] != "").all():
        msg = "There is no result to report: the table is empty, or every run in it failed."
        raise ArgumentError(msg)
    blocks: list[Block] = []
    for split in table["split"].unique():
        blocks += _of_split(table[table["split"] == split], found[found["split"] == split], str(split))
    blocks += [*_failures(table), *_setup(table)]
    with replaced_when_complete(path) as beside:
        beside.write_text(renderers[path.suffix](title, blocks), encoding="utf-8")


def _of_split(table: pd.DataFrame, found: pd.DataFrame, split: str) -> list[Block]:
    blocks: list[Block] = [Heading(f"Split: {split}"), Paragraph(_KINDS.get(split, "Pairs that were handed over."))]
    if (table["error"] == "").any():
        blocks.append(Image.of(_figure(table), f"Methods and datasets, split {split}"))
    for dataset in table["dataset"].unique():
        blocks += [Heading(str(dataset), level=3), Table(_of_dataset(found[found["dataset"] == dataset]))]
    return [*blocks, Paragraph(_LEGEND, is_note=True)]


def _figure(table: pd.DataFrame) -> Figure:
    from scgrn_tl import pl

    if set(ABLATION) <= set(table["method"]):
        return pl.ablation(table).figure.figure
    axes = pl.benchmark(table)
    figure: Figure = axes[0, 0].figure.figure
    return figure


def _of_dataset(found: pd.DataFrame) -> pd.DataFrame:
    """One row a method, the best AUPRC first."""
    rows: list[tuple[float, dict[str, str]]] = []
    for method, of_method in found.groupby("method", sort=False):
        by_metric = of_method.set_index("metric")
        first = of_method.iloc[0]
        row = {"method": str(method)}
        row |= {name: _estimate(by_metric.loc[metric], metric, str(method)) for metric, name in _METRICS.items()}
        row["folds × seeds"] = f"{first['n_folds']} × {first['n_seeds']}"
        row["seconds"], row["MB"] = _short(first["fit_seconds"]), _short(first["peak_memory_mb"])
        rows.append((float(by_metric.loc["auprc", "mean"]), row))
    rows.sort(key=lambda row: np.nan_to_num(row[0], nan=-1.0), reverse=True)
    return pd.DataFrame([row for _, row in rows])


def _estimate(row: pd.Series, metric: str, method: str) -> str:
    if np.isnan(row["mean"]):
        return "–"
    shown = f"{row['mean']:.3f}"
    if method == BASELINE or np.isnan(row["difference"]):
        return shown
    difference = f"{row['difference']:+.3f}"
    if metric in _WITH_INTERVAL and not np.isnan(row["difference_low"]):
        difference += f"; {row['difference_low']:+.3f} … {row['difference_high']:+.3f}"
    return f"{shown} ({difference})"


def _short(value: Any) -> str:
    if np.isnan(value):
        return "–"
    return f"{value:.2g}" if value < 10 else f"{value:,.0f}"


def _failures(table: pd.DataFrame) -> list[Block]:
    failed = table[table["error"] != ""]
    if not len(failed):
        return []
    counted = failed.groupby(["method", "dataset", "error"], sort=False).size().rename("runs").reset_index()
    return [Heading("What failed"), Table(counted[["method", "dataset", "runs", "error"]])]


def _setup(table: pd.DataFrame) -> list[Block]:
    import platform
    from importlib.metadata import version

    good = table[table["error"] == ""].groupby(["dataset", "split"], sort=False)
    pairs = good[["n_pairs", "n_edges", "prevalence", "n_tfs"]].mean()
    shown = pd.DataFrame(
        {
            "folds": good["fold"].nunique(),
            "test pairs": pairs["n_pairs"].map("{:,.0f}".format),
            "edges": pairs["n_edges"].map("{:,.0f}".format),
            "prevalence (AUPRC at random)": pairs["prevalence"].map("{:.3f}".format),
            "TFs with edges and non-edges": pairs["n_tfs"].map("{:.1f}".format),
        }
    )
    packages = ", ".join(f"{name} {version(name)}" for name in ("scgrn_tl", "torch", "scikit-learn", "numpy"))
    return [
        Heading("What was run"),
        Table(shown.reset_index()),
        Table(table.drop_duplicates(["method", "params"])[["method", "role", "params", "weights"]]),
        Paragraph(f"Python {platform.python_version()}, {packages}; {platform.platform()}.", is_note=True),
    ]
