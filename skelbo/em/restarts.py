"""Several starts of an ascent, of which the best is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from skelbo.em.loop import Ascent, AscentError
from skelbo.em.progress import Progress

NOT_REGULAR = "a covariance collapsed to its floor"


@dataclass
class Restarts:
    """The best of several ascents, and the causes of those that failed.

    Attributes
    ----------
    best : Ascent or None
        Highest bound among the regular ascents, else among the others.
    failures : list of (int, str)
        Number and cause of each start that failed or did not end regular.
    """

    best: Ascent | None = None
    best_is_regular: bool = False
    failures: list[tuple[int, str]] = field(default_factory=list)

    def include(self, number: int, ascent: Ascent, is_regular: bool) -> None:
        """Keep an ascent if it is better than those before it."""
        if not is_regular:
            self.failures.append((number, NOT_REGULAR))
        if self.best is None or (is_regular, ascent.lower_bound) > (
            self.best_is_regular,
            self.best.lower_bound,
        ):
            self.best, self.best_is_regular = ascent, is_regular


def climb_from_each(
    starts: Iterable[Any],
    ascent_from: Callable[[Any], Ascent],
    progress: Progress,
    is_regular: Callable[[Any], bool] = lambda theta: theta.is_regular,
) -> Restarts:
    """Run an ascent from each start; record and skip those that fail.

    Parameters
    ----------
    starts : iterable
        Asked for one at a time.
    ascent_from : callable, start -> Ascent
        It may raise `AscentError`.
    progress : Progress
        Reports each start; a callback that asks to stop ends the restarts.
    is_regular : callable, theta -> bool, optional

    Returns
    -------
    Restarts

    Raises
    ------
    AscentError
        If every start fails: the cause of the last one.
    """
    restarts = Restarts()
    for number, start in enumerate(starts):
        progress.begin_start(number)
        try:
            ascent = ascent_from(start)
            restarts.include(number, ascent, is_regular(ascent.theta))
        except AscentError as error:
            restarts.failures.append((number, str(error)))
        progress.end_start()
        if progress.stopped:
            break
    if restarts.best is None:
        raise AscentError(restarts.failures[-1][1])
    return restarts
