"""The encoder of scBERT's size, float32 on the CPU."""

from __future__ import annotations

import torch

from scgrn_tl.models import GenePool, ScBERT, ScBERTConfig


class Encode:
    """Hidden states and attention sums of one cell."""

    params = (500, 1000, 4000, 16_906)
    param_names = ("genes",)
    timeout = 300

    def setup(self, n_genes):
        self.model = ScBERT(ScBERTConfig(n_genes=n_genes)).eval()
        self.tokens = torch.randint(0, 6, (1, n_genes), generator=torch.Generator().manual_seed(0))

    def time_encode(self, n_genes):
        self.model.encode(self.tokens)

    def peakmem_encode(self, n_genes):
        self.model.encode(self.tokens)


class Pool:
    """A batch of 16 cells added to running sums."""

    def setup(self):
        self.pool = GenePool(1000, 200)
        self.hidden, self.weights = torch.rand(16, 1000, 200), torch.rand(16, 1000)

    def time_update(self):
        self.pool.update(self.hidden, self.weights)
