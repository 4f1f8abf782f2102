"""Messages about fitted parameters at the edge of their domain."""

from __future__ import annotations

import numpy as np

from skelbo.degenerate_fit import DegenerateFitWarning
from skelbo.likelihoods import Likelihood

# Change of the log-odds, per standard deviation of a latent, of an item that is separable.
LARGE_LOADING = 6.0
RUNAWAY = (
    "the loadings of column {column} ran away (|loading| = {loading:.3g}): the column is "
    "separable, its likelihood has no maximum; remove the column, use fewer latents or collect "
    "more rows."
)
ONE_VALUE = (
    "column {column} is {value:g} in every row: its intercept runs away, its likelihood has no "
    "maximum; remove the column."
)


class HeywoodWarning(DegenerateFitWarning):
    """Warning about noise variances at their floor: the columns are functions of the latents.

    Parameters
    ----------
    columns : sequence of int
        Positions of the columns.
    names : sequence of str, optional
        Names of all columns of the table; their positions if not given.
    """

    def __init__(self, columns, names=None):
        self.columns = tuple(int(column) for column in columns)
        called = [str(j) if names is None else repr(str(names[j])) for j in self.columns]
        many = len(called) > 1
        super().__init__(
            f"the noise variance{'s' * many} of column{'s' * many} {', '.join(called)} reached "
            "the floor, 1e-6 of the column's variance (a Heywood case: the column is a function "
            "of the latents); use fewer latents, one noise variance for all columns (pass "
            "model=FactorModel(n, noise='isotropic'), or BinaryFeatureModel likewise), or remove "
            f"{'these columns' if many else 'the column'}."
        )

    def __reduce__(self):
        return UserWarning, self.args  # names are in the text already


def heywood_warnings(noise: np.ndarray, floor: np.ndarray) -> list[HeywoodWarning]:
    """Return a warning of the columns whose noise variance, (p,), is at its floor."""
    columns = np.flatnonzero(noise <= 1.5 * floor)
    return [HeywoodWarning(columns)] if columns.size else []


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
