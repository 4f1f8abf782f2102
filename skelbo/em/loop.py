"""The one loop of every EM algorithm, which alternates a step over q and a step over theta."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np

from skelbo.em.checkpoint import FitCheckpoint, Resumable
from skelbo.em.stopping import StoppingRule


class AscentError(ValueError):
    """A start, or a step of an ascent, that cannot continue (a collapsed component, say)."""


class Accelerator(Protocol):
    """A source of points beyond the plain step; `ascend` takes one only if the bound rises."""

    def learn(self, theta: Any, image: Any, statistics: Any) -> None:
        """Record theta, its image under the plain step, and the statistics of that step."""

    def propose(self) -> Any:
        """Return a candidate beyond the last image, or None."""

    def refuse(self) -> None:
        """Record that the last candidate was refused."""

    def rate(self) -> float:
        """Return the rate (of the bound) at which plain steps shrink here, 0 if not known."""


@dataclass(frozen=True)
class Ascent:
    """The result of one ascent.

    Attributes
    ----------
    theta : object
        The parameters at the end.
    start_bound : float
        The bound at the start.
    lower_bounds : tuple of float
        The bound after each iteration, in nats per row.
    converged : bool
        Whether the stopping rule was met.
    statistics : object
        The expected statistics at `theta`.
    interrupted : bool
        Whether Ctrl-C ended the ascent.
    """

    theta: Any
    start_bound: float
    lower_bounds: tuple[float, ...]
    converged: bool
    statistics: Any = None
    interrupted: bool = False

    @property
    def n_iter(self) -> int:
        """Number of iterations."""
        return len(self.lower_bounds)

    def with_bound(self, bound: float) -> Ascent:
        """Return the same with another bound at `theta`."""
        if not self.lower_bounds:
            return replace(self, start_bound=bound)
        return replace(self, lower_bounds=(*self.lower_bounds[:-1], bound))

    @property
    def lower_bound(self) -> float:
        """The bound at `theta`, in nats per row."""
        return self.lower_bounds[-1] if self.lower_bounds else self.start_bound


def ascend(
    theta: Any,
    e_step: Callable[[Any], tuple[float, Any]],
    m_step: Callable[[Any, Any], Any],
    *,
    tol: float | str,
    max_iter: int,
    accelerator: Accelerator | None = None,
    steady: bool = True,
    continued: bool = False,
    on_iteration: Callable[[int, float, Any], bool] | None = None,
    checkpoint: FitCheckpoint | None = None,
    stateful: Sequence[Resumable] = (),
) -> Ascent:
    """Maximise the bound by turns over q and theta: EM and all its relatives.

    Parameters
    ----------
    theta : object
        The start.
    e_step : callable, theta -> (bound, statistics)
        The step over q: the bound at theta with its best q, in nats per row, and the expected
        statistics under that q.
    m_step : callable, (statistics, theta) -> theta
        The step over theta given the statistics; it may raise `AscentError`.
    tol : float or "auto"
        See `StoppingRule`.
    max_iter : int
        The largest number of iterations; 0 evaluates the start.
    accelerator : Accelerator, optional
        Its candidate is kept only where the bound does not fall; else the plain step is taken, so
        that the ascent stays monotone.
    steady : bool
        See `StoppingRule`.
    continued : bool
        Whether the start is where an earlier ascent ended: its first step may be its last.
    on_iteration : callable, (n_iter, bound, theta) -> bool, optional
        Called after each iteration; True ends the ascent.
    checkpoint : FitCheckpoint, optional
        File to which the ascent is written, and from which it goes on if it was running then.
    stateful : sequence of Resumable
        What belongs to the state of the ascent beside theta: accelerators and steps.

    Returns
    -------
    Ascent
        With `lower_bounds[-1]` the bound at `theta`, not at the point before it.

    Raises
    ------
    AscentError
        If an M-step raises it, or if the bound is not finite after a plain step.
    KeyboardInterrupt
        If Ctrl-C comes before the first iteration ends; later it ends the ascent.

    Notes
    -----
    Ding (2020), eq. 2 and 3; Neal and Hinton (1998) for EM as coordinate ascent on the ELBO.
    """
    accelerator = accelerator or _NoAcceleration()
    state = None if checkpoint is None else _resumed(checkpoint, stateful)
    if state is None:
        bound, statistics = e_step(theta)
        rule = StoppingRule(tol, steady, previous=np.inf if continued else None)
        state = RunningAscent(theta, bound, statistics, bound, [], rule)
    converged = interrupted = False
    while not converged and len(state.bounds) < max_iter:
        try:
            converged = state.iterate(e_step, m_step, accelerator)
            n_iter = len(state.bounds)
            if on_iteration is not None and on_iteration(n_iter, state.bound, state.theta):
                break
            if checkpoint is not None and not converged:
                checkpoint.offer(partial(_running_state, state, stateful))
        except KeyboardInterrupt:
            if not state.bounds:
                raise
            if state.bounds[-1] != state.bound:  # the step had ended
                state.bounds.append(state.bound)
            interrupted = True
            break
    bounds = tuple(state.bounds)
    return Ascent(state.theta, state.start_bound, bounds, converged, state.statistics, interrupted)


@dataclass
class RunningAscent:
    """An ascent between two iterations.

    Attributes
    ----------
    theta : object
    bound : float
        In nats per row.
    statistics : object
        Of the E-step at theta.
    start_bound : float
    bounds : list of float
        After each iteration.
    rule : StoppingRule
    """

    theta: Any
    bound: float
    statistics: Any
    start_bound: float
    bounds: list[float]
    rule: StoppingRule

    def iterate(self, e_step, m_step, accelerator: Accelerator) -> bool:
        """Run one iteration; return whether the stopping rule is met."""
        before, image = self.bound, m_step(self.statistics, self.theta)
        accelerator.learn(self.theta, image, self.statistics)
        candidate = None if self.rule.confirming else accelerator.propose()
        self.theta, self.bound, self.statistics = _higher(
            candidate, image, before, e_step, accelerator
        )
        self.bounds.append(self.bound)
        plain = self.theta is image
        return self.rule.met(self.bound - before, self.bound, plain, accelerator.rate)


def _running_state(state: RunningAscent, stateful: Sequence[Resumable]) -> dict[str, Any]:
    return {"ascent": state, "parts": [part.checkpoint_state() for part in stateful]}


def _resumed(checkpoint: FitCheckpoint, stateful: Sequence[Resumable]) -> RunningAscent | None:
    """Return the ascent that was running when the file was written, its parts resumed."""
    found = checkpoint.running()
    if found is None:
        return None
    for part, state in zip(stateful, found["parts"], strict=True):
        part.resume(state)
    return found["ascent"]


def _higher(candidate, image, before: float, e_step, accelerator: Accelerator):
    """Return the candidate if its bound is not below `before`, else the image, each evaluated."""
    if candidate is not None:
        with np.errstate(all="ignore"):  # an extrapolation may lie far from every row
            bound, statistics = e_step(candidate)
        if bound >= before:
            return candidate, bound, statistics
        accelerator.refuse()
    bound, statistics = e_step(image)
    if not np.isfinite(bound):
        raise AscentError(f"the bound became {bound} after an update of the parameters")
    return image, bound, statistics


class _NoAcceleration:
    """The accelerator that proposes nothing."""

    def learn(self, theta: Any, image: Any, statistics: Any) -> None:
        """Ignore the step."""

    def propose(self) -> None:
        """Return None."""

    def refuse(self) -> None:
        """Do nothing: nothing is proposed."""

    def rate(self) -> float:
        """Return 0: the rate is not known."""
        return 0.0
