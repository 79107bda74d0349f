"""Write an .h5ad file of sparse counts, block by block, that is larger than memory need be.

    python benchmarks/simulate_atlas.py atlas.h5ad --cells 100000 --genes 2000

Counts are Poisson around 20 programs of genes that cells mix, with log-normal library sizes; about one value in eight
is not zero. A random network over the genes lies in ``uns["prior"]``, for runs whose cost matters, not their outcome.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from anndata import AnnData
from anndata.io import sparse_dataset, write_elem
from scipy import sparse

BLOCK = 2_000
PROGRAMS = 20


def counts(n_cells: int, rates: np.ndarray, rng: np.random.Generator) -> sparse.csr_matrix:
    """``float32 (n_cells, G)`` counts of cells that mix the programs ``rates (PROGRAMS, G)``."""
    mixture = rng.dirichlet(np.full(PROGRAMS, 0.2), n_cells)
    library = rng.lognormal(0, 0.3, (n_cells, 1))
    return sparse.csr_matrix(rng.poisson(mixture @ rates * library).astype(np.float32))


def write_atlas(path: Path, n_cells: int, n_genes: int, n_tfs: int, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    rates = rng.lognormal(-3.2, 1.6, (PROGRAMS, n_genes))
    genes = pd.Index([f"GENE{number}" for number in range(n_genes)])
    n_edges = 10 * n_tfs
    prior = pd.DataFrame(
        {"source": genes[rng.integers(n_tfs, size=n_edges)], "target": genes[rng.integers(n_genes, size=n_edges)]}
    )
    prior = prior[prior["source"] != prior["target"]].drop_duplicates(ignore_index=True)
    first = counts(min(BLOCK, n_cells), rates, rng)
    start = AnnData(first, var=pd.DataFrame(index=genes))
    start.uns["prior"] = prior
    start.write_h5ad(path)
    with h5py.File(path, "r+") as file:
        stored = sparse_dataset(file["X"])
        for begin in range(BLOCK, n_cells, BLOCK):
            stored.append(counts(min(BLOCK, n_cells - begin), rates, rng))
        del file["obs"]
        write_elem(file, "obs", pd.DataFrame(index=pd.Index([f"cell{number}" for number in range(n_cells)])))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--genes", type=int, default=2_000)
    parser.add_argument("--tfs", type=int, default=100)
    arguments = parser.parse_args()
    write_atlas(arguments.path, arguments.cells, arguments.genes, arguments.tfs)
