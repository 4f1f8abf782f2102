r"""The theta step of Monte Carlo EM: how many draws, whether to accept, when to stop.

With D the climb that a step promises and s its Monte Carlo standard error: accept the step if
:math:`D - z_\alpha s > 0`, else append draws and try again; stop if, at 95 % confidence, what log
p(X) can still climb is below a tolerance. Caffo, Jank and Jones (2005), *Ascent-based Monte Carlo
expectation-maximization*. Three changes:

- On the draws that a step was fitted to, D is too high by about P/m (P parameters, m draws), so
  that with many parameters every step looks sure. D is measured on the draws of one half of the
  chains for a step fitted to the other half.
- Near the maximum the step is Newton's on log p(X), not EM's, which may need hundreds more; it is
  believed as far as log p(X), measured on the draws, did what it promised.
- The last of EM's steps can be small far from the maximum. What is judged is the whole climb that
  is left (`certificate`), not the next step's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import stats

from skelbo.inference.distinct_rows import DistinctRows
from skelbo.inference.newton_step import log_ratio, newton_step, shifted
from skelbo.inference.posteriors.best import best_q
from skelbo.inference.sampling.draws import Draws
from skelbo.inference.sampling.samplers import Sampler

ALPHA = 0.25
FIRST, GROWTH = 50, 2  # draws per row at first; a refused step doubles them
MAX_DRAWS, MAX_CELLS = 5_000, 2e7
# A fixed number of draws that cannot tell up from down this many times in a row has no more to say.
PATIENCE = 5
# tol="auto": nats in total, and per parameter where there are many.
CLIMB, CLIMB_PER_PARAMETER = 0.01, 2e-4
# Largest Monte Carlo error of a certified fit, in standard errors, whatever the tolerance.
LARGEST_RATIO = 0.3
# Newton's step is tried once an EM step climbs less than this, in nats per parameter; its promise
# is kept within this share of it, and this share of the tolerance.
NEAR, KEPT, SLACK = 0.1, 0.2, 0.1
# The rate of EM's climbs, where only that tells what is left: between these, from so many steps.
RATES, RATE_STEPS = (0.5, 0.99), 3
# Stochastic approximation: iterations without memory, draws of each, iterations between verdicts.
BURN_IN, FRESH, BETWEEN = 20, 20, 10

WHY = {
    "max_iter": "max_iter={max_iter} iterations were not enough; increase max_iter or tol",
    "draws": "the limit of {limit} draws per row (time and memory) was reached; increase tol, or "
    "use fewer rows or latents",
    "fixed": "n_samples={limit} draws per row are too few for it; increase n_samples, use "
    "n_samples='auto', or increase tol",
    "callback": "a callback stopped the fit",
    "runaway": "loadings ran away, as they do where log p(X) has no maximum; the column is named "
    "in a warning of its own",
}


@dataclass(frozen=True)
class Proposal:
    """New parameters, and what is known of them.

    Attributes
    ----------
    theta : dict of str to ndarray
    sure : bool
        Whether they surely are better.
    left : float
        What log p(X) surely does not climb by after them, in nats; inf where nothing is known.
    """

    theta: dict[str, Any]
    sure: bool
    left: float


@dataclass
class MonteCarloStep:
    """The theta step, fed by draws; what it saw is kept for the verdict on the fit.

    Attributes
    ----------
    model, data, sampler : object
        What is fitted to which rows, and who draws.
    n_samples : "auto" or int
    averaging : None or "saem"
    family : {"full", "mean_field"}
        Of the q that guides the sampler.
    tol : float
        Nats in total.
    history : list of int
        Draws per row in each iteration.
    certified : bool
        Whether the stopping rule was met.
    left : float
        What log p(X) surely does not climb by, in nats, as far as it is known.
    stopped : str
        Which limit ended the ascent otherwise, "" while it goes on.
    n_last : int
        Draws per row that the last step was made from.
    """

    model: Any
    data: DistinctRows
    sampler: Sampler
    n_samples: Any
    averaging: str | None
    family: str
    tol: float
    history: list[int] = field(default_factory=list)
    certified: bool = False
    left: float = np.inf
    stopped: str = ""
    n_last: int = 0
    refusals: int = 0
    memory: list[Draws] = field(default_factory=list)
    climbs: list[tuple[int, float]] = field(default_factory=list)
    near: float = np.inf
    close: bool = False

    def __post_init__(self):
        rows, columns = self.data.X.shape
        self.limit = int(
            np.clip(MAX_CELLS / (rows * (columns + self.model.n_latents)), 100, MAX_DRAWS)
        )
        first = FIRST if self.averaging is None else FRESH
        self.n_draws = min(first, self.limit) if self.n_samples == "auto" else self.n_samples
        self.sampler.common = self.averaging is None

    def __call__(self, q, theta):
        """Return the next parameters; q is the best q at theta."""
        joint = self.model.joint(self.data.X, theta)
        self.near = NEAR * self.model.n_parameters(theta)
        self.sampler.restart(joint, q)
        draws = self.sampler.more(self.n_draws)
        if self.averaging == "saem":
            return self._averaged(draws, joint, q, theta)
        while True:
            proposal = self._propose(draws, joint, q, theta)
            self.certified = bool(proposal.left < self.tol)
            if proposal.sure or self.certified or not self._may_grow(draws):
                break
            draws = self.sampler.more(min((GROWTH - 1) * len(draws.Z), self.limit - len(draws.Z)))
        self.n_last = self.n_draws = len(draws.Z)
        self.history.append(len(draws.Z))
        self._plan(proposal)
        if proposal.sure or proposal.left < self.left:
            self.left = proposal.left
            return proposal.theta
        return theta

    def _may_grow(self, draws) -> bool:
        return self.n_samples == "auto" and GROWTH * len(draws.Z) <= self.limit

    def _plan(self, proposal) -> None:
        """Settle whether there is a next iteration."""
        self.refusals = 0 if proposal.sure else self.refusals + 1
        if self.n_samples == "auto":
            # A sampler that draws afresh may do better another time.
            patience = 1 if self.sampler.common else PATIENCE
            if self.refusals >= patience:
                self.stopped = "draws"
        elif self.refusals >= PATIENCE:
            self.stopped = "fixed"
        if self.certified:
            self.stopped = ""

    # -------------------------------------------------------------- proposals

    def _propose(self, draws, joint, q, theta) -> Proposal:
        """Return Newton's step on log p(X) where it can be trusted, else EM's."""
        moved, climb, error = self._em_step(draws, joint, q, theta)
        sure = climb - stats.norm.isf(ALPHA) * error > 0
        if not sure or climb < self.near or self.close:
            verdict = newton_step(self.model, theta, self.data, draws, joint, moved)
            newton = None if verdict is None else self._newton(verdict, draws, joint, q, theta)
            if newton is not None:
                self.close = True
                return newton
        return Proposal(moved, sure, self._extrapolated(draws, climb, error))

    def _em_step(self, draws, joint, q, theta):
        """Return parameters that raise Q, the climb in nats (crossed) and its standard error."""
        moved = self._maximize(draws, theta)
        self.climbs.append((len(draws.Z), self._measure(draws, joint, q, moved)[0]))
        halves = draws.halves()
        results = [
            self._measure(judging, joint, q, self._maximize(fitted, theta))
            for fitted, judging in (halves, halves[::-1])
        ]
        climbs, errors = np.array(results).T
        return moved, climbs.mean(), np.sqrt((errors**2).sum()) / 2

    def _maximize(self, draws, theta):
        """Return better parameters; the units of latents are free where they may be (PX-EM)."""
        share = draws.weights * self.data.weights
        return self.model.maximize(
            theta, self.data.X, share, draws.Z, n_steps=4, expand=self.model.expandable
        )

    def _measure(self, draws, joint, q, new):
        """Return the climb of log p(X) to new parameters, in nats, and its standard error."""
        new_joint, weights = self.model.joint(self.data.X, new), self.data.weights
        climb, variance = log_ratio(joint, q, new_joint, best_q(new_joint, self.family, q), draws)
        return weights @ climb, np.sqrt(weights**2 @ variance)

    def _newton(self, verdict, draws, joint, q, theta) -> Proposal | None:
        """Return Newton's step, or a quarter of it, if log p(X) keeps its promise, else None."""
        for length in (verdict.length, 0.25 * verdict.length):
            step = length * verdict.step
            new = shifted(theta, step, self.model, self.data)
            if new is None:
                continue
            measured, promised = (
                self._measure(draws, joint, q, new)[0],
                length * (2 - length) * verdict.climb,
            )
            if measured > 0.5 * promised - 0.5 * self.tol:
                break
        else:
            left = verdict.left + 2 * verdict.climb if verdict.concave else np.inf
            return Proposal(theta, False, left) if left < self.tol else None
        kept = abs(measured - promised) <= KEPT * promised + SLACK * self.tol
        known = kept and length == 1 and verdict.concave and verdict.ratio <= LARGEST_RATIO
        climb, error = verdict.sure_climb
        left = verdict.left + promised if known else np.inf
        return Proposal(new, climb - stats.norm.isf(ALPHA) * error > 0, left)

    def _extrapolated(self, draws, climb, error) -> float:
        """Return what is left by the rate at which EM's climbs shrink, and the noise of D.

        The crossed climb is below the plain one by the noise that the step was fitted to. An error
        of every step by e becomes one of the fixed point by e / (1 - r), r the rate of the steps.
        """
        own = [value for count, value in self.climbs if count == len(draws.Z)][-RATE_STEPS - 1 :]
        if len(own) <= RATE_STEPS or min(own) <= 0:
            return np.inf
        rate = np.clip(max(b / a for a, b in pairwise(own)), *RATES)
        noise = max(own[-1] - climb, 0.0) + stats.norm.isf(0.05) * error
        return own[-1] * rate / (1 - rate) + noise / (1 - np.sqrt(rate)) ** 2

    # --------------------------------------------------------------- averaging

    def _averaged(self, draws, joint, q, theta):
        """Stochastic approximation: maximise the average of all Q since the burn-in.

        A Q is a set of weighted draws, so that the average with steps 1/k is their union. Delyon,
        Lavielle and Moulines (1999). Its verdict needs draws at theta itself.
        """
        if len(self.history) <= BURN_IN:
            self.memory = []
        self.memory.append(draws)
        self.memory = self.memory[-max(2, self.limit // len(draws.Z)) :]
        union = unite(self.memory)
        new = self._maximize(union, theta)
        self.n_last = len(union.Z)
        self.history.append(len(draws.Z))
        k = len(self.history) - BURN_IN
        if k > 0 and (k % BETWEEN == 0 or self.close):
            draws = self.sampler.more(min(len(union.Z), self.limit) - len(draws.Z))
            verdict = newton_step(self.model, theta, self.data, draws, joint, new)
            newton = None if verdict is None else self._newton(verdict, draws, joint, q, theta)
            self.left = np.inf if newton is None else newton.left
            self.certified = bool(self.left < self.tol)
            # A step that was long is looked at again, with draws at its end, before the next Q.
            self.close = bool(newton is not None and newton.sure and not self.close)
            if newton is not None and (self.certified or self.close):
                return newton.theta
        return new


def unite(parts: list[Draws]) -> Draws:
    """Return the union of several sets of draws, each with the same share."""
    chains, first = [], 0
    for part in parts:
        chains.append(part.chains + first)
        first += part.chains.max() + 1
    return Draws(
        np.concatenate([part.Z for part in parts]),
        np.concatenate([part.weights for part in parts]) / len(parts),
        np.concatenate(chains),
    )
