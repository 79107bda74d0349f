"""How well an encoder of one's own predicts hidden expression, beside always naming each gene's most common bin.

    python benchmarks/pretraining.py                     # BEELINE hHEP, 500 genes and TFs; 5 seeds
    python benchmarks/pretraining.py --simulated         # without the download

Prints a table: share of the hidden bins of held-out cells that are predicted, mean over seeds with its 95 % interval.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from batches import mean_and_interval

import scgrn_tl as sg


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cell-type", default="hHEP")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--gene-init", nargs="+", default=["svd", "skipgram", "random"])
    parser.add_argument("--simulated", action="store_true")
    args = parser.parse_args()
    sg.settings.progress = False

    adata = sg.datasets.simulated(n_cells=300, n_genes=400) if args.simulated else sg.datasets.beeline(args.cell_type)
    print(f"{adata.n_obs} cells × {adata.n_vars} genes, {args.seeds} seeds\n")
    print("| gene vectors | accuracy | gene's most common bin | difference | epochs | seconds |")
    print("| --- | --- | --- | --- | --- | --- |")
    for gene_init in args.gene_init:
        accuracy, baseline, epochs, seconds = [], [], [], []
        for seed in range(args.seeds):
            began = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder:
                sg.tl.scbert_pretrain(adata, weights_dir=Path(folder) / "encoder", gene_init=gene_init, rng=seed)
            seconds.append(time.perf_counter() - began)
            record = adata.uns["scbert_training"]
            accuracy.append(record["validation_accuracy"])
            baseline.append(record["baseline_accuracy"])
            epochs.append(record["best_epoch"])
        accuracy, baseline = pd.Series(accuracy), pd.Series(baseline)
        shares = " | ".join(map(mean_and_interval, (accuracy, baseline, accuracy - baseline)))
        print(
            f"| {gene_init} | {shares} | {np.mean(epochs):.1f} | {np.median(seconds):.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
