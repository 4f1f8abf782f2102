"""Densities of new rows under a model with parameters."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skelbo import VariationalEM
from tests.tables import answers, counts, real

MODELS = [
    (VariationalEM(2, model="binary", random_state=0), real()),
    (VariationalEM(13, model="binary", max_iter=2, random_state=0), real()),
    (VariationalEM(2, model="gaussian"), real()),
    (VariationalEM(1, model="bernoulli"), answers()),
    (VariationalEM(3, model="bernoulli", max_iter=3), answers()),
    (VariationalEM(3, model="poisson", max_iter=3), counts()),
    (VariationalEM(1, model="decoder", max_iter=1, random_state=0), real()),
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("estimator", "X"), MODELS, ids=lambda v: getattr(v, "model", ""))
def test_a_row_without_cells_has_probability_one(estimator, X):
    X = X.copy()
    X[0] = np.nan
    model = estimator.fit(X)
    log_prob, std = model.score_samples(X[:2], return_std=True)
    assert log_prob[0] == 0 and std[0] == 0 and log_prob[1] < 0
    assert model.elbo(X)[0] <= 1e-8
    assert_array_equal(model.score_samples(X[:1]), [0.0])
