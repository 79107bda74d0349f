"""Embed the cells of an .h5ad file from disk; print seconds, cells per second and this process's peak memory as JSON.

    python benchmarks/embed_file.py atlas.h5ad encoder_folder --attention-to attention.zarr
    torchrun --nproc-per-node 2 benchmarks/embed_file.py atlas.h5ad encoder_folder --embedding z.npy

Under torchrun the first process prints.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import anndata
import numpy as np

import scgrn_tl as sg
from scgrn_tl.core import peak_memory

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("path", type=Path)
parser.add_argument("weights", type=Path)
parser.add_argument("--attention-to", type=Path, help="zarr store for attention sums; without it none are kept")
parser.add_argument("--embedding", type=Path, help=".npy file for the gene embeddings")
arguments = parser.parse_args()
sg.settings.progress = False
adata = anndata.read_h5ad(arguments.path, backed="r")
began = time.perf_counter()
sg.tl.scbert_embed(
    adata,
    weights=arguments.weights,
    store_attention=arguments.attention_to is not None,
    attention_to=arguments.attention_to,
)
seconds = time.perf_counter() - began
if os.environ.get("RANK", "0") == "0":
    if arguments.embedding is not None:
        np.save(arguments.embedding, adata.varm["scbert"])
    print(json.dumps({"seconds": seconds, "cells_per_second": adata.n_obs / seconds, "peak": peak_memory()}))
