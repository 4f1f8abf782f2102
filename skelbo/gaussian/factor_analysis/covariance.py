r"""Covariances of few factors and noise: the mixture of factor analysers.

.. math:: \Sigma_k = \Lambda_k \Lambda_k^T + \operatorname{diag}(\psi_k), \quad
          x = \mu_k + \Lambda_k z + \varepsilon, \quad z \sim N(0, I_q)

Between `Diag` (q = 0) and `Full`, for p columns where K matrices of p x p are too many numbers: an
iteration forms none and costs O(n K p q).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from skelbo.data.rows import Block
from skelbo.em.loop import AscentError
from skelbo.gaussian.block_density import CompletedDensity
from skelbo.gaussian.covariance import Covariance, CovarianceStructure
from skelbo.gaussian.exponential_family import SAFE_TERMS
from skelbo.gaussian.factor_analysis.bolder_noise import bolder_noise
from skelbo.gaussian.factor_analysis.factor_density import Axes, ExactDensity, ExpandedDensity
from skelbo.gaussian.factor_analysis.moments import JointMoments
from skelbo.gaussian.factor_analysis.principal_axes import principal_axes
from skelbo.gaussian.moments import Scatter
from skelbo.gaussian.regularization import (
    FLOOR,
    ILL_DEFINED,
    ROUNDING,
    Regularization,
    to_precision_cholesky,
)


@dataclass(frozen=True)
class FactorCovariance(Covariance):
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

    @property
    def structure(self) -> CovarianceStructure:
        """The structure with this number of factors."""
        return FactorStructure(self.loadings.shape[2])

    # ------------------------------------------------------------ estimation

    @classmethod
    def from_moments(cls, moments: Any, regularization: Regularization) -> FactorCovariance:
        r"""Regress x on z; the residual variance is noise.

        The prior of z is left free, N(m, V), and the fit then written for the prior N(0, I):
        :math:`\Lambda \leftarrow S_{xz} S_{zz}^{-1} V^{1/2}`. This is the parameter-expanded EM of
        Liu, Rubin and Wu (1998): as monotone as EM, and the means are the weighted means of the
        rows, not slowed down by the factors.
        """
        weight = np.where(moments.weight > 0, moments.weight, 1.0)[:, None]
        loadings = moments.cross @ moments.unit_root / weight[:, :, None]
        explained = np.einsum("kpq,kpq->kp", loadings, loadings)
        whole = moments.scatter / weight
        rest = np.maximum(whole - explained, 0.0)
        noise, altered = regularization.diagonal(rest, False)
        # A difference within its rounding is no variance, unless it is held off zero.
        if not regularization.always_succeeds and np.any(noise < ROUNDING * whole):
            raise AscentError(ILL_DEFINED)
        floored = altered & _singular(loadings, noise, noise > rest)
        return cls(loadings, noise, floored)

    @classmethod
    def from_public_arrays(cls, arrays, K, p):
        """Rebuild from loadings and noise variances."""
        loadings, noise = (np.asarray(array) for array in arrays)
        # A variance of nearly equal rows may be zero in float32.
        noise = np.maximum(noise, np.finfo(noise.dtype).tiny).astype(np.float64)
        return cls(loadings.astype(np.float64), noise, np.zeros(K, dtype=bool))

    @classmethod
    def from_vector(cls, vector, K, units):
        """Read loadings in `units` and logarithms of noise variances, clipped at the floor."""
        parts = vector.reshape(K, len(units), -1)
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

    def aligned(self, moments):
        """Return the moments with z from its mean and in its unit: the prior is N(0, I)."""
        return moments.standardized()

    def bolder(self, image, moments, regularization):
        """Return the image with noise variances by the bolder step."""
        noise = bolder_noise(self, moments)
        usable = np.isfinite(noise) & (moments.weight > 0)[:, None]
        noise, _ = regularization.diagonal(np.where(usable, noise, image.noise), False)
        return replace(image, noise=noise)

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
        """Return whether squares may be expanded without losing digits."""
        variances = np.einsum("kpq,kpq->kp", self.loadings, self.loadings)
        terms = ((variances + means**2) / self.noise).sum(axis=1)
        return bool(terms.max() < SAFE_TERMS)

    def density(self, means: np.ndarray, block: Block, log_weights: np.ndarray) -> CompletedDensity:
        """Return densities and moments of a block, squares expanded where that is safe."""
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

    def public_arrays(self):
        """Return loadings and noise variances; `matrices` are formed when they are read."""
        return {"loadings_": self.loadings, "noise_variances_": self.noise}

    def matrices(self) -> dict[str, np.ndarray]:
        """Return covariances, precisions and their upper triangular factors, (K, p, p)."""
        covariances = self.dense(*self.noise.shape)
        U = to_precision_cholesky(np.linalg.cholesky(covariances))
        return {
            "covariances_": covariances,
            "precisions_": U @ U.swapaxes(1, 2),
            "precisions_cholesky_": U,
        }


@dataclass(frozen=True)
class FactorStructure:
    """`CovarianceStructure` of `FactorCovariance`.

    Attributes
    ----------
    n_factors : int
        Factors per component.
    """

    n_factors: int = 0

    scatter: ClassVar[Scatter] = Scatter.DIAGONAL
    shared: ClassVar[bool] = False
    isotropic: ClassVar[bool] = False
    state_names: ClassVar[tuple[str, ...]] = ("loadings_", "noise_variances_")
    solvers: ClassVar[frozenset[str]] = frozenset({"em"})
    has_bolder_step: ClassVar[bool] = True

    from_moments = staticmethod(FactorCovariance.from_moments)
    from_vector = staticmethod(FactorCovariance.from_vector)
    from_public_arrays = staticmethod(FactorCovariance.from_public_arrays)

    def configured(self, p: int, n_factors: int) -> FactorStructure:
        """Return the structure with so many factors: p - 1 already make any covariance."""
        return FactorStructure(min(n_factors, p - 1))

    def label_moments(self, values, weights, means, own) -> JointMoments:
        """Join the rows with their principal components, as a first guess of the factors.

        With `own`, those of each component; else those of the rows about their component's mean.
        """
        q = self.n_factors
        if own:
            pairs = zip(weights, means, strict=True)
            axes = [principal_axes(values, w[None], mean[None], q) for w, mean in pairs]
        else:
            axes = [principal_axes(values, weights, means, q)] * len(weights)
        return JointMoments.of_projections(values, weights, means, np.array(axes))

    def from_precisions(self, precisions, K, p):
        """Refuse: a precision does not determine the part of the variance that is noise."""
        raise ValueError(
            "cannot start covariance_type='factor', as factors and noise are not separate; leave "
            "precisions_init=None, or use warm_start."
        )

    def n_parameters(self, K: int, p: int) -> int:
        """Return the number of free parameters: a rotation of the factors is not one."""
        q = self.n_factors
        return K * min(p * (q + 1) - q * (q - 1) // 2, p * (p + 1) // 2)

    def shape(self, K: int, p: int) -> tuple[int, ...]:
        """Return the shape of the covariances."""
        return K, p, p

    def row_cells(self, K: int, p: int) -> tuple[int, int]:
        """Return the sizes of the temporaries of a row in an E-step."""
        q = self.n_factors
        complete = 2 * K * (1 + q) + p + self.scatter.n_statistics(p)
        return complete, 2 * K * p + K * q * (1 + q) + p * q**2


def _singular(loadings: np.ndarray, noise: np.ndarray, at_floor: np.ndarray) -> np.ndarray:
    """Return where the columns whose noise is at its floor are not held apart by the factors.

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
