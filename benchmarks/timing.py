"""Seconds of functions that take turns in one process."""

import statistics


def seconds(function, clock):
    """Return the seconds that one call takes."""
    start = clock()
    function()
    return clock() - start


def by_turns(ours, theirs, repeats, clock):
    """Return the medians of alternating calls, after one warm-up of each."""
    ours(), theirs()
    pairs = [(seconds(ours, clock), seconds(theirs, clock)) for _ in range(repeats)]
    return [statistics.median(column) for column in zip(*pairs, strict=True)]
