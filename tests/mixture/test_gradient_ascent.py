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


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "tied_spherical"])
@pytest.mark.parametrize("reg_covar", ["auto", 1e-3])
def test_a_warm_start_goes_on_where_the_fit_ended(covariance_type, reg_covar, iris):
    """The ridge is part of the fitted covariance: it is not added again, though it be singular."""
    X = np.column_stack([iris, iris[:, 0], np.ones(len(iris))])
    model = EMGaussianMixture(
        2,
        covariance_type=covariance_type,
        solver="gradient",
        warm_start=True,
        max_iter=4,
        reg_covar=reg_covar,
        random_state=0,
    )
    first = model.fit(X).lower_bound_
    assert model.set_params(max_iter=1).fit(X).lower_bound_ > first - 1e-5
