"""Data to learn from and to test on: BEELINE, scBERT's weights and vocabulary, priors, and a simulator."""

from ._beeline import beeline, beeline_split
from ._gene_names import gene_names, gene_orthologs
from ._priors import collectri, dorothea, tf_names, trrust
from ._scbert import scbert_vocabulary, scbert_weights
from ._simulated import simulated

__all__ = [
    "beeline",
    "beeline_split",
    "collectri",
    "dorothea",
    "gene_names",
    "gene_orthologs",
    "scbert_vocabulary",
    "scbert_weights",
    "simulated",
    "tf_names",
    "trrust",
]
