r"""The theta step of Monte Carlo EM: how many draws, whether to accept, when to stop.

With :math:`D = \hat Q(\theta') - \hat Q(\theta)` and its Monte Carlo standard error s: accept
:math:`\theta'` if :math:`D - z_\alpha s > 0`, else add draws; stop if :math:`D + z_\gamma s` is
below a tolerance: with confidence :math:`1 - \gamma` no step can climb more.

Caffo, Jank and Jones (2005), *Ascent-based Monte Carlo expectation-maximization*. One change: on
the draws that :math:`\theta'` was fitted to, D is too high by about P/m (P parameters, m draws), so
that with many parameters every step looks sure. Acceptance goes by the draws of one half of the
chains for a step fitted to the other half.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import stats

from skelbo.inference.cases import Cases
from skelbo.inference.draws import Draws
from skelbo.inference.information import louis_step
from skelbo.inference.sampling import Sampler

ALPHA, BETA, GAMMA = 0.25, 0.25, 0.05
FIRST, GROWTH = 50, 2  # draws per row at first; a refused step doubles them
MAX_DRAWS, MAX_CELLS = 5_000, 2e7
# A fixed number of draws that cannot tell up from down this many times in a row has no more to say.
PATIENCE = 5
# tol="auto": nats in total, per parameter. Below it Monte Carlo error is a small part of the
# standard errors, as a maximum is known to about half a nat per parameter.
CLIMB_PER_PARAMETER = 5e-3
# Stochastic approximation: iterations without memory, draws of each, draws that are remembered.
BURN_IN, FRESH = 20, 20

WHY = {
    "max_iter": "max_iter={max_iter} iterations were not enough; increase max_iter or tol",
    "draws": "the limit of {limit} draws per row (memory) was reached; increase tol, or use fewer "
    "rows or latents",
    "fixed": "n_samples={limit} draws per row cannot tell whether a step climbs; increase "
    "n_samples, use n_samples='auto', or increase tol",
    "callback": "a callback stopped the fit",
}


@dataclass
class MonteCarloStep:
    """The theta step, fed by draws; what it saw is kept for the verdict on the fit.

    Attributes
    ----------
    model, cases, sampler : object
        What is fitted to which rows, and who draws.
    n_samples : "auto" or int
    averaging : None or "saem"
    tol : float
        Nats per row.
    history : list of int
        Draws per row in each iteration.
    certified : bool
        Whether the stopping rule was met.
    stopped : str
        Which limit ended the ascent otherwise, "" while it goes on.
    n_last : int
        Draws per row that the last step was made from.
    """

    model: Any
    cases: Cases
    sampler: Sampler
    n_samples: Any
    averaging: str | None
    tol: float
    history: list[int] = field(default_factory=list)
    certified: bool = False
    stopped: str = ""
    n_last: int = 0
    refusals: int = 0
    memory: list[Draws] = field(default_factory=list)

    def __post_init__(self):
        rows, columns = self.cases.X.shape
        self.limit = int(
            np.clip(MAX_CELLS / (rows * (columns + self.model.n_latents)), 100, MAX_DRAWS)
        )
        first = FIRST if self.averaging is None else FRESH
        self.n_draws = min(first, self.limit) if self.n_samples == "auto" else self.n_samples

    def __call__(self, q, theta):
        """Return the next parameters; q is the best q at theta."""
        joint = self.model.joint(self.cases.X, theta)
        self.sampler.restart(joint, q)
        draws = self.sampler.more(self.n_draws)
        if self.averaging == "saem":
            return self._averaged(draws, joint, theta)
        while True:
            new, climb, error = self._propose(draws, joint, theta)
            self.certified = bool(climb + stats.norm.isf(GAMMA) * error < self.tol)
            climb, error = self._crossed(draws, joint, theta)
            sure = climb - stats.norm.isf(ALPHA) * error > 0
            if sure or self.certified or not self._may_grow(draws):
                break
            draws = self.sampler.more(min((GROWTH - 1) * len(draws.Z), self.limit - len(draws.Z)))
        self.n_last = len(draws.Z)
        self.history.append(len(draws.Z))
        self._plan(len(draws.Z), climb, error, sure)
        return self._last(draws, theta, new)

    def _last(self, draws, theta, new):
        """Return the step to publish: the last one goes all the way to the maximum, by Louis."""
        if not self.certified or not hasattr(self.model, "tangents"):
            return new
        moved = louis_step(self.model, theta, self.cases, draws)
        return new if moved is theta else moved

    def _may_grow(self, draws) -> bool:
        if self.n_samples != "auto":
            return False
        return len(draws.Z) + 10 <= self.limit

    def _plan(self, n_draws, climb, error, sure) -> None:
        """Settle the number of draws of the next iteration, or that there is none."""
        if self.certified:
            return
        self.refusals = 0 if sure else self.refusals + 1
        if self.n_samples != "auto":
            if self.refusals >= PATIENCE:
                self.stopped = "fixed"
            return
        if not sure:
            self.stopped = "draws"
            return
        power = (stats.norm.isf(ALPHA) + stats.norm.isf(BETA)) ** 2
        wanted = n_draws * error**2 * power / max(climb, 1e-300) ** 2
        self.n_draws = int(np.clip(wanted, n_draws, min(3 * n_draws, self.limit)))

    def _propose(self, draws, joint, theta):
        """Return better parameters, the climb of Q per row and its standard error."""
        new, units = self._maximize(draws, theta)
        return new, *self._climb(draws, joint, new, units)

    def _crossed(self, draws, joint, theta):
        """Return the climb, per row, of a step fitted to half of the chains by the other half."""
        halves = draws.halves()
        results = []
        for fitted, judging in (halves, halves[::-1]):
            new, units = self._maximize(fitted, theta)
            results.append(self._climb(judging, joint, new, units))
        climbs, errors = np.array(results).T
        return climbs.mean(), np.sqrt((errors**2).sum()) / 2

    def _maximize(self, draws, theta):
        """Return better parameters, and the units of latents in which they hold (PX-EM)."""
        share = draws.weights * self.cases.weights
        expand = getattr(self.model, "expandable", False)
        new = self.model.maximize(theta, self.cases.X, share, draws.Z, n_steps=4, expand=expand)
        return new, self.model.prior_moments(share, draws.Z) if expand else None

    def _climb(self, draws, joint, new, units):
        Z, stretch = draws.Z, 0.0
        if units is not None:
            centre, root = units
            Z = np.linalg.solve(root, (draws.Z - centre)[..., None])[..., 0]
            stretch = np.log(np.diagonal(root)).sum()
        change = (
            self.model.joint(self.cases.X, new).log_joint(Z) - stretch - joint.log_joint(draws.Z)
        )
        weights, total = self.cases.weights, self.cases.total
        error = np.sqrt(weights**2 @ draws.variance(change)) / total
        return weights @ draws.expectation(change) / total, error

    def _averaged(self, draws, joint, theta):
        """Stochastic approximation: maximise the average of all Q since the burn-in.

        A Q is a set of weighted draws, so that the average with steps 1/k is their union. Delyon,
        Lavielle and Moulines (1999).
        """
        if len(self.history) <= BURN_IN:
            self.memory = []
        self.memory.append(draws)
        fits = max(2, self.limit // len(draws.Z))
        self.memory = self.memory[-fits:]
        k = len(self.memory)
        union = Draws(
            np.concatenate([each.Z for each in self.memory]),
            np.concatenate([each.weights for each in self.memory]) / k,
            np.concatenate(
                [each.chains + i * (draws.chains.max() + 1) for i, each in enumerate(self.memory)]
            ),
        )
        new, climb, error = self._propose(union, joint, theta)
        self.n_last = len(union.Z)
        self.history.append(len(draws.Z))
        settled = k > BURN_IN // 2
        self.certified = bool(settled and climb + stats.norm.isf(GAMMA) * error < self.tol)
        return new
