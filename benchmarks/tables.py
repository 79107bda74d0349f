"""The tables and figures of docs/benchmark.md, from the folders that ``scgrn-tl bench`` left.

    python benchmarks/tables.py --results full --ablation ablation --out docs/_static

Prints Markdown; the figures and a CSV file of every single run go to the folder.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pandas as pd

import scgrn_tl as sg

SPLITS = {
    "given": "published pairs",
    "random": "a third of each regulator's pairs",
    "tf": "new regulators",
    "target": "new targets",
    "both": "new regulators and new targets",
}
ROLES = {"method": "", "floor": " (floor)", "control": " (control)"}
RUN_COLUMNS = (
    "dataset", "method", "params", "split", "fold", "seed", "auroc", "auprc", "auprc_ratio", "epr", "tf_auroc",
    "tf_auprc_ratio", "n_tfs", "precision_at_100", "brier", "ece", "prevalence", "n_pairs", "n_edges", "fit_seconds",
    "cpu_seconds", "peak_memory_mb", "embed_seconds", "prepare_seconds", "error",
)  # fmt: skip


def markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def quality(found: pd.DataFrame, datasets: list[str]) -> str:
    """A row a method, ordered by mean AUROC; in each dataset's cell AUROC / AUPRC / per-TF AUROC."""
    means = found.pivot_table(index=["role", "method"], columns=["metric", "dataset"], values="mean", sort=False)
    order = means["auroc"].mean(axis=1).sort_values(ascending=False).index
    rows = []
    for role, method in order:
        values = means.loc[(role, method)]
        cells = [
            " / ".join(decimals(values[metric, name]) for metric in ("auroc", "auprc", "tf_auroc")) for name in datasets
        ]
        rows.append([f"`{method}`{ROLES[role]}", *cells])
    return markdown(["AUROC / AUPRC / per-TF AUROC", *datasets], rows)


def decimals(value: float) -> str:
    return "–" if pd.isna(value) else f"{value:.3f}"


def beside(table: pd.DataFrame, metric: str) -> str:
    """A row a method: its mean over all runs, split beside split, and what of it is above the hub floor."""
    runs = table[table["error"].eq("")].pivot_table(
        index=["role", "method"], columns=["split", "dataset"], values=metric, sort=False
    )
    means = runs.T.groupby("split", sort=False).mean().T
    splits = [split for split in SPLITS if split in means] + [split for split in means if split not in SPLITS]
    above = means.sub(means.xs("hub_floor", level="method").iloc[0])
    order = means[splits[0]].sort_values(ascending=False).index
    rows = [
        [
            f"`{method}`{ROLES[role]}",
            *(f"{decimals(means.loc[(role, method), s])} ({above.loc[(role, method), s]:+.3f})" for s in splits),
        ]
        for role, method in order
    ]
    return markdown([f"{metric.upper()} (− floor)", *splits], rows)


def by_split(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The runs of each kind of split, in the order of :data:`SPLITS`."""
    found = table["split"].unique().tolist()
    ordered = [split for split in SPLITS if split in found] + [split for split in found if split not in SPLITS]
    return [(split, table[table["split"] == split]) for split in ordered]


def differences(found: pd.DataFrame, datasets: list[str], metric: str) -> str:
    """A row a method: its mean and t-interval over folds, and the bootstrap interval of what is above the floor."""
    found = found[found["metric"] == metric]
    rows = []
    for (method, role), part in found.groupby(["method", "role"], sort=False):
        cells = []
        for name in datasets:
            row = part[part["dataset"] == name].iloc[0]
            interval = "" if pd.isna(row["low"]) else f" ({row['low']:.4f} … {row['high']:.4f})"
            cells.append(f"{row['mean']:.4f}{interval}")
            cells.append(
                "–"
                if pd.isna(row["difference_low"])
                else f"{row['difference_low']:+.4f} … {row['difference_high']:+.4f}"
            )
        rows.append([f"{method}{ROLES[role]}", *cells])
    return markdown([metric.upper(), *(text for name in datasets for text in (name, "− floor"))], rows)


def settings(params: str) -> str:
    """What was set on a method, out of its row's JSON."""
    about = json.loads(params)
    kept = {
        key: value
        for key, value in about.items()
        if key not in {"method", "use_rep"} and (key, value) != ("n_models", 1)
    }
    return ", ".join(f"`{key}={value!r}`" for key, value in kept.items()) or "defaults"


def seconds(values: pd.Series) -> str:
    mean = values.mean()
    return (
        "–" if pd.isna(mean) or mean == 0 else "< 0.1" if mean < 0.1 else f"{mean:.1f}" if mean < 10 else f"{mean:.0f}"
    )


def cost(table: pd.DataFrame, datasets: list[str]) -> str:
    """A row a method: CPU seconds of a fit on each dataset; seconds of what fits share; memory; minutes in all."""
    rows = []
    for (method, params), part in table.groupby(["method", "params"], sort=False):
        # A method that does not learn runs once a dataset, and each of its rows says so.
        once = part.drop_duplicates(["dataset", "seed"]) if not part["supervised"].iloc[0] else part
        shared = part.drop_duplicates(["dataset", "seed"])[["dataset", "prepare_seconds", "embed_seconds"]]
        shared = shared.assign(seconds=shared["prepare_seconds"] + shared["embed_seconds"])
        minutes = (once["cpu_seconds"].sum() + shared["seconds"].sum()) / 60
        rows.append(
            [
                f"`{method}`",
                settings(params),
                " / ".join(seconds(once.loc[once["dataset"] == name, "cpu_seconds"]) for name in datasets),
                " / ".join(seconds(shared.loc[shared["dataset"] == name, "seconds"]) for name in datasets),
                f"{part['peak_memory_mb'].max():,.0f}",
                f"{minutes:.1f}",
            ]
        )
    header = ["method", "settings", f"CPU s a fit: {', '.join(datasets)}", "s shared", "peak MB", "min in all"]
    return markdown(header, rows)


def earlier_runs(path: Path, run_again: set[str]) -> pd.DataFrame:
    """Rows of an earlier run's CSV, of methods that were not run again; without predictions."""
    table = pd.read_csv(path, keep_default_na=False, na_values=[""])
    table = table[~table["method"].isin(run_again)]
    about = {
        name: sg.methods.get(json.loads(params)["method"])
        for name, params in zip(table["method"], table["params"], strict=True)
    }
    return table.assign(
        role=[about[name].role for name in table["method"]],
        supervised=[about[name].supervised for name in table["method"]],
        error=table["error"].fillna(""),
        predictions="",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--earlier", type=Path, help="benchmark_runs.csv of an earlier run, for methods not run again")
    parser.add_argument("--ablation", type=Path)
    parser.add_argument("--out", type=Path, default=Path())
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.results is not None:
        table = sg.bm.read_results(arguments.results)
        if arguments.earlier is not None:
            table = pd.concat([table, earlier_runs(arguments.earlier, set(table["method"]))], ignore_index=True)
        datasets = list(table["dataset"].unique())
        for split, part in by_split(table):
            title = f"{split} ({SPLITS[split]})" if split in SPLITS else split
            print(f"### Split: {title}\n\n{quality(sg.bm.summary(part, n_resamples=0), datasets)}")
            axes = sg.pl.benchmark(part, highlight="sctransnet")
            axes.flat[0].figure.savefig(arguments.out / f"benchmark_{split}.png", dpi=150, bbox_inches="tight")
        if table["split"].nunique() > 1:
            for metric in ("auroc", "auprc"):
                print(f"### Splits side by side: {metric.upper()}\n\n{beside(table, metric)}")
        print(f"### Cost\n\n{cost(table, datasets)}")
        if (failed := table[table["error"] != ""]).size:
            print(failed[["dataset", "method", "split", "fold", "error"]].to_string())
        table[list(RUN_COLUMNS)].round(5).to_csv(arguments.out / "benchmark_runs.csv", index=False)
    if arguments.ablation is not None:
        table = sg.bm.read_results(arguments.ablation)
        parts = by_split(table)
        for split, part in parts:
            found = sg.bm.summary(part)
            for metric in ("auroc", "auprc"):
                print(f"### Ablation, split {split}\n\n{differences(found, list(part['dataset'].unique()), metric)}")
            name = "ablation" if len(parts) == 1 else f"ablation_{split}"
            sg.pl.ablation(part).figure.savefig(arguments.out / f"{name}.png", dpi=150, bbox_inches="tight")


if __name__ == "__main__":
    main()
