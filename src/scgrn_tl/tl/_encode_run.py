"""One run over cells: encode them, add them up, keep what is to be kept, and leave an interrupted run resumable."""

from __future__ import annotations

import logging
from contextlib import closing
from typing import TYPE_CHECKING

from scgrn_tl.core import WeightsError

if TYPE_CHECKING:
    import numpy as np

    from scgrn_tl.models.scbert import Encoding

    from ._attention_rows import AttentionInMemory, AttentionStore
    from ._encode_cells import CellEncoder
    from ._gene_pools import GenePools
    from ._hidden_store import HiddenStore
    from ._resume_folder import ResumeFolder

__all__ = ["encode_cells"]

LOGGER = logging.getLogger(__name__)


def encode_cells(
    encoder: CellEncoder,
    cells: np.ndarray,
    n_done: int,
    pools: GenePools,
    attention: AttentionInMemory | AttentionStore | None,
    hidden: HiddenStore | None,
    resume: ResumeFolder | None,
    *,
    label: str,
) -> None:
    """Encode ``cells`` but for the first ``n_done``, and put what comes of them where it belongs."""
    from scgrn_tl.models.threads import threads_set

    held = 0 if attention is None else attention.held_bytes
    settled = True  # whether the pools hold the first n_done cells and no part of others
    try:
        with (
            threads_set(),
            closing(encoder.run(cells[n_done:], label=label, n_before=n_done, held_bytes=held)) as batches,
        ):
            for rows, encoding in batches:
                _check_finite(encoding, encoder.dtype)
                if attention is not None:
                    attention.write(rows, encoding.attention.float().cpu().numpy())
                if hidden is not None:
                    hidden.write(rows, encoding.hidden.float().cpu().numpy())
                settled = False
                pools.add(rows, encoding)
                n_done += len(rows)
                settled = True
                if resume is not None:
                    resume.save(n_done, pools.pools, final=n_done == len(cells))
    except KeyboardInterrupt:
        if resume is not None and settled:
            resume.save(n_done, pools.pools, final=True)
        LOGGER.warning(
            "Interrupted after %s of %s cells. The AnnData is as it was. %s",
            f"{n_done:,}",
            f"{len(cells):,}",
            "With resume_from=, a run can be continued."
            if resume is None
            else f"The same call, with resume_from={str(resume.folder)!r}, continues from there.",
        )
        raise


def _check_finite(encoding: Encoding, dtype: str) -> None:
    if not (encoding.hidden.isfinite().all() and encoding.attention.isfinite().all()):
        msg = "The encoder gives NaN or infinite values: " + (
            "the weights are damaged."
            if dtype in {"float32", "float64"}
            else f"use dtype='float32' instead of {dtype!r}."
        )
        raise WeightsError(msg)
