"""``bm.ablate``: what each part of scTransNet earns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scgrn_tl.core.argument_types import typed_arguments
from scgrn_tl.core.gene_embedding import embedding_keys

from ._run import run
from ._variants import ABLATION, BASELINE, MEAN_POOLING, WITH_ENCODER

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from scgrn_tl.core import EdgeSplit

__all__ = ["ablate"]


@typed_arguments
def ablate(
    datasets: Any,
    prior: Any = None,
    *,
    splits: str | Sequence[str] | Mapping[str, EdgeSplit | Sequence[EdgeSplit]] | None = None,
    seeds: int | Sequence[int] = 5,
    n_samples: int = 3,
    n_folds: int = 5,
    weights: str = "fit",
    n_jobs: int | None = 1,
    timeout: float | None = None,
    out: str | os.PathLike[str] | None = None,
    device: str | None = "cpu",
    **method_params: Any,
) -> pd.DataFrame:
    """Fit scTransNet with and without each of its parts, as Table 1 of Kommu et al. (2024) does, and two controls.

    The variants are ``full`` (scTransNet's defaults); ``w/o hub terms`` (the bare product, without any effects fitted
    to edges beforehand); ``w/o latent factors``; ``w/o expression effects``; ``w/o GNN`` (no prior graph: those effects
    alone); ``with encoder`` (scBERT's gene embedding too, which is off by default) and ``with encoder, mean pooling``
    (without attentive pooling); ``permuted expression`` (each gene has another's features); ``random encoder`` (the
    embedding of an encoder with random weights); and the hub floor.

    Parameters
    ----------
    datasets
        See :func:`run`.
    prior
        Known edges, in place of ``uns["ground_truth"]`` of a single AnnData: see
        :meth:`scgrn_tl.core.PriorNetwork.from_any`.
    splits, seeds, n_samples, n_folds, weights, n_jobs, timeout, out, device
        See :func:`run`.
    **method_params
        Parameters of scTransNet, for all variants but where they are what a variant is without. ``use_rep`` goes to
        the variants with an encoder alone: ``use_rep="mine"`` takes ``varm["mine"]`` in place of the embedding made
        here, and ``varm["mine_mean"]`` for mean pooling. Of a list of keys, ``"scbert"`` alone is exchanged for its
        mean; a list without it has no such variant.

    Returns
    -------
    As :func:`run`; :func:`scgrn_tl.pl.ablation` draws it.

    Raises
    ------
    ArgumentError, MissingKeyError, PriorError, SplitError, WeightsUnavailableError
        See :func:`run`; also if ``prior`` is none, or ``prior`` is given with anything but one AnnData.

    Examples
    --------
    >>> import scgrn_tl as sg
    >>> table = sg.bm.ablate("hHEP500", splits="target", seeds=5)  # doctest: +SKIP
    >>> sg.pl.ablation(table)  # doctest: +SKIP
    """
    use_rep = method_params.pop("use_rep", None)
    # What a variant is without stays away, whatever is asked of all.
    variants = {
        label: dict(settings) if label == BASELINE else {**method_params, **settings}
        for label, settings in ABLATION.items()
    }
    if keys := embedding_keys(use_rep):
        variants[WITH_ENCODER]["use_rep"] = use_rep
        if len(keys) == 1:
            variants[MEAN_POOLING]["use_rep"] = f"{keys[0]}_mean"
        elif "scbert" in keys:
            variants[MEAN_POOLING]["use_rep"] = ["scbert_mean" if key == "scbert" else key for key in keys]
        else:
            del variants[MEAN_POOLING]
    return run(
        datasets if prior is None else _with_prior(datasets, prior),
        variants,
        splits=splits,
        seeds=seeds,
        n_samples=n_samples,
        n_folds=n_folds,
        weights=weights,
        n_jobs=n_jobs,
        timeout=timeout,
        out=out,
        device=device,
    )


def _with_prior(adata: Any, prior: Any) -> Any:
    """The AnnData with ``prior`` for its known edges; the one given stays as it is."""
    from anndata import AnnData

    from scgrn_tl.core import ArgumentError, PriorNetwork

    if not isinstance(adata, AnnData):
        msg = f"prior= goes with one AnnData, not with a {type(adata).__name__}, which brings its own known edges."
        raise ArgumentError(msg)
    network = PriorNetwork.from_any(prior, adata.var_names, adata=adata)
    made = AnnData(adata.X, obs=adata.obs.copy(), var=adata.var.copy(), varm=dict(adata.varm), uns=dict(adata.uns))
    made.uns["ground_truth"] = network.to_frame()
    return made
