"""Several starts of an ascent, of which the best is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
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
    replay: Callable[[Any], Any] = lambda start: None,
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
    replay : callable, start -> object, optional
        Draws of the source of randomness what an ascent from a start would: called in place of
        ascents that had ended before a fit was resumed.

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
    checkpoint = progress.checkpoint
    if checkpoint is not None and checkpoint.found is not None:
        failures, ascents = checkpoint.found["failures"], checkpoint.found["ascents"]
    interrupted, remaining = False, _remaining(starts, progress, replay)
    while True:
        try:
            number, start = next(remaining)  # which may take a while to make
        except StopIteration:
            break
        except KeyboardInterrupt:
            if not ascents:
                raise
            interrupted = True
            break
        if checkpoint is not None:
            checkpoint.frame = {"number": number, "failures": failures, "ascents": ascents}
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
        if checkpoint is not None:
            checkpoint.frame = {"number": number + 1, "failures": failures, "ascents": ascents}
            checkpoint.offer()
    progress.interrupted = interrupted
    if not ascents:
        raise AscentError(failures[-1][1])
    best = ascents[0][2]
    return Restarts(replace(best, interrupted=interrupted), failures)


def _remaining(
    starts: Iterable[Any], progress: Progress, replay: Callable[[Any], Any]
) -> Iterator[tuple[int, Any]]:
    """Yield starts and their numbers, from that on at which a file of the fit was written."""
    checkpoint, iterator = progress.checkpoint, iter(starts)
    first = 0 if checkpoint is None else checkpoint.first
    for number in count():
        if checkpoint is not None:
            checkpoint.between_starts(number)
        try:
            start = next(iterator)
        except StopIteration:
            return
        if number >= first:
            yield number, start
            continue
        progress.skip_start()
        with suppress(AscentError):
            replay(start)
