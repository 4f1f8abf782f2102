r"""Covariances of few factors and noise: the mixture of factor analysers.

.. math:: \Sigma_k = \Lambda_k \Lambda_k^T + \operatorname{diag}(\psi_k), \quad
          x = \mu_k + \Lambda_k z + \varepsilon, \quad z \sim N(0, I_q)

Between `Diag` (q = 0) and `Full`, for p columns where K matrices of p x p are too many numbers: an
iteration forms none and costs O(n K p q); a start looks at one at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from skelbo.data.rows import Block
from skelbo.gaussian.covariance import BlockDensity, Covariance
from skelbo.gaussian.exponential_family import SAFE_TERMS
from skelbo.gaussian.factor_analysis.density import ExactDensity, ExpandedDensity
from skelbo.gaussian.factor_analysis.moments import JointMoments
from skelbo.gaussian.moments import Moments, Scatter
from skelbo.gaussian.regularization import FLOOR, Regularization, to_precision_cholesky


class Axes(NamedTuple):
    r"""Thin SVD of :math:`\Psi^{-1/2} \Lambda = Q \operatorname{diag}(s) V^T`, per component.

    In the basis V the posterior of the factors has a diagonal precision, :math:`1 + s^2`.
    """

    left: np.ndarray  # Q, (K, p, q)
    size: np.ndarray  # s, (K, q)
    right: np.ndarray  # V, (K, q, q)


@dataclass(frozen=True)
class Factor(Covariance):
    """Each component has its own loadings and its own noise variance per column.

    Attributes
    ----------
    loadings : ndarray of shape (n_components, n_features, n_factors)
        Up to a rotation of the factors.
    noise : ndarray of shape (n_components, n_features)
        Variances of the noise.
    floored : ndarray of bool, shape (n_components,)
        Which covariances are singular but for the floor.
    """

    loadings: np.ndarray
    noise: np.ndarray
    floored: np.ndarray

    scatter = Scatter.DIAGONAL
    state_names = ("loadings_", "noise_variances_")

    @property
    def n_factors(self) -> int:  # type: ignore[override]
        """Number of factors of each component."""
        return self.loadings.shape[2]

    # ------------------------------------------------------------ estimation

    @classmethod
    def first_moments(cls, values, weights, means, own, n_factors):
        """Join the rows with their principal components, as a first guess of the factors.

        With `own`, those of each component; else those of the rows about their component's mean.
        """
        if own:
            pairs = zip(weights, means, strict=True)
            axes = [_principal_axes(values, w[None], mean[None], n_factors) for w, mean in pairs]
        else:
            axes = [_principal_axes(values, weights, means, n_factors)] * len(weights)
        return JointMoments.of_projections(values, weights, means, np.array(axes))

    @classmethod
    def from_moments(cls, moments: Moments, regularization: Regularization) -> Factor:
        r"""Regress x on z; what is left is noise.

        The prior of z is left free, N(m, V), and the fit then written for the prior N(0, I):
        :math:`\Lambda \leftarrow S_{xz} S_{zz}^{-1} V^{1/2}`. This is the parameter-expanded EM of
        Liu, Rubin and Wu (1998): as monotone as EM, and the means are the weighted means of the
        rows, not slowed down by the factors.
        """
        assert isinstance(moments, JointMoments)
        weight = np.where(moments.weight > 0, moments.weight, 1.0)[:, None]
        loadings = moments.cross @ moments.unit_root / weight[:, :, None]
        explained = np.einsum("kpq,kpq->kp", loadings, loadings)
        whole = moments.scatter / weight
        rest = np.maximum(whole - explained, 0.0)
        noise, altered = regularization.rest(rest, whole)
        floored = altered & _singular(loadings, noise, noise > rest)
        return cls(loadings, noise, floored)

    @classmethod
    def from_precisions(cls, precisions, n_components, p):
        """Refuse: a precision does not say what of the variance is noise."""
        raise ValueError(
            "cannot start covariance_type='factor', as it does not tell factors from noise; leave "
            "precisions_init=None, or use warm_start."
        )

    @classmethod
    def from_public_arrays(cls, loadings, noise, n_components, p):
        """Rebuild from loadings and noise variances."""
        loadings = np.asarray(loadings, dtype=np.float64)
        # A variance of rows that are all but the same may be below what float32 can tell from zero.
        noise = np.maximum(noise, np.finfo(noise.dtype).tiny).astype(np.float64)
        return cls(loadings, noise, np.zeros(n_components, dtype=bool))

    @classmethod
    def from_vector(cls, vector, n_components, units):
        """Read loadings in `units` and logarithms of noise variances, clipped at the floor."""
        p = len(units)
        parts = vector.reshape(n_components, p, -1)
        shares = np.exp(parts[:, :, -1])
        if not np.all(np.isfinite(parts)) or not np.all(shares < 1 / FLOOR):
            return None
        loadings = parts[:, :, :-1] * units[:, None]
        noise = np.maximum(shares, FLOOR) * units**2
        return cls(loadings, noise, _singular(loadings, noise, shares <= FLOOR))

    def to_vector(self, units):
        """Return loadings in `units` and logarithms of the noise variances."""
        shares = np.log(self.noise / units**2)[:, :, None]
        return np.concatenate([self.loadings / units[:, None], shares], axis=2).ravel()

    def stepped(self, moments, regularization, size):
        """Refuse: the gradient step of generalized EM is for covariances without factors."""
        raise NotImplementedError("covariance_type='factor' has no gradient step")

    def expected_log_prob(self, moments, regularization=None):
        """Refuse: joint moments give the density of x and z, not that of x."""
        raise NotImplementedError("covariance_type='factor' has no gradient step")

    # ---------------------------------------------------------------- density

    @cached_property
    def root(self) -> np.ndarray:
        """Standard deviations of the noise, (K, p)."""
        return np.sqrt(self.noise)

    @cached_property
    def axes(self) -> Axes:
        """The loadings in units of the noise, by their singular values."""
        left, size, right = np.linalg.svd(self.loadings / self.root[:, :, None], False)
        return Axes(left, size, right.swapaxes(1, 2))

    @property
    def reach(self) -> float:
        """Largest cell whose square can be divided by the noise without overflow."""
        return 1e150 * min(1.0, float(self.root.min()))

    def is_safe(self, means: np.ndarray) -> bool:
        """Tell whether squares may be expanded without losing digits."""
        variances = np.einsum("kpq,kpq->kp", self.loadings, self.loadings)
        terms = ((variances + means**2) / self.noise).sum(axis=1)
        return bool(terms.max() < SAFE_TERMS)

    def density(self, means: np.ndarray, block: Block, log_weights: np.ndarray) -> BlockDensity:
        """Return what the components say of a block."""
        complete = block.observed is None
        if complete and self.is_safe(means) and block.once(Block.largest) < self.reach:
            return ExpandedDensity(self, means, log_weights, block.values)
        return ExactDensity(self, means, log_weights, block.values, block.observed)

    def log_prob(self, values, means):
        """Subtract from the noise's distance what the factors explain (Woodbury)."""
        block = Block(values, np.ones(values.shape[1]), np.arange(values.shape[1]))
        return self.density(means, block, np.zeros(len(means))).log_prob

    def dense(self, n_components, n_features):
        """Return the covariances, the only place that forms them."""
        outer = self.loadings @ self.loadings.swapaxes(1, 2)
        return outer + self.noise[:, :, None] * np.eye(n_features)

    def color(self, noise, k):
        """Return noise times a root of the covariance."""
        return self._along_axes(noise, k, 1.0) * self.root[k]

    def whiten(self, steps, k):
        """Return steps times the inverse of that root."""
        return self._along_axes(steps / self.root[k], k, -1.0)

    def _along_axes(self, rows: np.ndarray, k: int, sign: float) -> np.ndarray:
        """Stretch rows by (1 + s^2)^(sign/2) along the axes Q."""
        left, size = self.axes.left[k], self.axes.size[k]
        return rows + (rows @ left) * ((1 + size**2) ** (sign / 2) - 1) @ left.T

    # ------------------------------------------------------------- publishing

    @classmethod
    def n_parameters(cls, n_components, n_features, n_factors=0):
        """Return the number of free parameters: a rotation of the factors is not one."""
        q = free_factors(n_factors, n_features)
        each = n_features * (q + 1) - q * (q - 1) // 2
        return n_components * min(each, n_features * (n_features + 1) // 2)

    @classmethod
    def shape(cls, n_components, n_features):
        """Return the shape of the covariances."""
        return n_components, n_features, n_features

    def public_arrays(self):
        """Return loadings and noise variances; `matrices` are formed when asked for."""
        return {"loadings_": self.loadings, "noise_variances_": self.noise}

    def matrices(self) -> dict[str, np.ndarray]:
        """Return covariances, precisions and their upper triangular factors, (K, p, p)."""
        covariances = self.dense(*self.noise.shape)
        factors = to_precision_cholesky(np.linalg.cholesky(covariances))
        precisions = factors @ factors.swapaxes(1, 2)
        return {
            "covariances_": covariances,
            "precisions_": precisions,
            "precisions_cholesky_": factors,
        }


def free_factors(n_factors: int, n_features: int) -> int:
    """Return the number of factors that can matter: p - 1 already make any covariance."""
    return min(n_factors, n_features - 1)


def _singular(loadings: np.ndarray, noise: np.ndarray, at_floor: np.ndarray) -> np.ndarray:
    """Tell where the columns whose noise is at its floor are not held apart by the factors.

    One noise variance at zero does not make a covariance singular (a Heywood case); more columns
    than factors, or columns with dependent loadings, do.
    """
    n_factors, singular = loadings.shape[2], np.zeros(len(loadings), dtype=bool)
    for k in np.flatnonzero(at_floor.any(axis=1)):
        rows, rest = loadings[k][at_floor[k]], noise[k][at_floor[k]]
        scaled = rows / np.sqrt((rows**2).sum(axis=1) + rest)[:, None]
        few = len(rows) <= n_factors
        singular[k] = not few or np.linalg.svd(scaled)[1][-1] ** 2 < 100 * FLOOR
    return singular


def _principal_axes(values, weights, means, n_factors: int) -> np.ndarray:
    """Return W (q, p): W x are the leading principal components of x, brought to variance one.

    The rows (p, n) are weighted (K, n) and taken about the means (K, p) of their components; the
    columns count in units of their standard deviation.
    """
    total = weights.sum() or 1.0

    def parts() -> Iterator[np.ndarray]:
        for w, mean in zip(weights / total, means, strict=True):
            yield (values[:, w > 0] - mean[:, None]) * np.sqrt(w[w > 0])

    spread = np.sqrt(sum((part**2).sum(axis=1) for part in parts()))
    scale = np.where(spread > 0, spread, 1.0)[:, None]
    if np.count_nonzero(weights) < len(values):  # as many directions as rows: their products do
        rows = np.concatenate(list(parts()), axis=1) / scale
        size, vectors = _leading(rows.T @ rows, n_factors)
        vectors = rows @ vectors / np.sqrt(size)
    else:
        scatter = sum(part @ part.T for part in parts())
        size, vectors = _leading(scatter / scale / scale.T, n_factors)
    axes = np.zeros((len(spread), n_factors))
    axes[:, : len(size)] = vectors / np.sqrt(size)
    return (axes / scale).T


def _leading(matrix: np.ndarray, n_factors: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest eigenvalues, infinite where they are zero, and their vectors."""
    values, vectors = np.linalg.eigh(matrix)
    values, vectors = values[::-1][:n_factors], vectors[:, ::-1][:, :n_factors]
    return np.where(values > 1e-10, values, np.inf), vectors
