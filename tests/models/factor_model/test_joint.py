"""The log-joint of factor models as a function of z."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from skelbo.models import FactorModel
from tests.tables import real


@pytest.mark.parametrize("holes", [False, True])
def test_far_from_zero_residuals_keep_their_digits(holes):
    """At an offset of 1e12 the predictor b + W z has no digits for noise of 1e-6; x - b has."""
    rng = np.random.default_rng(0)
    centred, offset = np.round(real(8) * 2**10) / 2**10, 2.0**40
    if holes:
        centred[0, 1] = centred[3, :2] = np.nan
    W, noise = rng.standard_normal((5, 2)), np.full(5, 1e-12)
    Z = rng.standard_normal((3, 8, 2))
    theta = {"loadings": W, "intercepts": np.zeros(5), "noise_variance": noise}
    far = {**theta, "intercepts": np.full(5, offset)}
    model = FactorModel(2)
    expected = np.nansum(stats.norm.logpdf(centred, Z @ W.T, 1e-6), axis=2)
    joint = model.joint(centred + offset, far)
    assert_allclose(joint.log_likelihood(Z), expected, rtol=1e-12)
    assert_allclose(joint.start()[0], model.joint(centred, theta).start()[0], rtol=1e-12)
