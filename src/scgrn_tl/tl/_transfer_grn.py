"""``tl.transfer_grn``: a model fitted to one dataset scores the genes of another, its network stored."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from scgrn_tl.core.argument_types import typed_arguments
from scgrn_tl.core.gene_embedding import embedding_keys
from scgrn_tl.core.slots import check_key, open_anndata, run_record, write_slots

from ._fitted_embedding import data_record
from ._group_networks import stale_groups
from ._joint_embedding import earlier_joint_slots
from ._model_folder import open_model
from ._network_slots import check_max_edges, network_slots

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData
    from mudata import MuData

    from scgrn_tl.models import ScTransNet

__all__ = ["transfer_grn"]

LOGGER = logging.getLogger(__name__)


@typed_arguments
def transfer_grn(
    adata: AnnData | MuData,
    model: ScTransNet | str | os.PathLike[str],
    *,
    use_rep: str | Iterable[str] | None = None,
    layer: str | None = None,
    prior: Any = None,
    tf_names: Iterable[str] | None = None,
    device: str | None = None,
    max_edges: int = 5_000_000,
    modality: str = "rna",
    key_added: str = "grn",
    copy: bool = False,
) -> AnnData | MuData | None:
    """The network of this data by a scTransNet that was fitted to other data; nothing is fitted.

    Genes are matched by name. Those that the model never saw are scored too, from their expression, their embedding and
    the known edges they have, with average hub rates. Components of expression are turned to those of the model's data
    by the genes that both have, and shrunk where these do not agree; all else is scaled as the model's data were. What
    to expect of it is measured on the page "A model for other data" of the documentation.

    Parameters
    ----------
    adata
        Annotated data, cells × genes, with expression on the scale of what the model was fitted to; or a MuData with
        ``modality``.
    model
        Folder that :func:`fit_grn` with ``model_to``, or :meth:`scgrn_tl.models.ScTransNet.save`, wrote; or a fitted
        :class:`~scgrn_tl.models.ScTransNet`.
    use_rep
        Keys of the gene embeddings in ``varm``, made by the encoders of those that the model was fitted with and in
        their order; ``None`` for the same keys.
    layer
        Layer of the expression; ``X`` if ``None``. Whole numbers are counts, and normalised and logged on the way.
    prior
        Further edges to carry messages in the graph, in any form that :func:`fit_grn` takes. They are not learned from.
        Those that the model was trained on carry messages in any case, as far as both genes are there.
    tf_names
        Further regulators to score, besides the model's own and those of ``prior``.
    device
        Where to put a model that is read from a folder; ``sg.settings.device`` if ``None``.
    max_edges
        Most edges to store; those of the highest probability.
    modality
        Which modality, if ``adata`` is a MuData.
    key_added
        Under which key results are stored.
    copy
        Write into a copy and return it.

    Returns
    -------
    ``None``, or the copy with ``copy=True``. Sets these fields, as :func:`fit_grn` does:

    ``adata.varp[key_added]`` : :class:`scipy.sparse.csr_matrix` (G × G, float32)
        Probability that the row's gene regulates the column's gene, by the calibration of the model's own data.
    ``adata.varp[f"{key_added}_specificity"]`` : :class:`scipy.sparse.csr_matrix` (G × G, float32)
        Log-odds beyond what the two genes' hub rates explain; of models with ``hub_terms``.
    ``adata.varp[f"{key_added}_std"]`` : :class:`scipy.sparse.csr_matrix` (G × G, float32)
        Standard deviation of the log-odds over the members of an ensemble.
    ``adata.varp[f"{key_added}_attention"]`` : :class:`scipy.sparse.csr_matrix` (G × G, float32)
        Attention of the graph network, if the model has one.
    ``adata.var[f"{key_added}_is_tf"]`` : bool
        Which genes were scored as regulators.
    ``adata.var[f"{key_added}_seen"]``, ``adata.var[f"{key_added}_seen_as_tf"]`` : bool
        Which genes the model was fitted with, and which of them as regulators.
    ``adata.uns[key_added]`` : dict
        ``params``, ``version``, ``values`` (``"probability"``), ``directed``, ``calibration`` (``slope``,
        ``intercept``, ``fitted_on``: of the model), ``transfer`` (``n_genes``, ``n_genes_seen``, ``n_regulators``,
        ``n_regulators_seen``, ``n_edges_trained_on``, ``n_edges_given``; of models that read expression ``agreement``,
        how well shared genes place each other among the model's components, 1 at best), ``prior`` (DataFrame: the edges
        that carried messages, and whether the model was ``trained_on`` them), ``prior_report``, ``prior_sha256``,
        ``data`` (as of :func:`fit_grn`), ``seconds``.

    Raises
    ------
    ArgumentError
        If an argument cannot be used, or the model not be transferred (``gene_features="expression"``).
    DuplicateGenesError, ExpressionError
        If ``var_names`` are not unique, or expression is negative, NaN or infinite anywhere.
    GeneOverlapError
        If fewer than 10 genes are the model's.
    MissingKeyError
        If a layer, modality or embedding is not there.
    PriorError
        If no edge of ``prior`` is among the genes.
    WeightsError
        If the model's files are damaged or too old, or another encoder made the embedding.

    Warns
    -----
    UserWarning
        If names differ but in case, expression is on another scale, the embedding's encoder is not recorded, or no edge
        is left to carry messages.

    See Also
    --------
    scgrn_tl.models.ScTransNet.score : single pairs, as a table.

    Examples
    --------
    >>> sg.tl.fit_grn(adata, prior, model_to="my_network")  # doctest: +SKIP
    >>> sg.tl.transfer_grn(other_adata, "my_network")  # doctest: +SKIP
    """
    started = time.perf_counter()
    check_key("key_added", key_added)
    check_max_edges(max_edges)
    open_anndata(adata, modality=modality, copy=copy)
    if copy:
        adata = adata.copy()
    data = open_anndata(adata, modality=modality)
    fitted = open_model(model, device=device)
    found = fitted.transfer(data, use_rep=use_rep, layer=layer, prior=prior, tf_names=tf_names)
    reps = embedding_keys(use_rep) or tuple(str(source.key) for source in fitted.sources)
    calibration = found.calibration
    slots = network_slots(
        found.scores,
        n_genes=data.n_vars,
        key=key_added,
        max_edges=max_edges,
        value=calibration,
        slope=calibration.slope,
    )
    slots.dropped |= earlier_joint_slots(data, key_added) | stale_groups(data, key_added)
    seen_as_tf = np.zeros(data.n_vars, dtype=bool)
    seen_as_tf[found.scores.regulators[found.seen_regulators]] = True
    slots.var |= {f"{key_added}_seen": found.seen_genes, f"{key_added}_seen_as_tf": seen_as_tf}
    slots.uns[key_added] = run_record(
        {
            "method": "sctransnet",
            "model": os.fspath(model) if isinstance(model, (str, os.PathLike)) else None,
            "use_rep": None if not reps else reps[0] if len(reps) == 1 else reps,
            "layer": layer,
            "n_regulators": len(found.scores.regulators),
            "max_edges": max_edges,
            "n_models": fitted.config.n_models,
        },
        values="probability",
        directed=True,
        calibration={"slope": calibration.slope, "intercept": calibration.intercept, "fitted_on": found.calibrated_on},
        transfer=found.report(),
        prior=found.messages.to_frame().assign(trained_on=found.trained_on),
        prior_report=dict(found.messages.report),
        prior_sha256=found.messages.sha256(),
        data=data_record(data, reps),
        seconds=time.perf_counter() - started,
    )
    write_slots(adata, slots, modality=modality)
    return adata if copy else None
