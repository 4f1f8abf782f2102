"""Restarts keep the best ascent, prefer a regular one, and record those that fail."""

import pytest

from skelbo import EMGaussianMixture
from skelbo.em.loop import Ascent, AscentError
from skelbo.em.progress import Progress
from skelbo.em.restarts import NOT_REGULAR, climb_from_each


def climb(starts, **options):
    """Run ascents whose results are given: a message that fails, or (theta, bound)."""

    def ascent_from(start):
        if isinstance(start, str):
            raise AscentError(start)
        theta, bound = start
        return Ascent(theta, 0.0, (bound,), True)

    estimator = EMGaussianMixture()
    progress = Progress(estimator, None, None, 1)
    return climb_from_each(starts, ascent_from, progress, **options)


def test_the_best_is_kept_and_failures_are_skipped():
    restarts = climb(["first", ("a", 1.0), ("b", 2.0), "last"], is_regular=lambda theta: True)
    assert restarts.best.theta == "b"
    assert restarts.failures == [(0, "first"), (3, "last")]


@pytest.mark.parametrize(("second", "best"), [(-3.0 + 4e-16, "a"), (-3.0 + 1e-9, "b")])
def test_rounding_does_not_choose_between_equally_good_ascents(second, best):
    starts = [("lost", float("-inf")), ("a", -3.0), ("b", second)]
    assert climb(starts, is_regular=lambda theta: True).best.theta == best


@pytest.mark.parametrize(
    "starts", [[("spike", 99.0), ("flat", 1.0)], [("flat", 1.0), ("spike", 9)]]
)
def test_a_regular_ascent_beats_a_degenerate_one_with_a_higher_bound(starts):
    restarts = climb(starts, is_regular=lambda theta: theta == "flat")
    assert restarts.best.theta == "flat"
    assert [cause for _, cause in restarts.failures] == [NOT_REGULAR]


def test_ctrl_c_between_starts_keeps_the_best_so_far():
    """Making a start may take longer than the ascents before it."""

    def starts():
        yield ("a", 1.0)
        raise KeyboardInterrupt

    restarts = climb(starts(), is_regular=lambda theta: True)
    assert restarts.best.theta == "a" and restarts.best.interrupted
    with pytest.raises(KeyboardInterrupt):
        climb((start for start in starts() if start[1] > 1), is_regular=lambda theta: True)


def test_all_starts_failing_is_an_error():
    with pytest.raises(AscentError, match="second"):
        climb(["first", "second"], is_regular=lambda theta: True)
