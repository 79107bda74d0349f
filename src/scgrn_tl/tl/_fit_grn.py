"""``tl.fit_grn``: a supervised GRN method on an AnnData, its result calibrated and stored."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scgrn_tl.core import (
    ArgumentError,
    EdgeSplit,
    LabeledPairs,
    PriorNetwork,
    check_unique_genes,
    make_task,
    read_embedding,
    resolve_device,
    spawn_seeds,
)
from scgrn_tl.core.argument_types import typed_arguments
from scgrn_tl.core.calibration import calibrate
from scgrn_tl.core.gene_embedding import JoinedEmbedding, check_embeddings, embedding_keys, join_embeddings
from scgrn_tl.core.slots import check_key, open_anndata, run_record, write_slots

from ._fitted_embedding import data_record
from ._group_embeddings import embeddings_of_groups
from ._group_networks import FittedNetwork, add_group_networks, check_groups, stale_groups, warn_of_small_groups
from ._joint_embedding import JointEmbedding, check_joint, earlier_joint_slots
from ._model_folder import check_model_to, save_model
from ._network_slots import check_max_edges, network_slots

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from anndata import AnnData
    from mudata import MuData

    from scgrn_tl.core import GRNScores, GRNTask, RNGLike
    from scgrn_tl.core.calibration import PlattScaling
    from scgrn_tl.methods import Method

__all__ = ["fit_grn"]

LOGGER = logging.getLogger(__name__)


@typed_arguments
def fit_grn(
    adata: AnnData | MuData,
    prior: Any,
    *,
    method: str = "sctransnet",
    use_rep: str | Iterable[str] | None = None,
    layer: str | None = None,
    tf_names: Iterable[str] | None = None,
    split: EdgeSplit | None = None,
    validation_fraction: float = 0.1,
    groupby: str | None = None,
    group_pooling: float = 100.0,
    n_models: int = 1,
    epochs: int | None = None,
    lr: float | None = None,
    joint: bool = False,
    joint_to: str | os.PathLike[str] | None = None,
    model_to: str | os.PathLike[str] | None = None,
    device: str | None = None,
    rng: RNGLike = 0,
    max_edges: int = 5_000_000,
    modality: str = "rna",
    key_added: str = "grn",
    copy: bool = False,
    **method_params: Any,
) -> AnnData | MuData | None:
    """Infer a gene regulatory network from expression and a prior network (scTransNet; Kommu et al. 2024).

    Every regulator is scored with every gene. Known edges are divided into a training and a validation part; the
    validation part picks the epoch and calibrates the probabilities.

    Parameters
    ----------
    adata
        Annotated data, cells × genes, with log-normalised expression or counts; or a MuData with ``modality``.
    prior
        Known edges: a DataFrame with ``source`` and ``target`` columns (and ``weight``, ``sign`` or ``mor``), a
        :class:`networkx.DiGraph`, a dict of regulators and their targets, a file of decoupler, TRRUST, BEELINE,
        pySCENIC, CellOracle or others, a genes × genes matrix, or the key of one in ``varp``; or several of these in a
        list or a dict of names. See :meth:`scgrn_tl.core.PriorNetwork.from_any`.
    method
        A supervised method of :func:`scgrn_tl.methods.show`.
    use_rep
        Key of the gene embedding in ``varm``, or a list of keys: several are standardised each on its own, scaled so
        that none outweighs another by its width, and joined. A gene may lack a vector (NaN) in any of them. If
        ``"scbert"`` is not there yet, :func:`scbert_embed` is run first with its defaults, and its results are stored
        too. ``None`` does without an embedding, but for ``joint=True`` and ``method="sctransnet_paper"``, which take
        ``"scbert"``. Only read by methods of which :func:`scgrn_tl.methods.show` says ``uses_embedding``.
    layer
        Layer of the expression; ``X`` if ``None``. Whole numbers are counts, and normalised and logged on the way.
    tf_names
        Further regulators to score, besides those that have an edge in the prior.
    split
        Pairs to train, validate and test on, for instance of :func:`scgrn_tl.bm.split_edges` or
        :func:`scgrn_tl.datasets.beeline_split`. Test labels never reach the method; they are only evaluated on. If
        ``None``, every pair of a prior's regulator and a gene is used, the pairs outside the prior as non-edges.
    validation_fraction
        Share of each regulator's pairs that validates, where ``split`` is ``None``.
    groupby
        Column of ``obs``. Each of its groups of cells gets a network too: the same method, prior, split and seed on the
        group's expression, and on its embedding ``varm[f"{use_rep}_{group}"]`` where there is one
        (:func:`scbert_embed` with ``groupby``, and the same labels since). A group of fewer than 10 cells gets the
        network of all cells.
    group_pooling
        How many cells the network of all cells counts for: of a group of n cells, log-odds are w·own + (1 − w)·global
        with w = n/(n + ``group_pooling``). 0 leaves groups to themselves, ``float("inf")`` gives all the global one.
    n_models
        Networks fitted from different seeds and averaged; their spread is stored. For methods that are not
        deterministic.
    epochs
        Most passes over the training pairs; the method's own default if ``None``.
    lr
        Step width of the optimiser; the method's own default if ``None``.
    joint
        Train the last block of the embedding's encoder along with the link model, by the same loss, through a sample of
        the cells; then encode all cells anew. Only for ``"sctransnet"`` (see its ``joint_blocks``, ``joint_cells`` and
        ``joint_lr``), and for a ``use_rep`` that :func:`scbert_embed` made.
    joint_to
        With ``joint``: a new folder (or an earlier encoder's) for the trained encoder; every ``weights=`` takes it.
    model_to
        A new folder (or an earlier model's) for the fitted model, of all cells; :func:`transfer_grn` and
        :meth:`scgrn_tl.models.ScTransNet.load` read it. Only for ``"sctransnet"``.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"``, …; ``sg.settings.device`` if ``None``.
    rng
        Seed or generator. The same seed gives the same bits on the same machine with as many threads.
    max_edges
        Most edges to store; those of the highest probability.
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
        Calibrated probability that the row's gene regulates the column's gene.
    ``adata.varp[f"{key_added}_specificity"]`` : :class:`scipy.sparse.csr_matrix` (G × G, float32)
        Calibrated log-odds beyond what the two genes' hub rates explain; for methods that tell the two apart.
    ``adata.varp[f"{key_added}_std"]`` : :class:`scipy.sparse.csr_matrix` (G × G, float32)
        Standard deviation of the calibrated log-odds over the models, if ``n_models > 1``.
    ``adata.varp[f"{key_added}_attention"]`` : :class:`scipy.sparse.csr_matrix` (G × G, float32)
        How much the column's gene attends to the row's gene in the graph network (eq. 12), the mean over heads, layers
        and models. Each column sums to 1, a gene's message to itself included. Of ``"sctransnet"`` with ``use_gnn``;
        see :func:`explain_edges`.
    ``adata.varm[f"{key_added}_scbert"]`` : :class:`numpy.ndarray` (G × D, float32)
        With ``joint=True``, the gene embedding of the trained encoder, NaN where a gene has none; the mean over the
        models, if ``n_models > 1``.
    ``adata.var[f"{key_added}_is_tf"]`` : bool
        Which genes were scored as regulators.
    ``adata.uns[key_added]`` : dict
        ``params``, ``version``, ``values`` (``"probability"``), ``directed``, ``metrics`` (DataFrame: this method and
        the hub floor, on validation and test pairs, as of :func:`scgrn_tl.bm.evaluate`; absent if neither part has both
        classes), ``calibration`` (``slope``, ``intercept``, ``fitted_on``), ``history`` (an array per quantity),
        ``best_epoch`` (the epoch used, where the method chooses one; of an ensemble one for each model), ``prior``
        (DataFrame: the edges trained on, which are those that carry messages, and validated on, as ``trained_on``
        tells; never those of a test part), ``prior_report`` (what was dropped from the prior), ``prior_sha256``, of
        several priors ``prior_sources`` (DataFrame: what each gave) and in ``prior`` a column ``sources``,
        ``data`` (``n_cells``, ``n_genes``, ``mean_expression``, ``embedding_sha256`` of each of ``use_rep``),
        ``seconds``. With ``joint=True`` also ``joint`` (``n_cells``, ``n_cells_sampled``, ``weights_sha256`` of the
        encoder as it was, ``shift``: how far the embedding moved, over its spread). With ``groupby``, ``groups`` (their
        names) and ``group_fits`` (DataFrame: ``group``, as it stands in keys, ``label``, as in ``obs``, ``n_cells``,
        ``own_weight`` (w), ``use_rep``, ``auroc`` and ``auprc`` on the validation pairs).

    With ``groupby``, the same fields for every group, under ``f"{key_added}_{group}"``, but for ``std``; probabilities
    by the calibration of all cells, so that they compare between groups.

    Raises
    ------
    ArgumentError
        If an argument cannot be used, all of them checked before the fit starts.
    DuplicateGenesError
        If ``var_names`` are not unique.
    ExpressionError
        If expression is negative, NaN or infinite anywhere.
    GeneOverlapError
        If none of ``tf_names`` is among the genes.
    MissingKeyError
        If a layer, modality or embedding is not there.
    PriorError
        If the prior cannot be read or fewer than 10 edges or 2 regulators of it are among the genes.
    SplitError
        If the split was made for other genes.
    WeightsUnavailableError
        If the embedding is missing and scBERT's weights cannot be had, or with ``joint=True`` those of its encoder.
    WeightsError
        With ``joint=True``, if the encoder's weights are not those that made the embedding.

    Warns
    -----
    UserWarning
        If a group has too few cells for a network of its own, or the embeddings under the groups' names are those of
        another column or of labels that have changed since; the groups then take the embedding of all cells.

    Examples
    --------
    >>> import scgrn_tl as sg
    >>> adata = sg.datasets.simulated()
    >>> sg.tl.fit_grn(adata, adata.uns["ground_truth"], use_rep=None)
    >>> sg.get.grn_df(adata, top_n=5)  # doctest: +SKIP
    """
    from scgrn_tl import methods
    from scgrn_tl.core.edge_splits import split_edges

    started = time.perf_counter()
    entry = methods.get(method)
    if not entry.supervised:
        msg = (
            f"{method!r} does not learn from a prior, so `fit_grn` has no use for it: call `sg.tl.infer_grn(adata, "
            f"method={method!r})`. Methods that learn: {', '.join(methods.names(supervised=True))}."
        )
        raise ArgumentError(msg)
    if use_rep is None:
        use_rep = "scbert" if joint else entry.default_rep
    reps = embedding_keys(use_rep)
    if reps and not entry.uses_embedding:
        LOGGER.info("Method %r reads no gene embedding; use_rep=%r is left alone.", method, use_rep)
    params = _method_parameters(entry, {"epochs": epochs, "lr": lr}, method_params)
    entry.check_parameters(params, n_models=n_models)
    check_key("key_added", key_added)
    check_max_edges(max_edges)
    where = resolve_device(device)
    open_anndata(adata, modality=modality, copy=copy)
    if copy:
        adata = adata.copy()
    data = open_anndata(adata, modality=modality)
    check_joint(
        data, entry, use_rep, joint=joint, joint_to=joint_to, n_models=n_models, key_added=key_added, params=params
    )
    check_model_to(model_to, entry, joint_to)
    if joint and groupby is not None:
        msg = f"joint=True trains one encoder for all cells, but groupby={groupby!r} fits to groups: give one of both."
        raise ArgumentError(msg)
    genes = tuple(map(str, data.var_names))
    check_unique_genes(genes)
    groups = check_groups(data, groupby, group_pooling, key=key_added)
    if entry.uses_embedding:
        check_embeddings(data, [key for key in reps if key != "scbert"])
    network = PriorNetwork.from_any(prior, genes, adata=data)
    split_seed, fit_seed, embed_seed, cells_seed = spawn_seeds(rng, 4)
    if split is None:
        split = split_edges(network, validation_fraction=validation_fraction, test_fraction=0.0, rng=split_seed)
    task = make_task(data, layer=layer, prior=network, split=split, tf_names=tf_names, seed=fit_seed, device=where)
    embedding = training = None
    if reps and entry.uses_embedding:
        # last, since it may take long and stores what it makes: whatever else is wrong has shown by now
        embedding = _gene_embedding(data, reps, layer=layer, groupby=groupby, device=where, seed=embed_seed)
        task = replace(task, embedding=embedding.values, embedding_widths=embedding.widths)
        if joint:
            training = JointEmbedding.open(data, reps[0], embedding.values, seed=cells_seed, device=where)
            task = replace(task, cells=training.sample())
    group_reps = {}
    if groups is not None and groupby is not None:
        warn_of_small_groups(groups, groupby)
        if embedding is not None:
            group_reps = embeddings_of_groups(data, groups, groupby, reps)
    known = network.restrict_to(np.concatenate([split.train.positives, split.validation.positives]))
    scores = entry.run(task, n_models=n_models, **params)
    if training is not None:
        scores, tuned = training.score_with_all_cells(scores)
        embedding = join_embeddings([tuned])
    calibration, fitted_on = calibrate(scores, task)
    slots = network_slots(
        scores,
        n_genes=len(genes),
        key=key_added,
        max_edges=max_edges,
        value=calibration,
        slope=calibration.slope,
    )
    slots.dropped |= earlier_joint_slots(data, key_added) | stale_groups(data, key_added)
    of_joint = {}
    if training is not None and embedding is not None:
        of_joint = {"joint": training.results(slots, key_added, scores, embedding=embedding.values, joint_to=joint_to)}
    metrics = partial(_metrics_table, entry.name, calibration=calibration, split=split, task=task)
    slots.uns[key_added] = run_record(
        {
            "method": method,
            "use_rep": None if embedding is None else reps[0] if len(reps) == 1 else reps,
            "layer": layer,
            "n_regulators": len(task.regulators),
            "n_genes_without_embedding": None if embedding is None else _n_genes_without(embedding),
            "n_training_edges": int(split.train.labels.sum()),
            "split": split.kind,
            "validation_fraction": validation_fraction,
            "rng": rng if isinstance(rng, (int, np.integer)) else None,
            "device": where,
            "max_edges": max_edges,
            "groupby": groupby,
            "group_pooling": None if groupby is None else group_pooling,
            "joint": joint,
            "joint_to": None if joint_to is None else str(joint_to),
            "model_to": None if model_to is None else str(model_to),
            **entry.parameters,
            **params,
            "n_models": n_models,
        },
        values="probability",
        directed=entry.directed,
        metrics=metrics(scores),
        calibration={"slope": calibration.slope, "intercept": calibration.intercept, "fitted_on": fitted_on},
        history=dict(scores.history),
        **({"best_epoch": scores.details["best_epoch"]} if "best_epoch" in scores.details else {}),
        **of_joint,
        prior=known.to_frame().assign(trained_on=known.among(split.train.positives)),
        prior_report=dict(network.report),
        **({} if network.sources is None else {"prior_sources": network.sources.report}),
        prior_sha256=known.sha256(),
        data=data_record(data, reps if embedding is not None else (), task),
        seconds=time.perf_counter() - started,
    )
    if groups is not None:
        fitted = FittedNetwork(task, scores, calibration, partial(entry.run, n_models=n_models, **params), metrics)
        add_group_networks(slots, data, groups, fitted, key=key_added, reps=group_reps)
        slots.uns[key_added]["seconds"] = time.perf_counter() - started
    if model_to is not None:
        save_model(model_to, scores, data, reps, joint_to=joint_to if joint else None)
    write_slots(adata, slots, modality=modality)
    return adata if copy else None


def _method_parameters(entry: Method, shared: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """What to hand to the method: its own parameters, and those shared ones that were given."""
    given = {name: value for name, value in shared.items() if value is not None}
    if strange := [name for name in given if name not in entry.parameters]:
        msg = (
            f"Method {entry.name!r} takes no {', '.join(strange)}; leave it at its default. Its own parameters are "
            f"{', '.join(entry.parameters) or 'none'}."
        )
        raise ArgumentError(msg)
    return given | own


def _gene_embedding(
    adata: AnnData, keys: tuple[str, ...], *, layer: str | None, groupby: str | None, device: str, seed: int
) -> JoinedEmbedding:
    """The embeddings under ``keys`` in ``varm``; scBERT's is made where it is missing, once the others are read."""
    from ._scbert_embed import scbert_embed

    missing = "scbert" in keys and "scbert" not in adata.varm
    parts = {key: read_embedding(adata, key) for key in keys if not (missing and key == "scbert")}
    if missing:
        LOGGER.info("Did not find .varm['scbert']: running sg.tl.scbert_embed first.")
        scbert_embed(adata, layer=layer, groupby=groupby, device=device, rng=seed)
        parts["scbert"] = read_embedding(adata, "scbert")
    return join_embeddings([parts[key] for key in keys])


def _n_genes_without(embedding: JoinedEmbedding) -> int | list[int]:
    """How many genes have no vector; of several embeddings, in each."""
    parts = np.split(embedding.values, np.cumsum(embedding.widths)[:-1], axis=1) if embedding.widths else []
    counts = [int((~np.isfinite(part).all(1)).sum()) for part in parts or [embedding.values]]
    return counts if embedding.widths else counts[0]


def _metrics_table(
    name: str, scores: GRNScores, *, calibration: PlattScaling, split: EdgeSplit, task: GRNTask
) -> pd.DataFrame | None:
    """A row per part and per method (this one, the hub floor), of all parts that have edges and non-edges, if any."""
    from scgrn_tl import methods
    from scgrn_tl.core.metrics import edge_metrics

    rows: list[dict[str, Any]] = []
    floor = scores if name == "hub_floor" else methods.get("hub_floor").run(task)
    for part in ("validation", "test"):
        labeled: LabeledPairs = getattr(split, part)
        if not labeled.labels.any() or labeled.labels.all():
            continue
        labels, regulators, at_pairs = labeled.labels, labeled.pairs[:, 0], scores.at(labeled.pairs)
        metrics = edge_metrics(labels, at_pairs, regulators, probability=calibration(at_pairs))
        rows.append({"method": name, "part": part} | metrics)
        if name != "hub_floor":
            metrics = edge_metrics(labels, floor.at(labeled.pairs), regulators)
            rows.append({"method": "hub_floor", "part": part} | metrics)
    return pd.DataFrame(rows) if rows else None
