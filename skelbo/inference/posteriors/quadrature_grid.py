r"""Exact posterior of one or two continuous latents, on a grid that all rows share.

The trapezoid rule sums an analytic density with an error that falls like exp(-c / h) or faster in
its step h, so that the error of the sum over every other point, squared, is that of the full sum
(Trefethen and Weideman 2014). With shared points z_s, :math:`\log p(x_i \mid z_s)` of all rows is
one product of matrices, and each point is one row of the theta step, with the answers that are
expected there (Bock and Aitkin 1981).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from skelbo.data.blocks import iter_blocks
from skelbo.elbo import ElboTerms

MAX_LATENTS = 2
# The prior has 1e-13 of its mass outside; points per axis to begin with.
REACH, N_POINTS = 7.4, 37
# Largest share of a row's density that every other point may miss or add (all points: its square),
# and the share at which a refinement aims.
HALF_ERROR, AIM = 3e-6, 1e-6
# Posterior mass on the border, above which the grid is extended.
BORDER_MASS = 1e-12
# Points of one and of two latents beyond which every row gets points of its own.
MAX_SHARED_POINTS = 2**12, 2**15
# Cells (rows x points) worked on at a time: they should stay in cache.
BLOCK_CELLS = 2**17


class TooSharp(Exception):
    """Error about posteriors too narrow, or too far out, for a grid that all rows share."""


@dataclass(frozen=True)
class QuadratureGrid:
    """Equidistant points in a box of latent space.

    Attributes
    ----------
    low, high : ndarray of shape (n_latents,)
        Corners of the box.
    step : ndarray of shape (n_latents,)
        Distance between neighbours, at most.
    """

    low: np.ndarray
    high: np.ndarray
    step: np.ndarray

    @classmethod
    def over_prior(cls, n_latents: int) -> QuadratureGrid:
        """Return a grid that resolves the standard normal."""
        edge = np.full(n_latents, REACH)
        return cls(-edge, edge, 2 * edge / (N_POINTS - 1))

    @classmethod
    def for_joint(cls, joint) -> QuadratureGrid:
        """Return a grid that resolves the standard normal and the steepest log p(x | z)."""
        d = joint.shape[1]
        return cls.over_prior(d).at_most(joint.longest_step(np.eye(d)))

    def counts(self) -> np.ndarray:
        """Return the number of points along each latent, (n_latents,)."""
        return 1 + np.ceil((self.high - self.low) / self.step - 1e-9)

    def n_points(self) -> float:
        """Return the number of points."""
        return float(self.counts().prod())

    def axes(self) -> list[np.ndarray]:
        """Return the coordinates along each latent."""
        counts = self.counts().astype(int)
        return [np.linspace(*ends) for ends in zip(self.low, self.high, counts, strict=True)]

    def points(self) -> np.ndarray:
        """Return all points, (n_points, n_latents)."""
        axes = self.axes()
        return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))

    def log_volume(self) -> float:
        """Return the logarithm of the share of space that a point stands for."""
        return float(sum(np.log(axis[1] - axis[0]) for axis in self.axes()))

    def border_mass(self, weights: np.ndarray) -> np.ndarray:
        """Return the mass of weights (n, n_points) on the lower and upper borders, (n, 2, d)."""
        points = self.points()
        sides = np.hstack([points == points[0], points == points[-1]])
        return (weights @ sides).reshape(len(weights), 2, -1)

    def half_error(self, weights: np.ndarray) -> np.ndarray:
        """Return the error for weights (n, n_points) if every other point were left out, (n, d)."""
        parity = np.stack(np.meshgrid(*map(_signs, self.axes()), indexing="ij"), -1)
        return np.abs(weights @ parity.reshape(-1, len(self.low)))

    def improved(self, border: np.ndarray, half_error: np.ndarray) -> QuadratureGrid | None:
        """Return a wider or finer grid, None if this one resolves the posteriors.

        Parameters
        ----------
        border : ndarray of shape (2, n_latents)
            Largest posterior mass of a row on the lower and upper border.
        half_error : ndarray of shape (n_latents,)
            Largest error of a row if every other point along one latent were left out.
        """
        outside, coarse = border > BORDER_MASS, half_error > HALF_ERROR
        if not (outside.any() or coarse.any()):
            return None
        more = 0.25 * (self.high - self.low) * outside
        finer = np.log(np.minimum(half_error, 0.5)) / np.log(AIM)
        step = np.where(coarse, np.clip(finer, 0.5, 0.95) * self.step, self.step)
        return replace(self, low=self.low - more[0], high=self.high + more[1], step=step)

    def at_most(self, step: float | np.ndarray) -> QuadratureGrid:
        """Return a grid of the same box whose steps are at most this long."""
        return replace(self, step=np.minimum(self.step, step))

    def check_size(self) -> None:
        """Raise `TooSharp` if there are more points than all rows should share."""
        limit = MAX_SHARED_POINTS[len(self.low) - 1]
        if self.n_points() > limit:
            raise TooSharp(f"a grid that all rows share would have more than {limit} points")


@dataclass(frozen=True)
class GridPosterior:
    """The exact posterior of some rows.

    Attributes
    ----------
    mean, std : ndarray of shape (n_rows, n_latents)
    terms : ElboTerms
        The bound of each row, here equal to log p(x), in nats.
    """

    mean: np.ndarray
    std: np.ndarray
    terms: ElboTerms


def fit_grid(joint) -> GridPosterior:
    """Return the exact posterior of every row; rows do not influence each other.

    Parameters
    ----------
    joint : ContinuousJointDensity
        log p(x, z; theta) of n rows, which `supports_grid`.
    """
    n, d = joint.shape
    parts = [_resolved(joint.take(rows)) for rows in iter_blocks(n, N_POINTS**d, BLOCK_CELLS)]
    means, stds, terms = zip(*parts, strict=True)
    mean, std = np.concatenate(means), np.concatenate(stds)
    return GridPosterior(mean, std, ElboTerms.concatenate(terms))


def _resolved(joint) -> tuple[np.ndarray, np.ndarray, ElboTerms]:
    """Return means, standard deviations and bounds of some rows, on a grid that resolves them."""
    grid: QuadratureGrid | None = QuadratureGrid.for_joint(joint)
    while grid is not None:
        weighed = _GridWeights(joint, grid)
        grid = grid.improved(weighed.border(), weighed.half_error())
    return weighed.mean, weighed.std(), weighed.terms()


@dataclass(frozen=True)
class GridStatistics:
    """Expected statistics for the theta step, point by point.

    Attributes
    ----------
    points : ndarray of shape (n_points, n_latents)
    mass : ndarray of shape (n_points,)
        GridStatistics weight of the rows whose latents are there.
    totals, counts : ndarray of shape (n_points, n_features)
        GridStatistics sums of their known cells, and number of them.
    """

    points: np.ndarray
    mass: np.ndarray
    totals: np.ndarray
    counts: np.ndarray


class GridEM:
    """E-steps of EM on log p(X; theta), on a grid that all rows share.

    Parameters
    ----------
    model : Model
        One with `maximize_at`.
    X : ndarray of shape (n_rows, n_features)
        Rows, NaN where missing.
    weights : ndarray of shape (n_rows,)
    block_cells : int
        Cells (rows x points) worked on at a time.
    """

    def __init__(self, model, X, weights, block_cells: int = BLOCK_CELLS):
        self.model, self.X, self.weights = model, X, weights
        self.block_cells = block_cells
        self.grid = QuadratureGrid.over_prior(model.n_latents)

    def e_step(self, theta) -> tuple[float, GridStatistics]:
        """Return log p(X) per row in nats, and the expected statistics."""
        self.grid = self.grid.at_most(
            QuadratureGrid.for_joint(self.model.joint(self.X[:1], theta)).step
        )
        while True:
            bound, expected, improved = self._sum(theta)
            if improved is None:
                return bound, expected
            self.grid = improved

    def _sum(self, theta):
        self.grid.check_size()
        points, (n, p) = self.grid.points(), self.X.shape
        log_prob, mass = np.empty(n), np.zeros(len(points))
        totals, counts = np.zeros((len(points), p)), np.zeros((len(points), p))
        border, half_error = np.zeros((2, points.shape[1])), np.zeros(points.shape[1])
        for rows in iter_blocks(n, len(points), self.block_cells):
            joint = self.model.joint(self.X[rows], theta)
            weighed = _GridWeights(joint, self.grid)
            border = np.maximum(border, weighed.border())
            half_error = np.maximum(half_error, weighed.half_error())
            improved = self.grid.improved(border, half_error)
            if improved is not None:
                return np.nan, None, improved
            log_prob[rows] = weighed.log_prob
            share = weighed.weights
            share *= self.weights[rows, None]
            sums, numbers = joint.expected_sums(share)
            mass, totals, counts = mass + share.sum(0), totals + sums, counts + numbers
        bound = float(self.weights @ log_prob / self.weights.sum())
        return bound, GridStatistics(points, mass, totals, counts), None


class _GridWeights:
    """Posterior weights of the points for some rows, (n_rows, n_points), and log p(x)."""

    def __init__(self, joint, grid):
        grid.check_size()
        self.grid, self.points = grid, grid.points()
        self.likelihood = joint.log_likelihood_at(self.points)
        self.prior = joint.log_prior(self.points) + grid.log_volume()
        weights = self.likelihood + self.prior
        largest = weights.max(1)
        weights -= largest[:, None]
        np.exp(weights, out=weights)
        total = weights.sum(1)
        weights /= total[:, None]
        self.weights, self.log_prob = weights, largest + np.log(total)
        self.mean = weights @ self.points

    def std(self) -> np.ndarray:
        """Return the standard deviations, (n_rows, d)."""
        pairs = zip(self.points.T, self.mean.T, strict=True)
        squares = [(axis - mean[:, None]) ** 2 for axis, mean in pairs]
        return np.sqrt([(self.weights * square).sum(1) for square in squares]).T

    def terms(self) -> ElboTerms:
        reconstruction = (self.weights * self.likelihood).sum(1)
        energy = reconstruction + self.weights @ (self.prior - self.grid.log_volume())
        return ElboTerms.from_energy(reconstruction, energy, self.log_prob - energy)

    def border(self) -> np.ndarray:
        """Return the largest mass of a row on each border, (2, d)."""
        return self.grid.border_mass(self.weights).max(0)

    def half_error(self) -> np.ndarray:
        """Return the largest error of a row if every other point of an axis were left out, (d,)."""
        return self.grid.half_error(self.weights).max(0)


def _signs(axis):
    return 1.0 - 2.0 * (np.arange(len(axis)) % 2)
