"""The loop: it climbs, it stops at the mode, and acceleration keeps it monotone."""

import numpy as np
import pytest

from skelbo.em.anderson import Anderson
from skelbo.em.loop import AscentError, ascend


class Quadratic:
    """Climb -|A^(1/2) x|^2 / 2 by x -> (I - A) x: rates 1 - A, mode at zero."""

    def __init__(self, rates):
        self.rates = np.asarray(rates)
        self.n_evaluations = 0

    def e_step(self, x):
        self.n_evaluations += 1
        return float(-0.5 * np.sum((1 - self.rates) * x**2)), None

    def m_step(self, statistics, x):
        return self.rates * x

    def ascend(self, **options):
        options = {"tol": "auto", "max_iter": 2000, **options}
        return ascend(np.ones(len(self.rates)), self.e_step, self.m_step, **options)


def accelerator():
    return Anderson(lambda x: x, lambda x: x)


@pytest.mark.parametrize("slowest", [0.3, 0.9, 0.99])
def test_auto_stops_at_the_mode(slowest):
    ascent = Quadratic([slowest, 0.2, 0.05]).ascend()
    assert ascent.converged
    assert -2e-7 < ascent.lower_bound <= 0


@pytest.mark.parametrize("slowest", [0.9, 0.99, 0.999])
def test_acceleration_saves_steps_and_stays_monotone(slowest):
    rates = [slowest, 0.8, 0.5, 0.1]
    plain, fast = Quadratic(rates), Quadratic(rates)
    assert plain.ascend(tol=1e-14, max_iter=10**5).converged
    ascent = fast.ascend(accelerator=accelerator())
    assert ascent.converged and ascent.lower_bound > -1e-7
    assert np.all(np.diff(ascent.lower_bounds) >= 0)
    assert fast.n_evaluations < plain.n_evaluations / 2


def test_first_steps_are_plain():
    plain = Quadratic([0.99, 0.5]).ascend(max_iter=5)
    fast = Quadratic([0.99, 0.5]).ascend(max_iter=5, accelerator=accelerator())
    assert plain.lower_bounds == fast.lower_bounds


def test_the_first_candidate_uses_all_steps_before_it():
    ascent = Quadratic([0.99, 0.9, 0.5]).ascend(max_iter=6, accelerator=accelerator())
    # On a linear map with three rates three differences are enough to find the mode.
    assert ascent.lower_bounds[4] < -1e-3 and ascent.lower_bound > -1e-12


def test_one_plain_step_confirms_where_the_rate_is_known():
    pairs = []

    class Recorder(Anderson):
        def learn(self, theta, image, statistics):
            pairs.append((theta, image))
            super().learn(theta, image, statistics)

    recorder = Recorder(lambda x: x, lambda x: x)
    ascent = Quadratic([0.99, 0.9, 0.5]).ascend(accelerator=recorder)
    # Five steps, the jump to the mode, a small step beyond it at most, and one to confirm.
    assert ascent.converged and 7 <= ascent.n_iter <= 8
    assert all(pairs[i][1] is pairs[i + 1][0] for i in range(5))


def test_a_number_is_the_classical_rule():
    ascent = Quadratic([0.9]).ascend(tol=1e-4)
    climbs = np.diff((ascent.start_bound, *ascent.lower_bounds))
    assert climbs[-1] < 1e-4 and np.all(climbs[:-1] >= 1e-4)


def test_no_iteration_evaluates_the_start():
    ascent = Quadratic([0.5]).ascend(max_iter=0)
    assert ascent.n_iter == 0 and not ascent.converged
    assert ascent.lower_bound == ascent.start_bound == -0.25


def test_caller_can_stop():
    ascent = Quadratic([0.9]).ascend(on_iteration=lambda n_iter, bound, theta: n_iter == 3)
    assert ascent.n_iter == 3 and not ascent.converged


def test_a_bad_accelerator_cannot_pull_the_bound_down():
    class Downhill(Anderson):
        def learn(self, theta, image, statistics):
            super().learn(theta, image, statistics)
            self.theta = theta

        def propose(self):
            super().propose()
            return self.theta + 1.0

    bad = Downhill(lambda x: x, lambda x: x)
    ascent = Quadratic([0.95, 0.2]).ascend(accelerator=bad, max_iter=500)
    assert ascent.converged and np.all(np.diff(ascent.lower_bounds) >= 0)


def test_a_bound_that_is_not_a_number_is_an_error():
    with pytest.raises(AscentError, match="bound became nan"):
        ascend(
            1.0, lambda x: (0.0 if x == 1 else np.nan, None), lambda s, x: 2.0, tol=0, max_iter=3
        )
