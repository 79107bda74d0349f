"""`tl.fit_grn` and `tl.infer_grn` on simulated cells."""

from __future__ import annotations

import scgrn_tl as sg


class Fit:
    """scTransNet, 30 epochs, without gene embeddings."""

    params = (1, 4)
    param_names = ("models",)
    timeout = 300

    def setup(self, n_models):
        sg.settings.progress = False
        self.adata = sg.datasets.simulated(n_cells=400, n_genes=500, n_tfs=50, rng=0)

    def time_fit(self, n_models):
        sg.tl.fit_grn(self.adata, self.adata.uns["ground_truth"], use_rep=None, n_models=n_models, epochs=30)

    def peakmem_fit(self, n_models):
        self.time_fit(n_models)


class Infer:
    params = ("pearson", "mutual_information", "pidc", "genie3", "grnboost2")
    param_names = ("method",)
    timeout = 300

    def setup(self, method):
        sg.settings.progress = False
        self.adata = sg.datasets.simulated(n_cells=300, n_genes=100, n_tfs=20, rng=0)
        self.options = {"n_trees": 50} if method == "genie3" else {}

    def time_infer(self, method):
        sg.tl.infer_grn(self.adata, method=method, tf_names=self.adata.var_names[:20], n_jobs=1, **self.options)
