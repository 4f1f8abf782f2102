"""Any finite table, any options: a finite answer, or a ValueError that says what to do."""

import re
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning

from skelbo import EMGaussianMixture, GaussianMLE, SingularCovarianceWarning
from skelbo.gaussian.structures import STRUCTURES
from skelbo.mixture.initialization import STARTS

# What a fit may say no with. Everything else is a defect.
CLEAR = re.compile(
    r"ill-defined empirical covariance|n_samples >= n_components|has no observed cell"
    r"|zero for all rows|solver='gem' does not fit covariance_type='factor'"
)


@st.composite
def tables(draw):
    """Return rows of awkward scale, offset, rank, precision and completeness, and weights."""
    n, p = draw(st.sampled_from([2, 3, 6, 40])), draw(st.sampled_from([1, 2, 5, 12]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    X = rng.standard_normal((n, p)) * 10.0 ** draw(st.integers(-6, 6))
    X += draw(st.sampled_from([0.0, 0.0, 1e3, -1e6]))
    if draw(st.booleans()):
        X = np.round(X)
    if draw(st.booleans()):
        X = X[rng.integers(n, size=n)]
    if draw(st.booleans()):
        X = X * 10.0 ** rng.integers(-5, 6, p)
    share = draw(st.sampled_from([0.0, 0.0, 0.1, 0.5]))
    X[rng.random(X.shape) < share] = np.nan
    weights = draw(st.sampled_from([None, "counts", "fractions"]))
    if weights is not None:
        weights = rng.integers(0, 3, n).astype(float) if weights == "counts" else rng.random(n)
    return X.astype(draw(st.sampled_from([np.float64, np.float32]))), weights


mixtures = st.builds(
    EMGaussianMixture,
    st.integers(1, 4),
    covariance_type=st.sampled_from(list(STRUCTURES)),
    n_init=st.sampled_from([1, 3]),
    init_params=st.sampled_from(list(STARTS)),
    reg_covar=st.sampled_from(["auto", "auto", 1e-6, 0.0]),
    solver=st.sampled_from(["em", "em", "gem"]),
    max_iter=st.sampled_from([0, 3, 40]),
    acceleration=st.sampled_from([None, "auto", "anderson"]),
    random_state=st.integers(0, 1000),
)
singles = st.builds(
    GaussianMLE,
    st.sampled_from(["full", "diag", "spherical"]),
    reg_covar=st.sampled_from(["auto", 1e-6, 0.0]),
)


@pytest.mark.slow
@pytest.mark.parametrize("estimators", [singles, mixtures], ids=["GaussianMLE", "mixture"])
@given(data=st.data())
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
def test_finite_answer_or_clear_error(estimators, data):
    X, weights = data.draw(tables())
    model = data.draw(estimators)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", SingularCovarianceWarning)
        try:
            model.fit(X, sample_weight=weights)
        except ValueError as error:
            if CLEAR.search(str(error)):
                return
            raise
    answers = (model.score_samples(X), model.transform(X), model.impute(X), model.elbo(X))
    for answer in (*answers, model.sample(3, random_state=0)[0], model.lower_bounds_):
        assert np.all(np.isfinite(answer))
