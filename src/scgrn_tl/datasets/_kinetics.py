"""Gene expression kinetics of a regulatory network: Hill production, linear decay, chemical Langevin noise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy import sparse

__all__ = ["Kinetics"]


@dataclass(frozen=True, eq=False)
class Kinetics:
    r"""Stochastic differential equations of a network's expression (BoolODE, SERGIO).

    .. math:: dx_i = (p_i(x) - \lambda_i x_i)\,dt + q\,\sqrt{p_i(x) + \lambda_i x_i}\;dW_i,
              \qquad p_i(x) = b_i + \sum_j k_{ij}\,h^{\pm}(x_j)

    with :math:`h^{+}(x) = x^n / (\kappa_j^n + x^n)` for an activated and :math:`h^{-} = 1 - h^{+}` for a repressed
    target. With q = 1 this is the chemical Langevin equation (Gillespie 2000) of birth with rate p and death with rate
    λx: a gene without regulators has mean and variance b/λ, as a Poisson variable has. Every state matrix is genes ×
    columns, a column being a cell or a cell state; regulators are the first R genes.

    Attributes
    ----------
    basal
        ``float64[G, S]``, production b without any regulator in each of S states.
    regulation
        CSR ``float64[G, R]``, greatest production k that regulator j adds to gene i; negative where j represses i.
    half_response
        ``float64[R]``, level κ of a regulator at which it has half its effect.
    decay
        ``float64[G]``, rate λ.
    hill
        Hill coefficient n.
    """

    basal: np.ndarray
    regulation: sparse.csr_matrix
    half_response: np.ndarray
    decay: np.ndarray
    hill: float

    @property
    def n_regulators(self) -> int:
        """Number of regulators R."""
        return len(self.half_response)

    @cached_property
    def _repressible(self) -> np.ndarray:
        """``float64[G, 1]``, production that repressors can take away from each gene."""
        return np.asarray(-self.regulation.minimum(0).sum(axis=1), dtype=np.float64).reshape(-1, 1)

    def _production(self, levels: np.ndarray, unrepressed: np.ndarray) -> np.ndarray:
        """``[G, C]``, production p at ``levels`` ``[G, C]``; ``unrepressed`` is basal production plus repressible."""
        with np.errstate(over="ignore"):  # a power that overflows to infinity is a full response, 1
            scaled = (levels[: self.n_regulators] / self.half_response[:, None]) ** self.hill  # (R, C)
        response = 1 - 1 / (1 + scaled)
        # A repressor adds |k|(1 − h) = |k| + k·h, k being negative: |k| stands in `unrepressed`.
        production: np.ndarray = self.regulation @ response.astype(levels.dtype)
        production += unrepressed
        # Rounding may leave a fully repressed gene a trace below zero.
        return np.maximum(production, 0, out=production)

    def steady_state(self, *, tolerance: float = 1e-12, max_iterations: int = 10_000) -> np.ndarray:
        """``float64[G, S]``, levels at which production equals decay without noise, in every state.

        Iterates x ← p(x)/λ, which is exact after as many rounds as the network is deep if it has no cycle.
        """
        unrepressed = self.basal + self._repressible
        levels: np.ndarray = self.basal / self.decay[:, None]
        for _ in range(max_iterations):
            before, levels = levels, self._production(levels, unrepressed) / self.decay[:, None]
            if np.abs(levels - before).max() <= tolerance * max(1.0, np.abs(levels).max()):
                break
        return levels

    def integrate(
        self,
        states: np.ndarray,
        rng: np.random.Generator,
        *,
        noise: float,
        extrinsic: np.ndarray | float = 1.0,
        duration: float = 10.0,
        dt: float = 0.05,
    ) -> np.ndarray:
        """Levels after ``duration``, each cell on a trajectory of its own (Euler–Maruyama).

        Parameters
        ----------
        states
            ``int[N]``, state of each cell. Its trajectory starts at the state's noise-free steady state.
        rng
            Source of the Wiener increments.
        noise
            Amplitude q; 0 gives the deterministic rate equations.
        extrinsic
            ``[G, N]`` factors on basal production that stay as they are for a cell.
        duration, dt
            Time and time step, in units of 1/λ of a typical gene.

        Returns
        -------
        ``float32[G, N]``, none below 0.
        """
        levels = self.steady_state()[:, states].astype(np.float32)  # (G, N)
        unrepressed = (self.basal[:, states] * extrinsic + self._repressible).astype(np.float32)
        decay = self.decay[:, None].astype(np.float32)
        model = replace(self, regulation=self.regulation.astype(np.float32))
        amplitude = np.float32(noise * np.sqrt(dt))
        shock = np.zeros_like(levels)
        for _ in range(round(duration / dt)):
            made = model._production(levels, unrepressed)
            lost = decay * levels
            if noise:
                rng.standard_normal(out=shock, dtype=np.float32)
                shock *= amplitude
                shock *= np.sqrt(made + lost)
            made -= lost
            made *= np.float32(dt)
            levels += made
            levels += shock
            # A step may overshoot below zero, where the equation has no meaning.
            np.maximum(levels, 0, out=levels)
        return levels
