"""scikit-learn's own mixture tests, imported from the installed package, pass on ours.

This proves that changing the import is enough. The tests look `GaussianMixture` up in their own
module, so that pointing that one name at our class runs them unchanged.
"""

import numpy as np
import pytest

theirs = pytest.importorskip("sklearn.mixture.tests.test_gaussian_mixture")
bounds = pytest.importorskip("sklearn.mixture.tests.test_mixture")

from skelbo import EMGaussianMixture  # noqa: E402
from skelbo.gaussian.structures import STRUCTURES  # noqa: E402

# Our default tolerance asks for the mode, which noise without clusters does not show in 100 steps.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

NOT_OURS = {
    # They call private functions of sklearn.mixture and no estimator at all.
    "test_suffstat_sk_full",
    "test_suffstat_sk_tied",
    "test_suffstat_sk_diag",
    "test_suffstat_sk_spherical",
    "test_gaussian_suffstat_sk_spherical",
    "test_compute_log_det_cholesky",
    "test_gaussian_mixture_log_probabilities",
    # It replaces a private function of sklearn.mixture and counts the calls.
    "test_gaussian_mixture_all_init_does_not_estimate_gaussian_parameters",
    # Array API input, which we do not claim to support.
    "test_gaussian_mixture_array_api_compliance",
    "test_gaussian_mixture_raises_where_array_api_not_implemented",
}


class GaussianMixture(EMGaussianMixture):
    """Ours, under the name that the messages are compared with.

    Two private methods that the tests use for their set-up are supplied through what is public.
    """

    def _set_parameters(self, params):
        self.weights_, self.means_, _, self.precisions_cholesky_ = params
        K, p = self.means_.shape
        structure = STRUCTURES[self.covariance_type]
        rebuilt = structure.from_public_arrays([self.precisions_cholesky_], K, p)
        for name, array in rebuilt.public_arrays().items():
            setattr(self, name, array.astype(self.means_.dtype))

    def _initialize(self, X, resp):
        K, p = resp.shape[1], X.shape[1]
        precisions = np.asarray(self.precisions_init)
        given = STRUCTURES[self.covariance_type].from_precisions(precisions, K, p)
        self.precisions_cholesky_ = given.public_arrays()["precisions_cholesky_"].astype(X.dtype)


theirs.GaussianMixture = GaussianMixture
bounds.GaussianMixture = GaussianMixture
mine = {
    name: test
    for name, test in vars(theirs).items()
    if name.startswith("test_") and name not in NOT_OURS
}
globals().update(mine)


def test_number_of_tests():
    # Guards against a release that renames tests away: they would vanish without a failure.
    assert len(mine) >= 31


def test_n_iter():
    bounds.test_gaussian_mixture_n_iter(GaussianMixture())


def test_more_components_than_rows():
    bounds.test_mixture_n_components_greater_than_n_samples_error(GaussianMixture())
