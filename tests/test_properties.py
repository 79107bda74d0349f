"""Whatever form expression and priors come in: the same numbers, or one clear error; never another exception.

Tokens, pooling, metrics, splits and gene names have their properties beside their other tests.
"""

from __future__ import annotations

import contextlib
import warnings
from typing import TYPE_CHECKING, Any

import anndata as ad
import networkx as nx
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from scgrn_tl.core import (
    ExpressionError,
    GRNTask,
    PriorError,
    PriorNetwork,
    ScgrnError,
    genes_by_cells,
    iter_cells,
    make_task,
    summarize_expression,
)

if TYPE_CHECKING:
    from pathlib import Path

# ------------------------------------------------------------------------------------------------ expression matrices

FORMATS = [
    np.asarray,
    np.asfortranarray,
    sparse.csr_matrix,
    sparse.csc_matrix,
    sparse.csr_array,
    sparse.csc_array,
    lambda values: np.repeat(np.repeat(values, 2, axis=0), 2, axis=1)[::2, ::2],  # strides of another array
]
SHAPES = st.tuples(st.integers(1, 7), st.integers(1, 6))
COUNTS = SHAPES.flatmap(lambda shape: hnp.arrays(np.int64, shape, elements=st.integers(0, 200)))
LOGS = SHAPES.flatmap(lambda shape: hnp.arrays(np.float32, shape, elements=st.floats(0, 8, width=16)))
BAD_VALUES = st.sampled_from([-1.0, -1e-3, np.nan, np.inf, -np.inf])


def literal(values: np.ndarray) -> np.ndarray:
    """``log2(1 + 10⁴·count/total)`` of whole numbers, value by value; anything else as it is."""
    if (values != np.rint(values)).any():
        return values.T.astype(np.float64)
    out = np.zeros(values.T.shape)
    for cell, row in enumerate(values.tolist()):
        for gene, count in enumerate(row):
            out[gene, cell] = np.log2(1 + 1e4 * count / sum(row)) if sum(row) else 0.0
    return out


@st.composite
def matrices(draw: st.DrawFn) -> tuple[np.ndarray, Any]:
    """Values, and the same in some form that an AnnData holds."""
    values = draw(st.one_of(COUNTS, LOGS))
    dtypes = [np.int16, np.int64, np.uint32, np.float32, np.float64] if values.dtype.kind == "i" else [np.float32, "f8"]
    return values, draw(st.sampled_from(FORMATS))(values.astype(draw(st.sampled_from(dtypes))))


@given(matrices(), st.booleans())
def test_expression_is_the_same_in_every_form(given_: tuple[np.ndarray, Any], as_view: bool) -> None:
    values, matrix = given_
    adata = ad.AnnData(matrix)
    if as_view:
        adata = ad.concat([adata, adata], keys=["a", "b"], index_unique="-")[: len(values)]
        assert adata.is_view
    before = np.array(adata.X.toarray() if sparse.issparse(adata.X) else adata.X)
    np.testing.assert_allclose(genes_by_cells(adata), literal(values), rtol=2e-6, atol=1e-6)
    np.testing.assert_array_equal(adata.X.toarray() if sparse.issparse(adata.X) else adata.X, before)
    summary = summarize_expression(matrix)
    np.testing.assert_allclose(summary.totals, values.sum(axis=1, dtype=np.float64), rtol=1e-6)
    assert summary.empty_cells.tolist() == [not row.any() for row in values]


@given(matrices(), BAD_VALUES, st.data())
def test_a_bad_value_anywhere_is_found_and_named(
    given_: tuple[np.ndarray, Any], bad: float, data: st.DataObject
) -> None:
    values = given_[0].astype(np.float64)
    row, column = data.draw(st.integers(0, values.shape[0] - 1)), data.draw(st.integers(0, values.shape[1] - 1))
    values[row, column] = bad
    adata = ad.AnnData(data.draw(st.sampled_from(FORMATS))(values))
    with pytest.raises(ExpressionError, match=f"cell '{row}', gene '{column}'"):
        genes_by_cells(adata)


@given(matrices(), st.integers(1, 9), st.data())
def test_blocks_of_any_size_put_the_matrix_together(
    given_: tuple[np.ndarray, Any], batch_size: int, data: st.DataObject
) -> None:
    values, matrix = given_
    columns = np.array(data.draw(st.lists(st.integers(0, values.shape[1] - 1), max_size=8)), dtype=np.int64)
    blocks = list(iter_cells(matrix, columns=columns, batch_size=batch_size, dtype=np.float64))
    assert all(1 <= len(block) <= batch_size for _, block in blocks)
    np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), values[:, columns])


# ------------------------------------------------------------------------------------------------------------- priors

GENES = tuple([f"G{number}" for number in range(8)] + ["Ünï", "名前", "a b", "nan", "None", "1.0"])
NAMES = st.sampled_from([*GENES, "g1", "other"])
JUNK = st.one_of(
    NAMES,
    st.none(),
    st.integers(-(2**65), 2**65),
    st.floats(),
    st.text(max_size=4),
    st.binary(max_size=2),
    st.booleans(),
    st.tuples(st.integers(0, 2)),
    st.just(pd.NA),
    st.just(pd.NaT),
)
HEADINGS = st.sampled_from(
    ["source", "Source", "TF", "Gene1", "target", "gene", "Gene2", "sign", "mor", "weight", "score", "x", 0, None]
)


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    """A table as somebody may have it: of names and junk, its headings junk or as they should be, of several dtypes."""
    headings = draw(st.one_of(st.just(["source", "target", "weight", "sign"]), st.lists(HEADINGS, max_size=5)))
    n_rows = draw(st.integers(0, 40))
    values = draw(st.sampled_from([NAMES, JUNK]))
    numbers = st.one_of(st.sampled_from([-1, 0, 1, 1.0, "+", "-", "activation"]), JUNK)
    columns = []
    for heading in headings:
        elements = numbers if str(heading).lower() in {"sign", "mor", "weight", "score"} else values
        column = pd.Series(draw(st.lists(elements, min_size=n_rows, max_size=n_rows)), dtype=object)
        if draw(st.booleans()):
            with contextlib.suppress(TypeError, ValueError):
                column = column.astype(draw(st.sampled_from(["category", "str", "string", "float64"])))
        columns.append(column)
    table = pd.concat(columns, axis=1) if columns else pd.DataFrame(index=range(n_rows))
    table.columns = headings
    return table


def sound(network: PriorNetwork) -> None:
    assert network.genes == GENES
    sources, targets = network.edge_index
    assert (sources != targets).all()
    assert len({*zip(sources.tolist(), targets.tolist(), strict=True)}) == network.n_edges >= 1
    assert len(network.regulators) >= 1
    assert set(network.sign.tolist()) <= {-1, 0, 1}
    assert np.isfinite(network.weight).all()
    assert (network.weight >= 0).all()
    again = PriorNetwork.from_any(network.to_frame(), GENES, min_edges=1, min_regulators=1)
    assert again.sha256() == network.sha256()


def read(prior: Any) -> PriorNetwork | None:
    """The network, or nothing after an error of this package; whatever else is raised goes through."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            return PriorNetwork.from_any(prior, GENES, min_edges=1, min_regulators=1)
        except ScgrnError:
            return None


@given(tables())
def test_any_table_is_a_sound_prior_or_refused(table: pd.DataFrame) -> None:
    before = table.copy()
    if (network := read(table)) is not None:
        sound(network)
    pd.testing.assert_frame_equal(table, before)


@given(hnp.arrays(np.float64, st.sampled_from([(14, 14), (14, 13), (3,), (0, 0)]), elements=st.floats(width=32)))
def test_any_matrix_is_a_sound_prior_or_refused(matrix: np.ndarray) -> None:
    network = read(matrix)
    if network is not None:
        sound(network)
        known = np.zeros((14, 14), dtype=bool)
        known[tuple(network.edge_index)] = True
        assert (known == ((matrix != 0) & ~np.eye(14, dtype=bool))).all()
    if matrix.shape == (14, 14) and np.isfinite(matrix).all():
        assert (read(sparse.csr_matrix(matrix)) is None) == (network is None)


@given(st.lists(st.tuples(NAMES, NAMES, JUNK), max_size=30))
def test_any_graph_is_a_sound_prior_or_refused(edges: list[tuple[str, str, Any]]) -> None:
    graph = nx.DiGraph()
    graph.add_edges_from((source, target, {"weight": value, "sign": value}) for source, target, value in edges)
    if (network := read(graph)) is not None:
        sound(network)


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)), st.sampled_from(["csv", "tsv", "gz"]))
def test_any_file_is_a_sound_prior_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str
) -> None:
    path: Path = tmp_path_factory.mktemp("prior") / f"prior.csv{'.gz' if suffix == 'gz' else ''}"
    path = path.with_suffix(f".{suffix}")
    path.write_bytes(content)
    if (network := read(path)) is not None:
        sound(network)


@given(tables(), matrices())
def test_a_task_is_of_sound_parts_or_refused(table: pd.DataFrame, given_: tuple[np.ndarray, Any]) -> None:
    values, _ = given_
    adata = ad.AnnData(np.resize(values, (4, len(GENES))), var=pd.DataFrame(index=list(GENES)))
    if (network := read(table)) is not None:
        task = make_task(adata, prior=network)
        assert isinstance(task, GRNTask)
        assert task.regulators.tolist() == network.regulators.tolist()
        assert np.isfinite(task.expression).all()


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"source": ["G0", b"\x80"], "target": ["G1", "G2"]}, None),  # bytes that are no UTF-8 are an unknown name
        ({"source": ["G0"], "target": ["G1"], "weight": [1e300]}, "too large"),
        ([["G0", "G1", 1, 2], ["source", "target", None, None]], "same name"),
    ],
    ids=["bytes", "a weight beyond float32", "headings that do not sort"],
)
def test_what_the_fuzzers_found_in_priors(columns: Any, words: str | None) -> None:
    table = pd.DataFrame(columns) if isinstance(columns, dict) else pd.DataFrame([columns[0]], columns=columns[1])
    if words is None:
        assert PriorNetwork.from_any(table, GENES, min_edges=1, min_regulators=1).report["unknown_regulator"] == 1
    else:
        with pytest.raises(PriorError, match=words):
            PriorNetwork.from_any(table, GENES, min_edges=1, min_regulators=1)


def test_columns_of_categories_only_one_of_which_has_unknown_names() -> None:
    """pandas warns where a column of categories without rows is joined with one of other categories."""
    table = pd.DataFrame({"source": ["G0", "G0"], "target": ["G1", "other"]}).astype("category")
    assert PriorNetwork.from_any(table, GENES, min_edges=1, min_regulators=1).report["unknown_target"] == 1
