"""Covariances without products of different columns."""

from __future__ import annotations

import numpy as np

from skelbo.elbo import LOG_2PI
from skelbo.gaussian.covariance import LONGEST, are_regular
from skelbo.gaussian.exponential_family import SAFE_TERMS, NaturalParameters
from skelbo.gaussian.mahalanobis import squared_distances
from skelbo.gaussian.matrices import Matrices
from skelbo.gaussian.missing_cells import IndependentCompletion
from skelbo.gaussian.moments import Moments, positive_or_one


class Diagonal(Matrices):
    """Diagonal covariances: the arithmetic of `Diag`, `Spherical` and their tied forms."""

    @classmethod
    def estimate(cls, moments: Moments) -> np.ndarray:
        """Return the maximisers (K or 1, p or 1) of the expected log-density, possibly singular."""
        weight = positive_or_one(moments.weight)
        if cls.shared:
            variances = (moments.scatter / moments.weight.sum())[None]
        else:
            variances = moments.scatter / weight[:, None]
        return variances.mean(axis=1, keepdims=True) if cls.isotropic else variances

    @classmethod
    def _from_variances(cls, variances: np.ndarray, floored: np.ndarray | None = None) -> Diagonal:
        floored = np.zeros(len(variances), dtype=bool) if floored is None else floored
        return cls(variances, 1 / np.sqrt(variances), floored)

    @classmethod
    def from_moments(cls, moments, regularization):
        """Divide the scatter by the weight, average what is shared, make the result regular."""
        variances = cls.estimate(moments)
        return cls._from_variances(*regularization.diagonal(variances, cls.isotropic))

    @classmethod
    def from_precisions(cls, precisions, K, p):
        """Invert given precisions."""
        if np.any(np.asarray(precisions) <= 0):
            raise ValueError("should be positive")
        shape = (1 if cls.shared else K, 1 if cls.isotropic else p)
        return cls._from_variances(1 / np.asarray(precisions, dtype=float).reshape(shape))

    @classmethod
    def from_public_arrays(cls, arrays, K, p):
        """Rebuild from `precisions_cholesky_`."""
        shape = (1 if cls.shared else K, 1 if cls.isotropic else p)
        factors = np.abs(np.asarray(arrays[0], dtype=np.float64).reshape(shape))
        if not factors.min() > 0:
            raise ValueError(
                "precisions_cholesky_ has a zero, expected roots of precisions; call fit again, or "
                "set np.sqrt(precisions)."
            )
        return cls(factors**-2, factors, np.zeros(shape[0], dtype=bool))

    @classmethod
    def from_vector(cls, vector, K, units):
        """Read logarithms of variances."""
        shape = (1 if cls.shared else K, 1 if cls.isotropic else len(units))
        variances = np.exp(vector.reshape(shape))
        if not are_regular(variances / (np.mean(units**2) if cls.isotropic else units**2)):
            return None
        return cls._from_variances(variances)

    def to_vector(self, units):
        """Return logarithms of variances."""
        return np.log(self.covariances).ravel()

    def _inverse(self, n_features: int) -> np.ndarray:
        squares = self.precision_cholesky**2
        return np.repeat(squares, n_features, axis=1) if self.isotropic else squares

    def _half_log_det(self, n_features: int) -> np.ndarray:
        """Half the log-determinant of each precision."""
        logs = np.add.reduce(np.log(self.precision_cholesky), axis=1)
        return n_features * logs if self.isotropic else logs

    def cancellation_size(self, means):
        """Return the sizes of the terms of x' P x for rows of the components."""
        p = means.shape[1]
        return p * np.maximum.reduce(self._inverse(p) * means**2, axis=1)

    def natural(self, means, log_weights):
        """Return eta_k = (c_k, mu_k / sigma_k^2, -1 / (2 sigma_k^2))."""
        p = means.shape[1]
        inverse = self._inverse(p)
        linear = means * inverse
        squares = linear * means
        largest = p * np.maximum.reduce(squares, axis=None)
        if not largest < SAFE_TERMS:
            return None
        eta = np.empty((len(means), self.scatter.n_statistics(p)))
        eta[:, 0] = log_weights + self._half_log_det(p) - 0.5 * p * LOG_2PI
        eta[:, 0] -= 0.5 * np.add.reduce(squares, axis=1)
        eta[:, 1 : p + 1] = linear
        if self.shared:
            return NaturalParameters(self.scatter, eta, self.reach, inverse[0], largest)
        np.multiply(inverse, -0.5, out=eta[:, p + 1 :])
        return NaturalParameters(self.scatter, eta, self.reach, None, largest)

    def log_prob(self, values, means):
        """Sum over the columns, one component at a time."""
        inverse = self._inverse(len(values))
        if self.shared:
            root = np.sqrt(inverse[0])
            distances = squared_distances(means * root, values * root[:, None])
        else:
            steps = (values - m[:, None] for m in means)
            pairs = zip(inverse, steps, strict=True)
            distances = np.array([inv @ step**2 for inv, step in pairs])
        distances += len(values) * LOG_2PI
        distances *= -0.5
        distances += self._half_log_det(len(values))[:, None]
        return distances

    def complete(self, means, block):
        """Put missing cells at their means."""
        variances = np.broadcast_to(self.covariances, means.shape)
        return IndependentCompletion(variances, means, block)

    def expected_log_prob(self, moments, regularization=None):
        """Return sum_k N_k E[log N(x; mu_k, Sigma_k)]."""
        p = moments.mean.shape[1]
        target = self.estimate(moments)
        if regularization is not None:
            target = regularization.diagonal(target, self.isotropic)[0]
        ratio = np.broadcast_to(target * self.precision_cholesky**2, (len(target), p)).sum(axis=1)
        each = self._half_log_det(p) - 0.5 * (p * LOG_2PI + ratio)
        return float(np.sum(moments.weight * each))

    def stepped(self, moments, regularization, size):
        """Step in the logarithms of the standard deviations, of which none grows by more than 1.

        A step towards a floored covariance is floored.
        """
        target, floored = regularization.diagonal(self.estimate(moments), self.isotropic)
        step = np.minimum(0.5 * (target * self.precision_cholesky**2 - 1), LONGEST)
        return self._from_variances(self.covariances * np.exp(2 * size * step), floored)

    def dense(self, n_components, n_features):
        """Return diagonal matrices."""
        variances = np.broadcast_to(self.covariances, (n_components, n_features))
        return variances[:, :, None] * np.eye(n_features)

    def color(self, noise, k):
        """Return noise times standard deviations."""
        return noise / self.precision_cholesky[0 if self.shared else k]

    def whiten(self, steps, k):
        """Return steps over standard deviations."""
        return steps * self.precision_cholesky[0 if self.shared else k]
