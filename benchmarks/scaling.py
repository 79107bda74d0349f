"""How `tl.scbert_embed` scales with cells, genes and processes: a table, and a figure drawn from it.

    python benchmarks/scaling.py --out docs/_static

Writes scaling.csv and scaling.png. Every point is a process of its own (two under torchrun) that reads its cells from
disk and writes attention sums to disk. Cells: the small encoder of ``weights="fit"``, 500 genes. Genes: an encoder of
scBERT's size, 4 cells. Processes: that encoder, 128 cells × 1,000 genes, one thread each. Takes about half an hour on
two cores; ``--cells``, ``--genes`` and ``--processes`` choose other points.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import pandas as pd
from rows.embedding import SMALL, save_encoder
from rows.measure import in_child
from simulate_atlas import write_atlas


def run(folder: Path, n_cells: int, n_genes: int, shape: dict, threads: int | None, n_processes: int) -> dict:
    atlas, encoder = folder / f"{n_cells}x{n_genes}.h5ad", folder / f"encoder{n_genes}{len(shape)}"
    if not atlas.exists():
        write_atlas(atlas, n_cells, n_genes, 50)
    if not encoder.exists():
        save_encoder(encoder, n_genes, **shape)
    launcher = () if n_processes == 1 else ("-m", "torch.distributed.run", "--nproc-per-node", str(n_processes))
    store = folder / f"{n_cells}x{n_genes}x{n_processes}.zarr"
    return in_child("embed_file.py", atlas, encoder, "--attention-to", store, threads=threads, launcher=launcher)


def measure(arguments: argparse.Namespace):
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for n_cells in arguments.cells:
            yield {"axis": "cells", "n": n_cells, **run(folder, n_cells, 500, SMALL, None, 1)}
            (folder / f"{n_cells}x500.h5ad").unlink()
        for n_genes in arguments.genes:
            yield {"axis": "genes", "n": n_genes, **run(folder, 4, n_genes, {}, None, 1)}
        for n_processes in arguments.processes:
            yield {"axis": "processes", "n": n_processes, **run(folder, 128, 1000, {}, 1, n_processes)}


def draw(table: pd.DataFrame, path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(10, 5.4), sharex="col", layout="constrained")
    titles = {
        "cells": "500 genes, small encoder",
        "genes": "4 cells, encoder of scBERT's size",
        "processes": "128 cells × 1,000 genes,\nencoder of scBERT's size",
    }
    for (speed, memory), (axis, title) in zip(axes.T, titles.items(), strict=True):
        part = table[table["axis"] == axis].sort_values("n")
        speed.plot(part["n"], part["cells_per_second"], marker="o", color="C0")
        memory.plot(part["n"], part["peak"] / 1e9, marker="o", color="C1")
        speed.set(title=title, ylabel="cells / s")
        memory.set(xlabel=f"number of {axis}", ylabel="peak memory, GB", ylim=(0, 1.15 * part["peak"].max() / 1e9))
        if axis == "processes":
            memory.set_xticks(part["n"])
            memory.set_ylabel("of a process, GB")
            speed.set_ylim(0, 1.15 * part["cells_per_second"].max())
        else:
            speed.set(xscale="log", yscale="log")
        for ax in (speed, memory):
            ax.spines[["top", "right"]].set_visible(False)
            ax.grid(alpha=0.3)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="*", default=[100, 1_000, 10_000, 100_000])
    parser.add_argument("--genes", type=int, nargs="*", default=[500, 1_000, 4_000, 16_906])
    parser.add_argument("--processes", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--out", type=Path, default=Path())
    arguments = parser.parse_args()
    points = []
    for point in measure(arguments):
        points.append(point)
        print(point, flush=True)
    table = pd.DataFrame(points)
    table.to_csv(arguments.out / "scaling.csv", index=False)
    draw(table, arguments.out / "scaling.png")


if __name__ == "__main__":
    main()
