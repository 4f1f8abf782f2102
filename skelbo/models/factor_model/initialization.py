r"""First parameters of a factor model: principal axes of a rough linear predictor."""

from __future__ import annotations

import numpy as np

from skelbo.data.column_moments import column_moments


def factor_start(model, X, weights, rng, number):
    """Return the parameters of a start: principal axes, perturbed from the second on.

    Parameters
    ----------
    model : FactorModel
        Hyperparameters.
    X : ndarray of shape (n_rows, n_features)
        Rows, NaN where missing.
    weights : ndarray of shape (n_rows,)
        Frequency weights.
    rng : numpy.random.RandomState
        Source of randomness.
    number : int
        Of the start; the first does not depend on `rng`.

    Returns
    -------
    dict of str to ndarray
        Loadings, intercepts and, for the Gaussian likelihood, noise variances.
    """
    profile = model.profile(X, weights)
    if profile is not None and not number:
        return profile.theta(profile.start())
    known = ~np.isnan(X)
    values = np.where(known, X, 0.0)
    share = weights[:, None] * known
    level = (share * values).sum(0) / share.sum(0)
    centre, covariance = _predictor_moments(model, values, known, weights)
    scale = np.diagonal(covariance).copy()
    scale[scale <= 0] = scale.mean() or 1.0
    root = np.sqrt(scale)  # products of variances would leave the range of float64
    half = residual_axes(covariance / (root[:, None] * root), model.n_latents)
    loadings = root[:, None] * half
    if number:
        loadings += np.sqrt(scale / 2)[:, None] * rng.standard_normal(loadings.shape)
    if model.column_likelihood.separable:
        margin = 0.5 / np.maximum(share.sum(0), 2.0)  # half an answer, of at least two
        centre = model.column_likelihood.offset(level, margin) * model.fit_intercept
    # A mean-field q loses least along the axes in which the posteriors are widest apart; the
    # bound's saddles between rotations cost it hundreds of iterations.
    pull = np.sqrt(model.column_likelihood.information(level, scale))[:, None] * loadings
    loadings = loadings @ np.linalg.svd(pull, full_matrices=False)[2].T
    theta = {"loadings": loadings, "intercepts": centre}
    if model.column_likelihood.has_noise:
        noise = np.maximum(scale - (loadings**2).sum(1), 0.2 * scale)
        theta["noise_variance"] = noise if model.noise == "diag" else np.asarray(noise.mean())
    return theta


def residual_axes(covariance: np.ndarray, n_latents: int) -> np.ndarray:
    """Return loadings, (p, d): the principal axes of a covariance less noise of equal variance."""
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1], vectors[:, ::-1]
    rest = values[n_latents:].mean() if len(values) > n_latents else 0.0
    size = np.maximum(values[:n_latents] - rest, 0.05 * np.maximum(values[:n_latents], 1e-12))
    return vectors[:, :n_latents] * np.sqrt(size)


def _predictor_moments(model, values, known, weights):
    """Return the mean (p,) and the covariance (p, p) of a rough linear predictor of the cells."""
    eta = model.column_likelihood.working_response(values, np.ones(values.shape[1]))[0]
    centre = np.zeros(values.shape[1])
    if model.fit_intercept:
        centre = column_moments(np.where(known, eta, np.nan), weights).mean
    residual = np.where(known, eta - centre, 0.0)
    return centre, (weights[:, None] * residual).T @ residual / weights.sum()
