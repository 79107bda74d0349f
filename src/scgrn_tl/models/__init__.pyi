"""What type checkers see of :mod:`scgrn_tl.models`, and what its ``__getattr__`` loads on first use."""

from .checkpoint import load_scbert as load_scbert
from .edge_effects import EdgeEffect as EdgeEffect
from .estimator import ScTransNet as ScTransNet
from .favor import FavorAttention as FavorAttention
from .hub_rates import HubRates as HubRates
from .hub_rates import fit_hub_rates as fit_hub_rates
from .link_scorer import LinkScorer as LinkScorer
from .node_features import gene_features as gene_features
from .pooling import GenePool as GenePool
from .prior_gnn import PriorGNN as PriorGNN
from .prior_gnn import PriorGNNLayer as PriorGNNLayer
from .prior_graph import RelationalGraph as RelationalGraph
from .scbert import Encoding as Encoding
from .scbert import ScBERT as ScBERT
from .scbert import ScBERTConfig as ScBERTConfig
from .scbert_model import ScBERTModel as ScBERTModel
from .sctransnet import ScTransNetConfig as ScTransNetConfig
from .sctransnet import ScTransNetModule as ScTransNetModule
from .seeding import seeded_rng as seeded_rng
from .transfer import TransferredNetwork as TransferredNetwork
