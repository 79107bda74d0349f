"""Single-cell expression simulated from a known random network."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse
from scipy.special import expit

from scgrn_tl.core.argument_types import typed_arguments
from scgrn_tl.core.errors import ArgumentError
from scgrn_tl.core.random import RNGLike, spawn_seeds

from ._batches import Batches
from ._conditions import changed_edges, integrate_conditions, rewire
from ._kinetics import Kinetics

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData

__all__ = ["simulated"]


@typed_arguments
def simulated(
    n_cells: int = 400,
    n_genes: int = 120,
    n_tfs: int = 20,
    *,
    n_states: int = 3,
    mean_targets: float = 12.0,
    repressing: float = 0.3,
    strength: float = 5.0,
    hill: float = 2.0,
    state_effect: float = 1.0,
    cell_effect: float = 0.6,
    noise: float = 1.0,
    counts_per_gene: float = 8.0,
    library_sd: float = 0.3,
    dropout: float = 0.2,
    n_conditions: int = 1,
    rewired: float = 0.2,
    n_batches: int = 1,
    batch_effect: float = 0.3,
    batch_sizes: Sequence[float] | None = None,
    batch_depths: Sequence[float] | None = None,
    batch_ambient: Sequence[float] | None = None,
    rng: RNGLike = 0,
) -> AnnData:
    r"""Single-cell expression simulated from a known random network.

    In the manner of BoolODE (Pratapa et al. 2020) and SERGIO (Dibaeinia and Sinha 2020): TFs activate or repress their
    targets through Hill functions, molecule numbers follow a chemical Langevin equation, and the result is sequenced.

    1. **Network.** TFs stand in a random order; a TF is regulated by earlier ones only, so there is no cycle. The first
       third, the master regulators, have no regulator. TFs draw targets with weights that fall as 1/rank (Zipf): few
       hubs, many TFs with few targets. Every other gene has at least one regulator as long as ``mean_targets`` allows.
    2. **Kinetics.** :math:`dx_i = (p_i - \lambda_i x_i)dt + q\sqrt{p_i + \lambda_i x_i}\,dW_i`, where the production
       :math:`p_i` is basal production plus the Hill contributions of the gene's regulators, each with half its effect
       at the TF's mean level (SERGIO). Typical levels are log-normal around 25 molecules. Cell states differ in the
       basal production of the master regulators; cells of one state differ by intrinsic noise, and by a factor on the
       basal production of their TFs (extrinsic noise).
    3. **Sequencing.** Values are lost with a probability that is logistic in the log level (SERGIO's dropout), then
       counts are Poisson with a log-normal library size per cell. Batches differ here and nowhere else: each captures
       genes with efficiencies of its own, to a depth of its own, with a share of its counts from ambient RNA.

    Parameters
    ----------
    n_cells, n_genes, n_tfs
        Cells N, genes G, and how many of these are TFs.
    n_states
        Cell states, of equal size.
    mean_targets
        Mean number of targets of a TF; ``n_tfs * mean_targets`` edges in all, where that many are possible.
    repressing
        Share of edges that repress.
    strength
        Regulated production in units of basal production. At 0 the network has no effect on expression.
    hill
        Hill coefficient.
    state_effect
        Standard deviation, over states, of the log basal production of a master regulator.
    cell_effect
        Standard deviation, over cells, of the log basal production of a TF.
    noise
        Amplitude q of intrinsic noise: 1 is that of single molecules, 0 none.
    counts_per_gene
        Mean count: sequencing depth divided by the number of genes.
    library_sd
        Standard deviation of a cell's log library size.
    dropout
        Level below which a molecule is more likely lost than found, as a quantile of all levels; 0 for no dropout.
    n_conditions
        Conditions, of equal size and with a network each; states, TFs and all rates are the same in all of them.
    rewired
        Share of the edges into genes that are no TF which, in every condition after the first, have another TF in place
        of theirs. Weight and sign stay, and so does the number of a gene's regulators.
    n_batches
        Technical batches, to which cells are dealt at random.
    batch_effect
        Standard deviation of the log capture efficiency of a gene in a batch, where there are several.
    batch_sizes
        Relative numbers of cells, one for each batch; equal by default.
    batch_depths
        Factors on the cells' library sizes, one for each batch; 1 by default.
    batch_ambient
        Shares of a batch's counts that are ambient RNA, which all of its cells get alike; 0 by default.
    rng
        Seed or generator. A seed gives the same AnnData, bit by bit. The network depends on the seed and on the sizes,
        not on how cells are made or sequenced.

    Returns
    -------
    AnnData, cells × genes, TFs (``TF01`` …) before other genes (``G0001`` …), with

    - ``X``: CSR float32, log1p of counts per 10,000
    - ``layers["counts"]``: CSR int32
    - ``layers["molecules"]``: float32, the levels before sequencing
    - ``obs["state"]``: categorical; ``obs["condition"]`` likewise, with 2 or more conditions
    - ``obs["state"]``: categorical; with several batches also ``obs["batch"]`` (``batch1`` …), and the capture
      efficiencies in ``varm["batch_efficiency"]``: float32, genes × batches
    - ``var["is_tf"]``, ``var["is_master"]``: bool
    - ``uns["ground_truth"]``: DataFrame ``source``, ``target``, ``sign`` (1 or −1), ``weight`` (share of the target's
      regulated production)
    - ``uns["ground_truth_condition2"]`` and so on: the same of each further condition; ``uns["ground_truth"]`` is that
      of the first one
    - ``uns["rewired"]``: DataFrame ``condition``, ``source``, ``target``, ``sign``, ``change``: the edges that a
      condition has ``"lost"`` and ``"gained"`` against the first
    - ``uns["simulated"]``: the arguments, ``rng`` among them if it is a seed

    Raises
    ------
    ArgumentError
        If an argument is out of range.

    Examples
    --------
    >>> import scgrn_tl as sg
    >>> adata = sg.datasets.simulated(rng=0)
    >>> adata.shape
    (400, 120)
    """
    import pandas as pd
    import scanpy as sc
    from anndata import AnnData

    arguments: dict[str, Any] = {
        "n_cells": n_cells,
        "n_genes": n_genes,
        "n_tfs": n_tfs,
        "n_states": n_states,
        "mean_targets": mean_targets,
        "repressing": repressing,
        "strength": strength,
        "hill": hill,
        "state_effect": state_effect,
        "cell_effect": cell_effect,
        "noise": noise,
        "counts_per_gene": counts_per_gene,
        "library_sd": library_sd,
        "dropout": dropout,
        "n_conditions": n_conditions,
        "rewired": rewired,
        "n_batches": n_batches,
        "batch_effect": batch_effect,
    }
    _check(arguments)
    # A generator for each step: what one step draws does not depend on the settings of another.
    generators = [np.random.default_rng(seed) for seed in spawn_seeds(rng, 4)]
    network_rng, kinetics_rng, cell_rng, sequencing_rng = generators
    (batch_rng,) = sequencing_rng.spawn(1)  # leaves what the others draw as it is without batches
    batches = Batches.draw(
        n_cells,
        n_genes,
        n_batches=n_batches,
        effect=batch_effect,
        sizes=batch_sizes,
        depths=batch_depths,
        ambient=batch_ambient,
        rng=batch_rng,
    )

    network = _draw_network(n_genes, n_tfs, mean_targets, repressing, network_rng)
    kinetics = _draw_kinetics(network, n_states, strength, hill, state_effect, kinetics_rng)
    states = cell_rng.permutation(np.arange(n_cells) % n_states)
    extrinsic = np.ones((n_genes, n_cells))
    extrinsic[:n_tfs] = _log_normal(cell_effect, (n_tfs, n_cells), cell_rng)
    condition_rng = network_rng.spawn(1)[0]
    conditions = condition_rng.permutation(np.arange(n_cells) % n_conditions)
    networks = [network] + [network.rewire(rewired, condition_rng) for _ in range(n_conditions - 1)]
    molecules = integrate_conditions(
        kinetics,
        network.source,
        network.target,
        sources=[each.source for each in networks],
        conditions=conditions,
        states=states,
        extrinsic=extrinsic,
        noise=noise,
        rng=cell_rng,
    ).T  # (N, G)
    counts = _sequence(molecules, counts_per_gene * n_genes, library_sd, dropout, batches, sequencing_rng)

    names = _names("TF", n_tfs, 2) + _names("G", n_genes - n_tfs, 4)
    adata = AnnData(
        X=counts.astype(np.float32),
        obs=pd.DataFrame(
            {"state": pd.Categorical.from_codes(states, categories=_names("state", n_states, 1))},
            index=_names("cell", n_cells, 4),
        ),
        var=pd.DataFrame(
            {"is_tf": np.arange(n_genes) < n_tfs, "is_master": np.arange(n_genes) < network.n_masters}, index=names
        ),
        layers={"counts": counts, "molecules": np.ascontiguousarray(molecules, dtype=np.float32)},
    )
    condition_names = _names("condition", n_conditions, 1)
    genes = np.array(names, dtype=object)
    truths = {name: each.to_frame(genes) for name, each in zip(condition_names, networks, strict=True)}
    adata.uns["ground_truth"] = truths[condition_names[0]]
    if n_conditions > 1:
        adata.obs["condition"] = pd.Categorical.from_codes(conditions, categories=condition_names)
        adata.uns |= {f"ground_truth_{name}": truths[name] for name in condition_names[1:]}
        adata.uns["rewired"] = changed_edges(truths)
    if n_batches > 1:
        adata.obs["batch"] = batches.to_obs()
        adata.varm["batch_efficiency"] = batches.efficiency.astype(np.float32)
        per_batch = {"batch_sizes": batch_sizes, "batch_depths": batch_depths, "batch_ambient": batch_ambient}
        arguments |= {name: np.asarray(given) for name, given in per_batch.items() if given is not None}
    adata.uns["simulated"] = arguments | ({"rng": rng} if isinstance(rng, int) else {})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Some cells have zero counts")  # such cells are meant to be there
        sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    return adata


def _check(arguments: dict[str, Any]) -> None:
    """Raise :class:`ArgumentError` naming the first argument that is out of range."""
    ranges: dict[str, tuple[float, float]] = {
        "n_cells": (1, np.inf),
        "n_tfs": (1, np.inf),
        "n_genes": (arguments["n_tfs"] + 1, np.inf),
        "n_states": (1, arguments["n_cells"]),
        "mean_targets": (0, np.inf),
        "repressing": (0, 1),
        "strength": (0, np.inf),
        "hill": (np.nextafter(0, 1), np.inf),
        "state_effect": (0, np.inf),
        "cell_effect": (0, np.inf),
        "noise": (0, np.inf),
        "counts_per_gene": (np.nextafter(0, 1), np.inf),
        "library_sd": (0, np.inf),
        "dropout": (0, 1),
        "n_conditions": (1, arguments["n_cells"]),
        "rewired": (0, 1),
    }
    for name, (least, most) in ranges.items():
        value = arguments[name]
        if not least <= value <= most or not np.isfinite(value):
            msg = f"{name}={value!r} is out of range: it lies between {least:g} and {most:g}."
            raise ArgumentError(msg)


def _names(prefix: str, n: int, width: int) -> list[str]:
    width = max(width, len(str(n)))
    return [f"{prefix}{number:0{width}d}" for number in range(1, n + 1)]


def _log_normal(sd: float, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Log-normal factors with mean 1."""
    return np.exp(sd * rng.standard_normal(shape) - sd**2 / 2)


@dataclass(frozen=True, eq=False)
class _Network:
    """Signed edges between genes, the TFs being the first ones.

    ``source``, ``target`` ``int64[E]`` gene indices, ``sign`` ``int8[E]``, ``weight`` ``float64[E]`` summing to 1 over
    the edges of a target.
    """

    n_genes: int
    n_tfs: int
    n_masters: int
    source: np.ndarray
    target: np.ndarray
    sign: np.ndarray
    weight: np.ndarray

    def rewire(self, share: float, rng: np.random.Generator) -> _Network:
        """The network of another condition, see :func:`rewire`; edges stay in their places."""
        source = rewire(self.source, self.target, n_genes=self.n_genes, n_tfs=self.n_tfs, share=share, rng=rng)
        return replace(self, source=source)

    def to_frame(self, names: np.ndarray) -> pd.DataFrame:
        import pandas as pd

        return pd.DataFrame(
            {
                "source": names[self.source],
                "target": names[self.target],
                "sign": self.sign,
                "weight": self.weight.astype(np.float32),
            }
        )


def _draw_network(
    n_genes: int, n_tfs: int, mean_targets: float, repressing: float, rng: np.random.Generator
) -> _Network:
    """An acyclic network with Zipf-like out-degrees of the TFs."""
    n_masters = max(1, round(n_tfs / 3))
    # Regulators that each gene may have: none, the earlier TFs, or all TFs.
    allowed = np.where(np.arange(n_genes) < n_tfs, np.arange(n_genes), n_tfs)
    allowed[:n_masters] = 0

    regulated = np.flatnonzero(allowed)
    n_edges = min(round(n_tfs * mean_targets), int(allowed.sum()))
    in_degree = np.zeros(n_genes, dtype=np.int64)
    # One regulator each first, as far as edges go; what is left falls anywhere.
    in_degree[rng.permutation(regulated)[:n_edges]] = 1
    while (left := n_edges - int(in_degree.sum())) > 0:
        open_to_more = np.flatnonzero(in_degree < allowed)
        in_degree += np.bincount(rng.choice(open_to_more, size=left), minlength=n_genes)
        np.minimum(in_degree, allowed, out=in_degree)

    # Weighted draws without replacement for all genes at once: the in_degree largest of log-weight + Gumbel noise.
    zipf = 1 / rng.permutation(np.arange(1, n_tfs + 1))
    keys = np.log(zipf) + rng.gumbel(size=(n_genes, n_tfs))  # (G, R)
    keys[np.arange(n_tfs) >= allowed[:, None]] = -np.inf
    rank = np.argsort(np.argsort(-keys, axis=1), axis=1)
    target, source = np.nonzero(rank < in_degree[:, None])
    order = np.lexsort((target, source))
    target, source = target[order], source[order]

    sign = np.where(rng.random(len(source)) < repressing, -1, 1).astype(np.int8)
    raw = rng.uniform(0.5, 1.5, size=len(source))
    weight = raw / np.bincount(target, weights=raw, minlength=n_genes)[target]
    return _Network(n_genes, n_tfs, n_masters, source, target, sign, weight)


def _draw_kinetics(
    network: _Network, n_states: int, strength: float, hill: float, state_effect: float, rng: np.random.Generator
) -> Kinetics:
    """Rates that give every gene a typical level of its own, however many regulators it has."""
    decay = rng.uniform(0.5, 1.5, size=network.n_genes)
    typical = 25 * _log_normal(0.5, (network.n_genes,), rng)
    is_regulated = np.bincount(network.target, minlength=network.n_genes) > 0
    # At half response on all its edges a gene is produced at 1 + strength/2 times its basal rate.
    rate = decay * typical / np.where(is_regulated, 1 + strength / 2, 1.0)
    basal = np.repeat(rate[:, None], n_states, axis=1)
    effect = _log_normal(state_effect, (network.n_masters, n_states), rng)
    if n_states > 1:
        basal[: network.n_masters] *= effect
    regulation = sparse.csr_matrix(
        (network.sign * network.weight * strength * rate[network.target], (network.target, network.source)),
        shape=(network.n_genes, network.n_tfs),
    )
    half_response = typical[: network.n_tfs]
    # Half responses set the levels and levels the half responses; without a cycle, each round settles one more TF.
    for _ in range(network.n_tfs):
        kinetics = Kinetics(basal, regulation, half_response, decay, hill)
        before, half_response = half_response, kinetics.steady_state()[: network.n_tfs].mean(axis=1)
        if np.allclose(before, half_response, rtol=1e-12, atol=0):
            break
    return Kinetics(basal, regulation, half_response, decay, hill)


def _sequence(
    molecules: np.ndarray,
    library_size: float,
    library_sd: float,
    dropout: float,
    batches: Batches,
    rng: np.random.Generator,
) -> sparse.csr_matrix:
    """Counts ``int32[N, G]`` out of molecule numbers ``[N, G]``."""
    captured = molecules
    if dropout > 0:
        level = np.log1p(molecules)
        # SERGIO's shape parameter for droplet data lies between 6.5 and 8.
        kept = expit(8.0 * (level - np.quantile(level, dropout)))
        captured = np.where(rng.random(molecules.shape) < kept, molecules, 0.0)
    depth = library_size * _log_normal(library_sd, (len(molecules), 1), rng)
    share = captured / np.maximum(molecules.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    return sparse.csr_matrix(rng.poisson(batches.distort(depth * share)).astype(np.int32))
