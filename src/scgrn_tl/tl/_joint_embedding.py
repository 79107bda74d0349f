"""Joint training of link model and encoder: a sample of cells goes in, all cells are encoded with what comes out."""

from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from scgrn_tl.core import ArgumentError, EncoderCells

from ._encoded_again import EncodedCells
from ._fit_encoder import check_encoder_folder, save_encoder
from ._stored_embedding import StoredEmbedding, read_stored_embedding

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from anndata import AnnData

    from scgrn_tl.core import GRNScores
    from scgrn_tl.core.slots import Slots
    from scgrn_tl.methods import Method
    from scgrn_tl.models.scbert import ScBERT

__all__ = ["JointEmbedding", "check_joint", "earlier_joint_slots"]

LOGGER = logging.getLogger(__name__)

SAMPLED_CELLS = 256
"""Most cells that the encoder is trained through."""
SAMPLED_BYTES = 2**30
"""Most memory for their hidden states, in front of the trained blocks and behind them."""


def check_joint(
    adata: AnnData,
    entry: Method,
    use_rep: Any,
    *,
    joint: bool,
    joint_to: str | os.PathLike[str] | None,
    n_models: int,
    key_added: str,
    params: Mapping[str, Any],
) -> None:
    """Raise :class:`ArgumentError` where link model and encoder cannot be trained jointly."""
    if not joint:
        if joint_to is not None:
            msg = f"joint_to={str(joint_to)!r} is where joint training keeps its encoder: pass joint=True with it."
            raise ArgumentError(msg, page="joint-training")
        if idle := [name for name in params if name.startswith("joint_")]:
            msg = f"{', '.join(idle)} is of joint training, which joint=False leaves out: pass joint=True with it."
            raise ArgumentError(msg, page="joint-training")
        return
    if "joint_lr" not in entry.parameters or not entry.uses_embedding or entry.role != "method":
        msg = f"joint=True trains scTransNet's encoder; method={entry.name!r} has none. Use method='sctransnet'."
        raise ArgumentError(msg, page="joint-training")
    if not isinstance(use_rep, str):
        msg = (
            f"joint=True trains the encoder of one gene embedding, but use_rep={use_rep!r}. Name the embedding that "
            "`sg.tl.scbert_embed` made, such as use_rep='scbert'."
        )
        raise ArgumentError(msg, page="joint-training")
    if use_rep == f"{key_added}_scbert":
        msg = f"The trained embedding would take the place of varm[{use_rep!r}], that it starts from: change key_added."
        raise ArgumentError(msg, page="joint-training")
    record = adata.uns.get(use_rep)
    if use_rep in adata.varm and not (isinstance(record, dict) and {"genes", "weights"} <= set(record)):
        msg = (
            f"joint=True trains the encoder that made varm[{use_rep!r}], but uns[{use_rep!r}] names none: it is no "
            f"embedding as `sg.tl.scbert_embed(adata, key_added={use_rep!r})` writes it. Run that, name another "
            "use_rep, or leave joint=False."
        )
        raise ArgumentError(msg, page="joint-training")
    if use_rep in adata.varm and adata.uns[use_rep]["params"].get("batch_key") is not None:
        msg = (
            f"joint=True pools all cells together, but varm[{use_rep!r}] weighs batches alike (batch_key=). Run "
            "`sg.tl.scbert_embed` without batch_key and under another key_added, and name that as use_rep."
        )
        raise ArgumentError(msg, page="joint-training")
    if joint_to is not None:
        if n_models > 1:
            msg = f"joint_to keeps one encoder, but n_models={n_models} train one each. Use n_models=1."
            raise ArgumentError(msg, page="joint-training")
        check_encoder_folder(joint_to, argument="joint_to")


def earlier_joint_slots(adata: AnnData, key: str) -> set[tuple[str, str]]:
    """Slots that an earlier joint run under ``key`` wrote, and that another run does not write."""
    record = adata.uns.get(key)
    was_joint = isinstance(record, dict) and "joint" in record
    return {("varm", f"{key}_scbert")} if was_joint else set()


@dataclass(frozen=True, eq=False)
class JointEmbedding:
    """A gene embedding whose encoder is trained along with the link model.

    Attributes
    ----------
    record
        What :func:`scgrn_tl.tl.scbert_embed` left.
    cells
        The cells and the encoder, ready to be run again.
    embedding
        ``float32 (G, D)``, as it was before.
    sampled
        Ascending row numbers of the cells that the encoder is trained through.
    """

    record: StoredEmbedding
    cells: EncodedCells
    embedding: np.ndarray
    sampled: np.ndarray

    @classmethod
    def open(cls, adata: AnnData, use_rep: str, embedding: np.ndarray, *, seed: int, device: str) -> JointEmbedding:
        """The embedding ``varm[use_rep]``, its encoder, and a sample of its cells drawn with ``seed``.

        Raises
        ------
        ArgumentError, MissingKeyError
            If the AnnData is not as it was when it was embedded.
        WeightsUnavailableError, WeightsError
            If the encoder's weights are gone, or are not those of before.
        """
        record = read_stored_embedding(adata, use_rep)
        cells = EncodedCells.open(
            adata, record, adata.obsm.get(f"{use_rep}_attention"), otherwise="leave joint=False", device=device
        )
        value_bytes = 8 if cells.encoder.dtype == "float64" else 4
        cell_bytes = 2 * value_bytes * (len(record.genes) + 1) * cells.dim
        number = min(SAMPLED_CELLS, len(record.cells), max(1, SAMPLED_BYTES // cell_bytes))
        sampled = np.random.default_rng(seed).choice(record.cells, number, replace=False)
        return cls(record, cells, embedding, np.sort(sampled))

    @property
    def by_attention(self) -> bool:
        """Whether cells are pooled by attention; else all weigh the same."""
        return str(self.record.record["params"].get("pool", "attention")) == "attention"

    def sample(self) -> EncoderCells:
        """What the method trains through."""
        stream = self.cells.encoder.stream
        with closing(stream.batches(self.sampled, len(self.sampled))) as batches:
            _, tokens = next(batches)
        weights = np.ones(tokens.shape, dtype=np.float32)
        if self.by_attention:
            weights = np.concatenate([values for _, values in self.cells.attention(self.sampled)]).astype(np.float32)
        return EncoderCells(
            self.cells.encoder.model,
            tokens,
            positions=self.cells.sequence.positions,
            genes=self.cells.sequence.columns,
            weights=weights,
        )

    def score_with_all_cells(self, scores: GRNScores) -> tuple[GRNScores, np.ndarray]:
        """Encode all cells with the trained encoders and score with what they give.

        Returns
        -------
        The scores, and the embedding ``float32 (G, D)``; of an ensemble the mean over its members.
        """
        embeddings = [self._embed(encoder) for encoder in scores.model.encoders]
        scores.model.use_embeddings(embeddings)
        # the graph network reads no embedding: what it attends to stays
        return replace(scores.model.scores(), attention=scores.attention), np.mean(embeddings, axis=0)

    def _embed(self, encoder: ScBERT) -> np.ndarray:
        from scgrn_tl.models.pooling import GenePool

        run = replace(self.cells.encoder, model=encoder.to(self.cells.encoder.device))
        pool = GenePool(len(self.record.genes), self.cells.dim)
        for _, encoding in run.run(self.record.cells, label="Encoding (trained encoder)"):
            pool.update(encoding.hidden, encoding.attention if self.by_attention else None)
        values = self.cells.sequence.scatter(pool.result(), len(self.embedding))
        values[~np.isfinite(self.embedding).all(axis=1)] = np.nan
        return values

    def results(
        self,
        slots: Slots,
        key: str,
        scores: GRNScores,
        *,
        embedding: np.ndarray,
        joint_to: str | os.PathLike[str] | None,
    ) -> dict[str, Any]:
        """Put the embedding where it goes, keep the encoder if a folder is given, and say how it all came about."""
        change = np.nanmean((embedding - self.embedding) ** 2, axis=0).sum()
        spread = np.nanvar(self.embedding, axis=0).sum()
        shift = float(np.sqrt(change / spread)) if spread > 0 else 0.0
        LOGGER.info("Joint training moved the gene embedding by %.1f %% of its spread.", 100 * shift)
        record = {
            "n_cells": len(self.record.cells),
            "n_cells_sampled": len(self.sampled),
            "weights_sha256": str(self.record.record["weights"]["sha256"]),
            "shift": shift,
        }
        slots.varm[f"{key}_scbert"] = embedding
        if joint_to is not None:
            encoder: ScBERT = scores.model.encoders[0]
            described = record | {"history": dict(scores.history), **scores.details}
            save_encoder(encoder.to("cpu").float(), self.cells.vocabulary, described, joint_to)
        return record
