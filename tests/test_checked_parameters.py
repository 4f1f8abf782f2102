"""A bool is no number: neither as a parameter that counts, nor as the width of a layer."""

from numbers import Integral

import numpy as np
import pytest
from sklearn.utils._param_validation import Interval

import skelbo
from skelbo import EMGaussianMixture, GaussianMLE, VAEEstimator, VariationalEM
from skelbo.meta import CriterionSearch, DensityOutlierDetector
from skelbo.models import DecoderModel, FactorModel

KINDS = [getattr(skelbo, name) for name in skelbo.__all__ if name != "__version__"]
ESTIMATORS = [kind() for kind in KINDS if hasattr(kind, "to_file")]
METAS = [DensityOutlierDetector(GaussianMLE()), CriterionSearch(GaussianMLE(), {})]


@pytest.mark.parametrize("value", [True, False, np.True_])
@pytest.mark.parametrize("estimator", ESTIMATORS + METAS, ids=lambda e: type(e).__name__)
def test_a_number_is_no_bool(estimator, value, iris):
    refused = []
    for name, constraints in estimator._parameter_constraints.items():
        before = getattr(estimator, name)
        if name == "verbose" or not any(
            isinstance(kind, Interval) or kind is Integral for kind in constraints
        ):
            continue
        estimator.set_params(**{name: value})
        with pytest.raises(ValueError, match=f"The '{name}' parameter of .* (is|Got) "):
            estimator.fit(iris)
        estimator.set_params(**{name: before})
        refused.append(name)
    assert len(refused) > 0
    assert not hasattr(estimator, "n_features_in_")


def test_flags_stay_flags(iris):
    model = EMGaussianMixture(2, warm_start=True, verbose=False, random_state=0)
    assert model.fit(iris).converged_


def test_widths_and_latents_are_no_bools(iris):
    for estimator, match in [
        (VAEEstimator(1, hidden_layer_sizes=(True,)), "hidden_layer_sizes=.* has a width that is"),
        (VariationalEM(model=DecoderModel(1, hidden_layer_sizes=(True,))), "hidden_layer_sizes=.T"),
        (VariationalEM(model=DecoderModel(1, hidden_layer_sizes=5)), "hidden_layer_sizes=5, exp"),
        (VariationalEM(1, model=FactorModel(True)), "n_latents is True, expected"),
    ]:
        with pytest.raises(ValueError, match=match):
            estimator.fit(iris)
    with pytest.raises(ValueError, match="n_bootstrap=True, expected an integer of at least 2"):
        GaussianMLE().fit(iris).compute_standard_errors(iris, method="bootstrap", n_bootstrap=True)
