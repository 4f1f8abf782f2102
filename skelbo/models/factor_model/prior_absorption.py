r"""Parameter expansion: a fitted prior of the latents, absorbed into loadings and intercepts.

With :math:`z \sim N(m, R R^T)` the predictor :math:`b + W z` is that of a standard normal z with
loadings :math:`W R` and intercepts :math:`b + W m`.

References
----------
Liu, Rubin and Wu (1998), *Parameter expansion to accelerate EM: the PX-EM algorithm*.
"""

from __future__ import annotations

import numpy as np


def absorb_prior(theta, weights, mean, covariance, *, fit_intercept: bool):
    """Return theta with the best prior of the latents absorbed; arguments as `Model.maximize`."""
    centre, root = prior_moments(weights, mean, covariance, fit_intercept=fit_intercept)
    loadings = theta["loadings"]
    intercepts = theta["intercepts"] + loadings @ centre
    return {**theta, "loadings": loadings @ root, "intercepts": intercepts}


def prior_moments(weights, mean, covariance=None, *, fit_intercept: bool):
    """Return the mean of z over all rows, (d,), and a root of its covariance, (d, d)."""
    d = mean.shape[-1]
    flat, share = mean.reshape(-1, d), weights.ravel() / weights.sum()
    centre = share @ flat if fit_intercept else np.zeros(d)
    between = (share[:, None] * (flat - centre)).T @ (flat - centre)
    if covariance is None:
        return centre, np.linalg.cholesky(between)
    within = weights.sum(0) @ covariance.reshape(len(covariance), -1) / weights.sum()
    if covariance.ndim == 3:
        return centre, np.linalg.cholesky(between + within.reshape(d, d))
    # A diagonal q stays one only if each latent is stretched by itself.
    return centre, np.diag(np.sqrt(np.diagonal(between) + within))
