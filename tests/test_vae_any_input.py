"""Any finite table, any options: VAEEstimator answers in finite numbers, or says what to do."""

import re
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning

from skelbo import ImportanceWarning, NoiseFloorWarning, VAEEstimator
from tests.test_any_input import tables

# What a fit may say no with. Everything else is a defect.
CLEAR = re.compile(
    r"has no observed cell|at least one non-zero|expected (0 or 1|counts|integer codes|less than)"
    r"|would hold out|were not finite and were skipped|rows is not finite|use gradient='dreg'"
)

# A fit takes too long for the shrinking of a failure: hundreds of them.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)

vaes = st.builds(
    VAEEstimator,
    st.integers(1, 3),
    hidden_layer_sizes=st.sampled_from([(), (4,), (8, 8)]),
    activation=st.sampled_from(["relu", "tanh", "softplus"]),
    likelihood=st.sampled_from(["gaussian", "gaussian", "auto", "poisson", "categorical"]),
    noise=st.sampled_from(["unit", "isotropic", "diag"]),
    objective=st.sampled_from(["elbo", "iwae"]),
    gradient=st.sampled_from(["reparameterized", "score_function", "dreg"]),
    beta=st.sampled_from([0.0, 1.0, 4.0]),
    n_samples=st.sampled_from([1, 3]),
    n_importance_samples=st.just(20),
    optimizer=st.sampled_from(["adam", "rmsprop", "sgd"]),
    lr=st.sampled_from([1e-3, 1e-1, 10.0]),
    batch_size=st.sampled_from([1, 5, 128]),
    early_stopping=st.sampled_from(["auto", True, False]),
    max_iter=st.just(3),
    random_state=st.integers(0, 1000),
)


@pytest.mark.slow
@given(table=tables(), model=vaes)
@settings(max_examples=60, deadline=None, phases=PHASES, suppress_health_check=list(HealthCheck))
def test_finite_answer_or_clear_error(table, model):
    X, weights = table
    with warnings.catch_warnings():
        for kind in (ConvergenceWarning, ImportanceWarning, NoiseFloorWarning):
            warnings.simplefilter("ignore", kind)
        try:
            model.fit(X, sample_weight=weights)
        except ValueError as error:
            if CLEAR.search(str(error)):
                return
            raise
        log_prob, std = model.score_samples(X, return_std=True)
        answers = [log_prob, std, model.transform(X), model.impute(X), model.elbo(X)]
        answers += [*model.sample(3, random_state=0), model.lower_bounds_]
    assert all(np.isfinite(answer).all() for answer in answers)
    assert np.all(model.elbo(X) <= log_prob + 1e-3 * np.abs(log_prob))
