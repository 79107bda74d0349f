"""The arguments of the command line."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import scgrn_tl as sg

from ._bench import run_bench
from ._commands import CELL_TYPES, run_fetch, run_fit, run_infer, run_info
from ._demo import run_demo
from ._embed import run_embed
from ._help import ABOUT, GREETING
from ._methods import run_methods

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["make_parser"]

_EXAMPLES = """\
examples:
  scgrn-tl demo                                     simulated data, a minute, nothing to download
  scgrn-tl demo --dataset hHEP --sample 1 --out hhep
  scgrn-tl embed cells.h5ad --out embedded.h5ad --weights panglao
  torchrun --nproc-per-node 4 -m scgrn_tl embed atlas.h5ad --out embedded.h5ad --resume-from run
  scgrn-tl fit embedded.h5ad --prior net.csv --out network.h5ad --edges edges.csv
  scgrn-tl infer cells.h5ad --method genie3 --tf-names tfs.txt --out network.h5ad
  scgrn-tl bench --datasets hHEP500,mDC500 --methods sctransnet,genelink --splits given,tf --out report
  scgrn-tl bench --datasets mine.h5ad               own data, with the known edges in .uns["ground_truth"]
  scgrn-tl methods                                  what --method and --methods may be
  scgrn-tl fetch scbert                             ahead of time, for a machine without network
  scgrn-tl info
"""


def _checked(kind: Callable[[str], Any], holds: Callable[[Any], bool], what: str) -> Callable[[str], Any]:
    """Type of an argument for which something holds."""

    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not holds(value):
            msg = f"{text!r} is not {what}"
            raise argparse.ArgumentTypeError(msg)
        return value

    return parse


_GENERAL = "in general"
_COUNT = _checked(int, lambda count: count >= 1, "a whole number of at least 1")
_FOLDS = _checked(int, lambda count: count >= 2, "a whole number of at least 2")
_JOBS = _checked(int, lambda count: count != 0, "a number of processes, or -1 for one a core")
_KEY = _checked(str, lambda key: bool(key) and "/" not in key, "a name without '/'")
_PROBABILITY = _checked(float, lambda value: 0 <= value <= 1, "between 0 and 1")
_SECONDS = _checked(float, lambda seconds: seconds > 0, "a number of seconds above 0")
_SEED = _checked(int, lambda seed: seed >= 0, "a whole number of at least 0")


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands; each leaves the function to call in ``run``."""
    parser = argparse.ArgumentParser(
        prog="scgrn-tl",
        description=GREETING,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"scgrn-tl {sg.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    common, device, seed = (argparse.ArgumentParser(add_help=False) for _ in range(3))
    # in a group, which the help shows last
    say = common.add_argument_group(_GENERAL)
    say.add_argument("--debug", action="store_true", help="show the traceback of an error")
    say.add_argument("-v", "--verbose", action="store_true", help="say what is read and written on the way")
    on = device.add_argument_group(_GENERAL)
    on.add_argument("--device", metavar="NAME", help="auto (default), cpu, cuda, cuda:1 or mps")
    drawn = seed.add_argument_group(_GENERAL)
    drawn.add_argument("--seed", type=_SEED, default=0, metavar="N", help="seed of everything random (default 0)")

    def command(name: str, run: Callable[[argparse.Namespace], int | None], help: str, *more: Any) -> Any:
        made = commands.add_parser(
            name,
            help=help,
            description=ABOUT[name].description,
            epilog=ABOUT[name].epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            parents=[*more, common],
        )
        made.set_defaults(run=run)
        return made

    _demo(command("demo", run_demo, "fit and judge a network on simulated or benchmark data", device, seed))
    _embed(command("embed", run_embed, "embed the genes of an .h5ad file or .zarr folder with scBERT", device, seed))
    _fit(command("fit", run_fit, "infer a network from an .h5ad file and a prior network", device, seed))
    _infer(command("infer", run_infer, "infer a network from an .h5ad file without a prior", device, seed))
    _bench(command("bench", run_bench, "run many methods on benchmark data and write a report"))
    _methods(command("methods", run_methods, "list the methods, or explain one"))
    _fetch(command("fetch", run_fetch, "download files ahead of time"))
    command("info", run_info, "show versions, device, cache and weights")
    return parser


def _demo(demo: argparse.ArgumentParser) -> None:
    demo.add_argument(
        "--dataset",
        default="simulated",
        choices=("simulated", *CELL_TYPES),
        metavar="NAME",
        help=f"simulated (default), or a BEELINE experiment: {', '.join(CELL_TYPES)}",
    )
    demo.add_argument("--n-genes", type=int, default=500, choices=(500, 1000), help="varying genes of BEELINE's panel")
    demo.add_argument(
        "--sample", type=int, default=1, choices=range(1, 6), metavar="1-5", help="which published split (BEELINE)"
    )
    demo.add_argument("--out", default="demo", metavar="FOLDER", help="folder for the results (default demo)")
    demo.add_argument(
        "--weights",
        metavar="W",
        help="gene embedding too, by scBERT: fit (train on these genes, no download), panglao or a path (default none)",
    )
    demo.add_argument("--n-models", type=_COUNT, default=4, metavar="N", help="models to average (default 4)")
    demo.add_argument("--epochs", type=_COUNT, default=100, metavar="N", help="most epochs of the fit (default 100)")


def _embed(embed: argparse.ArgumentParser) -> None:
    embed.add_argument("input", metavar="IN.h5ad", help="or IN.zarr; its matrices are read in blocks")
    embed.add_argument("--out", required=True, metavar="OUT.h5ad", help="a copy of the input with the results in it")
    embed.add_argument("--weights", default="panglao", metavar="W", help="panglao (default), fit or a path")
    embed.add_argument("--layer", metavar="NAME", help="layer with expression (default X)")
    embed.add_argument("--groupby", metavar="COLUMN", help="column of .obs, whose groups are also pooled by themselves")
    embed.add_argument("--batch-key", metavar="COLUMN", help="column of .obs with batches that weigh the same")
    embed.add_argument("--n-cells", type=_COUNT, metavar="N", help="read a random sample of so many (default all)")
    embed.add_argument("--batch-size", type=_COUNT, metavar="N", help="cells in a batch (default: by memory)")
    embed.add_argument("--no-attention", action="store_true", help="leave out .obsm, cells × genes of attention")
    embed.add_argument("--hidden-to", metavar="FOLDER", help="also keep every cell's embeddings, in a zarr store")
    embed.add_argument(
        "--resume-from", metavar="FOLDER", help="keep the state of the run there, and continue from it after a kill"
    )
    embed.add_argument("--key", type=_KEY, default="scbert", metavar="NAME", help="key of the result (default scbert)")


def _fit(fit: argparse.ArgumentParser) -> None:
    fit.add_argument("input", metavar="IN.h5ad", help="cells × genes: counts, or log-normalised expression")
    fit.add_argument(
        "--prior",
        action="append",
        required=True,
        metavar="NET.csv",
        help="known edges: columns source,target[,sign], or a file of pySCENIC, CellOracle, TRRUST…; repeat it to join "
        "several",
    )
    fit.add_argument("--out", required=True, metavar="OUT.h5ad", help="a copy of the input with the network in it")
    fit.add_argument("--edges", metavar="FILE", help="also write the edges: .csv, .tsv, .graphml, .parquet, .sif, .gmt")
    fit.add_argument(
        "--min-probability", type=_PROBABILITY, default=0.5, metavar="P", help="of the edges written (default 0.5)"
    )
    fit.add_argument(
        "--method", default="sctransnet", metavar="NAME", help="a supervised one of `scgrn-tl methods` (sctransnet)"
    )
    fit.add_argument(
        "--use-rep",
        action="append",
        metavar="KEY",
        help="gene embedding in .varm, such as scbert (default none); repeat it to join several",
    )
    fit.add_argument(
        "--weights", metavar="W", help="make .varm['scbert'] where it is not: panglao, fit or a path; uses it too"
    )
    fit.add_argument("--tf-names", metavar="FILE", help="further regulators to score, one a line")
    fit.add_argument("--layer", metavar="NAME", help="layer with expression (default X)")
    fit.add_argument("--groupby", metavar="COLUMN", help="column of .obs, whose groups get a network each as well")
    fit.add_argument("--n-models", type=_COUNT, default=1, metavar="N", help="models to average (default 1)")
    fit.add_argument("--epochs", type=_COUNT, metavar="N", help="most epochs (default: the method's own)")
    fit.add_argument("--key", type=_KEY, default="grn", metavar="NAME", help="key of the result (default grn)")


def _infer(infer: argparse.ArgumentParser) -> None:
    infer.add_argument("input", metavar="IN.h5ad", help="cells × genes: counts, or log-normalised expression")
    infer.add_argument("--out", required=True, metavar="OUT.h5ad", help="a copy of the input with the scores in it")
    infer.add_argument(
        "--edges", metavar="FILE", help="also write the edges: .csv, .tsv, .graphml, .parquet, .sif, .gmt"
    )
    infer.add_argument("--top-n", type=_COUNT, metavar="N", help="write only the N edges of the highest score")
    infer.add_argument(
        "--method", default="grnboost2", metavar="NAME", help="an unsupervised one of `scgrn-tl methods` (grnboost2)"
    )
    infer.add_argument("--tf-names", metavar="FILE", help="regulators to score, one a line (default: every gene)")
    infer.add_argument("--layer", metavar="NAME", help="layer with expression (default X)")
    infer.add_argument("--pseudotime", metavar="COLUMN", help="column of .obs, for scode (default dpt_pseudotime)")
    infer.add_argument("--n-models", type=_COUNT, default=1, metavar="N", help="runs to average (default 1)")
    infer.add_argument("--jobs", type=_JOBS, metavar="N", help="processes (default: one a core)")
    infer.add_argument("--key", type=_KEY, default="grn", metavar="NAME", help="key of the result (default grn)")


def _bench(bench: argparse.ArgumentParser) -> None:
    bench.add_argument(
        "--datasets",
        default="hHEP500",
        metavar="A,B",
        help="hHEP500,mDC500,hESC1000-string,…, simulated, or .h5ad files with a table of source and target in "
        ".uns['ground_truth'] (default hHEP500)",
    )
    bench.add_argument(
        "--methods",
        default="all",
        metavar="A,B",
        help="all (default), ablation, or names as `scgrn-tl methods` lists them",
    )
    bench.add_argument(
        "--splits",
        metavar="A,B",
        help="given, random, tf, target and both, of each its folds (default: given where there are published splits, "
        "else random)",
    )
    bench.add_argument("--seeds", type=_COUNT, default=1, metavar="N", help="seeds of each method (default 1)")
    bench.add_argument("--samples", type=_COUNT, default=3, metavar="N", help="of given and random splits (default 3)")
    bench.add_argument("--folds", type=_FOLDS, default=5, metavar="N", help="of tf, target and both (default 5)")
    bench.add_argument("--weights", default="fit", metavar="W", help="gene embedding: fit (default), panglao, path")
    bench.add_argument(
        "--jobs", type=_JOBS, default=1, metavar="N", help="runs at a time, of one thread each (default 1)"
    )
    bench.add_argument("--device", default="cpu", metavar="NAME", help="cpu (default), auto, cuda, cuda:1 or mps")
    bench.add_argument("--timeout", type=_SECONDS, metavar="S", help="end a run after so many seconds")
    bench.add_argument(
        "--out", default="benchmark", metavar="FOLDER", help="results and report; what is there is not run again"
    )


def _methods(methods: argparse.ArgumentParser) -> None:
    methods.add_argument("--method", metavar="NAME", help="what this one does, and its parameters")


def _fetch(fetch: argparse.ArgumentParser) -> None:
    fetch.add_argument(
        "what",
        choices=("beeline", "scbert", "tf-names"),
        metavar="WHAT",
        help="beeline (experiments and their splits), scbert (weights, 88 MB, and gene names) or tf-names",
    )
    fetch.add_argument("cell_types", nargs="*", metavar="CELL", help=f"for beeline: {', '.join(CELL_TYPES)} (all)")
    fetch.add_argument("--n-genes", type=int, default=500, choices=(500, 1000), help="for beeline (default 500)")
    fetch.add_argument(
        "--network",
        default="specific",
        choices=("specific", "string", "nonspecific"),
        metavar="KIND",
        help="for beeline: specific (default: ChIP-seq of the cell type), nonspecific (of any) or string",
    )
