"""A model of scvi-tools on disk without pickles: tensors in ``module.safetensors``, all else in ``module.json``."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from safetensors import SafetensorError
from safetensors.torch import load_file
from scvi.model.base import BaseModelClass

from scgrn_tl.core.device import resolve_device
from scgrn_tl.core.errors import ArgumentError, WeightsError, WeightsUnavailableError

from .checkpoint import save_tensors

if TYPE_CHECKING:
    from typing import Self

    from anndata import AnnData
    from torch import Tensor, nn

__all__ = ["StoredModel"]

FORMAT = "scgrn_tl.ScBERTModel"
FORMAT_VERSION = 1
KIND = "__kind__"


class StoredModel(BaseModelClass):
    """A model of scvi-tools that is read without unpickling anything.

    Subclasses have ``module.averaged_encoder``, ``vocabulary`` and the argument ``gene_init`` that costs nothing as
    ``"random"``.
    """

    def save(
        self,
        dir_path: str | os.PathLike[str],
        prefix: str | None = None,
        *,
        overwrite: bool = False,
        save_anndata: bool = False,
        **kwargs: Any,
    ) -> None:
        """Write the model.

        Beside scvi-tools' ``model.pt``, which is a pickle, the same goes into ``module.safetensors`` and
        ``module.json``; :meth:`load` reads only these. The folder ``encoder`` (with ``prefix`` before its name) holds
        the encoder alone, as every ``weights=`` takes it.

        Parameters
        ----------
        dir_path
            Folder to write.
        prefix
            Of the files' names.
        overwrite
            Whether to write into a folder that exists.
        save_anndata
            Whether to write the AnnData as well.
        **kwargs
            See :meth:`scvi.model.base.BaseModelClass.save`.
        """
        super().save(str(dir_path), prefix=prefix, overwrite=overwrite, save_anndata=save_anndata, **kwargs)
        attributes = {name: value for name, value in self._get_user_attributes() if name.endswith("_")}
        _write(dir_path, prefix or "", self.module.state_dict(), attributes, list(map(str, self.get_var_names())))
        self.encoder.save(f"{dir_path}/{prefix or ''}encoder", self.vocabulary)

    @classmethod
    def load(
        cls,
        dir_path: str | os.PathLike[str],
        adata: AnnData | Literal[False] | None = None,
        *,
        prefix: str | None = None,
        device: str | None = None,
        accelerator: str | None = None,
    ) -> Self:
        """Read what :meth:`save` wrote, without unpickling anything.

        Parameters
        ----------
        dir_path
            The folder.
        adata
            Data like those the model was trained on; ``None`` for those saved with the model, ``False`` for none.
        prefix
            Of the files' names.
        device
            Torch device; ``None`` for ``sg.settings.device``.
        accelerator
            As in scvi-tools, in place of ``device``.

        Raises
        ------
        WeightsError, WeightsUnavailableError
            If files are damaged, newer than this version, or not there.
        ArgumentError
            If the model is of another class, or the AnnData has other genes.
        """
        saved = _read(dir_path, prefix or "", cls.__name__, adata)
        if saved.adata is not None:
            cls.setup_anndata(saved.adata, source_registry=saved.registry, **saved.registry["setup_args"])
        model = cls(saved.adata, saved.registry, **(saved.init_params | {"gene_init": "random"}))
        model.init_params_ = saved.attributes.pop("init_params_")
        for name, value in saved.attributes.items():
            setattr(model, name, value)
        saved.load_into(model.module)
        model.module.to(resolve_device(accelerator if device in {None, "auto"} else device)).eval()
        if saved.adata is not None:
            model._validate_anndata(saved.adata)
        return model


@dataclass(frozen=True, eq=False)
class _Saved:
    """What :func:`_write` wrote.

    Attributes
    ----------
    tensors
        Of the module.
    attributes
        Of the model, those whose name ends in ``_``.
    registry
        scvi-tools' record of the AnnData it was set up with.
    init_params
        Arguments that make a model of the same shape.
    adata
        The data to set up, if any.
    source
        The folder, for messages.
    """

    tensors: dict[str, Tensor]
    attributes: dict[str, Any]
    registry: dict[str, Any]
    init_params: dict[str, Any]
    adata: AnnData | None
    source: Path

    def load_into(self, module: nn.Module) -> None:
        """Copy the tensors into a module of the same shape.

        Raises
        ------
        WeightsError
            If a tensor is missing, unknown, of another shape or not finite.
        """
        if infinite := [name for name, tensor in self.tensors.items() if not bool(tensor.isfinite().all())]:
            msg = f"{self.source}: tensor {infinite[0]!r} holds NaN or infinite values."
            raise WeightsError(msg)
        try:
            module.load_state_dict(self.tensors)
        except RuntimeError as error:
            msg = f"The tensors in {self.source} do not fit the model that is described beside them: {error}"
            raise WeightsError(msg) from error


def _write(
    folder: str | os.PathLike[str],
    prefix: str,
    tensors: Mapping[str, Tensor],
    attributes: Mapping[str, Any],
    var_names: list[str],
) -> None:
    """Write both files, each beside its place first and then moved there.

    Parameters
    ----------
    folder, prefix
        Where, and what stands before the files' names.
    tensors, attributes
        As in :class:`_Saved`; the registry and the arguments are among the attributes.
    var_names
        Genes of the AnnData.
    """
    from scgrn_tl import __version__

    content = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "scgrn_tl_version": __version__,
        "var_names": var_names,
        "attributes": _to_json(dict(attributes)),
    }
    tensors_file, description = _paths(folder, prefix)
    beside = tensors_file.with_name(f".{tensors_file.name}.{os.getpid()}")
    save_tensors(tensors, beside)
    beside.replace(tensors_file)
    beside = description.with_name(f".{description.name}.{os.getpid()}")
    beside.write_text(json.dumps(content), encoding="utf-8")
    beside.replace(description)


def _read(
    folder: str | os.PathLike[str], prefix: str, class_name: str, adata: AnnData | Literal[False] | None
) -> _Saved:
    """Read what :func:`_write` wrote, and the AnnData beside it if none is given.

    Raises
    ------
    WeightsUnavailableError
        If a file is not there.
    WeightsError
        If one is damaged, or newer than this version.
    ArgumentError
        If it is of a model of another class.
    """
    import anndata

    tensors_file, description = _paths(folder, prefix)
    for path in (description, tensors_file):
        if not path.exists():
            msg = f"There is no saved ScBERTModel in {folder}: {path.name} is missing."
            raise WeightsUnavailableError(msg)
    try:
        content = json.loads(description.read_text(encoding="utf-8"))
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        if found != FORMAT:
            msg = f"{description} has format {found!r}; expected {FORMAT!r}."
            raise WeightsError(msg)
        version = content["format_version"]
        if not isinstance(version, int) or version > FORMAT_VERSION:
            msg = (
                f"{description} has format version {version!r} (scgrn_tl {content.get('scgrn_tl_version')}); this "
                f"version reads up to {FORMAT_VERSION}. Upgrade scgrn_tl."
            )
            raise WeightsError(msg)
        attributes = _from_json(content["attributes"])
        registry, arguments = attributes.pop("registry_"), attributes["init_params_"]
        tensors = load_file(tensors_file)
    except WeightsError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        msg = f"The model in {folder} is damaged: {error!r}."
        raise WeightsError(msg) from error
    if registry.get("model_name") != class_name:
        msg = f"It appears you are loading a model of another class: {registry.get('model_name')!r}."
        raise ArgumentError(msg)
    stored = Path(folder) / f"{prefix}adata.h5ad"
    if adata is None and stored.exists():
        adata = anndata.read_h5ad(stored)
    elif adata is None:
        warnings.warn(
            "No AnnData was saved with the model and none is given: the model is loaded without one.",
            UserWarning,
            stacklevel=3,
        )
    init_params = {**arguments["non_kwargs"], **arguments["kwargs"]}
    return _Saved(
        tensors, attributes, registry, init_params, None if adata is None or adata is False else adata, Path(folder)
    )


def _paths(folder: str | os.PathLike[str], prefix: str) -> tuple[Path, Path]:
    return Path(folder) / f"{prefix}module.safetensors", Path(folder) / f"{prefix}module.json"


def _to_json(value: Any) -> Any:
    """``value`` in what JSON has, and what it was beside it where JSON has no such thing."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return {KIND: "array", "dtype": str(value.dtype), "values": _to_json(value.tolist())}
    if isinstance(value, pd.DataFrame):
        columns = {str(name): _to_json(value[name].tolist()) for name in value.columns}
        return {KIND: "frame", "index": value.index.tolist(), "index_name": value.index.name, "columns": columns}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) and key != KIND for key in value):
            return {key: _to_json(inner) for key, inner in value.items()}
        return {KIND: "mapping", "items": [[_to_json(key), _to_json(inner)] for key, inner in value.items()]}
    if isinstance(value, (list, tuple)):
        return [_to_json(inner) for inner in value]
    return str(value)


def _from_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_json(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    kind = value.get(KIND)
    if kind == "array":
        return np.array(_from_json(value["values"]), dtype=value["dtype"])
    if kind == "frame":
        index = pd.Index(value["index"], name=value["index_name"])
        return pd.DataFrame({name: _from_json(inner) for name, inner in value["columns"].items()}, index=index)
    if kind == "mapping":
        return {_from_json(key): _from_json(inner) for key, inner in value["items"]}
    return {key: _from_json(inner) for key, inner in value.items()}
