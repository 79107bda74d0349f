"""How many gene names of real data and priors are known before and after they are resolved (docs/gene-names.md).

``SCGRN_TL_MIRROR=<folder> python benchmarks/gene_names.py`` with a folder that holds the BEELINE files, the tables of
names, ``counts/pbmc_10k_protein_v3.h5ad`` and ``priors/trrust_rawdata.human.tsv``; what is not there is left out.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import anndata as ad
import pandas as pd

import scgrn_tl as sg

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def named_genes(path: Path) -> list[str]:
    """Every name in the first two columns of an edge list."""
    edges = pd.read_csv(path, sep="\t", header=None, dtype=str, keep_default_na=False)
    return list(dict.fromkeys([*edges[0], *edges[1]]))


def row(what: str, vocabulary: str, names: Iterable[str], known: set[str], table: pd.DataFrame) -> dict[str, object]:
    """Names in the vocabulary before and after, and what became of them."""
    status = Counter(table["status"])
    return {
        "names of": what,
        "looked for in": vocabulary,
        "names": len(table),
        "before": sum(name in known for name in names),
        "after": int(table["resolved"].isin(known).sum()),
        **{each: status[each] for each in ("renamed", "duplicate", "ambiguous", "no_ortholog", "unknown")},
    }


def main() -> None:
    folder = sg.settings.mirror
    scbert = sg.datasets.scbert_vocabulary()
    approved = set(sg.datasets.gene_names().query("kind == 'symbol'")["name"])
    table = sg.pp.resolve_names(sorted(approved), vocabulary=scbert)
    rows = [row("HGNC, approved symbols", "scBERT", approved, set(scbert.symbols), table)]

    datasets = {"hHEP, TFs+500": (sg.datasets.beeline("hHEP"), {}), "mDC, TFs+500": (sg.datasets.beeline("mDC"), {})}
    datasets["mDC, TFs+500"] = (datasets["mDC, TFs+500"][0], {"organism": "mouse", "to": "human"})
    if folder is not None and (counts := folder / "counts" / "pbmc_10k_protein_v3.h5ad").is_file():
        datasets["PBMC 10k, 200 cells"] = (ad.read_h5ad(counts), {})
    for what, (adata, arguments) in datasets.items():
        for label, vocabulary, known in (("approved symbols", None, approved), ("scBERT", scbert, set(scbert.symbols))):
            found = sg.pp.resolve_genes(adata, vocabulary=vocabulary, copy=True, **arguments).var
            found = found.rename(columns=lambda column: column.removeprefix("gene_names_"))
            rows.append(row(what, label, adata.var_names, known, found))
            if arguments:
                same = found["original"].isin(known) & (found["original"] != found["resolved"])
                print(
                    f"{what}, {label}: {same.sum()} upper-case names are in the vocabulary, but not as their ortholog"
                )

    collectri = sg.datasets.collectri()
    priors = {"CollecTRI": list(dict.fromkeys([*collectri["source"], *collectri["target"]]))}
    if folder is not None and (trrust := folder / "priors" / "trrust_rawdata.human.tsv").is_file():
        priors["TRRUST"] = named_genes(trrust)
    for what, names in priors.items():
        vocabularies = {"approved symbols": (None, approved), "scBERT": (scbert, set(scbert.symbols))} | {
            data: (list(adata.var_names), set(adata.var_names))
            for data, (adata, given) in datasets.items()
            if not given
        }
        for label, (vocabulary, known) in vocabularies.items():
            rows.append(row(what, label, names, known, sg.pp.resolve_names(names, vocabulary=vocabulary)))
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
