"""scTransNet at its defaults, as an ensemble, with the encoder, and as in the paper, on the published BEELINE splits.

    python benchmarks/sctransnet_variants.py --seeds 3 --jobs 2 --out variants

Finished runs are kept in the folder and not run again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import scgrn_tl as sg

METHODS = {
    "scTransNet": {"method": "sctransnet"},
    "scTransNet, 4 models": {"method": "sctransnet", "n_models": 4},
    "scTransNet, with encoder": {"method": "sctransnet", "use_rep": "scbert"},
    "as in the paper": {"method": "sctransnet_paper"},
    "hub floor, rates": {"method": "hub_floor", "form": "logit"},
    "hub floor, degrees": {"method": "hub_floor", "form": "degree"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", nargs="+", default=["hHEP500", "mDC500", "mHSC-L500"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--splits", nargs="+", default=["given"])
    parser.add_argument("--samples", type=int, default=3, help="published splits a dataset")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("variants"))
    arguments = parser.parse_args()
    table = sg.bm.run(
        arguments.datasets,
        METHODS,
        splits=arguments.splits,
        n_samples=arguments.samples,
        seeds=arguments.seeds,
        n_jobs=arguments.jobs,
        out=arguments.out,
    )
    found = sg.bm.summary(table)
    found.to_csv(arguments.out / "summary.csv", index=False)
    print(found[found["metric"] != "tf_auroc"].round(4).to_string(index=False))
    worst = table[table["method"].str.startswith("scTransNet")].merge(
        table[table["method"].isin(["hub floor, rates", "hub floor, degrees"])]
        .groupby(["dataset", "split", "fold"])[["auroc", "auprc"]]
        .max()
        .reset_index(),
        on=["dataset", "split", "fold"],
        suffixes=("", "_floor"),
    )
    for metric in ("auroc", "auprc"):
        worst[f"{metric} above floor"] = worst[metric] - worst[f"{metric}_floor"]
    print("\nLeast margin of a single fit over the better form of the floor on its test pairs:")
    print(
        worst.groupby(["dataset", "split", "method"])[["auroc above floor", "auprc above floor"]]
        .min()
        .round(4)
        .to_string()
    )


if __name__ == "__main__":
    main()
