"""The stopping rule: a small climb ends an ascent only where nothing larger can follow."""

import numpy as np
import pytest

from skelbo.em.stopping import REMAINING_CLIMB, StoppingRule


def steps_to_the_end(rule, climbs, plain=True):
    """Return the number of climbs after which the rule is met, None if it never is."""
    bound = 0.0
    for number, climb in enumerate(climbs, start=1):
        bound += climb
        if rule.met(climb, bound, plain):
            return number
    return None


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9, 0.99])
def test_what_remains_of_a_geometric_climb_is_below_the_limit(rate):
    climbs = rate ** np.arange(5000)
    n = steps_to_the_end(StoppingRule("auto"), climbs)
    remaining = climbs[n:].sum()
    assert remaining < REMAINING_CLIMB
    assert climbs[n - 5 :].sum() > REMAINING_CLIMB  # but not much


def test_accelerated_steps_decide_nothing():
    rule = StoppingRule("auto")
    assert steps_to_the_end(rule, [1.0, 1e-3, 1e-12, 1e-12], plain=False) is None
    assert rule.confirming
    assert not rule.met(1e-12, 1.0, True)  # the first plain one has no rate yet
    assert rule.met(1e-12, 1.0, True)


def test_a_rate_that_the_accelerator_knows_saves_one_step():
    rule = StoppingRule("auto")
    assert not rule.met(1e-12, 1.0, False, lambda: 0.5)
    assert rule.met(1e-12, 1.0, True, lambda: 0.5)
    slow = StoppingRule("auto")
    assert not slow.met(1e-9, 1.0, True, lambda: 0.9999)  # much may follow


def test_a_number_is_compared_with_the_climb_of_one_step():
    assert steps_to_the_end(StoppingRule(1e-2), [1.0, 0.1, 0.009, 1e-5]) == 3
    assert steps_to_the_end(StoppingRule(0.0), [1.0, 0.1, 0.0]) is None


def test_unsteady_steps_need_two_small_ones():
    assert steps_to_the_end(StoppingRule(1e-2, steady=False), [1.0, 1e-3, 1.0, 1e-3, 1e-3]) == 5
