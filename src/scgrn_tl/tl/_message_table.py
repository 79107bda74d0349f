"""Which messages of the graph network a gene attends to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["message_table", "messages_into"]

_FORWARD = {1: "activates", -1: "represses", 0: "regulates"}
_INVERSE = {1: "activated by", -1: "repressed by", 0: "regulated by"}


def messages_into(gene: str, edges: pd.DataFrame) -> pd.Series:
    """The relations of all messages into a gene, by sender: ``"activates"`` and so on, or ``"self"``.

    Parameters
    ----------
    gene
        The gene that reads them.
    edges
        ``source``, ``target`` and ``sign`` of the edges that carry messages.
    """
    into, out_of = edges[edges["target"] == gene], edges[edges["source"] == gene]
    senders = [*into["source"], *out_of["target"], gene]
    relations = [*into["sign"].map(_FORWARD), *out_of["sign"].map(_INVERSE), "self"]
    return pd.Series(relations, index=pd.Index(senders, dtype=object), dtype=object)


def message_table(
    genes: Sequence[str], attention: Any, names: pd.Index, edges: pd.DataFrame, *, n_messages: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The messages that genes attend to most, and how many there are.

    Parameters
    ----------
    genes
        The genes that read them.
    attention
        Sparse ``(G, G)``; the row is the sender.
    names
        The G gene names.
    edges
        As :func:`messages_into` takes them.
    n_messages
        How many to keep for each gene, beside its own message.

    Returns
    -------
    The messages, and ``n_messages`` and ``self_attention`` of each gene.
    """
    columns = attention.tocsc()[:, names.get_indexer(list(genes))].toarray()  # (G, n)
    tables, counts = [], []
    for gene, values in zip(genes, columns.T, strict=True):
        relations = messages_into(gene, edges)
        by_sender = relations.groupby(level=0, sort=False).agg(list)
        table = pd.DataFrame(
            {
                "gene": gene,
                "sender": by_sender.index.to_numpy(dtype=object),
                "relation": [" and ".join(found) for found in by_sender],
                "attention": 0.0,
                "uniform": by_sender.str.len().to_numpy(dtype=np.float64) / len(relations),
            }
        )
        # A gene may have been left out of the AnnData since: its messages count in `uniform`, and are not shown.
        places = names.get_indexer(table["sender"])
        table["attention"] = np.where(places >= 0, values[places], np.nan)
        table = table[places >= 0].sort_values("attention", ascending=False, kind="stable")
        is_self = table["relation"] == "self"
        shown = pd.concat([table[~is_self].head(n_messages), table[is_self]])
        tables.append(shown.sort_values("attention", ascending=False, kind="stable"))
        counts.append((len(relations), float(table.loc[is_self, "attention"].sum())))
    per_gene = pd.DataFrame(counts, columns=["n_messages", "self_attention"], index=pd.Index(genes, dtype=object))
    return pd.concat(tables, ignore_index=True), per_gene
