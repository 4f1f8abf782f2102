"""Starts of factor models."""

import numpy as np
import pytest

from skelbo.models import FactorModel
from tests.tables import real


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("exponent", [-400, -100, 400])
def test_starts_follow_the_units_of_the_table(number, exponent):
    X, unit = real(40), 2.0**exponent
    model, weights = FactorModel(2), np.ones(40)
    plain = model.start(X, weights, np.random.RandomState(0), number)
    scaled = model.start(unit * X, weights, np.random.RandomState(0), number)
    for name, value in plain.items():
        power = 2 if name == "noise_variance" else 1
        np.testing.assert_allclose(scaled[name], unit**power * value, rtol=1e-9, atol=0)
