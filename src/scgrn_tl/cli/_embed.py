"""``scgrn-tl embed``: a file that need not fit memory, by one process or by all that torchrun starts."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import scgrn_tl as sg
from scgrn_tl.core import ArgumentError
from scgrn_tl.core.replaced_folder import put_back
from scgrn_tl.io._atomic import folder_replaced_when_complete, replaced_when_complete
from scgrn_tl.io._stored_anndata import copy_with_results, open_stored

if TYPE_CHECKING:
    import argparse

    from anndata import AnnData

__all__ = ["run_embed"]

ZARR_FILES = (".zgroup", "zarr.json")


def run_embed(arguments: argparse.Namespace) -> None:
    from scgrn_tl.models.processes import launched_rank

    source, out = _checked_paths(arguments.input, arguments.out)
    key, first = arguments.key, launched_rank() == 0
    with ExitStack() as stack:
        if first and out.suffix == ".zarr":
            beside = stack.enter_context(folder_replaced_when_complete(out, ZARR_FILES))
        elif first:
            beside = stack.enter_context(replaced_when_complete(out))
        attention_to = None
        if not arguments.no_attention:
            if arguments.resume_from is None:
                attention_to = out.with_name(f".{out.name}.attention.zarr")
                if first:
                    stack.callback(shutil.rmtree, attention_to, ignore_errors=True)
            else:
                attention_to = Path(arguments.resume_from, "attention.zarr")
        asked = {"groupby": arguments.groupby, "batch_key": arguments.batch_key}
        columns = {name: column for name, column in asked.items() if column is not None}
        adata = stack.enter_context(open_stored(source, layer=arguments.layer, obs=columns, uns=("log1p", key)))
        before = _slots(adata, key)
        sg.tl.scbert_embed(
            adata,
            weights=arguments.weights,
            layer=arguments.layer,
            groupby=arguments.groupby,
            batch_key=arguments.batch_key,
            n_cells=arguments.n_cells,
            batch_size=arguments.batch_size,
            device=arguments.device,
            store_attention=not arguments.no_attention,
            attention_to=attention_to,
            hidden_to=arguments.hidden_to,
            resume_from=arguments.resume_from,
            rng=arguments.seed,
            key_added=key,
        )
        if not first:
            return
        after = _slots(adata, key)
        adata.uns[key].get("params", {}).pop("attention_to", None)  # attention is in the file itself
        copy_with_results(source, beside, adata, {slot: before[slot] | after[slot] for slot in after})
        shape = " × ".join(f"{size:,}" for size in adata.varm[key].shape)
    print(f"Wrote {arguments.out}: gene embeddings ({shape}) in .varm[{key!r}]")


def _checked_paths(given: str, out: str) -> tuple[Path, Path]:
    source, target = Path(given).expanduser(), Path(out).expanduser()
    if target.suffix not in {".h5ad", ".zarr"}:
        msg = f"--out is an .h5ad file or a .zarr folder, not {out!r}."
        raise ArgumentError(msg)
    if source.suffix not in {".h5ad", ".zarr"}:
        msg = (
            f"The input {given!r} is not an .h5ad file, and no .zarr folder. "
            "Write one with `adata.write_h5ad` or `adata.write_zarr`."
        )
        raise ArgumentError(msg)
    if source.suffix == ".zarr":
        put_back(source)  # its place may be empty after an earlier run that was to replace it
    if not (source.is_file() if source.suffix == ".h5ad" else source.is_dir()):
        msg = f"The input {given!r} is not there. Check the path."
        raise ArgumentError(msg)
    if source.suffix != target.suffix:
        msg = f"The output is a copy of the input with results in it: --out has to end in {source.suffix}, not {out!r}."
        raise ArgumentError(msg)
    return source, target


def _slots(adata: AnnData, key: str) -> dict[str, set[str]]:
    """Keys under which an embedding's results are, or may be from an earlier run."""
    varm = {name for name in adata.varm if name == key or name.startswith(f"{key}_")}
    groups = {f"{key}_{group}" for group in adata.uns.get(key, {}).get("groups", [])}
    return {
        "obs": {f"{key}_pooled"},
        "varm": varm & ({key, f"{key}_mean"} | groups),
        "obsm": {f"{key}_attention"},
        "uns": {key},
    }
