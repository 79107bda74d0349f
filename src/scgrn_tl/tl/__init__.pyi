"""What type checkers see of :mod:`scgrn_tl.tl`, and what its ``__getattr__`` loads on first use."""

from ._attentive_pool import attentive_pool as attentive_pool
from ._batch_agreement import batch_agreement as batch_agreement
from ._differential_grn import differential_grn as differential_grn
from ._edge_evidence import edge_evidence as edge_evidence
from ._explain_edges import explain_edges as explain_edges
from ._fit_grn import fit_grn as fit_grn
from ._infer_grn import infer_grn as infer_grn
from ._scbert_embed import scbert_embed as scbert_embed
from ._scbert_finetune import scbert_finetune as scbert_finetune
from ._scbert_pretrain import scbert_pretrain as scbert_pretrain
from ._transfer_grn import transfer_grn as transfer_grn
