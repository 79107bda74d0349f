"""A model of scvi-tools on disk without pickles: tensors in ``module.safetensors``, all else in ``module.json``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import rich.pretty  # noqa: F401  (scvi-tools prints set-ups by it, and does not import it)
from safetensors import SafetensorError
from safetensors.torch import load_file
from scvi.data import AnnDataManager
from scvi.model.base import BaseModelClass

from scgrn_tl.core.argument_types import typed_arguments
from scgrn_tl.core.device import resolve_device
from scgrn_tl.core.errors import ArgumentError, WeightsError, WeightsUnavailableError
from scgrn_tl.core.user_warning import warn_user

from .checkpoint import file_sha256, save_tensors, write_beside
from .json_values import from_json, to_json

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from typing import Self

    from anndata import AnnData
    from torch import Tensor, nn

__all__ = ["StoredModel"]

FORMAT = "scgrn_tl.ScBERTModel"
FORMAT_VERSION = 1


class StoredModel(BaseModelClass):
    """A model of scvi-tools that is read without unpickling anything.

    Subclasses have ``get_encoder``, ``vocabulary`` and the argument ``gene_init`` that costs nothing as
    ``"random"``.
    """

    @typed_arguments
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

        Raises
        ------
        ArgumentError
            If the folder exists and is not to be written into, or there is no AnnData to save.
        """
        if Path(dir_path).exists() and not overwrite:
            msg = f"{str(dir_path)!r} already exists. Pass overwrite=True to write into it."
            raise ArgumentError(msg)
        if save_anndata and self.adata is None:
            msg = "save_anndata=True, but the model has no AnnData."
            raise ArgumentError(msg)
        attributes = {
            name: to_json(value, name) for name, value in self._get_user_attributes() if name.endswith("_")
        }  # before anything is written
        super().save(str(dir_path), prefix=prefix, overwrite=overwrite, save_anndata=save_anndata, **kwargs)
        _write(dir_path, prefix or "", self.module.state_dict(), attributes)
        self.get_encoder().save(f"{dir_path}/{prefix or ''}encoder", self.vocabulary)

    @classmethod
    @typed_arguments
    def load(
        cls,
        dir_path: str | os.PathLike[str],
        adata: AnnData | Literal[False] | None = None,
        *,
        prefix: str | None = None,
        device: str | int | None = None,
        accelerator: str = "auto",
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
            Torch device, or the number of a GPU; ``None`` for what ``accelerator`` says.
        accelerator
            As in scvi-tools, ``"cpu"`` or ``"gpu"``; ``"auto"`` for ``sg.settings.device``.

        Raises
        ------
        WeightsError, WeightsUnavailableError
            If files are damaged, newer than this version, or not there.
        ArgumentError
            If the model is of another class, or there is no such device.
        GeneOverlapError
            If the encoder knows too few of the AnnData's genes, when it is used.
        """
        where = _torch_device(device, accelerator)
        saved = _read(dir_path, prefix or "", cls.__name__, adata)
        if saved.adata is not None:
            cls.setup_anndata(saved.adata, source_registry=saved.registry, **saved.registry["setup_args"])
        try:
            model = cls(saved.adata, saved.registry, **(saved.init_params | {"gene_init": "random"}))
        except (TypeError, KeyError, AttributeError) as error:
            msg = f"The model in {dir_path} is damaged: {error!r}."
            raise WeightsError(msg, page="own-encoders") from error
        model.init_params_ = saved.attributes.pop("init_params_")
        for name, value in saved.attributes.items():
            setattr(model, name, value)
        saved.load_into(model.module)
        model.module.to(where).eval()
        if saved.adata is not None:
            model._validate_anndata(saved.adata)
        return model

    @classmethod
    def forget(cls, adata: AnnData) -> None:
        """Let go of an AnnData that was set up, which scvi-tools would keep as long as Python runs."""
        cls._setup_adata_manager_store.pop(adata.uns.get("_scvi_uuid"), None)

    @staticmethod
    def load_registry(dir_path: str | os.PathLike[str], prefix: str | None = None) -> dict[str, Any]:
        """scvi-tools' record of the AnnData that a saved model was set up with, without unpickling anything."""
        return _read_description(dir_path, prefix or "")[0]["registry_"]

    @staticmethod
    def view_setup_args(dir_path: str | os.PathLike[str], prefix: str | None = None) -> None:
        """Print what ``setup_anndata`` of a saved model was called with."""
        AnnDataManager.view_setup_method_args(StoredModel.load_registry(dir_path, prefix))


def _torch_device(device: str | int | None, accelerator: str) -> str:
    if isinstance(device, int):
        return resolve_device(f"cuda:{device}")
    if device in {None, "auto"}:
        return resolve_device({"auto": None, "gpu": "cuda"}.get(accelerator, accelerator))
    return resolve_device(device)


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
            raise WeightsError(msg, page="own-encoders")
        try:
            module.load_state_dict(self.tensors)
        except RuntimeError as error:
            msg = f"The tensors in {self.source} do not fit the model that is described beside them: {error}"
            raise WeightsError(msg, page="own-encoders") from error


def _write(
    folder: str | os.PathLike[str],
    prefix: str,
    tensors: Mapping[str, Tensor],
    attributes: Mapping[str, Any],
) -> None:
    """Write both files, each beside its place first and then moved there.

    Parameters
    ----------
    folder, prefix
        Where, and what stands before the files' names.
    tensors, attributes
        As in :class:`_Saved`; the registry and the arguments are among the attributes.
    """
    from scgrn_tl import __version__

    tensors_file, description = _paths(folder, prefix)
    with write_beside(tensors_file) as weights, write_beside(description) as text:
        save_tensors(tensors, weights)
        content = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "scgrn_tl_version": __version__,
            "weights_sha256": file_sha256(weights),
            "attributes": dict(attributes),
        }
        text.write_text(json.dumps(content), encoding="utf-8")


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

    attributes, expected = _read_description(folder, prefix)
    registry, arguments = attributes.pop("registry_"), attributes["init_params_"]
    if registry.get("model_name") != class_name:
        msg = (
            f"It appears you are loading a model of another class: {registry.get('model_name')!r}. "
            "Load it by the class of that name."
        )
        raise ArgumentError(msg)
    tensors_file, _ = _paths(folder, prefix)
    if (found := file_sha256(tensors_file)) != expected:
        msg = f"{tensors_file} has SHA-256 {found}, but {expected} is expected: it is damaged, or of another model."
        raise WeightsError(msg, page="own-encoders")
    try:
        tensors = load_file(tensors_file)
    except (ValueError, SafetensorError) as error:
        msg = f"{tensors_file} is damaged: {error!r}."
        raise WeightsError(msg, page="own-encoders") from error
    stored = Path(folder) / f"{prefix}adata.h5ad"
    if adata is None and stored.exists():
        adata = anndata.read_h5ad(stored)
    elif adata is None:
        warn_user(
            "No AnnData was saved with the model and none is given: the model is loaded without one. "
            "To train or to embed, load it with one: `ScBERTModel.load(folder, adata)`."
        )
    init_params = {**arguments["non_kwargs"], **arguments["kwargs"]}
    return _Saved(
        tensors, attributes, registry, init_params, None if adata is None or adata is False else adata, Path(folder)
    )


def _read_description(folder: str | os.PathLike[str], prefix: str) -> tuple[dict[str, Any], str]:
    """The attributes of a saved model, the registry among them, and the SHA-256 of its tensors."""
    tensors_file, description = _paths(folder, prefix)
    for path in (description, tensors_file):
        if not path.exists():
            msg = f"There is no saved ScBERTModel in {folder}: {path.name} is missing."
            raise WeightsUnavailableError(msg, page="own-encoders")
    try:
        content = json.loads(description.read_text(encoding="utf-8"))
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        if found != FORMAT:
            msg = f"{description} has format {found!r}; expected {FORMAT!r}."
            raise WeightsError(msg, page="own-encoders")
        version = content["format_version"]
        if not isinstance(version, int) or version > FORMAT_VERSION:
            msg = (
                f"{description} has format version {version!r} (scgrn_tl {content.get('scgrn_tl_version')}); this "
                f"version reads up to {FORMAT_VERSION}. Upgrade scgrn_tl."
            )
            raise WeightsError(msg, page="own-encoders")
        attributes = from_json(content["attributes"])
        strange = [name for name in attributes if not name.endswith("_")]
        _ = attributes["registry_"]["setup_args"], attributes["registry_"]["field_registries"]
        _ = attributes["init_params_"]["kwargs"], attributes["init_params_"]["non_kwargs"]
        expected = str(content["weights_sha256"])
    except WeightsError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"{description} is damaged: {error!r}."
        raise WeightsError(msg, page="own-encoders") from error
    if strange:
        msg = f"{description} is damaged: {strange[0]!r} is no attribute that a model keeps."
        raise WeightsError(msg, page="own-encoders")
    return attributes, expected


def _paths(folder: str | os.PathLike[str], prefix: str) -> tuple[Path, Path]:
    return Path(folder) / f"{prefix}module.safetensors", Path(folder) / f"{prefix}module.json"
