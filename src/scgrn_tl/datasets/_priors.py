"""Prior knowledge for users without a network of their own: names of transcription factors, and known edges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from scgrn_tl.core.argument_types import typed_arguments
from scgrn_tl.core.errors import ArgumentError, DownloadError, MissingDependencyError

from ._files import announce, fetch, find_local
from ._registry import COLLECTRI_HUMAN, DOROTHEA, TF_NAMES, TRRUST_HUMAN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd

__all__ = ["collectri", "dorothea", "tf_names", "trrust"]

_ORGANISMS = ("human", "mouse", "rat")
_LEVELS = ("A", "B", "C", "D")


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
        msg = (
            f"There are TF lists for {' and '.join(map(repr, TF_NAMES))}, not for organism={organism!r}. Calls that "
            "take `tf_names=` take any list of names."
        )
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

    _check_organism(organism)
    announce(COLLECTRI_HUMAN.source)
    local = find_local(COLLECTRI_HUMAN) if organism == "human" else None
    if local is not None:
        edges = pd.read_csv(local, keep_default_na=False)
    else:
        edges = _from_decoupler(
            "CollecTRI",
            lambda op: op.collectri(organism=organism),
            ", or take this one from a machine with a network: "
            f"`sg.datasets.collectri({organism!r}).to_csv('collectri.csv')` there, `prior='collectri.csv'` here. For "
            "human, SCGRN_TL_MIRROR (`sg.settings.mirror`) may name a folder that holds "
            f"{COLLECTRI_HUMAN.path} ({COLLECTRI_HUMAN.digest})",
        )
    return _edges(edges, "collectri")


@typed_arguments
def dorothea(organism: str = "human", levels: str | Sequence[str] = ("A", "B", "C")) -> pd.DataFrame:
    """DoRothEA (Garcia-Alonso et al. 2019): signed TF→target edges with levels of confidence.

    It comes through :func:`decoupler.op.dorothea`.

    Parameters
    ----------
    organism
        ``"human"``, or ``"mouse"`` or ``"rat"``, to which decoupler maps the human edges through orthologs.
    levels
        Levels of confidence to take, of ``"A"`` (several lines of evidence) to ``"D"`` (one).

    Returns
    -------
    DataFrame ``source`` (str), ``target`` (str), ``weight`` (float32; the sign over 1 for level A, 2 for B and so on),
    ``confidence`` (str), an edge per row: a ``prior`` as it stands.

    Raises
    ------
    ArgumentError
        If DoRothEA cannot be had for ``organism``, or a level does not exist.
    MissingDependencyError
        If decoupler is not installed.
    DownloadError
        If decoupler cannot download it.
    """
    _check_organism(organism)
    wanted = list(dict.fromkeys(levels))
    if not wanted or not set(wanted) <= set(_LEVELS):
        msg = f"levels are some of {', '.join(map(repr, _LEVELS))}, not {levels!r}."
        raise ArgumentError(msg)
    announce(DOROTHEA)
    edges = _from_decoupler(
        "DoRothEA",
        lambda op: op.dorothea(organism=organism, levels=wanted),
        ", or take `sg.datasets.trrust()`",
    )
    return _edges(edges, "dorothea").assign(confidence=edges["confidence"].astype(str).to_numpy(dtype=object))


@typed_arguments
def trrust(organism: str = "human") -> pd.DataFrame:
    """TRRUST version 2 (Han et al. 2018): TF→target edges out of the literature, many of them signed.

    Parameters
    ----------
    organism
        ``"human"``.

    Returns
    -------
    DataFrame ``source`` (str), ``target`` (str), ``mode`` (str; ``"Activation"``, ``"Repression"`` or ``"Unknown"``),
    ``pmids`` (str; apart by ``;``): a ``prior`` as it stands. An edge that was seen to activate and to repress has a
    row for each.

    Raises
    ------
    ArgumentError
        If there is none for ``organism``.
    DownloadError
        If it cannot be had.
    """
    import pandas as pd

    if organism != "human":
        msg = f"TRRUST is here for 'human', not for organism={organism!r}. `sg.datasets.collectri` has mouse and rat."
        raise ArgumentError(msg)
    columns = ["source", "target", "mode", "pmids"]
    edges = pd.read_csv(fetch(TRRUST_HUMAN), sep="\t", header=None, names=columns, dtype=str, keep_default_na=False)
    edges.attrs["name"] = "trrust"
    return edges.astype(object)


def _check_organism(organism: str) -> None:
    if organism not in _ORGANISMS:
        msg = f"organism is one of {', '.join(map(repr, _ORGANISMS))}, not {organism!r}."
        raise ArgumentError(msg)


def _edges(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """``source, target, weight`` of a network of decoupler, called ``name`` where it is one prior of several."""
    edges = table[["source", "target", "weight"]].reset_index(drop=True)
    edges = edges.astype({"source": object, "target": object, "weight": np.float32})
    edges.attrs["name"] = name
    return edges


def _from_decoupler(name: str, get: Callable[[Any], pd.DataFrame], otherwise: str) -> pd.DataFrame:
    """The network that ``get`` takes out of ``decoupler.op``; errors say ``otherwise`` what else there is."""
    try:
        import decoupler
    except ImportError as error:
        msg = f"{name} comes through decoupler, which is not installed: run `pip install 'decoupler>=2'`."
        raise MissingDependencyError(msg) from error
    try:
        return get(decoupler.op)
    except (OSError, ValueError, RuntimeError) as error:  # network, or an answer that is no table
        msg = f"decoupler could not download {name}: {error}. Give a prior of your own{otherwise}."
        raise DownloadError(msg) from error
