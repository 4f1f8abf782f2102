"""Several starts of an ascent, of which the best is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from skelbo.em.loop import Ascent, AscentError
from skelbo.em.progress import Progress

NOT_REGULAR = "a covariance collapsed to its floor"


@dataclass(frozen=True)
class Restarts:
    """The best of several ascents, and the causes of those that failed.

    Attributes
    ----------
    best : Ascent
        Highest bound among the regular ascents, else among the others.
    failures : list of (int, str)
        Number and cause of each start that failed or did not end regular.
    """

    best: Ascent
    failures: list[tuple[int, str]]


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
    KeyboardInterrupt
        If Ctrl-C comes before any ascent has something to keep; later it ends the restarts.
    """
    failures: list[tuple[int, str]] = []
    ascents: list[tuple[bool, float, Ascent]] = []  # the best so far
    interrupted, iterator = False, iter(starts)
    for number in count():
        try:
            start = next(iterator)  # which may take a while to make
        except StopIteration:
            break
        except KeyboardInterrupt:
            if not ascents:
                raise
            interrupted = True
            break
        progress.begin_start(number)
        try:
            ascent = ascent_from(start)
            interrupted, regular = ascent.interrupted, is_regular(ascent.theta)
            if not regular:
                failures.append((number, NOT_REGULAR))
            ascents.append((regular, ascent.lower_bound, ascent))
            ascents = [max(ascents, key=lambda ranked: ranked[:2])]  # the first of equals
        except AscentError as error:
            failures.append((number, str(error)))
        except KeyboardInterrupt:
            if not ascents:
                raise
            interrupted = True
        progress.end_start()
        if progress.stopped or interrupted:
            break
    if not ascents:
        raise AscentError(failures[-1][1])
    best = ascents[0][2]
    return Restarts(replace(best, interrupted=interrupted), failures)
