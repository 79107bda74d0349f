"""Joint training of link model and encoder against the two-stage fit, on published BEELINE pairs.

    python benchmarks/joint.py --seeds 5 --out joint.csv
    python benchmarks/joint.py --seeds 3 --part validation --settings "joint_lr=1e-4" "joint_lr=1e-3" --out choice.csv

An encoder is trained on the data (``weights="fit"``) and embeds the genes. Every seed fits from that embedding twice:
as it is, and with the encoder's last block trained along. Differences are paired by seed, with the 95 % interval of
Student's t over the seeds of the fit. Settings are chosen with ``--part validation``, which does not look at test
pairs.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

import scgrn_tl as sg

METRICS = ("auroc", "auprc")


def read_settings(text: str) -> dict[str, Any]:
    """``"joint_lr=1e-4,joint_blocks=2"`` as keyword arguments."""
    pairs = [part.split("=") for part in text.split(",") if part]
    return {name: float(value) if name == "joint_lr" else int(value) for name, value in pairs}


def fit(adata: Any, split: sg.core.EdgeSplit, seed: int, part: str, **settings: Any) -> dict[str, float]:
    """Metrics of ``part``, of the hub floor too, and CPU seconds."""
    started = time.process_time()
    fitted = sg.tl.fit_grn(
        adata, adata.uns["ground_truth"], use_rep="scbert", split=split, rng=seed, copy=True, **settings
    )
    seconds = time.process_time() - started
    record = fitted.uns["grn"]
    table = sg.get.grn_metrics(fitted).query("part == @part").set_index("method")
    found = {metric: float(table.loc["sctransnet", metric]) for metric in METRICS}
    found |= {f"{metric}_floor": float(table.loc["hub_floor", metric]) for metric in METRICS}
    found["validation_loss"] = float(np.min(record["history"]["validation_loss"]))
    return found | {"seconds": seconds, "shift": record["joint"]["shift"] if "joint" in record else 0.0}


def differences(table: pd.DataFrame) -> pd.DataFrame:
    """Mean of every variant, and its paired difference from the two-stage fit with a 95 % interval."""
    rows = []
    for (dataset, variant), of_variant in table.groupby(["dataset", "variant"], sort=False):
        base = table.query("dataset == @dataset and variant == 'two-stage'").set_index("seed")
        of_variant = of_variant.set_index("seed")
        row = {"dataset": dataset, "variant": variant} | of_variant[["seconds", "shift"]].mean().round(3).to_dict()
        for metric in (*METRICS, "validation_loss"):
            row[metric] = f"{of_variant[metric].mean():.4f}"
            if metric in METRICS:
                row[f"{metric} floor"] = f"{of_variant[f'{metric}_floor'].mean():.4f}"
            change = (of_variant[metric] - base[metric]).to_numpy()
            if variant != "two-stage" and len(change) > 1:
                half = stats.t.ppf(0.975, len(change) - 1) * stats.sem(change)
                row[f"{metric} difference"] = f"{change.mean():+.4f} ± {half:.4f}"
        rows.append(row)
    return pd.DataFrame(rows).fillna("")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", nargs="+", default=["hHEP", "mDC"], help="cell types of BEELINE, 500 genes")
    parser.add_argument("--sample", type=int, default=1, help="number of the published split")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--part", choices=["test", "validation"], default="test")
    parser.add_argument("--settings", nargs="+", default=[""], help="of the joint fit; '' for the defaults")
    parser.add_argument("--no-gnn", action="store_true", help="both fits from the gene embedding alone")
    parser.add_argument("--out", type=Path, default=Path("joint.csv"))
    arguments = parser.parse_args()
    sg.settings.progress = False
    shared = {"use_gnn": False} if arguments.no_gnn else {}
    rows = []
    for dataset in arguments.datasets:
        adata = sg.datasets.beeline(dataset)
        split = sg.datasets.beeline_split(dataset, 500, arguments.sample)
        sg.tl.scbert_embed(adata, weights="fit")
        for seed in range(arguments.seeds):
            variants = {"two-stage": {}}
            variants |= {f"joint {text}".strip(): {"joint": True} | read_settings(text) for text in arguments.settings}
            for variant, settings in variants.items():
                found = fit(adata, split, seed, arguments.part, **shared, **settings)
                rows.append({"dataset": dataset, "variant": variant, "seed": seed} | found)
                print(rows[-1], flush=True)
                pd.DataFrame(rows).to_csv(arguments.out, index=False)
    print(differences(pd.DataFrame(rows)).to_string(index=False))


if __name__ == "__main__":
    main()
