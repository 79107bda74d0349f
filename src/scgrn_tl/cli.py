"""The ``scgrn-tl`` command: parse, call, print."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import scgrn_tl as sg
from scgrn_tl.core import ArgumentError, PriorNetwork, ScgrnError, make_task
from scgrn_tl.io._atomic import replaced_when_complete

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pandas as pd
    from anndata import AnnData

    from scgrn_tl.core import EdgeSplit

__all__ = ["main"]

_CELL_TYPES = ("hESC", "hHEP", "mDC", "mESC", "mHSC-E", "mHSC-GM", "mHSC-L")
_METRICS = {"auroc": "AUROC", "auprc": "AUPRC", "auprc_ratio": "AUPRC ratio", "epr": "EPR"}
_PACKAGES = (
    "scgrn_tl", "numpy", "scipy", "pandas", "anndata", "scanpy", "torch", "torch-geometric", "scvi-tools",
    "performer-pytorch",
)  # fmt: skip

_EXAMPLES = """\
examples:
  scgrn-tl demo                                     simulated data, a minute, nothing to download
  scgrn-tl demo --dataset hHEP --sample 1 --out hhep
  scgrn-tl embed cells.h5ad --out embedded.h5ad --weights panglao
  scgrn-tl fit embedded.h5ad --prior net.csv --out network.h5ad --edges edges.csv
  scgrn-tl fetch scbert                             ahead of time, for a machine without network
  scgrn-tl info
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv
        Arguments without the program's name; those of the process if ``None``.

    Returns
    -------
    The exit status: 0, or 2 after an error that one line on stderr explains. With ``--debug`` errors are raised.
    """
    arguments = _parser().parse_args(argv)
    run: Callable[[argparse.Namespace], None] = arguments.run
    with _log_to_stderr(logging.INFO if arguments.verbose else logging.WARNING):
        try:
            run(arguments)
        except (ScgrnError, OSError) as error:
            if arguments.debug:
                raise
            print(f"scgrn-tl: error: {' '.join(str(error).split())}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("scgrn-tl: interrupted", file=sys.stderr)
            return 130
    return 0


# ---------------------------------------------------------------- the commands


def _demo(arguments: argparse.Namespace) -> None:
    import matplotlib.pyplot as plt

    started = time.perf_counter()
    out = Path(arguments.out).expanduser()
    out.mkdir(parents=True, exist_ok=True)
    adata, split = _demo_data(arguments)
    truth = adata.uns["ground_truth"]
    _say("data", f"{arguments.dataset}: {adata.n_obs:,} cells × {adata.n_vars:,} genes, {len(truth):,} known edges")
    train, validation, test = (f"{len(part):,} pairs ({int(part.labels.sum()):,} edges)" for part in split.parts)
    _say("split", f"{split.kind}: train {train}, validation {validation}, test {test}")
    _say("embed", f"gene embeddings by scBERT, weights={arguments.weights!r} …")
    sg.tl.scbert_embed(adata, weights=arguments.weights, device=arguments.device, rng=arguments.seed)
    _say("fit", f"scTransNet, {arguments.n_models} models of at most {arguments.epochs} epochs …")
    sg.tl.fit_grn(
        adata,
        truth,
        split=split,
        n_models=arguments.n_models,
        epochs=arguments.epochs,
        device=arguments.device,
        rng=arguments.seed,
    )
    table = _demo_table(adata, split, seed=arguments.seed)
    with replaced_when_complete(out / "network.h5ad") as beside:
        adata.write_h5ad(beside)
    best = sg.get.grn_df(adata, min_probability=None, top_n=50)
    threshold = min(0.5, float(best["probability"].min()))
    sg.io.write_edges(adata, out / "edges.csv", min_probability=threshold)
    ax = sg.pl.grn_edges(adata, top_n=50, min_probability=threshold, reference="ground_truth")
    figure = ax.figure.figure
    with replaced_when_complete(out / "network.png") as beside:
        figure.savefig(beside, dpi=300)
    plt.close(figure)
    print(f"\nTest pairs, none of them seen in training\n\n{_aligned(table)}\n")
    print("The hub floor knows neither expression nor network: only how many training edges each gene has.")
    print("The edges written and drawn are the most probable of all pairs, training edges among them.")
    print(f"\nWrote {out / 'network.h5ad'}, {out / 'edges.csv'}, {out / 'network.png'}")
    print(f"Took {time.perf_counter() - started:.0f} s")


def _demo_data(arguments: argparse.Namespace) -> tuple[AnnData, EdgeSplit]:
    if arguments.dataset == "simulated":
        adata = sg.datasets.simulated(rng=arguments.seed)
        prior = PriorNetwork.from_any(adata.uns["ground_truth"], adata.var_names)
        return adata, sg.bm.split_edges(prior, kind="random", rng=arguments.seed)
    adata = sg.datasets.beeline(arguments.dataset, arguments.n_genes)
    return adata, sg.datasets.beeline_split(arguments.dataset, arguments.n_genes, arguments.sample)


def _demo_table(adata: AnnData, split: EdgeSplit, *, seed: int) -> pd.DataFrame:
    """The fitted model on the test part, beside methods and levels that it has to beat."""
    import pandas as pd

    fitted = sg.get.grn_metrics(adata).query("part == 'test'").set_index("method")
    prior = PriorNetwork.from_any(adata.uns["ground_truth"], adata.var_names)
    task = make_task(adata, prior=prior, split=split, seed=seed)
    baselines = {
        name: sg.bm.evaluate(sg.methods.get(method).run(task), split)
        for name, method in (("hub floor", "hub_floor"), ("Pearson", "pearson"))
    }
    random = pd.Series({"auroc": 0.5, "auprc": split.test.prevalence, "auprc_ratio": 1.0, "epr": 1.0})
    rows = {"scTransNet": fitted.loc["sctransnet"], **baselines, "random level": random}
    return pd.DataFrame({name: row[list(_METRICS)].astype(float) for name, row in rows.items()}).T


def _embed(arguments: argparse.Namespace) -> None:
    adata = _read(arguments.input)
    with replaced_when_complete(arguments.out) as beside:
        sg.tl.scbert_embed(
            adata,
            weights=arguments.weights,
            layer=arguments.layer,
            n_cells=arguments.n_cells,
            device=arguments.device,
            rng=arguments.seed,
            key_added=arguments.key,
        )
        adata.write_h5ad(beside)
    shape = " × ".join(f"{size:,}" for size in adata.varm[arguments.key].shape)
    print(f"Wrote {arguments.out}: gene embeddings ({shape}) in .varm[{arguments.key!r}]")


def _fit(arguments: argparse.Namespace) -> None:
    adata = _read(arguments.input)
    prior = _existing(arguments.prior, "prior")
    tf_names = None
    if arguments.tf_names is not None:
        tf_names = _existing(arguments.tf_names, "list of TF names").read_text(encoding="utf-8").split()
    use_rep = None if arguments.use_rep == "none" else arguments.use_rep
    with replaced_when_complete(arguments.out) as beside:
        if use_rep == "scbert" and use_rep not in adata.varm and sg.methods.get(arguments.method).uses_embedding:
            sg.tl.scbert_embed(
                adata, weights=arguments.weights, layer=arguments.layer, device=arguments.device, rng=arguments.seed
            )
        sg.tl.fit_grn(
            adata,
            prior,
            method=arguments.method,
            use_rep=use_rep,
            layer=arguments.layer,
            tf_names=tf_names,
            n_models=arguments.n_models,
            epochs=arguments.epochs,
            device=arguments.device,
            rng=arguments.seed,
            key_added=arguments.key,
        )
        adata.write_h5ad(beside)
    if "metrics" in adata.uns[arguments.key]:
        table = sg.get.grn_metrics(adata, key=arguments.key)
        shown = table[["method", "part", *_METRICS]].set_index(["method", "part"])
        shown.index = [f"{method}, {part}" for method, part in shown.index]
        print(f"{_aligned(shown)}\n")
    print(f"Wrote {arguments.out}: network in .varp[{arguments.key!r}]")
    if arguments.edges is not None:
        sg.io.write_edges(adata, arguments.edges, key=arguments.key, min_probability=arguments.min_probability)
        n_edges = len(sg.get.grn_df(adata, key=arguments.key, min_probability=arguments.min_probability))
        least = f"probability {arguments.min_probability:g} and more (--min-probability)"
        print(f"Wrote {arguments.edges}: {n_edges:,} edges of {least}")


def _fetch(arguments: argparse.Namespace) -> None:
    if arguments.what == "beeline":
        for cell_type in arguments.cell_types or _CELL_TYPES:
            adata = sg.datasets.beeline(cell_type, arguments.n_genes, arguments.network)
            for sample in range(1, 6):
                sg.datasets.beeline_split(cell_type, arguments.n_genes, sample, network=arguments.network)
            print(f"{cell_type}: {adata.n_obs:,} cells × {adata.n_vars:,} genes, 5 splits")
    elif arguments.what == "scbert":
        print(f"vocabulary: {len(sg.datasets.scbert_vocabulary().symbols):,} genes")
        print(f"weights: {sg.datasets.scbert_weights()}")
    else:
        for organism in ("human", "mouse"):
            print(f"{organism}: {len(sg.datasets.tf_names(organism)):,} transcription factors")
    print(f"In {sg.settings.cache_dir}" + (f", or already in {sg.settings.mirror}" if sg.settings.mirror else ""))


def _info(_: argparse.Namespace) -> None:
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from scgrn_tl.datasets._files import find_local
    from scgrn_tl.datasets._registry import SCBERT_WEIGHTS

    def found(package: str) -> str:
        try:
            return version(package)
        except PackageNotFoundError:
            return "not installed"

    given = os.environ.get("SCGRN_TL_WEIGHTS")
    weights = Path(given) if given else find_local(SCBERT_WEIGHTS)
    rows = {
        "python": platform.python_version(),
        **{package: found(package) for package in _PACKAGES},
        "device": f"{sg.core.resolve_device()} (settings.device = {sg.settings.device!r})",
        "cache": f"{sg.settings.cache_dir} ({_contents(sg.settings.cache_dir)})",
        "mirror": "none (SCGRN_TL_MIRROR)" if sg.settings.mirror is None else str(sg.settings.mirror),
        "scBERT weights": "not here (`scgrn-tl fetch scbert`)" if weights is None else str(weights),
    }
    if weights is not None and not weights.exists():
        rows["scBERT weights"] = f"{weights} (SCGRN_TL_WEIGHTS), which is not there"
    for name, value in rows.items():
        print(f"{name:<18} {value}")


# ---------------------------------------------------------------- reading and printing


@contextmanager
def _log_to_stderr(level: int) -> Iterator[None]:
    """Show the package's log while a command runs, and leave the logger as it was."""
    logger, handler = logging.getLogger("scgrn_tl"), logging.StreamHandler()
    before = logger.level
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def _existing(path: str, what: str) -> Path:
    found = Path(path).expanduser()
    if not found.is_file():
        msg = f"The {what} {path!r} is not there, or is no file."
        raise ArgumentError(msg)
    return found


def _read(path: str) -> AnnData:
    import anndata

    found = _existing(path, "input")
    if found.suffix != ".h5ad":
        msg = f"The input {path!r} is not an .h5ad file."
        raise ArgumentError(msg)
    return anndata.read_h5ad(found)


def _say(step: str, text: str) -> None:
    print(f"{step:<7}{text}", flush=True)


def _aligned(table: pd.DataFrame) -> str:
    renamed = table.rename(columns=_METRICS)
    return renamed.to_string(float_format=lambda value: f"{value:.3f}", na_rep="–")


def _contents(folder: Path) -> str:
    """What a cache folder holds, by its subfolders."""
    if not folder.is_dir():
        return "not made yet"
    shares = []
    for entry in sorted(folder.iterdir()):
        files = [path for path in (entry.rglob("*") if entry.is_dir() else [entry]) if path.is_file()]
        size = sum(path.stat().st_size for path in files) / 1e6
        if files:
            shares.append(f"{entry.name}: {len(files):,} files, {size:,.1f} MB" if entry.is_dir() else entry.name)
    return "; ".join(shares) or "empty"


# ---------------------------------------------------------------- the parser


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")
    common.add_argument("-v", "--verbose", action="store_true", help="say what is read and written on the way")
    computing = argparse.ArgumentParser(add_help=False)
    computing.add_argument("--device", metavar="NAME", help="auto (default), cpu, cuda, cuda:1 or mps")
    computing.add_argument("--seed", type=int, default=0, metavar="N", help="seed of everything random (default 0)")

    parser = argparse.ArgumentParser(
        prog="scgrn-tl",
        description="Gene regulatory networks from single-cell RNA-seq with scTransNet.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"scgrn-tl {sg.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, run: Callable[[argparse.Namespace], None], help: str, *more: Any) -> Any:
        made = commands.add_parser(
            name, help=help, description=f"{help[0].upper()}{help[1:]}.", parents=[common, *more]
        )
        made.set_defaults(run=run)
        return made

    demo = command("demo", _demo, "fit and judge a network on simulated or benchmark data", computing)
    demo.add_argument(
        "--dataset",
        default="simulated",
        choices=("simulated", *_CELL_TYPES),
        metavar="NAME",
        help=f"simulated (default), or a BEELINE experiment: {', '.join(_CELL_TYPES)}",
    )
    demo.add_argument("--n-genes", type=int, default=500, choices=(500, 1000), help="varying genes of BEELINE's panel")
    demo.add_argument(
        "--sample", type=int, default=1, choices=range(1, 6), metavar="1-5", help="which published split (BEELINE)"
    )
    demo.add_argument("--out", default="demo", metavar="FOLDER", help="folder for the results (default demo)")
    demo.add_argument(
        "--weights",
        default="fit",
        metavar="W",
        help="fit (default: train on these genes, no download), panglao or a path",
    )
    demo.add_argument("--n-models", type=int, default=4, metavar="N", help="models to average (default 4)")
    demo.add_argument("--epochs", type=int, default=100, metavar="N", help="most epochs of the fit (default 100)")

    embed = command("embed", _embed, "embed the genes of an .h5ad file with scBERT", computing)
    embed.add_argument("input", metavar="IN.h5ad")
    embed.add_argument("--out", required=True, metavar="OUT.h5ad")
    embed.add_argument("--weights", default="panglao", metavar="W", help="panglao (default), fit or a path")
    embed.add_argument("--layer", metavar="NAME", help="layer with expression (default X)")
    embed.add_argument("--n-cells", type=int, metavar="N", help="use a random sample of so many cells")
    embed.add_argument("--key", default="scbert", metavar="NAME", help="key of the result (default scbert)")

    fit = command("fit", _fit, "infer a network from an .h5ad file and a prior network", computing)
    fit.add_argument("input", metavar="IN.h5ad")
    fit.add_argument("--prior", required=True, metavar="NET.csv", help="known edges: columns source,target[,sign]")
    fit.add_argument("--out", required=True, metavar="OUT.h5ad")
    fit.add_argument("--edges", metavar="FILE", help="also write the edges: .csv, .tsv, .graphml or .parquet")
    fit.add_argument(
        "--min-probability", type=float, default=0.5, metavar="P", help="of the edges written (default 0.5)"
    )
    fit.add_argument("--method", default="sctransnet", metavar="NAME", help="method (default sctransnet)")
    fit.add_argument(
        "--use-rep", default="scbert", metavar="KEY", help="gene embedding in .varm (default scbert), or none for none"
    )
    fit.add_argument(
        "--weights", default="panglao", metavar="W", help="where .varm lacks it: panglao (default), fit or a path"
    )
    fit.add_argument("--tf-names", metavar="FILE", help="further regulators to score, one a line")
    fit.add_argument("--layer", metavar="NAME", help="layer with expression (default X)")
    fit.add_argument("--n-models", type=int, default=1, metavar="N", help="models to average (default 1)")
    fit.add_argument("--epochs", type=int, default=100, metavar="N", help="most epochs (default 100)")
    fit.add_argument("--key", default="grn", metavar="NAME", help="key of the result (default grn)")

    fetch = command("fetch", _fetch, "download files ahead of time")
    fetch.add_argument("what", choices=("beeline", "scbert", "tf-names"))
    fetch.add_argument("cell_types", nargs="*", metavar="CELL", help=f"for beeline: {', '.join(_CELL_TYPES)} (all)")
    fetch.add_argument("--n-genes", type=int, default=500, choices=(500, 1000), help="for beeline (default 500)")
    fetch.add_argument(
        "--network", default="specific", choices=("specific", "string", "nonspecific"), help="for beeline"
    )

    command("info", _info, "show versions, device, cache and weights")
    return parser
