"""Value types and the door to AnnData: everything above is built on these."""

from .calibration import PlattScaling
from .device import resolve_device
from .door import gene_indices, genes_by_cells, make_task, open_anndata, read_pseudotime
from .encoder_cells import EncoderCells
from .errors import (
    ArgumentError,
    DownloadError,
    DuplicateGenesError,
    ExpressionError,
    GeneOverlapError,
    MissingDependencyError,
    MissingKeyError,
    PriorError,
    ProcessError,
    ScgrnError,
    SplitError,
    WeightsError,
    WeightsUnavailableError,
)
from .gene_embedding import read_embedding
from .genes import GeneAlignment, GeneVocabulary, check_unique_genes
from .matrix import ExpressionSummary, by_rows, expression_matrix, iter_cells, summarize_expression, to_dense
from .memory import available_memory, peak_memory, total_memory
from .network import PriorNetwork
from .parallel import parallel_map
from .prior_merge import PriorSources
from .random import RNGLike, spawn_seeds
from .split import EdgeSplit, LabeledPairs, SplitKind
from .task import GRNScores, GRNTask
from .tokens import MASK_TOKEN, N_BINS, N_TOKENS, log_base_factor, needs_normalization, tokenize

__all__ = [
    "MASK_TOKEN",
    "N_BINS",
    "N_TOKENS",
    "ArgumentError",
    "DownloadError",
    "DuplicateGenesError",
    "EdgeSplit",
    "EncoderCells",
    "ExpressionError",
    "ExpressionSummary",
    "GRNScores",
    "GRNTask",
    "GeneAlignment",
    "GeneOverlapError",
    "GeneVocabulary",
    "LabeledPairs",
    "MissingDependencyError",
    "MissingKeyError",
    "PlattScaling",
    "PriorError",
    "PriorNetwork",
    "PriorSources",
    "ProcessError",
    "RNGLike",
    "ScgrnError",
    "SplitError",
    "SplitKind",
    "WeightsError",
    "WeightsUnavailableError",
    "available_memory",
    "by_rows",
    "check_unique_genes",
    "expression_matrix",
    "gene_indices",
    "genes_by_cells",
    "iter_cells",
    "log_base_factor",
    "make_task",
    "needs_normalization",
    "open_anndata",
    "parallel_map",
    "peak_memory",
    "read_embedding",
    "read_pseudotime",
    "resolve_device",
    "spawn_seeds",
    "summarize_expression",
    "to_dense",
    "tokenize",
    "total_memory",
]
