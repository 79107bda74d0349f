"""Import time in a new interpreter."""


class Import:
    def timeraw_anndata(self):
        return "import anndata"

    def timeraw_scgrn_tl(self):
        return "import anndata, scgrn_tl"
