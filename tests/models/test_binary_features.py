"""Binary features: the quadratic form is the density."""

import numpy as np
import pytest
from scipy import stats

from skelbo import MCEM, VariationalEM
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


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("estimator", [VariationalEM, MCEM])
@pytest.mark.parametrize("noise", ["isotropic", "diag"])
def test_a_feature_that_no_row_shows_has_a_regular_regression(estimator, noise):
    """Without an intercept nothing but its own presence determines a loading."""
    model = BinaryFeatureModel(1, noise=noise, fit_intercept=False)
    fit = estimator(1, model=model, random_state=0).fit([[20.0], [20.0]])
    assert np.isfinite(fit.lower_bound_) and np.isfinite(fit.params_["loadings"]).all()
