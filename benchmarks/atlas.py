"""A simulated atlas from cells to network with the command line: time and peak memory of each step.

    python benchmarks/atlas.py --cells 100000 --genes 2000

Writes 20 MB of counts per 10,000 cells × 2,000 genes, and the attention sums beside them (4 bytes per cell and gene).
Then embeds random parts of the cells, and says how near the gene embeddings of a part are to those of all.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import anndata
import numpy as np
from simulate_atlas import write_atlas

import scgrn_tl as sg


def timed_process(*command: str | Path) -> tuple[float, float]:
    """Seconds and peak memory in GB of ``python -m scgrn_tl …``."""
    began = time.perf_counter()
    arguments = [sys.executable, "-m", "scgrn_tl", *map(str, command)]
    child = os.posix_spawn(sys.executable, arguments, os.environ)
    _, status, usage = os.wait4(child, 0)
    if status:
        raise SystemExit(os.waitstatus_to_exitcode(status))
    return time.perf_counter() - began, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--genes", type=int, default=2_000)
    parser.add_argument("--samples", type=int, nargs="*", default=[1_000, 10_000])
    arguments = parser.parse_args()
    sg.settings.progress = False
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        atlas, embedded, prior = folder / "atlas.h5ad", folder / "embedded.h5ad", folder / "prior.csv"
        write_atlas(atlas, arguments.cells, arguments.genes, 100)
        anndata.read_h5ad(atlas, backed="r").uns["prior"].to_csv(prior, index=False)
        for name, command in {
            "embed": ("embed", atlas, "--out", embedded, "--weights", "fit"),
            "fit": ("fit", embedded, "--prior", prior, "--out", folder / "network.h5ad"),
        }.items():
            seconds, gigabytes = timed_process(*command)
            print(f"{name}: {seconds:.0f} s, {gigabytes:.2f} GB", flush=True)
        stored = anndata.read_h5ad(embedded, backed="r")
        everything, timing = stored.varm["scbert"], stored.uns["scbert"]["timing"]
        print(f"embed: {timing['cells_per_second']:.1f} cells/s; {embedded.stat().st_size / 1e9:.2f} GB with attention")
        for n_cells in arguments.samples:
            adata = anndata.read_h5ad(atlas, backed="r")
            sg.tl.scbert_embed(adata, weights="fit", n_cells=n_cells, store_attention=False)
            near = cosine(adata.varm["scbert"], everything)
            print(
                f"{n_cells:,} cells: cosine with all, median {np.median(near):.5f}, least {near.min():.5f}", flush=True
            )


if __name__ == "__main__":
    main()
