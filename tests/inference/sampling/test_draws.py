"""Errors of means of weighted draws."""

import numpy as np

from skelbo.inference.sampling.draws import Draws


def test_error_of_a_mean_of_independent_draws():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((400, 50))
    draws = Draws(values[..., None], np.full(values.shape, 1 / 400), np.arange(400))
    assert np.allclose(draws.variance(values), values.var(0, ddof=1) / 400, rtol=1e-6)
    assert np.allclose(draws.effective_sizes(), 400, rtol=0.01)
