"""Numbers in the precision of a table."""

import numpy as np
import pytest

from skelbo import VariationalEM
from skelbo.data.precision import cast, cast_if_representable, cast_within_bounds
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
