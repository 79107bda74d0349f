"""`tl.scbert_embed` with a small encoder."""

from __future__ import annotations

import tempfile
from pathlib import Path

import scgrn_tl as sg


class Embed:
    params = (200, 2000)
    param_names = ("cells",)
    timeout = 300

    def setup(self, n_cells):
        sg.settings.progress = False
        self.folder = tempfile.TemporaryDirectory()
        sg.settings.cache_dir = Path(self.folder.name)
        self.adata = sg.datasets.simulated(n_cells=n_cells, n_genes=300, n_tfs=20, rng=0)
        self.weights = Path(self.folder.name) / "encoder"
        sg.tl.scbert_pretrain(self.adata, weights_dir=self.weights, max_epochs=1, max_cells=100)

    def teardown(self, n_cells):
        self.folder.cleanup()

    def time_embed(self, n_cells):
        sg.tl.scbert_embed(self.adata, weights=self.weights)

    def peakmem_embed(self, n_cells):
        sg.tl.scbert_embed(self.adata, weights=self.weights)
