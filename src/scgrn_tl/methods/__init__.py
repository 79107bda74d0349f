"""GRN methods: a :class:`~scgrn_tl.core.GRNTask` goes in, :class:`~scgrn_tl.core.GRNScores` come out.

Every module of this folder whose name has no leading underscore is imported here and registers its method with the
:func:`method` decorator; a new method is one new file. Other packages register theirs with the same decorator.
"""

from ._registry import Method, discover, get, method, names, show

__all__ = ["Method", "get", "method", "names", "show"]

discover(__name__, __path__)
