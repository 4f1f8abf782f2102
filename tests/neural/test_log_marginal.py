"""log p(x) of a network by importance sampling."""

import numpy as np
import pytest

from skelbo import VAEEstimator
from tests.tables import real


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("noise", ["diag", "isotropic", "unit"])
def test_a_row_without_cells_has_probability_one(noise):
    """Draws of z have no part in it; the bound is minus the KL of what the encoder makes of it."""
    X = real()
    X[0] = np.nan
    model = VAEEstimator(
        2, hidden_layer_sizes=(4,), noise=noise, max_iter=3, n_importance_samples=20, random_state=0
    ).fit(X)
    log_prob, std = model.score_samples(X[:2], return_std=True)
    assert log_prob[0] == 0 and std[0] == 0 and log_prob[1] < 0
    terms = model.elbo_terms(X[:1])
    assert terms.elbo[0] == pytest.approx(-terms.kl[0], rel=1e-12)
    assert terms.kl[0] >= 0 and terms.reconstruction[0] == pytest.approx(0, abs=1e-12)
