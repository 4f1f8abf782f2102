"""Numbers in the precision of a table."""

import numpy as np
import pytest

from skelbo import MCEM, VariationalEM
from skelbo.data.precision import (
    cast,
    cast_if_finite,
    cast_if_representable,
    cast_within_bounds,
)
from skelbo.models import FactorModel


def test_what_overflows_becomes_the_largest_number():
    assert cast(np.array([-1e300, 1.0, 1e39]), np.float32)[::2].tolist() == [
        -np.finfo(np.float32).max,
        np.finfo(np.float32).max,
    ]
    assert cast_if_representable(np.array([1e-300]), np.float32).dtype == np.float64


def test_what_is_inside_of_its_bounds_stays_there():
    inside = np.array([1e-300, 0.5, 1 - 1e-12])
    rounded = cast_within_bounds(inside, np.float32)
    assert rounded.dtype == np.float32 and np.all((rounded > 0) & (rounded < 1))
    assert cast_within_bounds(np.array([0.0, 1.0, 2.5]), np.float32).tolist() == [0.0, 1.0, 2.5]


@pytest.mark.filterwarnings("ignore::UserWarning")  # a column without a maximum
def test_draws_of_counts_beyond_float32_are_finite():
    """A column of zeros in a model without intercepts: its loading runs away."""
    X = np.array([[1, 1, 0], [2, 2, 0], [2, 2, 0], [1, 1, 0], [0, 0, 0]], dtype=np.float32)
    factor = FactorModel(1, likelihood="poisson", fit_intercept=False)
    model = VariationalEM(1, model=factor, posterior="exact", random_state=0).fit(X)
    assert np.abs(model.params_["loadings"][2]).max() > 50
    rows, _ = model.sample(100, random_state=0)
    assert rows.dtype == np.float32 and np.isfinite(rows).all()
    assert np.isfinite(model.inverse_transform(np.float32([[-9.0], [9.0]]))).all()


def test_parameters_that_the_precision_does_not_hold_keep_their_own():
    huge, tiny, zero = np.array([1e40]), np.array([1e-50]), np.array([1e-50, 0.0])
    assert cast_if_finite(huge, np.float32).dtype == cast_if_finite(tiny, np.float32).dtype == float
    assert cast_if_finite(zero, np.float32).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("estimator", [VariationalEM, MCEM])
@pytest.mark.parametrize("scale", [1e23, 1e-23])
def test_variances_beyond_float32_score(estimator, scale):
    """The square of the scale of the rows is no number of float32."""
    X = np.random.default_rng(0).standard_normal((60, 2)).astype(np.float32)
    X, rows = X[:, :1], np.float32(scale) * X[:, :1]
    plain, scaled = (estimator(1, model="gaussian", random_state=0).fit(part) for part in (X, rows))
    expected = plain.score_samples(X) - np.log(scale)
    found = scaled.score_samples(rows)
    assert found.dtype == np.float32 and scaled.sample(2)[0].dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-4)
