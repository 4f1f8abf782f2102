"""Numbers in the precision of a table."""

import numpy as np
import pytest

from skelbo import VariationalEM
from skelbo.data.precision import cast, cast_if_representable
from skelbo.models import FactorModel


def test_what_overflows_becomes_the_largest_number():
    assert cast(np.array([-1e300, 1.0, 1e39]), np.float32)[::2].tolist() == [
        -np.finfo(np.float32).max,
        np.finfo(np.float32).max,
    ]
    assert cast_if_representable(np.array([1e-300]), np.float32).dtype == np.float64


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
