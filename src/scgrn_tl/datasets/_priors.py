"""Prior knowledge for users without a network of their own: names of transcription factors, and CollecTRI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from scgrn_tl.core.argument_types import typed_arguments
from scgrn_tl.core.errors import ArgumentError, DownloadError, MissingDependencyError

from ._files import announce, fetch, find_local
from ._registry import COLLECTRI_HUMAN, TF_NAMES

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["collectri", "tf_names"]

_COLLECTRI_ORGANISMS = ("human", "mouse", "rat")


@typed_arguments
def tf_names(organism: Literal["human", "mouse"] = "human") -> list[str]:
    """Symbols of the transcription factors of an organism.

    Parameters
    ----------
    organism
        ``"human"``: the 1,639 likely TFs of Lambert et al. (2018). ``"mouse"``: MGI symbols, as pySCENIC ships them.

    Raises
    ------
    ArgumentError
        If there is no list for ``organism``.
    DownloadError
        If the list cannot be had.
    """
    if organism not in TF_NAMES:
        msg = f"There are TF lists for {' and '.join(map(repr, TF_NAMES))}, not for organism={organism!r}."
        raise ArgumentError(msg)
    lines = fetch(TF_NAMES[organism]).read_text(encoding="utf-8").splitlines()
    # Some names of the mouse list end in a blank. A dict keeps the order and drops what then stands twice.
    return list(dict.fromkeys(name for line in lines if (name := line.strip())))


@typed_arguments
def collectri(organism: str = "human") -> pd.DataFrame:
    """CollecTRI (Müller-Dott et al. 2023): signed TF→target edges out of twelve resources.

    It comes through :func:`decoupler.op.collectri`. A mirror (``sg.settings.mirror``) that holds
    ``priors/collectri_human.csv`` is used in its place for human.

    Parameters
    ----------
    organism
        ``"human"``, or ``"mouse"`` or ``"rat"``, to which decoupler maps the human edges through orthologs.

    Returns
    -------
    DataFrame ``source`` (str), ``target`` (str), ``weight`` (float32; 1 activates, −1 represses), an edge per row: a
    ``prior`` as it stands.

    Raises
    ------
    ArgumentError
        If CollecTRI cannot be had for ``organism``.
    MissingDependencyError
        If decoupler is not installed.
    DownloadError
        If decoupler cannot download it.
    """
    import pandas as pd

    if organism not in _COLLECTRI_ORGANISMS:
        msg = f"organism is one of {', '.join(map(repr, _COLLECTRI_ORGANISMS))}, not {organism!r}."
        raise ArgumentError(msg)
    announce(COLLECTRI_HUMAN.source)
    local = find_local(COLLECTRI_HUMAN) if organism == "human" else None
    edges = pd.read_csv(local, keep_default_na=False) if local is not None else _from_decoupler(organism)
    edges = edges[["source", "target", "weight"]].reset_index(drop=True)
    return edges.astype({"source": object, "target": object, "weight": np.float32})


def _from_decoupler(organism: str) -> pd.DataFrame:
    try:
        import decoupler
    except ImportError as error:
        msg = "CollecTRI comes through decoupler, which is not installed: run `pip install 'decoupler>=2'`."
        raise MissingDependencyError(msg) from error
    try:
        return decoupler.op.collectri(organism=organism)
    except (OSError, ValueError, RuntimeError) as error:  # network, or an answer that is no table
        msg = (
            f"decoupler could not download CollecTRI for {organism}: {error}. Give a prior of your own, or, for human, "
            f"set SCGRN_TL_MIRROR (`sg.settings.mirror`) to a folder that holds {COLLECTRI_HUMAN.path} "
            f"(SHA-256 {COLLECTRI_HUMAN.sha256})."
        )
        raise DownloadError(msg) from error
