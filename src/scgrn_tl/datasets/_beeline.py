"""The seven single-cell experiments of the BEELINE benchmark, their known edges and the published splits."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

import numpy as np

from scgrn_tl.core.argument_types import typed_arguments
from scgrn_tl.core.errors import ArgumentError, DownloadError
from scgrn_tl.core.split import EdgeSplit, LabeledPairs

from ._files import fetch
from ._registry import BEELINE_COMMIT, BEELINE_REPOSITORY, beeline_file

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = ["CELL_TYPES", "BeelineNetwork", "beeline", "beeline_split"]

BeelineNetwork = Literal["specific", "string", "nonspecific"]

CELL_TYPES = ("hESC", "hHEP", "mDC", "mESC", "mHSC-E", "mHSC-GM", "mHSC-L")
_N_GENES = (500, 1000)
_SAMPLES = (1, 2, 3, 4, 5)
_NETWORK_FOLDERS: dict[BeelineNetwork, str] = {
    "specific": "Specific",
    "string": "STRING",
    "nonspecific": "Non-Specific",
}

_HOURS = r"(\d+h)"
_HSC = (r"(LT.HSC|HSPC|Prog)", ("LT_HSC", "HSPC", "Prog"))
_STAGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "hESC": (_HOURS, ("00h", "12h", "24h", "36h", "72h", "96h")),
    "hHEP": (r"_(ipsc|de|he1|he2|ih1|mh1|mh2)$", ("ipsc", "de", "he1", "he2", "ih1", "mh1", "mh2")),
    "mDC": (_HOURS, ("1h", "2h", "4h", "6h")),
    "mESC": (_HOURS, ("00h", "12h", "24h", "48h", "72h")),
    "mHSC-E": _HSC,
    "mHSC-GM": _HSC,
    "mHSC-L": _HSC,
}
"""What a cell's name says of its stage, and the order of the stages."""


@typed_arguments
def beeline(cell_type: str, n_genes: int = 500, network: BeelineNetwork = "specific") -> AnnData:
    """One experiment of the BEELINE benchmark (Pratapa et al. 2020) with its ground-truth network.

    Genes are those of GENELink (Chen and Liu 2022) and scTransNet: all transcription factors that vary significantly,
    plus the 500 or 1,000 most varying other genes. The three networks select and order genes each in their own way, so
    gene indices (those of :func:`beeline_split`, for one) hold within one ``cell_type``, ``n_genes`` and ``network``.

    Parameters
    ----------
    cell_type
        ``"hESC"``, ``"hHEP"``, ``"mDC"``, ``"mESC"``, ``"mHSC-E"``, ``"mHSC-GM"`` or ``"mHSC-L"``, in upper or lower
        case.
    n_genes
        Varying genes beside the TFs, 500 or 1000.
    network
        Known edges: ``"specific"`` (ChIP-seq of the same cell type), ``"string"`` (STRING, functional) or
        ``"nonspecific"`` (ChIP-seq of any cell type).

    Returns
    -------
    AnnData, cells × genes, with

    - ``X``: float32, log2(1 + normalised expression), as published; genes in the order of the published
      file; symbols are in upper case, those of mouse too
    - ``obs["stage"]``: ordered categorical, the time or stage of differentiation that the cell's name tells
    - ``var["is_tf"]``: bool, whether the gene is one of the panel's TFs (scored ones have an edge in the ground truth)
    - ``uns["ground_truth"]``: DataFrame ``source``, ``target``, a row per edge in the order of ``Label.csv``. Rows are
      taken as they are; the published files hold neither self loops nor duplicates
    - ``uns["beeline"]``: dict ``cell_type``, ``n_genes``, ``network``, ``organism``, ``source``

    Raises
    ------
    ArgumentError
        If there is no such experiment.
    DownloadError
        If a file cannot be had, or the gene indices of the files do not fit together.
    """
    import pandas as pd
    from anndata import AnnData

    cell_type, network = _resolve(cell_type, n_genes, network)
    folder = f"data/benchmark_datasets/{_NETWORK_FOLDERS[network]} Dataset/{cell_type}/TFs+{n_genes}"
    # The small files first: a failure among them shows before the large one is loaded.
    target = _read(f"{folder}/Target.csv.gz")
    tf = _read(f"{folder}/TF.csv.gz")
    label = _read(f"{folder}/Label.csv.gz")
    expression = _read(f"{folder}/BL--ExpressionData.csv.gz", index_column=0)

    genes = expression.index.to_numpy(dtype=object)
    _check_index(target["index"], target["Gene"], genes, f"{folder}/Target.csv.gz")
    if len(target) != len(genes):
        msg = f"{folder}/Target.csv.gz names {len(target)} genes, but the expression file has {len(genes)}."
        raise DownloadError(msg)
    _check_index(tf["index"], tf["TF"], genes, f"{folder}/TF.csv.gz")

    is_tf = np.zeros(len(genes), dtype=bool)
    is_tf[tf["index"]] = True
    cells = expression.columns.astype(str)
    adata = AnnData(
        X=np.ascontiguousarray(expression.to_numpy(dtype=np.float32).T),
        obs=pd.DataFrame({"stage": _stages(cells, cell_type)}, index=cells),
        var=pd.DataFrame({"is_tf": is_tf}, index=expression.index.astype(str)),
    )
    adata.uns["ground_truth"] = pd.DataFrame({"source": genes[label["TF"]], "target": genes[label["Target"]]})
    adata.uns["beeline"] = {
        "cell_type": cell_type,
        "n_genes": n_genes,
        "network": network,
        "organism": "human" if cell_type.startswith("h") else "mouse",
        "source": f"https://github.com/{BEELINE_REPOSITORY}/tree/{BEELINE_COMMIT}",
    }
    return adata


@typed_arguments
def beeline_split(
    cell_type: str, n_genes: int = 500, sample: int = 1, *, network: BeelineNetwork = "specific"
) -> EdgeSplit:
    """The published training, validation and test pairs of one BEELINE experiment, untouched.

    Parameters
    ----------
    cell_type, n_genes, network
        As in :func:`beeline`.
    sample
        Which of the five published splits, 1 to 5.

    Returns
    -------
    A split of kind ``"given"``, whose pairs are gene indices of ``beeline(cell_type, n_genes, network)``.

    Raises
    ------
    ArgumentError
        If there is no such split.
    DownloadError
        If a file cannot be had.
    """
    cell_type, network = _resolve(cell_type, n_genes, network)
    if sample not in _SAMPLES:
        msg = f"BEELINE has the splits {_listed(_SAMPLES)}, not sample={sample!r}."
        raise ArgumentError(msg)
    folder = f"data/splits/{_NETWORK_FOLDERS[network]}/{cell_type} {n_genes}/sample{sample}"
    parts = [_read(f"{folder}/{part}_set.csv.gz") for part in ("Train", "Validation", "Test")]
    train, validation, test = (
        LabeledPairs(part[["TF", "Target"]].to_numpy(), part["Label"].to_numpy() == 1) for part in parts
    )
    target = _read(
        f"data/benchmark_datasets/{_NETWORK_FOLDERS[network]} Dataset/{cell_type}/TFs+{n_genes}/Target.csv.gz"
    )
    genes = tuple(target.sort_values("index")["Gene"].astype(str))
    return EdgeSplit(train, validation, test, kind="given", genes=genes)


def _stages(cells: pd.Index, cell_type: str) -> pd.Categorical:
    """Stage of each cell as its name tells it, in the order of the experiment; missing where the name tells none."""
    import pandas as pd

    pattern, order = _STAGES[cell_type]
    found = cells.to_series().str.extract(pattern, flags=re.IGNORECASE, expand=False)
    spelled = {stage.lower(): stage for stage in order}
    return pd.Categorical(found.str.lower().map(spelled), categories=order, ordered=True)


def _resolve(cell_type: str, n_genes: int, network: str) -> tuple[str, BeelineNetwork]:
    """The cell type and the network as they are spelled here, or an error that lists what there is."""
    spelled = {name.lower(): name for name in CELL_TYPES}.get(str(cell_type).lower())
    if spelled is None:
        msg = f"BEELINE has the cell types {_listed(CELL_TYPES)}, not {cell_type!r}."
        raise ArgumentError(msg)
    if n_genes not in _N_GENES:
        msg = f"BEELINE comes with n_genes={_listed(_N_GENES)} varying genes beside the TFs, not {n_genes!r}."
        raise ArgumentError(msg)
    kind = next((known for known in _NETWORK_FOLDERS if known == str(network).lower().replace("-", "")), None)
    if kind is None:
        msg = f"BEELINE has the networks {_listed(tuple(_NETWORK_FOLDERS))}, not {network!r}."
        raise ArgumentError(msg)
    return spelled, kind


def _listed(choices: tuple[object, ...]) -> str:
    return ", ".join(map(repr, choices[:-1])) + f" and {choices[-1]!r}"


def _read(path: str, *, index_column: int | None = None) -> pd.DataFrame:
    import pandas as pd

    # keep_default_na: a gene may be called "NA" or "nan"
    return pd.read_csv(fetch(beeline_file(path)), index_col=index_column, keep_default_na=False)


def _check_index(index: pd.Series, names: pd.Series, genes: np.ndarray, path: str) -> None:
    """Raise unless ``genes[index]`` are ``names``: pairs given as indices would otherwise mean other genes."""
    rows = index.to_numpy()
    if rows.min() < 0 or rows.max() >= len(genes) or not np.array_equal(genes[rows], names.to_numpy(dtype=object)):
        msg = f"{path} does not fit the expression file: its index is not the row of its gene there."
        raise DownloadError(msg)
