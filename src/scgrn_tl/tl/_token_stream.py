"""The sequence of genes an encoder is fed, and the cells of an AnnData as streams of tokens over it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from scgrn_tl.core import (
    ArgumentError,
    ExpressionSummary,
    by_rows,
    expression_matrix,
    iter_cells,
    log_base_factor,
    needs_normalization,
    summarize_expression,
    tokenize,
)
from scgrn_tl.core.expression_places import usable_expression
from scgrn_tl.core.log_scale import warn_of_scale

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from anndata import AnnData

    from scgrn_tl.core import GeneVocabulary
    from scgrn_tl.core.tokens import Normalize
    from scgrn_tl.models.processes import Processes

__all__ = ["Expression", "GeneSequence", "TokenStream", "check_listed_genes"]

READ_VALUES = 2**19
"""Values read and tokenised at a time: 4 MiB as float64, small beside one batch in the encoder."""


@dataclass(frozen=True, eq=False)
class GeneSequence:
    """The T genes of a sequence, in vocabulary order.

    Attributes
    ----------
    names
        T gene names, as they stand in the AnnData (absent genes: as in the vocabulary).
    columns
        ``int64[T]``, each gene's column in the AnnData; −1 for a gene that is absent and fed as zero.
    positions
        ``int64[T]``, each gene's position in the vocabulary, ascending.
    overlap
        What matched and what did not, writable to ``uns``.
    """

    names: tuple[str, ...]
    columns: np.ndarray
    positions: np.ndarray
    overlap: dict[str, Any]

    @classmethod
    def select(
        cls, adata: AnnData, vocabulary: GeneVocabulary, genes: Iterable[str] | str | None, min_overlap: float
    ) -> GeneSequence:
        """Line the AnnData's genes up with the vocabulary's.

        Parameters
        ----------
        genes
            ``None`` takes the AnnData's genes that the vocabulary knows; ``"vocabulary"`` all of the vocabulary; a list
            of names those of them that the vocabulary knows.
        min_overlap
            Least share of the AnnData's genes (of the listed ones, for a list) that the vocabulary has to know.

        Raises
        ------
        ArgumentError
            If a listed gene is not in ``var_names``.
        DuplicateGenesError, GeneOverlapError
            As :meth:`GeneVocabulary.align`.
        """
        var_names = [str(name) for name in adata.var_names]
        listed = None if genes is None or isinstance(genes, str) else [str(gene) for gene in genes]
        alignment = vocabulary.align(
            var_names if listed is None else listed,
            min_overlap=min_overlap,
            var=adata.var if listed is None else None,
        )
        overlap = {
            "n_genes": alignment.n_genes,
            "n_found": len(alignment.found),
            "share": alignment.overlap,
            "missing": np.array(alignment.missing, dtype=object),
            "report": alignment.report(),
        }
        if listed is not None:
            columns = adata.var_names.get_indexer(list(alignment.found)).astype(np.int64)
            return cls(alignment.found, columns, alignment.positions, overlap)
        if genes == "vocabulary":
            columns = np.full(len(vocabulary), -1, dtype=np.int64)
            columns[alignment.positions] = alignment.columns
            names = list(vocabulary.symbols)
            for position, name in zip(alignment.positions, alignment.found, strict=True):
                names[position] = name
            return cls(tuple(names), columns, np.arange(len(vocabulary), dtype=np.int64), overlap)
        return cls(alignment.found, alignment.columns, alignment.positions, overlap)

    @classmethod
    def of_names(cls, adata: AnnData, vocabulary: GeneVocabulary, names: Iterable[str]) -> GeneSequence:
        """The sequence of an earlier run; a gene that is not in ``adata`` is fed as zero."""
        names = tuple(names)
        columns = adata.var_names.get_indexer(list(names)).astype(np.int64)
        positions = np.array([vocabulary.index[name] for name in names], dtype=np.int64)
        return cls(names, columns, positions, {})

    def __len__(self) -> int:
        return len(self.names)

    def scatter(self, values: np.ndarray, n_genes: int) -> np.ndarray:
        """``float32 (n_genes, D)``: ``values`` ``(T, D)`` in the AnnData's gene order, NaN where a gene has none."""
        rows = np.full((n_genes, values.shape[1]), np.nan, dtype=np.float32)
        present = self.columns >= 0
        rows[self.columns[present]] = values[present]
        return rows


def check_listed_genes(adata: AnnData, genes: Iterable[str] | str | None) -> None:
    """Raise :class:`ArgumentError` if ``genes`` is not one of the forms :meth:`GeneSequence.select` takes."""
    if genes is None or genes == "vocabulary":
        return
    if isinstance(genes, str) or not isinstance(genes, Iterable):
        msg = f"genes is None, 'vocabulary' or a list of gene names, not {genes!r}."
        raise ArgumentError(msg)
    genes = [str(gene) for gene in genes]
    known = set(map(str, adata.var_names))
    unknown = [gene for gene in genes if gene not in known]
    if unknown or not genes:
        msg = (
            f"{len(unknown)} of the {len(genes)} listed genes are not in var_names: {', '.join(unknown[:5])}. "
            "Names are those of `adata.var_names`."
        )
        raise ArgumentError(msg)


@dataclass(frozen=True, eq=False)
class Expression:
    """An AnnData's expression matrix, checked in one pass.

    Attributes
    ----------
    matrix
        Cells × genes, as stored or as :func:`scgrn_tl.core.by_rows` gives it.
    summary
        Totals per cell, and whether the values are counts.
    normalize
        Whether the values are counts to be normalised.
    to_log2
        What log-normalised values are multiplied with to be logarithms to base 2, which scBERT's bins are of.
    """

    matrix: Any
    summary: ExpressionSummary
    normalize: bool
    to_log2: float = 1.0

    @classmethod
    def from_anndata(
        cls, adata: AnnData, layer: str | None, normalize: Normalize, processes: Processes | None = None
    ) -> Expression:
        """Read ``X`` or ``layers[layer]``, each of ``processes`` a part; errors as :func:`summarize_expression`."""
        matrix = by_rows(expression_matrix(adata, layer))
        mend = partial(usable_expression, adata, besides=layer)
        if processes is None:
            summary = summarize_expression(matrix, adata.obs_names, adata.var_names, mend=mend)
        else:
            bounds = np.linspace(0, adata.n_obs, processes.size + 1).astype(np.int64)
            rows = slice(int(bounds[processes.rank]), int(bounds[processes.rank + 1]))
            part = summarize_expression(matrix, adata.obs_names, adata.var_names, rows=rows, mend=mend)
            parts = processes.gather((part.totals[rows], part.is_counts, part.maximum))
            summary = ExpressionSummary(
                np.concatenate([totals for totals, _, _ in parts]),
                all(is_counts for _, is_counts, _ in parts),
                max(maximum for _, _, maximum in parts),
                part.constant_totals,
            )
        counts = needs_normalization(normalize, summary)
        to_log2 = 1.0 if counts else log_base_factor(adata)
        if not counts:
            warn_of_scale(summary.constant_totals, to_log2)
        return cls(matrix, summary, counts, to_log2)

    @property
    def empty_cells(self) -> np.ndarray:
        """``bool[N]``, the cells in which every gene is zero."""
        return self.summary.empty_cells

    def sample(self, cells: np.ndarray) -> sparse.csr_matrix:
        """Expression of ``cells`` (ascending), ``float64 (n, G)``: counts, or logarithms to base 2."""
        size = _read_size(self.matrix.shape[1])
        blocks = [
            sparse.csr_matrix(block[_within(cells, rows) - rows.start] * self.to_log2)
            for rows, block in iter_cells(self.matrix, batch_size=size, dtype=np.float64, cells=cells)
        ]
        return sparse.vstack(blocks, format="csr")


def _read_size(n_genes: int) -> int:
    return max(1, READ_VALUES // max(1, n_genes))


def _within(cells: np.ndarray, rows: slice) -> np.ndarray:
    """The part of the ascending ``cells`` that lies in ``rows``."""
    return cells[np.searchsorted(cells, rows.start) : np.searchsorted(cells, rows.stop)]


@dataclass(frozen=True, eq=False)
class TokenStream:
    """Cells as tokens over a gene sequence; only a block of cells is in memory at a time.

    Attributes
    ----------
    expression
        The checked expression matrix.
    columns
        ``int64[T]``, columns of the sequence's genes; −1 where a gene is absent.
    """

    expression: Expression
    columns: np.ndarray

    def batches(self, cells: np.ndarray, batch_size: int) -> Generator[tuple[np.ndarray, np.ndarray]]:
        """Walk over ``cells`` (ascending row numbers) in batches. The next block is read while one is worked on.

        Yields
        ------
        ``int64[B]`` row numbers and ``uint8 (B, T)`` tokens. Every batch but the last has ``batch_size`` cells.
        """
        waiting: list[tuple[np.ndarray, np.ndarray]] = []
        n_waiting = 0
        with closing(_ahead(self._blocks(cells))) as blocks:
            for block in blocks:
                waiting.append(block)
                n_waiting += len(block[0])
                if n_waiting < batch_size:
                    continue
                rows = np.concatenate([pair[0] for pair in waiting])
                tokens = np.concatenate([pair[1] for pair in waiting])
                full = n_waiting - n_waiting % batch_size
                for start in range(0, full, batch_size):
                    batch = slice(start, start + batch_size)
                    yield rows[batch], tokens[batch]
                waiting, n_waiting = [(rows[full:], tokens[full:])], n_waiting - full
        if n_waiting:
            yield np.concatenate([pair[0] for pair in waiting]), np.concatenate([pair[1] for pair in waiting])

    def digest(self, cells: np.ndarray) -> str:
        """SHA-256 of the tokens of ``cells``: the same if and only if the encoder would be fed the same."""
        digest = hashlib.sha256(repr((len(cells), len(self.columns))).encode())
        for _, tokens in self._blocks(cells):
            digest.update(np.ascontiguousarray(tokens).tobytes())
        return digest.hexdigest()

    def _blocks(self, cells: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        present = np.flatnonzero(self.columns >= 0)
        summary = self.expression.summary
        # float64: a value just below a whole number must not be rounded into the next bin
        blocks = iter_cells(
            self.expression.matrix,
            columns=self.columns[present],
            batch_size=_read_size(len(present)),
            dtype=np.float64,
            cells=cells,
        )
        for rows, block in blocks:
            inside = _within(cells, rows)
            if not len(inside):
                continue
            totals = summary.totals[inside] if self.expression.normalize else None
            tokens = np.zeros((len(inside), len(self.columns)), dtype=np.uint8)
            tokens[:, present] = tokenize(block[inside - rows.start] * self.expression.to_log2, totals)
            yield inside, tokens


def _ahead(blocks: Iterator[tuple[np.ndarray, np.ndarray]]) -> Generator[tuple[np.ndarray, np.ndarray]]:
    """``blocks``, each made in a thread while the one before is in use; its errors are raised here."""
    with ThreadPoolExecutor(1, thread_name_prefix="scgrn_tl-reader") as reader:
        coming = reader.submit(next, blocks, None)
        while (block := coming.result()) is not None:
            coming = reader.submit(next, blocks, None)
            yield block
