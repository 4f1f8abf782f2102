"""Messages about fitted parameters at the edge of their domain."""

from __future__ import annotations

import numpy as np

from skelbo.degenerate_fit import DegenerateFitWarning
from skelbo.likelihoods import Likelihood

# Change of the log-odds, per standard deviation of a latent, of an item that is separable.
LARGE_LOADING = 6.0
RUNAWAY = (
    "the loadings of {columns} ran away (|loading| up to {largest:.3g}): {they} separable, the "
    "likelihood has no maximum; remove {them}, use fewer latents or collect more rows."
)
ONE_VALUE = (
    "{columns} {have} one value in every row: the intercept runs away, the likelihood has no "
    "maximum; remove {them}."
)


class BoundaryWarning(UserWarning):
    """Warning about columns whose parameters are at the edge of their domain.

    Parameters
    ----------
    columns : sequence of int
        Positions of the columns.
    names : sequence of str, optional
        Names of all columns of the table; their positions if not given.
    **details
        What else the message depends on.
    """

    def __init__(self, columns, names=None, **details):
        self.columns, self.details = tuple(int(column) for column in columns), details
        called = [str(j) if names is None else repr(str(names[j])) for j in self.columns]
        many = len(called) > 1
        super().__init__(self._text(f"column{'s' * many} {', '.join(called)}", many, **details))

    def _text(self, columns: str, many: bool, **details) -> str:
        """Return the message, given the columns as words and whether there are many."""
        raise NotImplementedError

    def named(self, names) -> BoundaryWarning:
        """Return the same warning with the names of the columns.

        Parameters
        ----------
        names : sequence of str or None
            Names of all columns of the table.

        Returns
        -------
        warning : BoundaryWarning
        """
        return type(self)(self.columns, names, **self.details)

    def __reduce__(self):
        return UserWarning, self.args  # names are in the text already


class HeywoodWarning(BoundaryWarning, DegenerateFitWarning):
    """Warning about noise variances at their floor: the columns are functions of the latents.

    Parameters
    ----------
    columns : sequence of int
        Positions of the columns.
    names : sequence of str, optional
        Names of all columns of the table; their positions if not given.
    """

    def _text(self, columns, many, **details):
        return (
            f"the noise variance{'s' * many} of {columns} reached "
            "the floor, 1e-6 of the column's variance (a Heywood case: the column is a function "
            "of the latents); use fewer latents, one noise variance for all columns (pass "
            "model=FactorModel(n, noise='isotropic'), or BinaryFeatureModel likewise), or remove "
            f"{'these columns' if many else 'the column'}."
        )


class SeparationWarning(BoundaryWarning):
    """Warning about separable columns: the likelihood has no maximum, their parameters run away.

    Parameters
    ----------
    columns : sequence of int
        Positions of the columns.
    names : sequence of str, optional
        Names of all columns of the table; their positions if not given.
    largest : float, optional
        Size of the largest loading; None for columns of one value.
    """

    def _text(self, columns, many, **details):
        largest = details.get("largest")
        them = "these columns" if many else "the column"
        if largest is None:
            have = "have" if many else "has"
            return ONE_VALUE.format(columns=columns, have=have, them=them)
        they = "they are" if many else "it is"
        return RUNAWAY.format(columns=columns, largest=largest, they=they, them=them)


def heywood_warnings(noise: np.ndarray, floor: np.ndarray) -> list[HeywoodWarning]:
    """Return a warning of the columns whose noise variance, (p,), is at its floor."""
    columns = np.flatnonzero(noise <= 1.5 * floor)
    return [HeywoodWarning(columns)] if columns.size else []


def separation_warnings(
    likelihood: Likelihood, loadings: np.ndarray, X: np.ndarray
) -> list[SeparationWarning]:
    """Return warnings of the columns whose likelihood grows with its parameters for ever.

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
    list of SeparationWarning
        At most one of columns of one value, and one of all others.
    """
    low, high = np.nanmin(X, axis=0), np.nanmax(X, axis=0)
    with np.errstate(divide="ignore"):
        one_value = (low == high) & ~np.isfinite(likelihood.offset(low, 0.0))
    size = np.abs(loadings).max(1)
    separable = likelihood.separable & (size > LARGE_LOADING) & ~one_value
    found = []
    if one_value.any():
        found.append(SeparationWarning(np.flatnonzero(one_value)))
    if separable.any():
        found.append(SeparationWarning(np.flatnonzero(separable), largest=size[separable].max()))
    return found
