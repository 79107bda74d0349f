"""Files of known edges: what kind of file it is, by what is in it, and its content as a program would hold it."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import ParseError

import pandas as pd

from .errors import PriorError
from .prior_columns import edge_columns, has_edge_columns, is_sign_word
from .prior_forms import ACCEPTED

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["name_of_file", "read_prior_file"]

_COMPRESSED = {".gz", ".bz2", ".xz", ".zst", ".zip"}

_DAMAGES = (
    ValueError,  # of pandas' and pyarrow's parsers, json and decoding
    KeyError,
    TypeError,
    NotImplementedError,
    RecursionError,
    OSError,
    EOFError,
    ParseError,
    csv.Error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    zlib.error,
)
_NOT_FOR_US = {
    b"\x89HDF": "an HDF5 file; read an .h5ad with anndata, and name the key of its varp",
    b"\x80\x02": "a pickle, which may run code; write a csv, gmt or json file with the tool that made it",
    b"\x80\x03": "a pickle, which may run code; write a csv, gmt or json file with the tool that made it",
    b"\x80\x04": "a pickle, which may run code; write a csv, gmt or json file with the tool that made it",
    b"\x80\x05": "a pickle, which may run code; write a csv, gmt or json file with the tool that made it",
    b"%PDF": "a PDF",
}
_ROWS_LOOKED_AT = 500


def read_prior_file(path: Path, genes: Sequence[str]) -> Any:
    """The content of a file: a DataFrame, a dict of regulators and their targets, or a graph.

    Parameters
    ----------
    path
        The file. What it is shows in its content: compression (gzip, bzip2, xz, zstd, zip), parquet, feather, graphml,
        json, and among tables of text the separator, whether there is a header, and whose format it is. Only a gmt file
        with sets of one size needs its suffix.
    genes
        The data's genes, by which a table without a header is told from one with unknown columns.

    Raises
    ------
    PriorError
        If the file is damaged or of no known kind.
    """
    try:
        return _content(path, frozenset(genes))
    except PriorError:
        raise
    except _DAMAGES as error:
        raise _unreadable(path, str(error) or type(error).__name__) from error


def name_of_file(path: Path) -> str:
    """The file's name without the suffixes of its format and compression."""
    return Path(path.stem).stem if path.suffix.lower() in _COMPRESSED else path.stem


def _unreadable(path: Path, reason: str) -> PriorError:
    return PriorError(f"{str(path)!r} cannot be read as a table of edges: {reason.rstrip('.')}. {ACCEPTED}")


def _content(path: Path, genes: frozenset[str]) -> Any:
    raw = _decompressed(path)
    for start, reason in _NOT_FOR_US.items():
        if raw.startswith(start):
            raise _unreadable(path, f"it is {reason}")
    if raw.startswith(b"PAR1"):
        return pd.read_parquet(io.BytesIO(raw))
    if raw.startswith((b"ARROW1", b"FEA1")):
        return pd.read_feather(io.BytesIO(raw))
    text = raw.decode("utf-8-sig")
    if "\0" in text:
        raise _unreadable(path, "it is no text")
    if text.lstrip().startswith("<"):
        return _graph(raw)
    if text.lstrip().startswith(("{", "[")):
        return _from_json(json.loads(text))
    lines = [line for line in text.replace("\r\n", "\n").split("\n") if line.strip() and not line.startswith("#")]
    if not lines:
        raise _unreadable(path, "it is empty")
    return _table(lines, frozenset(suffix.lower() for suffix in path.suffixes), genes)


def _decompressed(path: Path) -> bytes:
    raw = path.read_bytes()
    if raw.startswith(b"\x1f\x8b"):
        return gzip.decompress(raw)
    if raw.startswith(b"BZh"):
        return bz2.decompress(raw)
    if raw.startswith(b"\xfd7zXZ\0"):
        return lzma.decompress(raw)
    if raw.startswith(b"\x28\xb5\x2f\xfd"):
        import pyarrow as pa

        return pa.CompressedInputStream(pa.BufferReader(raw), "zstd").read()
    if raw.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            members = [name for name in archive.namelist() if not name.endswith("/")]
            if "[Content_Types].xml" in members:
                raise _unreadable(path, "it is an office document; save the sheet as csv")
            if len(members) != 1:
                raise _unreadable(path, f"it is a zip archive of {len(members)} files, not of one")
            return archive.read(members[0])
    return raw


def _graph(raw: bytes) -> Any:
    import networkx as nx

    try:
        return nx.read_graphml(io.BytesIO(raw))
    except nx.NetworkXError as error:
        msg = f"no GraphML: {error}"
        raise ValueError(msg) from error


def _from_json(content: Any) -> Any:
    if isinstance(content, list):  # a table, row by row
        return pd.DataFrame.from_records(content)
    return content


# ---------------------------------------------------------------- tables of text


def _table(lines: list[str], suffixes: frozenset[str], genes: frozenset[str]) -> Any:
    separator = next((mark for mark in "\t,;" if mark in lines[0]), None)
    if separator is None:  # columns apart by blanks
        lines, separator = ["\t".join(line.split()) for line in lines], "\t"
    rows = list(csv.reader(lines[:_ROWS_LOOKED_AT], delimiter=separator))
    if any("TargetGenes" in row for row in rows[:2]):
        return _enriched_motifs(lines, separator, two_rows="TargetGenes" not in rows[0])
    if has_edge_columns(rows[0]):
        return _frame(lines, separator, header=0, dtype=dict.fromkeys(edge_columns(pd.DataFrame(columns=rows[0])), str))
    if "gene_short_name" in rows[0]:
        return _frame(lines, separator, header=0, dtype={"gene_short_name": str})
    if _is_sif(rows, suffixes):
        return _sif(lines, separator)
    if ".gmt" in suffixes or (separator == "\t" and len({len(row) for row in rows}) > 1):
        return _gene_sets(lines, separator)
    if (names := _names_for(rows, genes)) is not None:
        layout = {"names": names, "usecols": range(len(names)), "dtype": dict.fromkeys(names[:2], str)}
        return _frame(lines, separator, header=None, **layout)
    return _frame(lines, separator, header=0)


def _frame(lines: list[str], separator: str, **layout: Any) -> pd.DataFrame:
    # "NA" is not taken for an absent name: there are genes called "nan"
    return pd.read_csv(
        io.StringIO("\n".join(lines)), sep=separator, keep_default_na=False, na_values=[""], low_memory=False, **layout
    )


def _enriched_motifs(lines: list[str], separator: str, *, two_rows: bool) -> pd.DataFrame:
    """What ``pyscenic ctx`` writes: two rows of column names, then one of the names of the index."""
    if not two_rows:
        return _frame(lines, separator, header=0)
    return _frame(lines, separator, header=[0, 1], index_col=[0, 1], skipinitialspace=True)


def _is_sif(rows: list[list[str]], suffixes: frozenset[str]) -> bool:
    """Whether each row is a regulator, a relation and its targets (Cytoscape's simple interaction format)."""
    if ".sif" in suffixes:
        return True
    relations = {row[1].strip().lower() for row in rows if len(row) > 2}
    return bool(relations) and all(is_sign_word(word) and word not in {"", "?"} for word in relations)


def _sif(lines: list[str], separator: str) -> pd.DataFrame:
    fields = (line.rstrip("\r").split(separator) for line in lines)
    edges = [
        (source, target, relation.strip()) for source, relation, *targets in (f for f in fields if len(f) > 2)
        for target in targets
    ]  # fmt: skip
    return pd.DataFrame([tuple(map(str.strip, edge)) for edge in edges], columns=["source", "target", "relation"])


def _gene_sets(lines: list[str], separator: str) -> dict[str, list[str]]:
    """Gene sets by name: a name, a description and the genes in each line."""
    sets: dict[str, list[str]] = {}
    for line in lines:
        name, *others = line.split(separator)
        sets.setdefault(name, []).extend(gene.strip() for gene in others[1:] if gene.strip())
    return sets


def _names_for(rows: list[list[str]], genes: frozenset[str]) -> list[str] | None:
    """Names of the first columns of a table that has none, as of TRRUST or GRNBoost2; ``None`` if it seems to have."""
    n_columns = len(rows[0])
    if n_columns < 2:
        return None
    third = [row[2].strip() for row in rows if len(row) > 2]
    if third and all(map(is_sign_word, third)) and any(third):
        return ["source", "target", "mode"]
    named = not any(map(_is_number, rows[0][:2])) or not genes.isdisjoint(rows[0][:2])
    if third and named and all(map(_is_number, third)):
        return ["source", "target", "weight"]
    recurs = any(rows[0][column] in {row[column] for row in rows[1:] if len(row) > column} for column in (0, 1))
    is_wide = len(third) > 0 and all(map(_is_number, third[1:])) and len(third) > 1
    if not is_wide and (recurs or not genes.isdisjoint(rows[0][:2])):
        return ["source", "target"]
    return None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
