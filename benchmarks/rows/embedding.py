"""`tl.scbert_embed` of files: memory against the number of cells, and two processes against one."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from simulate_atlas import write_atlas

from .measure import Row, in_child

TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node", "2")
SMALL = {"dim": 64, "depth": 2, "heads": 4, "dim_head": 16}
"""The encoder that ``weights="fit"`` trains."""


def save_encoder(folder: Path, n_genes: int, **shape: int) -> Path:
    """An encoder of random weights over the genes of a simulated atlas: it costs what a trained one does."""
    from scgrn_tl.core import GeneVocabulary
    from scgrn_tl.models import ScBERT, ScBERTConfig

    genes = [f"GENE{number}" for number in range(n_genes)]
    ScBERT(ScBERTConfig(n_genes=n_genes, **shape)).save(folder, GeneVocabulary(genes))
    return folder


def memory_rows(repeats: int):
    """Peak memory of embedding ten times more cells; attention sums go to disk."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        encoder = save_encoder(folder / "encoder", 500, **SMALL)
        peaks = []
        for n_cells in (2_000, 20_000):
            path = folder / f"{n_cells}.h5ad"
            write_atlas(path, n_cells, 500, 50)
            run = in_child("embed_file.py", path, encoder, "--attention-to", folder / f"{n_cells}.zarr")
            peaks.append(run["peak"])
    ratio = peaks[1] / peaks[0]
    yield Row(
        "peak memory of `scbert_embed`, 20,000 cells × 500 genes", "2,000 cells",
        f"{peaks[1] / 1e6:.0f} MB", f"{peaks[0] / 1e6:.0f} MB", f"{ratio:.2f}×", "≤ 1.1×", ratio <= 1.1,
    )  # fmt: skip


def process_rows(repeats: int):
    """Two processes under torchrun, one thread each, against one process of one thread; encoder of scBERT's size."""
    n_cells, n_genes = 128, 1000
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        encoder = save_encoder(folder / "encoder", n_genes)
        path = folder / "cells.h5ad"
        write_atlas(path, n_cells, n_genes, 50)
        pairs, embeddings = [], []
        for _ in range(repeats):
            for launcher in ((), TORCHRUN):
                written = folder / f"{len(launcher)}.npy"
                run = in_child("embed_file.py", path, encoder, "--embedding", written, threads=1, launcher=launcher)
                pairs.append(run["cells_per_second"])
                embeddings.append(np.load(written))
    alone, together = np.array(pairs).reshape(repeats, 2).T
    ratio = float(np.median(together / alone))
    apart = float(np.abs(embeddings[1] - embeddings[0]).max())
    yield Row(
        "two processes under torchrun, one core each", "one process on one core",
        f"{np.median(together):.2f} cells/s", f"{np.median(alone):.2f} cells/s",
        f"{ratio:.2f}×, results {apart:.0e} apart", "≥ 1.7×, 1e-5", ratio >= 1.7 and apart <= 1e-5,
    )  # fmt: skip
