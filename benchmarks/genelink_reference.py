"""scTransNet beside the published GENELink code: time of as many epochs, and ranking of the test pairs.

Both train on one BEELINE network and one of its published splits. GENELink's network, data set and normalisation are
imported from a checkout of github.com/zpliulab/GENELink; its training is the one of that repository's ``main.py``
(Adam, learning rate 0.003, batches of 256 pairs, the whole graph encoded for each, decay by 1 % a step, the last epoch
kept). Run::

    python benchmarks/genelink_reference.py --genelink /path/to/GENELink --epochs 100 --threads 2
"""

from __future__ import annotations

import argparse
import importlib.util
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

import scgrn_tl as sg
from scgrn_tl import methods
from scgrn_tl.core import GRNScores, PriorNetwork, make_task

if TYPE_CHECKING:
    from types import ModuleType

    from scgrn_tl.core import EdgeSplit, GRNTask

BATCH_SIZE, LR, DECAY, SEED = 256, 3e-3, 0.99, 8
"""As published."""


def parse(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--genelink", type=Path, required=True, help="checkout of the published repository")
    parser.add_argument("--cell-type", default="hHEP")
    parser.add_argument("--n-genes", type=int, default=500)
    parser.add_argument("--sample", type=int, default=1, help="which published split")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1, help="both fits, one after the other, so many times")
    parser.add_argument(
        "--weights", help="what tl.scbert_embed makes the gene embedding with, such as fit; no embedding without"
    )
    return parser.parse_args(given)


def module_of(folder: Path, name: str) -> ModuleType:
    """A module of the published code, under a name of its own."""
    path = folder / "Code" / f"{name}.py"
    if not path.is_file():
        msg = f"{path} is not there: give the folder of a checkout of zpliulab/GENELink."
        raise SystemExit(msg)
    spec = importlib.util.spec_from_file_location(f"genelink_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fit_genelink(folder: Path, task: GRNTask, split: EdgeSplit, epochs: int) -> np.ndarray:
    """Scores of the test pairs by the published network, trained as published."""
    network, tools = module_of(folder, "scGNN"), module_of(folder, "utils")
    features = torch.from_numpy(tools.load_data(pd.DataFrame(task.expression)).exp_data())
    labelled = np.column_stack([split.train.pairs, split.train.labels])
    pairs = tools.scRNADataset(labelled, task.n_genes, flag=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a tensor out of a list of arrays
        graph = tools.adj2saprse_tensor(pairs.Adj_Generate(torch.from_numpy(task.regulators), loop=False))
    model = network.GENELink(
        input_dim=features.shape[1],
        hidden1_dim=128,
        hidden2_dim=64,
        hidden3_dim=32,
        output_dim=16,
        num_head1=3,
        num_head2=3,
        alpha=0.2,
        device="cpu",
        type="dot",
        reduction="concate",
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=DECAY)
    for _ in range(epochs):
        model.train()
        for batch, labels in torch.utils.data.DataLoader(pairs, batch_size=BATCH_SIZE, shuffle=True):
            optimizer.zero_grad()
            probability = torch.sigmoid(model(features, graph, batch))
            torch.nn.functional.binary_cross_entropy(probability, labels.view(-1, 1)).backward()
            optimizer.step()
            schedule.step()
    model.eval()
    with torch.no_grad():
        return model(features, graph, torch.from_numpy(split.test.pairs)).numpy().ravel()


def ranking(split: EdgeSplit, scores: np.ndarray) -> dict[str, float]:
    from sklearn.metrics import average_precision_score, roc_auc_score

    labels = split.test.labels
    return {"auroc": roc_auc_score(labels, scores), "auprc": average_precision_score(labels, scores)}


def timed(name: str, split: EdgeSplit, fit: Any) -> dict[str, Any]:
    wall, cpu = time.perf_counter(), time.process_time()
    scores = fit()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    at_test = scores.at(split.test.pairs) if isinstance(scores, GRNScores) else scores
    return {"method": name, "seconds": wall, "cpu_seconds": cpu} | ranking(split, at_test)


def compare(args: argparse.Namespace) -> pd.DataFrame:
    """A row per fit: ``method``, ``seconds``, ``cpu_seconds``, ``auroc``, ``auprc`` on the test pairs."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(SEED)  # noqa: TID251  (the published network draws from the global state)
    adata = sg.datasets.beeline(args.cell_type, args.n_genes)
    split = sg.datasets.beeline_split(args.cell_type, args.n_genes, args.sample)
    embedding = None
    if args.weights is not None:
        sg.tl.scbert_embed(adata, weights=args.weights)
        embedding = np.asarray(adata.varm["scbert"])
    prior = PriorNetwork.from_any(adata.uns["ground_truth"], adata.var_names)
    task = make_task(adata, prior=prior, split=split, embedding=embedding)
    ours, floor = methods.get("sctransnet"), methods.get("hub_floor")
    ours.run(task, epochs=1)  # imports are not timed
    rows = []
    for _ in range(args.repeats):
        rows += [
            timed("GENELink, as published", split, lambda: fit_genelink(args.genelink, task, split, args.epochs)),
            timed("scTransNet", split, lambda: ours.run(task, epochs=args.epochs, patience=args.epochs)),
        ]
    rows.append(timed("hub floor", split, lambda: floor.run(task)))
    return pd.DataFrame(rows)


def main() -> None:
    args = parse()
    table = compare(args)
    mean = table.groupby("method")[["seconds", "cpu_seconds"]].mean()
    ratio = mean.loc["GENELink, as published"] / mean.loc["scTransNet"]
    print(f"{args.cell_type} TFs+{args.n_genes}, split {args.sample}, {args.epochs} epochs, {args.threads} threads")
    print(table.round(4).to_string(index=False))
    print(f"scTransNet is {ratio['seconds']:.1f} times as fast ({ratio['cpu_seconds']:.1f} by CPU time).")


if __name__ == "__main__":
    main()
