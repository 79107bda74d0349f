"""Networks in the forms that other tools read, and some of theirs read as edges."""

from ._export import to_celloracle, to_decoupler, to_networkx, to_pyscenic, to_regulons
from ._rankings import read_rankings
from ._write_edges import write_beeline, write_edges

__all__ = [
    "read_rankings",
    "to_celloracle",
    "to_decoupler",
    "to_networkx",
    "to_pyscenic",
    "to_regulons",
    "write_beeline",
    "write_edges",
]
