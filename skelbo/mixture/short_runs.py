"""Many starts, and few iterations to tell which of them is worth climbing from."""

from __future__ import annotations

from collections.abc import Iterable

from skelbo.em.loop import Ascent, AscentError, ascend
from skelbo.mixture.em import MixtureEM, Start

# Iterations of each round: after the first the better half goes on, after the second the best.
FIRST_ROUND, SECOND_ROUND = 10, 20


def race(em: MixtureEM, starts: Iterable[Start]) -> Start:
    """Return where the most promising of several starts has got to.

    Parameters
    ----------
    em : MixtureEM
    starts : iterable of Start

    Returns
    -------
    theta : Mixture
        What ten iterations leave the better half with, and twenty more the best of these. (If
        every start fails, the first of them, to fail again.)

    Notes
    -----
    Short runs of EM as a start of EM: Biernacki, Celeux and Govaert (2003); halving the field:
    Jamieson and Talwalkar (2016).
    """
    starts = list({id(start): start for start in starts}.values())  # given ones are all the same
    if len(starts) == 1:
        return starts[0]
    first = _ranked(em, starts, FIRST_ROUND)
    second = _ranked(em, [run.theta for run in first[: (len(first) + 1) // 2]], SECOND_ROUND)
    return second[0].theta if second else starts[0]


def _ranked(em: MixtureEM, starts: list[Start], n_iter: int) -> list[Ascent]:
    """Climb a little from each start; return the ascents, regular covariances and best first."""
    runs, n_iter = [], min(n_iter, em.max_iter)
    for start in starts:
        try:
            theta = start() if callable(start) else start
            runs.append(ascend(theta, em.e_step, em.m_step(theta), tol=em.tol, max_iter=n_iter))
        except AscentError:
            continue
    return sorted(runs, key=lambda run: (run.theta.is_regular, run.lower_bound), reverse=True)
