r"""Smallest noise variance of a Gaussian column, which keeps the likelihood bounded.

As the noise variance of a column tends to zero the likelihood of a model that reproduces the
column grows without limit: a Heywood case of factor analysis; for decoder networks see Mattei and
Frellsen (2018).
"""

from __future__ import annotations

import numpy as np

from skelbo.data.column_moments import column_moments

# Share of a column's variance: the noise has 1e-3 of the column's standard deviation.
NOISE_FLOOR = 1e-6


def noise_floor(X: np.ndarray, weights: np.ndarray, share: float = NOISE_FLOOR) -> np.ndarray:
    """Return the smallest noise variance of each column.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Rows, NaN where missing.
    weights : ndarray of shape (n_samples,)
        Frequency weights.
    share : float, default=1e-6
        Share of the variance of the column; of a constant column, of the mean variance of the
        other columns.

    Returns
    -------
    ndarray of shape (n_features,)
        In the squared units of the columns.

    Examples
    --------
    >>> import numpy as np
    >>> from skelbo.likelihoods.noise_floor import noise_floor
    >>> noise_floor(np.array([[1.0, 5.0], [3.0, 5.0]]), np.ones(2))
    array([1.e-06, 1.e-06])
    """
    return share * column_moments(X, weights).positive_variance
