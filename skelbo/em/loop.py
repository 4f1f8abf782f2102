"""The one loop of every EM algorithm, which alternates a step over q and a step over theta."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from skelbo.em.stopping import StoppingRule


class AscentError(ValueError):
    """A start, or a step of an ascent, that cannot go on (a collapsed component, say)."""


class Accelerator(Protocol):
    """Proposes points beyond the plain step; `ascend` takes one only if the bound rises."""

    def learn(self, theta: Any, image: Any) -> None:
        """Take note of theta and its image under the plain step."""

    def propose(self) -> Any:
        """Return a candidate beyond the last image, or None."""

    def refuse(self) -> None:
        """Learn that the last candidate was refused."""

    def rate(self) -> float:
        """Return the rate (of the bound) at which plain steps shrink here, 0 if not known."""


@dataclass(frozen=True)
class Ascent:
    """What an ascent reached.

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
    """

    theta: Any
    start_bound: float
    lower_bounds: tuple[float, ...]
    converged: bool
    statistics: Any = None

    @property
    def n_iter(self) -> int:
        """Number of iterations."""
        return len(self.lower_bounds)

    @property
    def lower_bound(self) -> float:
        """The bound at `theta`, in nats per row."""
        return self.lower_bounds[-1] if self.lower_bounds else self.start_bound


# Asks for (theta, whether it is an extrapolation), is sent (bound, statistics).
Climb = Generator[tuple[Any, bool], Any, Ascent]


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
) -> Ascent:
    """Climb the bound by turns over q and theta: EM and all its relatives.

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

    Returns
    -------
    Ascent
        With `lower_bounds[-1]` the bound at `theta`, not at the point before it.

    Notes
    -----
    Ding (2020), eq. 2 and 3; Neal and Hinton (1998) for EM as coordinate ascent on the ELBO.
    """
    climb = climbing(
        theta,
        m_step,
        tol=tol,
        max_iter=max_iter,
        accelerator=accelerator,
        steady=steady,
        continued=continued,
        on_iteration=on_iteration,
    )
    answer = None
    while True:
        try:
            theta, extrapolated = climb.send(answer)
        except StopIteration as end:
            return end.value
        answer = _evaluated(e_step, theta, extrapolated)


def _evaluated(e_step, theta, extrapolated: bool):
    """Return ``e_step(theta)``, in silence where theta may be absurd."""
    if not extrapolated:
        return e_step(theta)
    with np.errstate(all="ignore"):
        return e_step(theta)


def ascend_together(
    climbs: Sequence[Climb], e_steps: Callable[[list[Any]], list[tuple[float, Any]]]
) -> list[Ascent | AscentError]:
    """Run several ascents side by side, their steps over q being taken all at once.

    Parameters
    ----------
    climbs : sequence of generators
        As `climbing` returns them.
    e_steps : callable, list of theta -> list of (bound, statistics)
        The step over q for every ascent that is not over: one pass over the rows serves all.

    Returns
    -------
    list of Ascent or AscentError
        What each ascent reached, or why it could not go on; in the order of `climbs`.
    """
    results: dict[int, Ascent | AscentError] = {}
    answers: dict[int, tuple[float, Any] | None] = dict.fromkeys(range(len(climbs)))
    while answers:
        asked = {}
        for number, answer in answers.items():
            try:
                asked[number] = climbs[number].send(answer)
            except StopIteration as end:
                results[number] = end.value
            except AscentError as error:
                results[number] = error
        if not asked:
            break
        absurd = any(extrapolated for _, extrapolated in asked.values())
        found = _evaluated(e_steps, [theta for theta, _ in asked.values()], absurd)
        answers = dict(zip(asked, found, strict=True))
    return [results[number] for number in range(len(climbs))]


def climbing(
    theta: Any,
    m_step: Callable[[Any, Any], Any],
    *,
    tol: float | str,
    max_iter: int,
    accelerator: Accelerator | None = None,
    steady: bool = True,
    continued: bool = False,
    on_iteration: Callable[[int, float, Any], bool] | None = None,
) -> Climb:
    """Yield each theta whose step over q is needed next; be sent it; return what was reached.

    With theta comes whether it is an extrapolation, which may be absurd. The parameters are those
    of `ascend`.
    """
    rule = StoppingRule(tol, steady, previous=np.inf if continued else None)
    start_bound, statistics = yield theta, False
    bound, bounds = start_bound, []
    converged = False
    rate = (lambda: 0.0) if accelerator is None else accelerator.rate
    for n_iter in range(1, max_iter + 1):
        image = m_step(statistics, theta)
        candidate = None
        if accelerator is not None:
            accelerator.learn(theta, image)
            candidate = None if rule.confirming else accelerator.propose()
        theta, new_bound, statistics = yield from _step(image, candidate, bound, accelerator)
        bounds.append(new_bound)
        converged = rule.met(new_bound - bound, new_bound, theta is not candidate, rate)
        bound = new_bound
        stop = on_iteration is not None and on_iteration(n_iter, bound, theta)
        if converged or stop:
            break
    return Ascent(theta, start_bound, tuple(bounds), converged, statistics)


def _step(image, candidate, bound, accelerator):
    """Take the candidate if it does not fall below `bound`, else the plain image."""
    if candidate is not None:
        new_bound, statistics = yield candidate, True
        if new_bound >= bound:
            return candidate, new_bound, statistics
        accelerator.refuse()
    new_bound, statistics = yield image, False
    if not np.isfinite(new_bound):
        raise AscentError(f"the bound became {new_bound} after an update of the parameters")
    return image, new_bound, statistics
