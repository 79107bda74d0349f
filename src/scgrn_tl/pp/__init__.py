"""Before anything is computed: names that the genes are known by, and the genes worth a network."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "_resolve_genes": ["resolve_genes"],
        "_resolve_names": ["resolve_names"],
        "_select_genes": ["select_genes"],
    },
)
