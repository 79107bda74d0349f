"""Encode a cell of so many genes with an encoder of scBERT's size, and print this process's peak memory as JSON."""

from __future__ import annotations

import json
import sys

import torch

from scgrn_tl.core import peak_memory
from scgrn_tl.models import ScBERT, ScBERTConfig

n_genes = int(sys.argv[1])
ScBERT(ScBERTConfig(n_genes=n_genes)).eval().encode(torch.zeros(1, n_genes, dtype=torch.int64))
print(json.dumps({"peak": peak_memory()}))
