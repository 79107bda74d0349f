"""Torch modules: the encoder, its attention, pooling over cells, and the weights they are read from."""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "checkpoint": ["load_scbert"],
        "edge_effects": ["EdgeEffect"],
        "estimator": ["ScTransNet"],
        "favor": ["FavorAttention"],
        "hub_rates": ["HubRates", "fit_hub_rates"],
        "link_scorer": ["LinkScorer"],
        "node_features": ["gene_features"],
        "pooling": ["GenePool"],
        "prior_gnn": ["PriorGNN", "PriorGNNLayer"],
        "prior_graph": ["RelationalGraph"],
        "scbert_model": ["ScBERTModel"],
        "scbert": ["Encoding", "ScBERT", "ScBERTConfig"],
        "sctransnet": ["ScTransNetConfig", "ScTransNetModule"],
        "seeding": ["seeded_rng"],
        "transfer": ["TransferredNetwork"],
    },
)
