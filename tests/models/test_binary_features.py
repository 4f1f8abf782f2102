"""Binary features: the quadratic form is the density."""

import numpy as np
from scipy import stats

from skelbo.inference.posteriors.bernoulli import all_states
from skelbo.models import BinaryFeatureModel
from tests.tables import real


def test_quadratic_form_of_binary_features():
    X = real(6)
    X[1, 2] = np.nan
    model = BinaryFeatureModel(3)
    theta = model.start(X, np.ones(6), np.random.RandomState(0), 0)
    for z in all_states(3):
        mean = theta["intercepts"] + theta["loadings"] @ z
        cells = stats.norm.logpdf(X, mean, np.sqrt(theta["noise_variance"]))
        got = model.joint(X, theta).log_likelihood(z[None, None])[0]
        assert np.allclose(got, np.nansum(cells, axis=1))
