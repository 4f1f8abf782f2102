"""The gradient of the bound is its derivative, and the ascent never falls."""

import numpy as np
import pytest

from skelbo.inference.bound_gradient_ascent import BoundGradientAscent
from skelbo.inference.distinct_rows import DistinctRows
from skelbo.inference.user_model.adapter import TorchModel
from tests.own_models import Counts, Factors
from tests.tables import counts, real


def ascent(user_model, X, diagonal):
    model, data = TorchModel(user_model), DistinctRows.of_table(X, None)
    theta = model.start(data.X, data.weights, np.random.RandomState(0), 0)
    return BoundGradientAscent(model, data, diagonal, theta)


@pytest.mark.parametrize("diagonal", [True, False])
@pytest.mark.parametrize(("model", "X"), [(Factors(2), real(20)), (Counts(1), counts(20))])
def test_the_gradient_is_the_derivative_of_the_bound(model, X, diagonal):
    climb = ascent(model, X, diagonal)
    point = climb.start / climb.scale
    gradient = climb.evaluate(point)[1]
    for k in range(0, len(point), 3):
        step = np.zeros(len(point))
        step[k] = 1e-4
        slope = (climb.evaluate(point + step)[0] - climb.evaluate(point - step)[0]) / 2e-4
        assert slope == pytest.approx(gradient[k], abs=1e-6, rel=1e-5)


def test_the_bound_never_falls_and_a_callback_ends_the_ascent():
    climb = ascent(Factors(2), real(30), True)
    result = climb.run(50, "auto", lambda n_iter, bound, theta: n_iter == 7)
    assert climb.interrupted and result.n_iter == 7
    assert np.diff((result.start_bound, *result.lower_bounds)).min() >= 0
