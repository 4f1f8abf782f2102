r"""Regularization of covariances that the data leave singular.

``reg_covar`` as a number adds that number to every variance, as in scikit-learn. ``"auto"`` is a
constraint instead, so that it costs nothing where it is not needed and the ascent stays monotone:
maximise over covariances with :math:`\Sigma \succeq \lambda D`, D the columns' variances. The
solution clips the eigenvalues of :math:`D^{-1/2} S D^{-1/2}` at :math:`\lambda`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from scipy import linalg

from skelbo.degenerate_fit import DegenerateFitWarning
from skelbo.em.loop import AscentError

# Smallest variance, in units of the columns' own, that "auto" admits. Far above rounding
# (1e-16, or 1e-14 for data that were once float32), far below any correlation seen in practice.
FLOOR = 1e-10
# Variances below this have no finite precision.
TINY = 1e-290
# Share of a column's variance, for each column, up to which a Cholesky pivot is rounding.
ROUNDING = 2 * np.finfo(float).eps
# Columns from which a matrix of low rank is clipped by its few eigenvectors.
MANY_COLUMNS = 64
QR_BLOCK = 64
# Number of matrices from which their triangular factors are computed side by side.
MANY_MATRICES = 32
# Cholesky pivots above this share of their columns' variances prove a matrix regular.
SAFE_PIVOT = 1e-6

ILL_DEFINED = (
    "Fitting the mixture model failed because some components have ill-defined empirical "
    "covariance (for instance caused by singleton or collapsed samples). Try to decrease the "
    "number of components, increase reg_covar, or scale the input data."
)


SINGULAR = (
    "The covariance of {what} is numerically singular (constant, duplicated or collinear columns, "
    "or too few distinct rows). Its smallest variances were kept at 1e-10 of the columns' own, so "
    "that densities depend on that number; remove such columns, use a simpler covariance_type or "
    "pass reg_covar as a number."
)


class SingularCovarianceWarning(DegenerateFitWarning):
    """Warning about a singular covariance, made regular by ``reg_covar="auto"``."""


class Regularization(ABC):
    """A rule that makes estimates of covariances regular.

    Attributes
    ----------
    always_succeeds : bool
        Whether any covariance can be made regular.
    """

    always_succeeds = False

    @abstractmethod
    def dense(self, covariances: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Regularize matrices (K, p, p).

        Returns
        -------
        covariances : ndarray of shape (K, p, p)
        precision_cholesky : ndarray of shape (K, p, p)
            U, upper triangular, with precision U U^T.
        floored : ndarray of bool, shape (K,)
            Which of them were singular.

        Raises
        ------
        AscentError
            If a matrix is still singular.
        """

    @abstractmethod
    def diagonal(self, variances: np.ndarray, isotropic: bool) -> tuple[np.ndarray, np.ndarray]:
        """Regularize variances (K, p), or (K, 1) if `isotropic`.

        Returns
        -------
        variances : ndarray of the same shape
        floored : ndarray of bool, shape (K,)
            Which components had a variance of zero.
        """


class Ridge(Regularization):
    r"""Constant added to every variance; a covariance that is still singular is an error.

    Singular is also one whose smallest variances are rounding: of sums, or of the columns' cells.
    Columns that are collinear but for cells and means off by :math:`\rho_j` have conditional
    deviations :math:`s_j`, each given the others, with :math:`\sum_j \rho_j / s_j \ge 1`.

    Parameters
    ----------
    amount : float
    rounding : ndarray of shape (n_features,) or float, default=0.0
        Variance of each column that is the rounding of its cells, and of its mean.
    """

    def __init__(self, amount: float, rounding: np.ndarray | float = 0.0):
        self.amount, self.rounding = amount, np.asarray(rounding)

    def dense(self, covariances):
        """Add the ridge to the diagonals and factorize."""
        ridged = covariances.copy()
        np.einsum("kpp->kp", ridged)[...] += self.amount
        try:
            factors = to_precision_cholesky(np.linalg.cholesky(ridged))
        except np.linalg.LinAlgError:
            raise AscentError(ILL_DEFINED) from None
        if not np.abs(factors).max() < TINY**-0.5:
            raise AscentError(ILL_DEFINED)
        conditional = 1 / np.square(factors).sum(axis=2)
        shares = conditional / np.einsum("kpp->kp", ridged)
        rounded = np.sqrt(self.rounding / conditional).sum(axis=1)
        if shares.min() < shares.shape[1] * ROUNDING or rounded.max() >= 1:
            raise AscentError(ILL_DEFINED)
        return ridged, factors, np.zeros(len(ridged), dtype=bool)

    def diagonal(self, variances, isotropic):
        """Add the ridge to the variances."""
        ridged = variances + self.amount
        smallest = self.rounding.mean() if isotropic else self.rounding
        if not np.all(ridged > np.maximum(TINY, smallest)):
            raise AscentError(ILL_DEFINED)
        return ridged, np.zeros(len(ridged), dtype=bool)


class Floor(Regularization):
    """Lower limit of all variances, `FLOOR` times those of the columns: constrained likelihood.

    Parameters
    ----------
    scale : ndarray of shape (n_features,)
        Variance of each column, positive; see `ColumnMoments.positive_variance`.
    rounding : ndarray of shape (n_features,) or float, default=0.0
        Variance of each column that is the rounding of its values: the floor is not below it.
    """

    always_succeeds = True

    def __init__(self, scale: np.ndarray, rounding: np.ndarray | float = 0.0):
        self.scale = np.maximum(scale, rounding / FLOOR)

    def dense(self, covariances):
        """Clip the eigenvalues, in units of the columns, of those matrices that need it."""
        units = np.sqrt(self.scale)
        scaled = covariances / (units[:, None] * units)
        cholesky = _safe_cholesky(scaled)
        if cholesky is not None:
            factors = to_precision_cholesky(cholesky) / units[:, None]
            return covariances, factors, np.zeros(len(scaled), dtype=bool)
        factors = np.empty_like(scaled)
        floored = np.zeros(len(scaled), dtype=bool)
        covariances = covariances.copy()
        clear = np.zeros(len(scaled), dtype=bool)
        if len(scaled) > MANY_MATRICES:
            clear = _smallest_pivots(scaled) > SAFE_PIVOT
            factors[clear] = to_precision_cholesky(np.linalg.cholesky(scaled[clear]))
        for k in np.flatnonzero(~clear):
            factor = _safe_cholesky(scaled[k])
            if factor is not None:
                factors[k] = to_precision_cholesky(factor)
                continue
            covariance, factors[k], floored[k] = _clipped(scaled[k])
            covariances[k] = covariance * (units[:, None] * units)
        return covariances, factors / units[:, None], floored

    def diagonal(self, variances, isotropic):
        """Clip the variances."""
        floor = FLOOR * (self.scale.mean() if isotropic else self.scale)
        return np.maximum(variances, floor), np.any(variances < floor, axis=1)


def column_units(variance: np.ndarray, rounding: np.ndarray) -> np.ndarray:
    """Return the scale of columns whose squares, times `FLOOR`, are the smallest variances.

    Parameters
    ----------
    variance, rounding : ndarray of shape (n_features,)
        See `Floor`.

    Returns
    -------
    ndarray of shape (n_features,)
        Standard deviations, but where a column varies by little more than its rounding.
    """
    return np.sqrt(np.maximum(variance, rounding / FLOOR))


def regularization(
    reg_covar: float | str, scale: np.ndarray, rounding: np.ndarray | float = 0.0
) -> Regularization:
    """Return the rule that the parameter `reg_covar` names: "auto" or an amount; see `Floor`."""
    if isinstance(reg_covar, str):
        return Floor(scale, rounding)
    return Ridge(float(reg_covar), rounding)


def to_precision_cholesky(cholesky: np.ndarray) -> np.ndarray:
    """Return U = L^-T of Cholesky factors L (..., p, p), so that the precision is U U^T."""
    if cholesky.ndim == 2:
        return linalg.lapack.dtrtri(cholesky, lower=1)[0].T
    if len(cholesky) <= MANY_MATRICES:
        inverses = [linalg.lapack.dtrtri(factor, lower=1)[0].T for factor in cholesky]
        return np.array(inverses).reshape(cholesky.shape)  # of no matrices, too
    upper = np.zeros_like(cholesky)
    for i, row in enumerate(cholesky.swapaxes(0, 1)):  # forward substitution, all at once
        pivot = row[:, i]
        upper[:, :i, i] = -np.einsum("kij,kj->ki", upper[:, :i, :i], row[:, :i]) / pivot[:, None]
        upper[:, i, i] = 1 / pivot
    return upper


def _safe_cholesky(matrices: np.ndarray) -> np.ndarray | None:
    """Return the Cholesky factors of matrices (..., p, p), None unless all are clearly regular."""
    try:
        factors = np.linalg.cholesky(matrices)
    except np.linalg.LinAlgError:
        return None
    pivots = np.diagonal(factors, axis1=-2, axis2=-1)
    return factors if pivots.min() ** 2 > SAFE_PIVOT else None


def _smallest_pivots(matrices: np.ndarray) -> np.ndarray:
    """Return the smallest pivot of each of (K, p, p), NaN behind one that is not positive."""
    rest, pivots = matrices.copy(), []
    with np.errstate(all="ignore"):
        for _ in range(matrices.shape[1]):
            pivots.append(np.where(rest[:, 0, 0] > 0, rest[:, 0, 0], np.nan))
            row = rest[:, 0, 1:] / np.sqrt(pivots[-1])[:, None]
            rest = rest[:, 1:, 1:] - row[:, :, None] * row[:, None, :]
    return np.min(pivots, axis=0)


def _clipped(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
    """Clip eigenvalues at `FLOOR`; return the matrix, U of its inverse, and whether any were."""
    p = len(matrix)
    if p >= MANY_COLUMNS:
        lower, pivots, rank, _ = linalg.lapack.dpstrf(matrix, lower=1)
        if rank <= p // 2:  # its few eigenvectors are those of a small matrix
            root = np.empty((p, rank))
            root[pivots - 1] = np.tril(lower)[:, :rank]
            return *_raised(root), True
    values, vectors = np.linalg.eigh(matrix)
    clipped = np.maximum(values, FLOOR)
    U = upper_factor(vectors / np.sqrt(clipped))
    return (vectors * clipped) @ vectors.T, U, bool(values[0] < FLOOR)


def _raised(root: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return root root^T (p, p), of low rank, with eigenvalues clipped, and U of its inverse."""
    p = len(root)
    values, vectors = np.linalg.eigh(root.T @ root)
    above = values > FLOOR
    excess = (root @ vectors[:, above]) * np.sqrt(1 - FLOOR / values[above])
    covariance = excess @ excess.T
    np.einsum("pp->p", covariance)[...] += FLOOR
    # The triangular factor of a QR of sqrt(FLOOR) I on top of excess^T, which has few rows.
    upper = np.asfortranarray(np.sqrt(FLOOR) * np.eye(p))
    if excess.shape[1]:
        width = min(QR_BLOCK, p)
        upper = np.triu(linalg.lapack.dtpqrt(0, width, upper, np.asfortranarray(excess.T))[0])
    upper *= np.where(np.diagonal(upper) < 0, -1.0, 1.0)[:, None]
    return covariance, linalg.lapack.dtrtri(upper)[0]


def upper_factor(root: np.ndarray) -> np.ndarray:
    """Return the upper triangular U with positive diagonal and U U^T = root root^T."""
    upper = linalg.rq(root, mode="r")
    return upper * np.where(np.diagonal(upper) < 0, -1.0, 1.0)
