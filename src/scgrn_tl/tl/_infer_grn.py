"""``tl.infer_grn``: a GRN method that knows no edges on an AnnData, its scores stored."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from scgrn_tl.core import ArgumentError, make_task, read_pseudotime, resolve_device, spawn_seeds
from scgrn_tl.core.argument_types import typed_arguments
from scgrn_tl.core.parallel import check_n_jobs
from scgrn_tl.core.slots import check_key, open_anndata, run_record, write_slots

from ._group_networks import stale_groups
from ._network_slots import check_max_edges, network_slots

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData
    from mudata import MuData

    from scgrn_tl.core import RNGLike

__all__ = ["infer_grn"]

LOGGER = logging.getLogger(__name__)


@typed_arguments
def infer_grn(
    adata: AnnData | MuData,
    *,
    method: str = "grnboost2",
    tf_names: Iterable[str] | None = None,
    layer: str | None = None,
    pseudotime: str | Iterable[str] | None = None,
    n_models: int = 1,
    n_jobs: int | None = None,
    device: str | None = None,
    rng: RNGLike = 0,
    max_edges: int = 5_000_000,
    modality: str = "rna",
    key_added: str = "grn",
    copy: bool = False,
    **method_params: Any,
) -> AnnData | MuData | None:
    """Infer a gene regulatory network from expression alone.

    Parameters
    ----------
    adata
        Annotated data, cells × genes, with log-normalised expression or counts; or a MuData with ``modality``.
    method
        An unsupervised method of :func:`scgrn_tl.methods.show`, such as ``"grnboost2"``, ``"genie3"``, ``"pidc"``,
        ``"scode"``, ``"mutual_information"`` or ``"pearson"``.
    tf_names
        Regulators to score, such as :func:`scgrn_tl.datasets.tf_names`; those that the data do not have are left out.
        Every gene if ``None``, which is slow on many genes, and rarely what is wanted.
    layer
        Layer of the expression; ``X`` if ``None``. Whole numbers are counts, and normalised and logged on the way.
    pseudotime
        Column of ``obs``, of numbers or an ordered categorical, for methods that need one (``"scode"``); or several,
        one for each lineage: ``["lineage1", "lineage2"]``. If ``None``, those methods take ``"dpt_pseudotime"``, which
        :func:`scanpy.tl.dpt` writes. A cell without a finite value is on no lineage.
    n_models
        Runs from different seeds whose scores are averaged; their spread is stored. For methods that are not
        deterministic, GRNBoost2 above all.
    n_jobs
        Processes for methods that take one target after another (``-1``: one a core);
        :attr:`scgrn_tl.settings.n_jobs` if ``None``. The result does not depend on it. Inside
        :func:`joblib.parallel_config`, its backend is used, such as a Dask cluster.
    device
        For methods that compute with torch: ``"auto"``, ``"cpu"``, ``"cuda"``, …; ``sg.settings.device`` if ``None``.
    rng
        Seed or generator. The same seed gives the same bits on the same machine.
    max_edges
        Most edges to store; those of the highest score.
    modality
        Which modality, if ``adata`` is a MuData.
    key_added
        Under which key results are stored.
    copy
        Write into a copy and return it.
    **method_params
        Parameters of the method, see ``sg.methods.get(method).parameters``.

    Returns
    -------
    ``None``, or the copy with ``copy=True``. Sets these fields:

    ``adata.varp[key_added]`` : :class:`scipy.sparse.csr_matrix` (G × G, float32)
        Score that the row's gene regulates the column's gene: the higher the likelier, on the method's own scale, and
        no probability. Pairs with a score of 0 are not stored.
    ``adata.varp[f"{key_added}_std"]`` : :class:`scipy.sparse.csr_matrix` (G × G, float32)
        Standard deviation of the score over the models, if ``n_models > 1``.
    ``adata.var[f"{key_added}_is_tf"]`` : bool
        Which genes were scored as regulators.
    ``adata.uns[key_added]`` : dict
        ``params``, ``version``, ``values`` (``"score"``), ``directed``, ``seconds``.

    Raises
    ------
    ArgumentError
        If an argument cannot be used, all of them checked before the method starts.
    DuplicateGenesError
        If ``var_names`` are not unique.
    ExpressionError
        If expression is negative, NaN or infinite anywhere.
    GeneOverlapError
        If none of ``tf_names`` is among the genes.
    MissingKeyError
        If a layer, modality or pseudotime is not there.

    See Also
    --------
    fit_grn : methods that learn from known edges.

    Examples
    --------
    >>> import scgrn_tl as sg
    >>> adata = sg.datasets.simulated()
    >>> sg.tl.infer_grn(adata, method="pearson", tf_names=adata.var_names[adata.var["is_tf"]])
    >>> sg.get.grn_df(adata, top_n=5)  # doctest: +SKIP
    """
    from scgrn_tl import methods

    started = time.perf_counter()
    entry = methods.get(method)
    if entry.supervised:
        msg = (
            f"{method!r} learns from known edges: call `sg.tl.fit_grn(adata, prior, method={method!r})`. Methods that "
            f"do without: {', '.join(methods.names(supervised=False))}."
        )
        raise ArgumentError(msg)
    entry.check_parameters(method_params, n_models=n_models)
    check_key("key_added", key_added)
    check_max_edges(max_edges)
    check_n_jobs(n_jobs)
    where = resolve_device(device)
    open_anndata(adata, modality=modality, copy=copy)
    if copy:
        adata = adata.copy()
    data = open_anndata(adata, modality=modality)
    if pseudotime is None and entry.uses_pseudotime:
        pseudotime = "dpt_pseudotime"
    columns = [] if pseudotime is None else [pseudotime] if isinstance(pseudotime, str) else list(pseudotime)
    (seed,) = spawn_seeds(rng, 1)
    task = make_task(
        data,
        layer=layer,
        tf_names=tf_names,
        seed=seed,
        device=where,
        n_jobs=n_jobs,
        pseudotime=read_pseudotime(data, columns) if columns else None,
    )
    scores = entry.run(task, n_models=n_models, **method_params)
    slots = network_slots(scores, n_genes=data.n_vars, key=key_added, max_edges=max_edges)
    slots.dropped |= stale_groups(data, key_added)
    slots.uns[key_added] = run_record(
        {
            "method": method,
            "layer": layer,
            "n_regulators": len(task.regulators),
            "pseudotime": columns or None,
            "rng": rng if isinstance(rng, (int, np.integer)) else None,
            "device": where,
            "max_edges": max_edges,
            "n_models": n_models,
            **entry.parameters,
            **method_params,
        },
        values="score",
        directed=entry.directed,
        seconds=time.perf_counter() - started,
    )
    write_slots(adata, slots, modality=modality)
    return adata if copy else None
