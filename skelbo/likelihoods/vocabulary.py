"""Names of the likelihoods, and the likelihood of each column of a table."""

from __future__ import annotations

from typing import Any

import numpy as np

from skelbo.likelihoods.bernoulli import Bernoulli
from skelbo.likelihoods.categorical import Categorical
from skelbo.likelihoods.column_values import ColumnValues
from skelbo.likelihoods.gaussian import Gaussian
from skelbo.likelihoods.likelihood import Likelihood
from skelbo.likelihoods.poisson import Poisson

LIKELIHOODS: dict[str, Likelihood] = {
    kind.name: kind for kind in (Gaussian(), Bernoulli(), Poisson(), Categorical())
}


def as_likelihood(given: str | Likelihood, *, codes: bool = False) -> Likelihood:
    """Return a likelihood from its name, or the instance itself.

    Parameters
    ----------
    given : str or Likelihood
        One of `LIKELIHOODS`, or a likelihood of the user's own.
    codes : bool, default=False
        Whether likelihoods with one predictor per code are accepted.

    Returns
    -------
    Likelihood
        With the methods of the contract.

    Raises
    ------
    ValueError
        If the name is not known, or the likelihood is not accepted.

    Examples
    --------
    >>> from skelbo.likelihoods import as_likelihood
    >>> as_likelihood("poisson")
    Poisson()
    """
    names = sorted(name for name, kind in LIKELIHOODS.items() if codes or not kind.has_codes)
    found = LIKELIHOODS.get(given) if isinstance(given, str) else given
    if not isinstance(found, Likelihood) or (found.has_codes and not codes):
        raise ValueError(
            f"likelihood={given!r}, expected one of {names} or an instance of "
            "skelbo.likelihoods.Likelihood."
        )
    return found


def column_likelihoods(X: np.ndarray, likelihood: Any) -> list[Likelihood]:
    """Return the likelihood of each column.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Rows, NaN where missing.
    likelihood : str, Likelihood, or sequence of these
        A name, ``"auto"`` or an instance, for all columns or one for each. ``"auto"``: 0/1 is
        Bernoulli, a few integer codes from 0 are categorical, everything else is Gaussian.

    Returns
    -------
    list of Likelihood, of length n_features
        One per column.

    Raises
    ------
    ValueError
        If there is not one known likelihood for each column.

    Examples
    --------
    >>> import numpy as np
    >>> from skelbo.likelihoods import column_likelihoods
    >>> column_likelihoods(np.array([[1.5, 0.0], [2.5, 1.0]]), "auto")
    [Gaussian(), Bernoulli()]
    """
    given = given_likelihoods(likelihood, X.shape[1])
    names = [detect(X[:, j]) if kind == "auto" else kind for j, kind in enumerate(given)]
    return [as_likelihood(kind, codes=True) for kind in names]


def given_likelihoods(likelihood: Any, n_features: int) -> list[str | Likelihood]:
    """Return what was given for each column: a name, "auto" or a likelihood.

    Parameters
    ----------
    likelihood : str, Likelihood, or sequence of these
        As for `column_likelihoods`.
    n_features : int
        Number of columns.

    Raises
    ------
    ValueError
        If there is not one known likelihood for each column.
    """
    single = isinstance(likelihood, (str, Likelihood))
    given = [likelihood] * n_features if single else list(likelihood)
    known = [kind in LIKELIHOODS or kind == "auto" for kind in given if isinstance(kind, str)]
    known += [isinstance(kind, Likelihood) for kind in given if not isinstance(kind, str)]
    if len(given) != n_features or not all(known):
        raise ValueError(
            f"likelihood={likelihood!r} does not name one of {[*LIKELIHOODS, 'auto']} for each of "
            f"the {n_features} columns of X; give one name for all columns or a list of that "
            "length."
        )
    return given


def detect(column: np.ndarray) -> str:
    """Return the name of the likelihood that "auto" stands for.

    Parameters
    ----------
    column : ndarray of shape (n_samples,)
        Cells, NaN where missing.

    Returns
    -------
    str
        One of `LIKELIHOODS`; counts are never detected.

    Examples
    --------
    >>> import numpy as np
    >>> from skelbo.likelihoods.vocabulary import detect
    >>> detect(np.array([0.0, 1.0, 1.0]))
    'bernoulli'
    """
    observed = column[~np.isnan(column)]
    # Most columns are continuous: a few values spare sorting all of them.
    if not observed.size or np.any(observed[:100] != np.floor(observed[:100])):
        return "gaussian"
    return ColumnValues.of_columns(observed[None], np.ones(len(observed))).name(0)
