r"""Proposals of Monte Carlo EM: new parameters from draws, and the evidence for them.

With D the estimated climb of a step and s its Monte Carlo standard error, a step is sure if
:math:`D - z_\alpha s > 0`. Caffo, Jank and Jones (2005), *Ascent-based Monte Carlo
expectation-maximization*. Three changes:

- On the draws that a step was fitted to, D is too high by about P/m (P parameters, m draws), so
  that with many parameters every step passes. D is measured on the draws of one half of the
  chains for a step fitted to the other half.
- Near the maximum the step is Newton's on log p(X), not EM's, which may need hundreds more; it is
  accepted as far as log p(X), measured on the draws, climbs as predicted.
- The last of EM's steps can be small far from the maximum. The stopping rule is about the whole
  climb that is left (`newton_step`), not the next step's.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import stats

from skelbo.em.checkpoint import Resumable
from skelbo.inference.distinct_rows import DistinctRows
from skelbo.inference.information import Information, n_entries
from skelbo.inference.newton_step import (
    NewtonStep,
    after_step,
    information_for_newton,
    log_ratio,
    n_flat_directions,
    newton_step,
)
from skelbo.inference.posteriors.best import best_q
from skelbo.inference.sampling.draws import Draws
from skelbo.models.interface import Model, Theta

ALPHA = 0.25
# Newton steps of `maximize` on draws.
N_STEPS = 4
# Largest Monte Carlo error of a certified fit, in standard errors, whatever the tolerance.
LARGEST_RATIO = 0.3
# Newton's step is tried once an EM step climbs less than this, in nats per parameter; its promise
# is kept within this share of it, and this share of the tolerance.
NEAR, KEPT, SLACK = 0.1, 0.2, 0.1
# Distance, in standard errors that one row would give the parameter that moved most, up to which
# the information is that of where it was computed.
REUSED = 0.1
# Rate of EM's climbs where no information matrix is formed: limits, and number of steps it needs.
RATES, RATE_STEPS = (0.5, 0.99), 3


@dataclass(frozen=True)
class Proposal:
    """New parameters, and the evidence for them.

    Attributes
    ----------
    theta : dict of str to ndarray
    sure : bool
        Whether log p(X) is surely higher there.
    left : float
        Upper limit, at 95 % confidence, of the climb of log p(X) that is left, in nats; inf where
        nothing is known.
    climb : float
        Climb of log p(X) to it on the draws, in nats.
    """

    theta: Theta
    sure: bool
    left: float
    climb: float = 0.0


class Proposer(Resumable):
    """Source of proposals; it keeps the climbs of earlier EM steps.

    Parameters
    ----------
    model : Model
    data : DistinctRows
        Rows of the fit.
    family : {"full", "mean_field"}
        Family of the q that accompanies the draws.
    tol : float
        Climb, in nats in total, that may be left at the end.
    """

    def __init__(self, model: Model, data: DistinctRows, family: str, tol: float):
        self.model, self.data, self.family, self.tol = model, data, family, tol
        self._climbs: list[tuple[int, float]] = []
        self._newton_accepted = False
        self._n_flat: int | None = None
        # Where the information was computed, the parameters proposed since, and their distance.
        self._origin: Theta | None = None
        self._proposed: Theta | None = None
        self._distance = 0.0
        self._information: Information | None = None

    _state = ("_climbs", "_newton_accepted", "_n_flat", "_origin", "_proposed", "_distance")

    def checkpoint_state(self):
        """Return what earlier proposals have left."""
        return [getattr(self, name) for name in self._state]

    def resume(self, state):
        """Go on with what earlier proposals have left."""
        for name, value in zip(self._state, state, strict=True):
            setattr(self, name, value)
        self._information = None

    def propose(self, draws: Draws, joint, q, theta: Theta) -> Proposal:
        """Return Newton's step on log p(X) where it is accepted, else EM's."""
        step = newton = None
        if self._newton_accepted and not draws.exact:  # an EM step would go unused
            step, newton = self._newton(draws, joint, q, theta, lambda: self.maximize(draws, theta))
            if newton is not None:
                return newton
        moved, climb, error = self._em_step(draws, joint, q, theta)
        sure = climb - stats.norm.isf(ALPHA) * error > 0
        near = climb < NEAR * self.model.n_parameters(theta) or draws.exact
        left = self._extrapolated(draws, climb, error)
        if not sure or near or self._newton_accepted:
            if step is None:
                step, newton = self._newton(draws, joint, q, theta, lambda: moved)
            if newton is not None:
                self._newton_accepted = True
                if not draws.exact or newton.climb >= climb:
                    return newton
                left = newton.left
            elif step is not None and not (step.concave and step.climb < self.tol):
                left = np.inf  # EM may stall where there is more to climb
        return Proposal(moved, sure, left, climb)

    def newton(self, draws: Draws, joint, q, theta: Theta, moved: Theta) -> Proposal | None:
        """Return Newton's step from draws at theta, None where the quadratic is no guide.

        `moved` is theta after an EM step.
        """
        return self._newton(draws, joint, q, theta, lambda: moved)[1]

    def _newton(self, draws, joint, q, theta, moved) -> tuple[NewtonStep | None, Proposal | None]:
        """Return Newton's step and what is accepted of it, None where nothing is.

        A step that is refused by information from near by may be due to it: more draws would not
        help.
        """
        step = proposal = None
        for _ in range(2):
            step = self._newton_step(draws, joint, theta, moved)
            proposal = None if step is None else self._by_information(step, draws, joint, q, theta)
            if proposal is not None or _equal(theta, self._origin):
                break
            self._origin = None
        return step, proposal

    def _newton_step(self, draws, joint, theta, moved) -> NewtonStep | None:
        if n_entries(theta) > self.model.max_information:
            return None
        information = self._information_near(theta)
        if self._n_flat is None:  # the same everywhere but at singular points
            self._n_flat = n_flat_directions(self.model, theta, self.data, information)
        return newton_step(
            self.model, theta, self.data, draws, joint, moved, information, self._n_flat
        )

    def _information_near(self, theta) -> Information:
        """Return the information at theta, or at a point that is near enough."""
        origin, near = self._origin, _equal(theta, self._origin)
        near |= _equal(theta, self._proposed) and self._distance <= REUSED * np.sqrt(
            self.data.total
        )
        if origin is None or not near:
            self._origin = origin = theta
            self._proposed, self._distance, self._information = None, 0.0, None
        if self._information is None:  # it does not depend on the draws
            self._information = information_for_newton(self.model, origin, self.data, self._n_flat)
        return self._information

    def _by_information(self, step: NewtonStep, draws, joint, q, theta) -> Proposal | None:
        """Return Newton's step, or one off a saddle if that climbs more; None without either."""
        proposal = self._tried(step, draws, joint, q, theta)
        if step.escape is None or (proposal is not None and proposal.climb > self.tol):
            return proposal
        off = self._off_the_saddle(step.escape, draws, joint, q, theta)
        return proposal if off is None else off

    def maximize(self, draws: Draws, theta: Theta) -> Theta:
        """Return parameters that raise E log p(x, z) over the draws, by PX-EM where it exists."""
        share = draws.weights * self.data.weights
        return self.model.maximize(
            theta, self.data.X, share, draws.Z, n_steps=N_STEPS, expand=self.model.expandable
        )

    def _em_step(self, draws, joint, q, theta):
        """Return an EM step, its climb in nats (crossed) and the standard error of that."""
        moved = self.maximize(draws, theta)
        climb = self._measure(draws, joint, q, moved)[0]
        self._climbs.append((len(draws.Z), climb))
        # What was fitted to the draws is about a nat per parameter over the draws per row.
        if draws.exact or climb > self.model.n_parameters(theta):
            return moved, climb, 0.0
        halves = draws.halves()
        results = [
            self._measure(judging, joint, q, self.maximize(fitted, theta))
            for fitted, judging in (halves, halves[::-1])
        ]
        climbs, errors = np.array(results).T
        return moved, climbs.mean(), np.sqrt((errors**2).sum()) / 2

    def _measure(self, draws, joint, q, new):
        """Return the climb of log p(X) to new parameters, in nats, and its standard error."""
        new_joint, weights = self.model.joint(self.data.X, new), self.data.weights
        climb, variance = log_ratio(joint, q, new_joint, best_q(new_joint, self.family, q), draws)
        return weights @ climb, np.sqrt(weights**2 @ variance)

    def _tried(self, newton: NewtonStep, draws, joint, q, theta) -> Proposal | None:
        """Return Newton's step, or a part of it, if log p(X) climbs as predicted, else None."""
        for length in sorted({1.0, *newton.lengths})[::-1] if draws.exact else newton.lengths:
            new = after_step(theta, length * newton.step, self.model, self.data)
            if new is None:
                continue
            measured = self._measure(draws, joint, q, new)[0]
            promised = length * (2 - length) * newton.climb
            if measured > 0.5 * promised - 0.5 * self.tol:
                break
        else:
            left = newton.left + 2 * newton.climb if newton.concave else np.inf
            return Proposal(theta, False, left) if left < self.tol else None
        kept = abs(measured - promised) <= KEPT * promised + SLACK * self.tol
        known = kept and length == 1 and newton.concave and newton.ratio <= LARGEST_RATIO
        climb, error = newton.sure_climb
        left = newton.left + promised if known else np.inf
        away = 0.0 if _equal(theta, self._origin) else self._distance
        self._proposed, self._distance = new, away + length * newton.reach
        return Proposal(new, climb - stats.norm.isf(ALPHA) * error > 0, left, measured)

    def _off_the_saddle(self, direction, draws, joint, q, theta) -> Proposal | None:
        """Return the step along a direction, to either side, that climbs most, None if none does.

        At a saddle the gradient and the climbs of EM vanish, but theta is no maximum.
        """
        best, most = None, self.tol
        for length in (-1.0, 1.0, -0.25, 0.25):
            new = after_step(theta, length * direction, self.model, self.data)
            if new is None:
                continue
            climb, error = self._measure(draws, joint, q, new)
            climb -= stats.norm.isf(ALPHA) * error
            if climb > most:
                best, most = Proposal(new, True, np.inf, climb), climb
        return best

    def _extrapolated(self, draws, climb, error) -> float:
        """Return what is left by the rate at which EM's climbs shrink, and the noise of D.

        The crossed climb is below the plain one by the noise that the step was fitted to. An error
        of every step by e becomes one of the fixed point by e / (1 - r), r the rate of the steps.
        """
        same = [value for count, value in self._climbs if count == len(draws.Z)]
        last = same[-RATE_STEPS - 1 :]
        if len(last) <= RATE_STEPS or min(last) <= 0:
            return np.inf
        rate = np.clip(max(b / a for a, b in pairwise(last)), *RATES)
        noise = max(last[-1] - climb, 0.0) + stats.norm.isf(0.05) * error
        return last[-1] * rate / (1 - rate) + noise / (1 - np.sqrt(rate)) ** 2


def _equal(theta: Theta, other: Theta | None) -> bool:
    """Return whether two sets of parameters are the same numbers."""
    return other is not None and all(np.array_equal(theta[k], other[k]) for k in theta)
