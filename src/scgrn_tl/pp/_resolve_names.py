"""``pp.resolve_names``: what the names of a list become, of a prior for one."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from scgrn_tl.core import ArgumentError
from scgrn_tl.core.argument_types import typed_arguments

from ._naming import Naming

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd

    from scgrn_tl.core import GeneVocabulary, PriorNetwork

__all__ = ["resolve_names"]

LOGGER = logging.getLogger(__name__)


@typed_arguments
def resolve_names(
    names: Iterable[str],
    *,
    organism: str = "human",
    to: str | None = None,
    vocabulary: str | GeneVocabulary | PriorNetwork | pd.DataFrame | Iterable[str] | None = None,
    tables: Mapping[str, pd.DataFrame] | None = None,
) -> pd.DataFrame:
    """What each of some gene names becomes: the names of a prior network, or of a list of transcription factors.

    The rules are those of :func:`resolve_genes`, for each name alone: a list may call one gene by several names, so
    that there are no duplicates, an ambiguous name stays ambiguous, and what ``make_unique`` appends is not looked for.
    With the data's genes as the vocabulary, a prior speaks the data's language::

        genes = adata.var_names
        for end in ("source", "target"):
            prior[end] = sg.pp.resolve_names(prior[end], vocabulary=genes)["resolved"].to_numpy()

    Parameters
    ----------
    names
        Gene names, in any number and order.
    organism, to, vocabulary, tables
        As in :func:`resolve_genes`.

    Returns
    -------
    DataFrame of str, a row per name in the order given: ``name``; ``resolved``; ``status`` (``"unchanged"``,
    ``"renamed"``, ``"ambiguous"``, ``"no_ortholog"``, ``"unknown"``); ``rule``; ``gene``, the id of its gene;
    ``candidates``, the ids of the genes that an ambiguous name may mean, joined by blanks. All but renamed names are
    resolved to themselves, and genes without an ortholog to their own approved symbol.

    Raises
    ------
    ArgumentError
        If an organism has no table, the vocabulary is none, or ``names`` is a single string.
    DownloadError
        If a table cannot be had.

    Examples
    --------
    >>> sg.pp.resolve_names(["CTGF", "ENSG00000141510.18", "1-Sep"])["resolved"].tolist()  # doctest: +SKIP
    ['CCN2', 'TP53', 'SEPTIN1']
    """
    import pandas as pd

    if isinstance(names, str):
        msg = f"names is a list of gene names, not the string {names!r}: give [{names!r}]."
        raise ArgumentError(msg)
    given = [str(name) for name in names]
    resolver = Naming.read(organism, to, vocabulary, tables).resolver_for(given)
    found = {name: resolver.resolve(name) for name in dict.fromkeys(given)}
    rows = [found[name] for name in given]
    table = pd.DataFrame(
        {
            "name": given,
            "resolved": [each.resolved for each in rows],
            "status": [each.status for each in rows],
            "rule": [each.rule for each in rows],
            "gene": [each.gene for each in rows],
            "candidates": [" ".join(each.candidates) for each in rows],
        },
        dtype=object,
    )
    counts = table["status"].value_counts().to_dict()
    LOGGER.info(
        "Of %s names %s.", f"{len(given):,}", ", ".join(f"{count:,} {status}" for status, count in counts.items())
    )
    return table
