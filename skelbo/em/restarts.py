"""Several starts of an ascent, of which the best is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count
from math import isclose
from typing import Any

from skelbo.em.checkpoint import FitCheckpoint
from skelbo.em.loop import Ascent, AscentError
from skelbo.em.progress import Progress

NOT_REGULAR = "a covariance collapsed to its floor"
# Bounds that differ by less, relative to their size, are equal.
SAME = 1e-12


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
        Read one at a time.
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
    record = _Record.of_fit(progress.checkpoint)
    remaining = _remaining(starts, progress, replay)
    while not (record.interrupted or progress.stopped):
        try:
            number, start = next(remaining)  # which may take a while to make
        except StopIteration:
            break
        except KeyboardInterrupt:
            if not record.ascents:
                raise
            record.interrupted = True
            break
        record.write_frame(number)
        progress.begin_start(number)
        try:
            ascent = ascent_from(start)
            record.include(number, ascent, is_regular(ascent.theta))
        except AscentError as error:
            record.failures.append((number, str(error)))
        except KeyboardInterrupt:
            if not record.ascents:
                raise
            record.interrupted = True
        progress.end_start()
        if not (progress.stopped or record.interrupted):
            record.write_frame(number + 1, offer=True)
    progress.interrupted = record.interrupted
    if not record.ascents:
        raise AscentError(record.failures[-1][1])
    best = record.ascents[0][2]
    return Restarts(replace(best, interrupted=record.interrupted), record.failures)


@dataclass
class _Record:
    """Best ascent and failures so far.

    Attributes
    ----------
    checkpoint : FitCheckpoint or None
    failures : list of (int, str)
    ascents : list of (bool, float, Ascent)
        The best ascent, after whether it ended regular and its bound; empty before there is one.
    interrupted : bool
    """

    checkpoint: FitCheckpoint | None
    failures: list[tuple[int, str]] = field(default_factory=list)
    ascents: list[tuple[bool, float, Ascent]] = field(default_factory=list)
    interrupted: bool = False

    @classmethod
    def of_fit(cls, checkpoint: FitCheckpoint | None) -> _Record:
        """Return the record at the beginning of a fit, or where it was interrupted."""
        if checkpoint is None or checkpoint.found is None:
            return cls(checkpoint)
        return cls(checkpoint, checkpoint.found["failures"], checkpoint.found["ascents"])

    def include(self, number: int, ascent: Ascent, regular: bool) -> None:
        """Record an ascent that ended; the first of equally good ones is kept, but for rounding."""
        self.interrupted = ascent.interrupted
        if not regular:
            self.failures.append((number, NOT_REGULAR))
        bound = ascent.lower_bound
        if self.ascents:
            known_regular, known, _ = self.ascents[0]
            higher = bound > known and not isclose(bound, known, rel_tol=SAME, abs_tol=SAME)
            if not (higher if regular == known_regular else regular):
                return
        self.ascents = [(regular, bound, ascent)]

    def write_frame(self, number: int, offer: bool = False) -> None:
        """Give the state before a start to the checkpoint, and offer to write it."""
        if self.checkpoint is None:
            return
        frame = {"number": number, "failures": self.failures, "ascents": self.ascents}
        self.checkpoint.frame = frame
        if offer:
            self.checkpoint.offer()


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
