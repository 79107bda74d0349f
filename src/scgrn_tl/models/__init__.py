"""Torch modules: the encoder, its attention, pooling over cells, and the weights they are read from."""

import lazy_loader as _lazy

# __init__.pyi lists what there is, for type checkers and for this line
__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
