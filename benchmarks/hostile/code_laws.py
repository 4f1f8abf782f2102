"""The law of codes: the sum over all code vectors is the probability of a row."""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy.special import logsumexp
from scipy.stats import bernoulli, norm, poisson

from hostile.trial import Trial, check, is_coarse


def enumeration(trial: Trial) -> None:
    """log p(x) is the sum over all codes, and a hard bound is its term of one code."""
    model, X = trial.model, trial.table.X.astype(float)
    if trial.table.X.dtype == np.float32 or is_coarse(X) or "categorical" in model.likelihood_:
        return
    codes = np.array(list(product(range(model.n_codes), repeat=model.n_components)))
    prior = np.asarray(model.prior_.log_prob(codes), dtype=float)
    mean = np.asarray(model.inverse_transform(codes.astype(X.dtype)), dtype=float)
    joint = prior + _log_likelihood(model, X, mean)
    if np.isneginf(joint).any():
        return  # a mean that underflows: its logarithm, of which the model knows, is lost
    log_prob = trial.log_prob[0].astype(float)
    # The networks are float32: a mean is known to so much of its distance from the row.
    slack = 1e-3 * (1 + np.abs(log_prob)) + trial.rounding
    off = np.abs(logsumexp(joint, axis=1) - log_prob)
    check("codes add up to log p(x)", off <= slack, lambda: f"off by {np.max(off - slack):.3g}")
    if model.assignment == "hard":
        chosen = (model.transform(trial.X)[:, None] == codes).all(axis=2).argmax(axis=1)
        off = np.abs(joint[np.arange(len(X)), chosen] - trial.terms.elbo)
        check("the bound is that of the codes", off <= slack + 1e-3 * np.abs(trial.terms.elbo))


def _log_likelihood(model, X: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return log p(x | codes), of shape (n_samples, n_code_vectors)."""
    scale = np.sqrt(np.broadcast_to(model.noise_variance_, X.shape[1]))
    total = np.zeros((len(X), len(mean)))
    for j, likelihood in enumerate(model.likelihood_):
        x, m = X[:, j, None], mean[None, :, j]
        density = {
            "gaussian": lambda x, m, j=j: norm.logpdf(x, m, scale[j]),
            "bernoulli": bernoulli.logpmf,
            "poisson": poisson.logpmf,
        }[likelihood]
        total += np.where(np.isnan(x), 0.0, density(np.nan_to_num(x), m))
    return total
