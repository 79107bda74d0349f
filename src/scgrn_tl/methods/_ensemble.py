"""Several runs of one method as one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scgrn_tl.core.task import GRNScores

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["average_scores"]


def average_scores(members: Sequence[GRNScores]) -> GRNScores:
    """Mean of the members' scores (of their logits, where they are logits), and their standard deviation.

    Parameters
    ----------
    members
        Runs of one method on one task from different seeds, at least two.

    Returns
    -------
    Scores with ``std``; ``history`` holds every member's curves as ``<name>_<number>``, ``details`` a list of the
    members' values under every name, and ``model`` the list of their models, where they have one.
    """
    first = members[0]
    matrices = np.stack([member.matrix for member in members])
    hubs = [member.hub for member in members if member.hub is not None]
    models = [member.model for member in members if member.model is not None]
    return GRNScores(
        regulators=first.regulators,
        matrix=matrices.mean(axis=0),
        hub=np.mean(hubs, axis=0) if len(hubs) == len(members) else None,
        std=matrices.std(axis=0, ddof=1),
        is_logit=first.is_logit,
        history={
            f"{name}_{number}": values
            for number, member in enumerate(members)
            for name, values in member.history.items()
        },
        details={name: [member.details.get(name) for member in members] for name in first.details},
        model=models or None,
    )
