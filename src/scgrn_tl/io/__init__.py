"""Networks in the forms that other tools read."""

from ._export import to_decoupler, to_networkx, write_edges

__all__ = ["to_decoupler", "to_networkx", "write_edges"]
