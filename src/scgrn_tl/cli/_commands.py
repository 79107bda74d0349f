"""The commands that are a call or two: fit, infer, fetch, info."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import scgrn_tl as sg
from scgrn_tl.core import ArgumentError, PriorNetwork
from scgrn_tl.core.damaged import refuse_damaged
from scgrn_tl.core.door import gene_indices
from scgrn_tl.core.gene_embedding import check_embeddings
from scgrn_tl.io._atomic import replaced_when_complete

from ._print import METRICS, aligned

if TYPE_CHECKING:
    import argparse

    from anndata import AnnData

    from scgrn_tl.methods import Method

__all__ = ["CELL_TYPES", "run_fetch", "run_fit", "run_infer", "run_info"]

CELL_TYPES = ("hESC", "hHEP", "mDC", "mESC", "mHSC-E", "mHSC-GM", "mHSC-L")
_PACKAGES = (
    "scgrn_tl", "numpy", "scipy", "pandas", "anndata", "scanpy", "torch", "torch-geometric", "scvi-tools",
    "performer-pytorch",
)  # fmt: skip
_EDGE_FILE = re.compile(r".+\.(?:(?:csv|tsv)(?:\.(?:gz|bz2|xz|zst))?|graphml|parquet|sif|gmt)", re.IGNORECASE)


def run_fit(arguments: argparse.Namespace) -> None:
    _check_out(arguments.out)
    _check_edges(arguments.edges)
    method = sg.methods.get(arguments.method)
    if method.supervised:  # else `fit_grn` says so
        params = {} if arguments.epochs is None else {"epochs": arguments.epochs}
        method.check_parameters(params, n_models=arguments.n_models)
    paths = [_existing(path, "prior") for path in arguments.prior]
    adata = _read(arguments.input)
    prior = PriorNetwork.from_any(paths, adata.var_names)
    tf_names = _tf_names(arguments.tf_names, adata)
    use_rep = _embeddings(arguments.use_rep, arguments.weights, method)
    if method.uses_embedding:
        check_embeddings(adata, [key for key in use_rep or () if key != "scbert"])
    with replaced_when_complete(arguments.out) as beside:
        if "scbert" in (use_rep or ()) and "scbert" not in adata.varm and method.uses_embedding:
            sg.tl.scbert_embed(
                adata,
                weights=arguments.weights or "panglao",
                layer=arguments.layer,
                groupby=arguments.groupby,
                device=arguments.device,
                rng=arguments.seed,
            )
        sg.tl.fit_grn(
            adata,
            prior,
            method=arguments.method,
            use_rep=use_rep,
            layer=arguments.layer,
            tf_names=tf_names,
            groupby=arguments.groupby,
            n_models=arguments.n_models,
            epochs=arguments.epochs,
            device=arguments.device,
            rng=arguments.seed,
            key_added=arguments.key,
        )
        adata.write_h5ad(beside)
    if "metrics" in adata.uns[arguments.key]:
        table = sg.get.grn_metrics(adata, key=arguments.key)
        shown = table[["method", "part", *METRICS]].set_index(["method", "part"])
        shown.index = [f"{method}, {part}" for method, part in shown.index]
        print(f"{aligned(shown)}\n")
    print(f"Wrote {arguments.out}: network in .varp[{arguments.key!r}]")
    for group in adata.uns[arguments.key].get("groups", ()):
        print(f"  of {group}: .varp[{f'{arguments.key}_{group}'!r}]")
    if arguments.edges is not None:
        sg.io.write_edges(adata, arguments.edges, key=arguments.key, min_probability=arguments.min_probability)
        n_edges = len(sg.get.grn_df(adata, key=arguments.key, min_probability=arguments.min_probability))
        least = f"probability {arguments.min_probability:g} and more (--min-probability)"
        print(f"Wrote {arguments.edges}: {n_edges:,} edges of {least}")


def run_infer(arguments: argparse.Namespace) -> None:
    _check_out(arguments.out)
    _check_edges(arguments.edges)
    if arguments.top_n is not None and arguments.edges is None:
        msg = "--top-n is of the edges that --edges FILE writes: give both, or neither."
        raise ArgumentError(msg)
    adata = _read(arguments.input)
    tf_names = _tf_names(arguments.tf_names, adata)
    with replaced_when_complete(arguments.out) as beside:
        sg.tl.infer_grn(
            adata,
            method=arguments.method,
            tf_names=tf_names,
            layer=arguments.layer,
            pseudotime=arguments.pseudotime,
            n_models=arguments.n_models,
            n_jobs=arguments.jobs,
            device=arguments.device,
            rng=arguments.seed,
            key_added=arguments.key,
        )
        adata.write_h5ad(beside)
    print(f"Wrote {arguments.out}: scores in .varp[{arguments.key!r}]")
    if arguments.edges is not None:
        sg.io.write_edges(adata, arguments.edges, key=arguments.key, top_n=arguments.top_n)
        n_edges = len(sg.get.grn_df(adata, key=arguments.key, top_n=arguments.top_n))
        best = n_edges == arguments.top_n
        which = f"the {n_edges:,} edges of the highest score (--top-n)" if best else f"all {n_edges:,} edges"
        print(f"Wrote {arguments.edges}: {which}")


def run_fetch(arguments: argparse.Namespace) -> None:
    if arguments.what == "beeline":
        for cell_type in arguments.cell_types or CELL_TYPES:
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


def run_info(_: argparse.Namespace) -> None:
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


def _embeddings(given: list[str] | None, weights: str | None, method: Method) -> list[str] | None:
    """What ``--use-rep`` names, as ``use_rep=`` takes it; weights of an encoder ask for its embedding."""
    if given is None:
        key = "scbert" if weights is not None and method.uses_embedding else method.default_rep
        return None if key is None else [key]
    if "none" in given and len(given) > 1:
        msg = (
            "--use-rep none does without a gene embedding, and cannot be given with others. Leave out one or the other."
        )
        raise ArgumentError(msg)
    return None if given == ["none"] else given


def _tf_names(path: str | None, adata: AnnData) -> list[str] | None:
    """The names in a file of them, once it is said how many the data have.

    Raises
    ------
    GeneOverlapError
        If they have none.
    """
    if path is None:
        return None
    names = list(dict.fromkeys(_existing(path, "list of TF names").read_text(encoding="utf-8").split()))
    n_found = len(set(names) & set(adata.var_names))
    if not n_found:
        gene_indices(names, adata.var_names, what="TF names")  # raises, and says why
    print(f"{n_found:,} of {len(names):,} TF names are among the genes", flush=True)
    return names


def _check_out(path: str) -> None:
    if Path(path).suffix != ".h5ad":
        msg = f"--out is an .h5ad file, not {path!r}."
        raise ArgumentError(msg)


def _check_edges(path: str | None) -> None:
    """Raise where edges could not be written, before there are any."""
    if path is None:
        return
    if not _EDGE_FILE.fullmatch(Path(path).name):
        msg = (
            f"--edges is a .csv, .tsv (also .csv.gz and the like), .graphml, .parquet, .sif or .gmt file, not {path!r}."
        )
        raise ArgumentError(msg)
    folder = Path(path).expanduser().parent
    if not folder.is_dir():
        msg = f"Cannot write {path!r}: there is no folder {str(folder)!r}. Make it first."
        raise ArgumentError(msg)


def _existing(path: str, what: str) -> Path:
    found = Path(path).expanduser()
    if not found.is_file():
        msg = f"The {what} {path!r} is not there, or is no file. Check the path."
        raise ArgumentError(msg)
    return found


def _read(path: str) -> AnnData:
    import anndata

    found = _existing(path, "input")
    if found.suffix != ".h5ad":
        msg = f"The input {path!r} is not an .h5ad file. Write one with `adata.write_h5ad`."
        raise ArgumentError(msg)
    with refuse_damaged(found, "Write it again, or take a copy of it that is whole."):
        return anndata.read_h5ad(found)


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
