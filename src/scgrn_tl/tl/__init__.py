"""The verbs: read an AnnData, compute, write the result into its slots."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "_attentive_pool": ["attentive_pool"],
        "_batch_agreement": ["batch_agreement"],
        "_differential_grn": ["differential_grn"],
        "_edge_evidence": ["edge_evidence"],
        "_explain_edges": ["explain_edges"],
        "_fit_grn": ["fit_grn"],
        "_infer_grn": ["infer_grn"],
        "_scbert_embed": ["scbert_embed"],
        "_scbert_finetune": ["scbert_finetune"],
        "_scbert_pretrain": ["scbert_pretrain"],
        "_transfer_grn": ["transfer_grn"],
    },
)
