r"""Densities, expected factors and moments of a block of rows under K factor analysers.

With :math:`y = \Psi^{-1/2} (x - \mu)` and :math:`\Psi^{-1/2} \Lambda = Q \operatorname{diag}(s)
V^T`, in the basis V,

.. math::
    \hat z = \frac{s}{1 + s^2} Q^T y, \quad \operatorname{Var}(z \mid x) = \frac{1}{1 + s^2}, \quad
    (x - \mu)^T \Sigma^{-1} (x - \mu) = |y|^2 - \Big|\frac{s}{\sqrt{1 + s^2}} Q^T y\Big|^2
    = |y - Q (s \hat z)|^2 + |\hat z|^2 .

The first form of the distance is two matrix products for all components at once; the second loses
no digits where a noise variance is tiny, and holds for any subset of the columns.
Ghahramani and Hinton (1996), *The EM algorithm for mixtures of factor analyzers*.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple, Protocol

import numpy as np

from skelbo.data.rows import over_rows
from skelbo.elbo import LOG_2PI
from skelbo.gaussian.block_density import CompletedDensity
from skelbo.gaussian.factor_analysis.moments import JointMoments


class Axes(NamedTuple):
    r"""Thin SVD of :math:`\Psi^{-1/2} \Lambda = Q \operatorname{diag}(s) V^T`, per component.

    In the basis V the posterior of the factors has a diagonal precision, :math:`1 + s^2`.
    """

    left: np.ndarray  # Q, (K, p, q)
    size: np.ndarray  # s, (K, q)
    right: np.ndarray  # V, (K, q, q)


class Factors(Protocol):
    """Loadings (K, p, q), noise variances (K, p), their roots, and the axes of the loadings."""

    @property
    def loadings(self) -> np.ndarray: ...  # noqa: D102
    @property
    def noise(self) -> np.ndarray: ...  # noqa: D102
    @property
    def root(self) -> np.ndarray: ...  # noqa: D102
    @property
    def axes(self) -> Axes: ...  # noqa: D102


class ExpandedDensity(CompletedDensity):
    """Complete rows, squares expanded: matrix products for all components together."""

    def __init__(self, factors: Factors, means: np.ndarray, log_weights: np.ndarray, values):
        self.factors, self.means, self.values = factors, means, values
        self.log_weights = log_weights
        left, size, _ = factors.axes
        K, p, q = left.shape
        inverse, shrink = 1 / factors.noise, size / np.sqrt(1 + size**2)
        # u = G (x - mu), whose square is what the factors explain.
        self.projection = np.ascontiguousarray(
            (left * shrink[:, None, :] / factors.root[:, :, None]).swapaxes(1, 2)
        )
        self.squares = values**2
        distances = inverse @ self.squares
        distances -= (2 * means * inverse) @ values
        distances += (means**2 * inverse).sum(axis=1)[:, None]
        explained = (self.projection.reshape(K * q, p) @ values).reshape(K, q, values.shape[1])
        explained -= (self.projection @ means[:, :, None]).reshape(K, q, 1)
        self.explained = explained
        distances -= np.einsum("kqn,kqn->kn", explained, explained)
        constants = p * LOG_2PI + np.log(factors.noise).sum(1) + np.log1p(size**2).sum(1)
        self.log_prob = -0.5 * (distances + constants[:, None])

    def moments(self, weights):
        """Sum about the origin, in one product for all components."""
        factor, means = self.factors, self.means
        _, size, right = factor.axes
        K, p, q = factor.loadings.shape
        weighted = self.explained * weights[:, None, :]
        cross = over_rows(weighted.reshape(K * q, weights.shape[1]), self.values)
        cross = cross.reshape(K, q, p).swapaxes(1, 2)
        back = right.swapaxes(1, 2) / np.sqrt(1 + size**2)[:, :, None]  # z = V u / sqrt(1 + s^2)
        weight = weights.sum(axis=1)
        nothing = np.zeros((K, q, q))
        sums = JointMoments.centred(
            np.zeros_like(means),
            weight,
            over_rows(weights, self.values),
            over_rows(weights, self.squares),
            np.einsum("kq,kqr->kr", weighted.sum(axis=2), back),
            cross @ back,
            nothing,
        )
        expected = back.swapaxes(1, 2) @ self.projection @ sums.cross
        spread = (right / (1 + size**2)[:, None, :]) @ right.swapaxes(1, 2)
        scatter = 0.5 * (expected + expected.swapaxes(1, 2)) + weight[:, None, None] * spread
        return replace(sums, factor_scatter=scatter)


class ExactDensity(CompletedDensity):
    """Any rows, one component at a time: missing cells, tiny noise, far means."""

    def __init__(self, factors: Factors, means: np.ndarray, log_weights, values, observed=None):
        self.factors, self.means, self.log_weights = factors, means, log_weights
        self.observed = observed
        if observed is None:
            self.seen = np.ones((1, len(values)))
            self.pattern = np.zeros(values.shape[1], dtype=np.intp)
        else:
            patterns, pattern = np.unique(observed, axis=1, return_inverse=True)
            self.seen, self.pattern = patterns.T.astype(float), pattern.ravel()
        parts = [self._component(k, values) for k in range(len(means))]
        log_prob, scores, spreads, filled = zip(*parts, strict=True)
        self.log_prob, self.scores, self.spreads = np.array(log_prob), scores, spreads
        self.values = values if observed is None else np.array(filled)

    def _component(self, k: int, values: np.ndarray):
        """Return density, expected factors, their covariance per pattern, and filled rows."""
        left, size = self.factors.axes.left[k], self.factors.axes.size[k]
        root, mean = self.factors.root[k][:, None], self.means[k][:, None]
        scaled = left * size
        white = self._known((values - mean) / root)
        lower = np.linalg.cholesky(self._precisions(scaled, size))
        half_log_det = np.log(np.diagonal(lower, 0, 1, 2)).sum(axis=1)
        half_log_det += self.seen @ (np.log(self.factors.root[k]) + 0.5 * LOG_2PI)
        # Two triangular products lose half the digits that one with the inverse would.
        inverse = np.linalg.inv(lower)
        spread = inverse.swapaxes(1, 2) @ inverse
        scores = scaled.T @ white
        if len(spread) == 1:
            scores = inverse[0].T @ (inverse[0] @ scores)
        else:
            each = inverse[self.pattern]
            scores = (each.swapaxes(1, 2) @ (each @ scores.T[:, :, None]))[:, :, 0].T
        fit = scaled @ scores
        rest = self._known(white - fit)
        distances = np.einsum("pn,pn->n", rest, rest) + np.einsum("qn,qn->n", scores, scores)
        log_prob = -0.5 * distances - half_log_det[self.pattern]
        if self.observed is None:
            return log_prob, scores, spread, None
        return log_prob, scores, spread, np.where(self.observed, values, mean + root * fit)

    def _known(self, white: np.ndarray) -> np.ndarray:
        """Return deviations with zeros where cells are missing."""
        return white if self.observed is None else np.where(self.observed, white, 0.0)

    def _precisions(self, scaled: np.ndarray, size: np.ndarray) -> np.ndarray:
        """Return the precision of the factors given each pattern of observed cells."""
        n_factors = len(size)
        if self.observed is None:
            return np.diag(1 + size**2)[None]
        pairs = (scaled[:, :, None] * scaled[:, None, :]).reshape(len(scaled), n_factors**2)
        products = (self.seen @ pairs).reshape(len(self.seen), n_factors, n_factors)
        return products + np.eye(n_factors)

    def moments(self, weights):
        """Sum about the means, one component at a time."""
        parts = [self._sums(k, weight) for k, weight in enumerate(weights)]
        return JointMoments.centred(
            self.means, weights.sum(axis=1), *map(np.array, zip(*parts, strict=True))
        )

    def _sums(self, k: int, weight: np.ndarray):
        """Return the sums of one component about its mean, in the basis of its loadings."""
        values = self.values if self.observed is None else self.values[k]
        left, size, right = (array[k] for array in self.factors.axes)
        scores, spread = self.scores[k], self.spreads[k]
        counts = np.bincount(self.pattern, weight, len(self.seen))
        steps = values - self.means[k][:, None]
        squares, cross = steps**2 @ weight, steps @ (scores * weight).T
        factor_squares = (scores * weight) @ scores.T + np.tensordot(counts, spread, 1)
        if self.observed is not None:
            loadings = self.factors.root[k][:, None] * left * size
            gaps = (1 - self.seen.T) * counts
            hidden = np.einsum("pij,pj->pi", np.tensordot(gaps, spread, 1), loadings)
            cross += hidden
            squares += (hidden * loadings).sum(axis=1) + gaps.sum(axis=1) * self.factors.noise[k]
        return (
            steps @ weight,
            squares,
            right @ (scores @ weight),
            cross @ right.T,
            right @ factor_squares @ right.T,
        )
