"""Gradient ascent on the likelihood of a mixture."""

import numpy as np
import pytest

from skelbo import EMGaussianMixture


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("covariance_type", ["tied_spherical", "spherical", "tied_diag", "diag"])
@pytest.mark.parametrize("seed", [*range(4), 949])
def test_a_collapsed_variance_ends_a_start_by_name(covariance_type, seed):
    """As many components as rows and no ridge: the likelihood has no maximum."""
    X = np.array([[1e9 + 1, 1e9], [1e9, 1e9 + 1]])
    model = EMGaussianMixture(
        2,
        covariance_type=covariance_type,
        solver="gradient",
        reg_covar=0.0,
        init_params="random",
        acceleration=None,
        random_state=seed,
    )
    cause = ""
    try:
        model.fit(X)
    except ValueError as error:
        cause = str(error)
    if cause:
        assert "increase reg_covar" in cause
    else:
        assert np.isfinite(model.lower_bound_) and np.all(model.covariances_ > 0)
