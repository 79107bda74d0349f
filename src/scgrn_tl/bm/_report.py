"""``bm.report``: a benchmark on one page, with tables and figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from scgrn_tl.core import ArgumentError
from scgrn_tl.core.argument_types import typed_arguments
from scgrn_tl.io._atomic import replaced_when_complete

from ._page import Block, Heading, Image, Paragraph, Table, to_html, to_markdown
from ._summary import summary
from ._variants import ABLATION, BASELINE, MEAN_POOLING

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
    "In the order of the figure. Mean over folds, seeds averaged first. In brackets the difference from "
    f"{BASELINE} and, for AUROC and AUPRC, its 95 % interval (paired bootstrap over regulators). EPR: precision among "
    "as many top pairs as there are edges, divided by prevalence. Seconds: one fit, on one thread; shared s: what "
    "several fits on a dataset have in common, what the method prepares and the gene embedding. MB: most memory of a "
    "process, libraries included."
)


@typed_arguments
def report(table: pd.DataFrame, path: str | os.PathLike[str], *, title: str = "GRN benchmark") -> None:
    """Write the results of a benchmark to one page.

    For each kind of split: a figure, and a table of every method, in the order of the figure, with its difference from
    the hub floor, the interval of that difference, time and memory; then what went wrong, and what was run on what.

    Parameters
    ----------
    table
        As :func:`run` or :func:`ablate` returns it.
    path
        ``.html``, with the figures inside, or ``.md``, with the figure of each kind of split in a file beside it:
        ``report-given.png`` of ``report.md``.
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
    with replaced_when_complete(path) as beside:  # complains of the path before anything is computed
        if not len(table) or ("error" in table and (table["error"] != "").all()):
            msg = (
                "There is no result to report: the table is empty, or every run in it failed. "
                "Look at the column 'error', and run what failed again: `sg.bm.run`."
            )
            raise ArgumentError(msg)
        found = summary(table, list(_METRICS))
        blocks: list[Block] = []
        for split in table["split"].unique():
            name = f"{path.stem}-{quote(str(split), safe='')}.png"
            blocks += _of_split(table[table["split"] == split], found[found["split"] == split], str(split), name)
        blocks += [*_failures(table), *_setup(table)]
        if path.suffix == ".md":
            _write_images(blocks, path.parent)
        beside.write_text(renderers[path.suffix](title, blocks), encoding="utf-8")


def _write_images(blocks: list[Block], folder: Path) -> None:
    for block in blocks:
        if isinstance(block, Image):
            with replaced_when_complete(folder / block.name) as beside:
                beside.write_bytes(block.png)


def _of_split(table: pd.DataFrame, found: pd.DataFrame, split: str, name: str) -> list[Block]:
    """The blocks of one kind of split; ``name`` is that of its figure."""
    blocks: list[Block] = [Heading(f"Split: {split}"), Paragraph(_KINDS.get(split, "Pairs that were handed over."))]
    if (table["error"] == "").any():
        blocks.append(Image.of(_figure(table), name, f"Methods and datasets, split {split}"))
    kinds = _kinds_in_order(table)
    for dataset in table["dataset"].unique():
        blocks += [Heading(str(dataset), level=3), Table(_of_dataset(found[found["dataset"] == dataset], kinds))]
    return [*blocks, Paragraph(_LEGEND, is_note=True)]


def _figure(table: pd.DataFrame) -> Figure:
    from scgrn_tl import pl

    if _is_ablation(table):
        return pl.ablation(table).figure.figure
    axes = pl.benchmark(table)
    figure: Figure = axes[0, 0].figure.figure
    return figure


def _is_ablation(table: pd.DataFrame) -> bool:
    """Whether all variants are there, and the full model has results on every dataset to hold them against.

    Mean pooling may lack: not every embedding has it.
    """
    of_full = table[(table["method"] == "full") & (table["error"] == "")]
    return set(ABLATION) - {MEAN_POOLING} <= set(table["method"]) and set(of_full["dataset"]) == set(table["dataset"])


def _kinds_in_order(table: pd.DataFrame) -> dict[str, str]:
    """What each method is (supervised, unsupervised, floor or control), in the order of the figure."""
    from scgrn_tl.pl._ablation import worst_first
    from scgrn_tl.pl._results import best_first, kinds_of, read_results

    rows = read_results(table, columns=["role", "supervised", "auroc"], split=None)
    if _is_ablation(table):
        order = ["full", *worst_first(rows, full="full", metric="auroc")]
    else:
        order = [name for group in best_first(rows, rows["method"].unique().tolist(), "auroc") for name in group]
    kinds = kinds_of(rows)
    return {name: kinds[name] for name in order}


def _of_dataset(found: pd.DataFrame, kinds: dict[str, str]) -> pd.DataFrame:
    """One row a method, in the order of ``kinds``."""
    rows: list[dict[str, str]] = []
    by_method = dict(list(found.astype({"method": str}).groupby("method")))
    for method in filter(by_method.__contains__, kinds):
        by_metric = by_method[method].set_index("metric")
        first = by_metric.iloc[0]
        row = {"method": method, "kind": kinds[method]}
        row |= {name: _estimate(by_metric.loc[metric], metric, method) for metric, name in _METRICS.items()}
        row["folds × seeds"] = _runs(first)
        row["seconds"], row["shared s"] = _short(first["fit_seconds"]), _short(first["shared_seconds"])
        row["MB"] = _short(first["peak_memory_mb"])
        rows.append(row)
    return pd.DataFrame(rows)


def _runs(row: pd.Series) -> str:
    if not row["n_seeds"]:
        return "failed"
    failed = f", {row['n_failed']} failed" if row["n_failed"] else ""
    return f"{row['n_folds']} × {row['n_seeds']}{failed}"


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
    versions = table["version"].fillna("").unique() if "version" in table else [""]
    of_runs = ", ".join(version or "an unknown version" for version in versions)
    return [
        Heading("What was run"),
        Table(shown.reset_index()),
        Table(table.drop_duplicates(["method", "params"])[["method", "role", "params", "weights"]]),
        Paragraph(f"Run with scgrn_tl {of_runs}.", is_note=True),
        Paragraph(
            f"Report written with Python {platform.python_version()}, {packages}; {platform.platform()}.", is_note=True
        ),
    ]
