"""``bm.ablate``: what each part of scTransNet earns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scgrn_tl.core.argument_types import typed_arguments
from scgrn_tl.core.gene_embedding import embedding_keys

from ._run import run
from ._variants import ABLATION, BASELINE

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
    """Fit scTransNet with and without each of its parts (Kommu et al. 2024, Table 1), and two controls.

    The variants are ``full``; ``w/o GNN`` (no prior graph); ``w/o encoder`` (no gene embedding); ``mean pooling`` (no
    attentive pooling); ``permuted expression`` (each gene has another's features); ``random encoder`` (an encoder with
    random weights); and the hub floor.

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
        Parameters of scTransNet, for all variants but where they are what a variant is without. ``use_rep="mine"``
        takes ``varm["mine"]`` in place of the embedding made here, and ``varm["mine_mean"]`` for mean pooling. Of a
        list of keys, ``"scbert"`` alone is exchanged for its mean; a list without it has no such variant.

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
    # What a variant is without stays away, whatever is asked of all.
    variants = {
        label: dict(settings) if label == BASELINE else {**method_params, **settings}
        for label, settings in ABLATION.items()
    }
    keys = embedding_keys(method_params.get("use_rep"))
    if len(keys) == 1:
        variants["mean pooling"]["use_rep"] = f"{keys[0]}_mean"
    elif "scbert" in keys:
        variants["mean pooling"]["use_rep"] = ["scbert_mean" if key == "scbert" else key for key in keys]
    elif keys:
        del variants["mean pooling"]
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
