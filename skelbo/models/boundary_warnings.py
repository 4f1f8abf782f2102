"""Messages about fitted parameters at the edge of their domain."""

from __future__ import annotations

import numpy as np

from skelbo.likelihoods import Likelihood

# Change of the log-odds, per standard deviation of a latent, of an item that is separable.
LARGE_LOADING = 6.0
HEYWOOD = (
    "the noise variance of column {column} reached its floor, 1e-6 of the column's variance (a "
    "Heywood case: the column is a function of the latents); use fewer latents, "
    "noise='isotropic', or remove the column."
)
RUNAWAY = (
    "the loadings of column {column} ran away (|loading| = {loading:.3g}): the column is "
    "separable, its likelihood has no maximum; remove the column, use fewer latents or collect "
    "more rows."
)
ONE_VALUE = (
    "column {column} is {value:g} in every row: its intercept runs away, its likelihood has no "
    "maximum; remove the column."
)


def heywood_warnings(noise: np.ndarray, floor: np.ndarray) -> list[str]:
    """Return a message for each column whose noise variance, (p,), is at its floor."""
    return [HEYWOOD.format(column=j) for j in np.flatnonzero(noise <= 1.5 * floor)]


def divergence_warnings(likelihood: Likelihood, loadings: np.ndarray, X: np.ndarray) -> list[str]:
    """Return a message for each column whose likelihood grows with its parameters for ever.

    Parameters
    ----------
    likelihood : Likelihood
        Without a noise variance.
    loadings : ndarray of shape (n_features, n_latents)
        Fitted loadings.
    X : ndarray of shape (n_samples, n_features)
        Rows, NaN where missing.

    Returns
    -------
    list of str
        With cause and remedy.
    """
    low, high = np.nanmin(X, axis=0), np.nanmax(X, axis=0)
    with np.errstate(divide="ignore"):
        one_value = (low == high) & ~np.isfinite(likelihood.offset(low, 0.0))
    found = [ONE_VALUE.format(column=j, value=low[j]) for j in np.flatnonzero(one_value)]
    size = np.abs(loadings).max(1)
    separable = likelihood.separable & (size > LARGE_LOADING) & ~one_value
    return found + [RUNAWAY.format(column=j, loading=size[j]) for j in np.flatnonzero(separable)]
