"""A fitted scTransNet on other data, beside the floors of what it was fitted to and beside a fit to the other data.

    python benchmarks/transfer.py simulated --seeds 5 --out transfer.csv
    python benchmarks/transfer.py shared-genes --seeds 5 --out shared.csv
    python benchmarks/transfer.py beeline --seeds 5 --out beeline.csv

``simulated``: one network, two sets of cells that are sequenced apart (``n_batches=2``, the second half as deep). Of
the genes, 0.8 are in both, and 0.1 in either alone; of the TFs, 0.6 are in both. The model is fitted to two thirds of
the pairs of a TF and a gene in the first. What it says of the second is judged on pairs that it was not fitted to: both
genes seen in training, the TF new, the target new, both new.

``shared-genes``: the same where only so many genes of the second data have the names they have in the first. Judged are
pairs of genes with other names throughout, of which the model knows the messages they get, and no hub rates.

``beeline``: fitted to mouse dendritic cells, on haematopoietic stem cells, whose labels judge and nothing else.

Methods: ``aligned`` is :meth:`scgrn_tl.models.ScTransNet.score`; ``rotated`` does not shrink components that shared
genes do not bear out, ``not aligned`` takes them as they come, and ``moments`` sets them to 0; ``recentred`` centres by
the averages over the other data's genes. ``hub rates``: those of the training pairs, 0 for genes without; ``target
rate`` and ``TF rate`` each alone. ``refit``: scTransNet on the second data with the training pairs that are among its
genes. Means over seeds, and their standard error.
"""

from __future__ import annotations

import argparse
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.linalg import orthogonal_procrustes
from sklearn.metrics import average_precision_score, roc_auc_score

import scgrn_tl as sg
from scgrn_tl.core import EdgeSplit, LabeledPairs, PriorNetwork
from scgrn_tl.models import component_alignment, sctransnet, transfer_inputs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Pairs = pd.DataFrame  # source, target, edge
N_SHARED = (5, 10, 20, 40, 80, 160)


# --- what is compared -------------------------------------------------------------------------------------------------


def _as_they_come(loadings: np.ndarray, reference: np.ndarray, **_: Any) -> component_alignment.AlignedComponents:
    padded = np.zeros((len(loadings), reference.shape[1]), dtype=np.float32)
    padded[:, : loadings.shape[1]] = loadings
    return component_alignment.AlignedComponents(padded, float("nan"))


def _rotated(
    loadings: np.ndarray, reference: np.ndarray, *, rows: np.ndarray, reference_rows: np.ndarray
) -> component_alignment.AlignedComponents:
    padded = _as_they_come(loadings, reference).loadings
    rotation, _ = orthogonal_procrustes(padded[rows], reference[reference_rows])
    return component_alignment.AlignedComponents((padded @ rotation).astype(np.float32), float("nan"))


def _zeros(loadings: np.ndarray, reference: np.ndarray, **_: Any) -> component_alignment.AlignedComponents:
    zeros = np.zeros((len(loadings), reference.shape[1]), dtype=np.float32)
    return component_alignment.AlignedComponents(zeros, float("nan"))


OTHER_WAYS = {"rotated": _rotated, "not aligned": _as_they_come, "moments": _zeros}


@contextmanager
def variant(name: str) -> Iterator[None]:
    """Transfer in another way while this lasts."""
    with mock.patch.object(transfer_inputs, "MIN_SHARED", 1):
        if name in OTHER_WAYS:
            with mock.patch.object(transfer_inputs, "align_components", OTHER_WAYS[name]):
                yield
        elif name == "recentred":
            channels = sctransnet.ScTransNetModule.channels

            def recentred(self: Any, genes: Any, graph: Any, **options: Any) -> Any:
                return channels(self, genes, graph, **(options | {"around": None}))

            with mock.patch.object(sctransnet.ScTransNetModule, "channels", recentred):
                yield
        else:
            yield


def transferred(model: sg.models.ScTransNet, adata: AnnData, pairs: Pairs, name: str, **reading: Any) -> pd.DataFrame:
    """Table of the model's scores of ``pairs``."""
    with variant(name):
        return model.score(adata, pairs[["source", "target"]], **reading)


def rates_of(model: sg.models.ScTransNet, pairs: Pairs) -> dict[str, np.ndarray]:
    """Floors: what the hub rates of the model's training pairs say of other pairs."""
    train, _ = model._labels.supervision()
    regulators = model._labels.regulators
    labels, mask = np.zeros((2, len(regulators), len(model.genes)), dtype=bool)
    rows = np.searchsorted(regulators, train.pairs[:, 0])
    mask[rows, train.pairs[:, 1]], labels[rows, train.pairs[:, 1]] = True, train.labels
    rates = sg.models.fit_hub_rates(labels, mask)
    of_tf = pairs["source"].map(dict(zip(model.regulators, rates.regulator, strict=True))).fillna(0).to_numpy()
    of_target = pairs["target"].map(dict(zip(model.genes, rates.target, strict=True))).fillna(0).to_numpy()
    return {"hub rates": of_tf + of_target, "TF rate": of_tf, "target rate": of_target}


def floors_and_transfers(model: sg.models.ScTransNet, adata: AnnData, pairs: Pairs) -> dict[str, np.ndarray]:
    """Scores of the same pairs by everything that is not fitted to ``adata``."""
    found = rates_of(model, pairs)
    for name in ("aligned", *OTHER_WAYS, "recentred"):
        table = transferred(model, adata, pairs, name)
        found[name] = table["log_odds"].to_numpy()
        if name == "aligned":
            found["aligned, specificity"] = table["specificity"].to_numpy()
    return found


def refit(adata: AnnData, train: Pairs, validation: Pairs, pairs: Pairs, seed: int, **params: Any) -> np.ndarray:
    """scTransNet fitted to those of the same training pairs that are among the genes."""
    genes = tuple(adata.var_names)
    index = pd.Index(genes)

    def labelled(table: Pairs) -> LabeledPairs:
        here = table[table["source"].isin(genes) & table["target"].isin(genes)]
        at = np.column_stack([index.get_indexer(here["source"]), index.get_indexer(here["target"])])
        return LabeledPairs(at, here["edge"].to_numpy())

    split = EdgeSplit(labelled(train), labelled(validation), LabeledPairs.empty(), genes=genes)
    prior = PriorNetwork.from_any(train[train["edge"]][["source", "target"]], genes)
    tfs = sorted(set(pairs["source"]))
    model = sg.models.ScTransNet.from_anndata(
        adata, prior, use_rep=params.pop("use_rep", None), split=split, tf_names=tfs, rng=seed, **params
    ).fit()
    return model.score(list(zip(pairs["source"], pairs["target"], strict=True)))


def metrics_of(pairs: Pairs, score: np.ndarray) -> dict[str, float]:
    """AUROC over all pairs, within single TFs (their mean), and average precision over prevalence."""
    labels = pairs["edge"].to_numpy()
    if labels.all() or not labels.any():
        return {}
    found = sg.core.metrics.edge_metrics(labels, score, pairs["source"].astype("category").cat.codes.to_numpy())
    return {
        "auroc": float(roc_auc_score(labels, score)),
        "auprc": float(average_precision_score(labels, score)),
        "tf_auroc": found["tf_auroc"],
        "prevalence": float(labels.mean()),
    }


def embedded(first: AnnData, second: AnnData, folder: Path) -> str:
    """Gene embeddings of both data by an encoder that was trained on the first; their key."""
    sg.tl.scbert_pretrain(first, weights_dir=folder, max_epochs=20)
    for adata in (first, second):
        sg.tl.scbert_embed(adata, weights=folder, store_attention=False)
    return "scbert"


# --- simulated --------------------------------------------------------------------------------------------------------


def two_datasets(seed: int, n_genes: int = 300, n_tfs: int = 40) -> tuple[AnnData, AnnData, pd.DataFrame]:
    """Two sets of cells of one network, with some genes and TFs in one of them alone; expression as counts."""
    whole = sg.datasets.simulated(800, n_genes, n_tfs, mean_targets=15, n_batches=2, batch_depths=[1.0, 0.5], rng=seed)
    rng = np.random.default_rng(seed)
    tfs, others = np.flatnonzero(whole.var["is_tf"]), np.flatnonzero(~whole.var["is_tf"])
    parts = []
    for genes, share in ((tfs, 0.2), (others, 0.1)):
        alone = round(share * len(genes))
        shuffled = rng.permutation(genes)
        parts.append((shuffled[alone:], np.concatenate([shuffled[:alone], shuffled[2 * alone :]])))
    data = []
    for number, batch in enumerate(("batch1", "batch2")):
        chosen = np.sort(np.concatenate([parts[0][number], parts[1][number]]))
        of_batch = whole[(whole.obs["batch"] == batch).to_numpy(), chosen]
        data.append(AnnData(of_batch.layers["counts"].astype(np.float32), obs=of_batch.obs, var=of_batch.var))
    truth = whole.uns["ground_truth"]
    return data[0], data[1], truth


def all_pairs(adata: AnnData, truth: pd.DataFrame) -> Pairs:
    """Every pair of a TF and another gene, and whether it is an edge."""
    tfs = adata.var_names[adata.var["is_tf"]]
    pairs = pd.DataFrame([(s, t) for s in tfs for t in adata.var_names if s != t], columns=["source", "target"])
    edges = set(zip(truth["source"], truth["target"], strict=True))
    return pairs.assign(edge=[pair in edges for pair in zip(pairs["source"], pairs["target"], strict=True)])


def fit_first(adata: AnnData, pairs: Pairs, seed: int, **params: Any) -> tuple[sg.models.ScTransNet, Pairs, Pairs]:
    """A model fitted to two thirds of the pairs, a tenth of them to validate on; and those two tables."""
    part = np.random.default_rng(seed + 1000).choice(3, size=len(pairs), p=[0.6, 0.07, 0.33])
    index = pd.Index(adata.var_names)
    at = np.column_stack([index.get_indexer(pairs["source"]), index.get_indexer(pairs["target"])])
    labels = pairs["edge"].to_numpy()
    split = EdgeSplit(
        *(LabeledPairs(at[part == p], labels[part == p]) for p in range(2)),
        LabeledPairs.empty(),
        genes=tuple(adata.var_names),
    )
    known = pairs[labels & (part < 2)]
    model = sg.models.ScTransNet.from_anndata(
        adata, known, use_rep=params.pop("use_rep", None), split=split, rng=seed, **params
    ).fit()
    return model, pairs[part == 0], pairs[part == 1]


def kinds_of_pairs(model: sg.models.ScTransNet, pairs: Pairs, used: Pairs) -> dict[str, Pairs]:
    """Pairs that the model was not trained or validated on, by what of them is new."""
    seen = pd.MultiIndex.from_frame(used[["source", "target"]])
    unused = pairs[~pd.MultiIndex.from_frame(pairs[["source", "target"]]).isin(seen)]
    tf, target = unused["source"].isin(model.regulators), unused["target"].isin(model.genes)
    return {
        "both seen": unused[tf & target],
        "TF new": unused[~tf & target],
        "target new": unused[tf & ~target],
        "both new": unused[~tf & ~target],
    }


def simulated(seed: int, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    first, second, truth = two_datasets(seed)
    use_rep = embedded(first, second, arguments.out.parent / f"encoder{seed}") if arguments.embedding else None
    model, train, validation = fit_first(first, all_pairs(first, truth), seed, use_rep=use_rep)
    kinds = kinds_of_pairs(model, all_pairs(second, truth), pd.concat([train, validation]))
    pairs = pd.concat(kinds.values(), ignore_index=True)
    kind = np.repeat(list(kinds), [len(each) for each in kinds.values()])
    found = floors_and_transfers(model, second, pairs)
    found["refit"] = refit(second, train, validation, pairs, seed, use_rep=use_rep)
    for name, score in found.items():
        for each in kinds:
            yield {"kind": each, "method": name} | metrics_of(pairs[kind == each], score[kind == each])


def shared_genes(seed: int, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Judged on TFs and genes with other names throughout; edges carry messages whatever their genes are called."""
    first, second, truth = two_datasets(seed)
    model, train, _ = fit_first(first, all_pairs(first, truth), seed)
    known = train[train["edge"] & train["source"].isin(second.var_names) & train["target"].isin(second.var_names)]
    rng = np.random.default_rng(seed)
    names = second.var_names.to_numpy(dtype=object)
    order = rng.permutation(np.flatnonzero(second.var_names.isin(first.var_names)))
    never = set(np.delete(names, order[: N_SHARED[-1]]))
    pairs = all_pairs(second, truth)
    pairs = pairs[pairs["source"].isin(never) & pairs["target"].isin(never)]
    for n_shared in N_SHARED:
        renamed = names.copy()
        hidden = np.setdiff1d(np.arange(len(names)), order[:n_shared])
        renamed[hidden] = [f"new_{name}" for name in names[hidden]]
        to_new = dict(zip(names, renamed, strict=True))
        other = AnnData(second.X, obs=second.obs, var=second.var.set_index(pd.Index(renamed)))
        asked, prior = (
            table.assign(source=table["source"].map(to_new), target=table["target"].map(to_new))
            for table in (pairs, known)
        )
        for name in ("aligned", *OTHER_WAYS):
            score = transferred(model, other, asked, name, prior=prior)["log_odds"].to_numpy()
            yield {"kind": f"{n_shared} shared", "method": name} | metrics_of(asked, score)


def beeline(seed: int, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The first data with all their edges, a tenth to validate on; all labelled pairs of the second judge."""
    first, second = (sg.datasets.beeline(name) for name in ("mDC", "mHSC-L"))
    use_rep = embedded(first, second, arguments.out.parent / "encoder-beeline") if arguments.embedding else None
    model = sg.models.ScTransNet.from_anndata(first, first.uns["ground_truth"], use_rep=use_rep, rng=seed).fit()
    truth = second.uns["ground_truth"]
    edges = set(zip(truth["source"], truth["target"], strict=True))
    pairs = pd.DataFrame(
        [(s, t) for s in sorted(set(truth["source"])) for t in second.var_names if s != t], columns=["source", "target"]
    )
    pairs["edge"] = [pair in edges for pair in zip(pairs["source"], pairs["target"], strict=True)]
    kinds = kinds_of_pairs(model, pairs, pairs[:0]) | {"all": pairs}
    found = floors_and_transfers(model, second, pairs)
    for name, score in found.items():
        for each, chosen in kinds.items():
            if len(chosen):
                yield {"kind": each, "method": name} | metrics_of(chosen, score[chosen.index])


# --- the table --------------------------------------------------------------------------------------------------------


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Mean ± standard error over the seeds of every metric."""
    grouped = table.groupby(["kind", "method"], sort=False)[["auroc", "auprc", "tf_auroc", "prevalence"]]
    mean, error = grouped.mean(), grouped.sem().fillna(0)
    return mean.round(3).astype(str) + " ± " + error.round(3).astype(str)


def main() -> None:
    runs: dict[str, Callable[..., Iterator[dict[str, Any]]]] = {
        "simulated": simulated,
        "shared-genes": shared_genes,
        "beeline": beeline,
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=list(runs))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument(
        "--embedding", action="store_true", help="with gene embeddings, of an encoder of the first data"
    )
    parser.add_argument("--out", type=Path, default=Path("transfer.csv"))
    arguments = parser.parse_args()
    sg.settings.progress = False
    rows = []
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        rows += [{"seed": seed} | row for row in runs[arguments.what](seed, arguments)]
        pd.DataFrame(rows).to_csv(arguments.out, index=False)
    print(summary(pd.DataFrame(rows)).to_string())


if __name__ == "__main__":
    main()
