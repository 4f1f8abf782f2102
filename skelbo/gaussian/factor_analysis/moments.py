r"""Moments of rows x joined with their hidden factors z.

The regression of x on z, which is the M-step of factor analysis, uses four sums per component:
:math:`\sum w`, the squares of x, the products :math:`x z^T` and :math:`z z^T`, all about the
means. They are additive like any moments, and p q numbers where a scatter matrix takes p p.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from skelbo.gaussian.moments import Moments, Scatter

# A variance of a factor below this is rounding: the factor is not there.
NO_VARIANCE = 1e-12


@dataclass(frozen=True)
class JointMoments(Moments):
    """Moments of x, its scatter being `Scatter.DIAGONAL`, with those of its factors z.

    Attributes
    ----------
    factor_mean : ndarray of shape (n_components, n_factors)
        Mean of z.
    cross : ndarray of shape (n_components, n_features, n_factors)
        Sum of x z^T about the means.
    factor_scatter : ndarray of shape (n_components, n_factors, n_factors)
        Sum of z z^T about the mean, the uncertainty of z included.
    """

    factor_mean: np.ndarray
    cross: np.ndarray
    factor_scatter: np.ndarray

    @classmethod
    def centred(cls, reference, weight, first, squares, factor_first, cross, factors):
        """Centre sums about `reference` (K, p) for x and about zero for z."""
        safe = np.where(weight > 0, weight, 1.0)[:, None]
        step, factor_mean = first / safe, factor_first / safe
        weighted = weight[:, None] * factor_mean
        return cls(
            Scatter.DIAGONAL,
            weight,
            reference + step,
            np.maximum(squares - weight[:, None] * step**2, 0.0),
            factor_mean,
            cross - step[:, :, None] * weighted[:, None, :],
            factors - factor_mean[:, :, None] * weighted[:, None, :],
        )

    @classmethod
    def of_projections(cls, values, weights, means, projections) -> JointMoments:
        """Join rows (p, n), weighted (K, n), with the factors ``projections[k] @ x``, known."""
        sums = []
        for weight, mean, projection in zip(weights, means, projections, strict=True):
            chosen = np.flatnonzero(weight > 0)  # clusters are mostly zeros
            steps, weight = values[:, chosen] - mean[:, None], weight[chosen]
            cross = steps @ ((projection @ steps) * weight).T
            sums.append((steps @ weight, steps**2 @ weight, cross, projection @ cross))
        first, squares, cross, factors = (np.array(part) for part in zip(*sums, strict=True))
        about_means = cls.centred(
            means,
            weights.sum(axis=1),
            first,
            squares,
            np.einsum("kqp,kp->kq", projections, first),
            cross,
            factors,
        )
        factor_mean = about_means.factor_mean + np.einsum("kqp,kp->kq", projections, means)
        return replace(about_means, factor_mean=factor_mean)

    def __add__(self, other: Moments) -> JointMoments:
        """Return the moments of both sets of rows together (Chan's update)."""
        assert isinstance(other, JointMoments)
        rows = super().__add__(other)
        share = other.weight / np.where(rows.weight > 0, rows.weight, 1.0)
        between = (self.weight * share)[:, None, None]
        steps = other.mean - self.mean
        factor_steps = other.factor_mean - self.factor_mean
        across = factor_steps[:, None, :]
        return JointMoments(
            **vars(rows),
            factor_mean=self.factor_mean + share[:, None] * factor_steps,
            cross=self.cross + other.cross + between * steps[:, :, None] * across,
            factor_scatter=self.factor_scatter
            + other.factor_scatter
            + between * factor_steps[:, :, None] * across,
        )

    def scaled(self, factor: float) -> JointMoments:
        """Return the moments of the same rows with all weights times `factor`."""
        return replace(
            self,
            weight=factor * self.weight,
            scatter=factor * self.scatter,
            cross=factor * self.cross,
            factor_scatter=factor * self.factor_scatter,
        )

    def with_shared_scatter(self) -> JointMoments:
        """Give every component the pooled scatter, in proportion to its weight."""
        share = self.weight / self.weight.sum()
        return replace(
            self,
            scatter=share[:, None] * self.scatter.sum(axis=0),
            cross=share[:, None, None] * self.cross.sum(axis=0),
            factor_scatter=share[:, None, None] * self.factor_scatter.sum(axis=0),
        )

    def with_total_scatter(self) -> JointMoments:
        """Give every component the scatter of all rows about their common mean."""
        share = self.weight / self.weight.sum()
        steps = self.mean - share @ self.mean
        factor_steps = self.factor_mean - share @ self.factor_mean
        weighted = self.weight[:, None, None] * factor_steps[:, None, :]
        return replace(
            self,
            scatter=self.scatter + self.kind.of_deviations(self.weight, steps),
            cross=self.cross + steps[:, :, None] * weighted,
            factor_scatter=self.factor_scatter + factor_steps[:, :, None] * weighted,
        ).with_shared_scatter()

    @property
    def unit_root(self) -> np.ndarray:
        """R, symmetric (K, q, q): R z has variance one, or its own where that is zero."""
        weight = np.where(self.weight > 0, self.weight, 1.0)
        values, vectors = np.linalg.eigh(self.factor_scatter / weight[:, None, None])
        size = 1 / np.sqrt(np.where(values > NO_VARIANCE, values, 1.0))
        return (vectors * size[:, None, :]) @ vectors.swapaxes(1, 2)

    def standardized(self) -> JointMoments:
        r"""Measure z from its mean and in units of its variance.

        The M-step does so to z, as its prior is N(0, I); moments that are kept for a later M-step
        must follow.
        """
        root = self.unit_root
        return replace(
            self,
            factor_mean=np.zeros_like(self.factor_mean),
            cross=self.cross @ root,
            factor_scatter=root @ self.factor_scatter @ root,
        )
