"""What type checkers see of :mod:`scgrn_tl.pp`, and what its ``__getattr__`` loads on first use."""

from ._resolve_genes import resolve_genes as resolve_genes
from ._resolve_names import resolve_names as resolve_names
from ._select_genes import select_genes as select_genes
