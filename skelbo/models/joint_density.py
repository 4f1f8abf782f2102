"""Interface of a joint density: log p(x, z; theta) of some rows as a function of z.

Shapes: n rows, p columns, d latents, S points or draws of z for each row. Densities are in nats.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol, Self

import numpy as np


class JointDensity(Protocol):
    """log p(x, z; theta) of n rows as a function of z."""

    @property
    def latent(self) -> Literal["continuous", "binary"]:
        """Kind of z: real numbers, or zeros and ones (a `BinaryJointDensity`)."""

    @property
    def shape(self) -> tuple[int, int]:
        """(n, d)."""

    def take(self, rows: Any) -> Self:
        """Return the joint density of some rows.

        Parameters
        ----------
        rows : slice or ndarray of int, shape (n_rows,)
            Positions of the rows.

        Returns
        -------
        JointDensity
            Of the same kind.
        """

    def log_likelihood(self, Z: np.ndarray) -> np.ndarray:
        """Return log p(x | z).

        Parameters
        ----------
        Z : ndarray of shape (S, n, d) or (S, 1, d)
            Latents.

        Returns
        -------
        ndarray of shape (S, n)
            In nats.
        """

    def log_prior(self, Z: np.ndarray) -> np.ndarray:
        """Return log p(z).

        Parameters
        ----------
        Z : ndarray of shape (S, n, d) or (S, 1, d)
            Latents.

        Returns
        -------
        ndarray of shape (S, n) or (S, 1)
            In nats.
        """

    def log_joint(self, Z: np.ndarray) -> np.ndarray:
        """Return log p(x, z).

        Parameters
        ----------
        Z : ndarray of shape (S, n, d) or (S, 1, d)
            Latents.

        Returns
        -------
        ndarray of shape (S, n)
            In nats.
        """


class BinaryJointDensity(JointDensity, Protocol):
    """log p(x, z; theta) of n rows, z binary."""

    def prior_mean(self) -> np.ndarray:
        """Return p(z_k = 1).

        Returns
        -------
        ndarray of shape (d,)
            Probabilities.
        """

    def conditional_logit(self, Z: np.ndarray, k: int) -> np.ndarray:
        """Return log p(x, z_k=1, rest) - log p(x, z_k=0, rest).

        Parameters
        ----------
        Z : ndarray of shape (S, n, d) or (n, d)
            Latents, or probabilities of independent ones.
        k : int
            Number of the latent.

        Returns
        -------
        ndarray of shape (S, n) or (n,)
            In nats; for probabilities (n,), the mean over independent z_l, l != k.
        """

    def expected(self, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return expectations over independent latents.

        Parameters
        ----------
        mean : ndarray of shape (n, d)
            Probabilities of 1.

        Returns
        -------
        log_likelihood, log_joint : ndarray of shape (n,)
            E log p(x | z) and E log p(x, z), in nats.
        """


class ContinuousJointDensity(JointDensity, Protocol):
    """log p(x, z; theta) of n rows, z real."""

    @property
    def gaussian(self) -> bool:
        """True if p(z | x) is a Gaussian, which `start` then returns exactly."""

    @property
    def unimodal(self) -> bool:
        """True if log p(z | x) is known to have a single mode."""

    @property
    def supports_grid(self) -> bool:
        """True if `log_likelihood_at` and `expected_sums` are available."""

    @property
    def n_steps(self) -> int:
        """Largest number of steps over q between two steps over theta."""

    @property
    def block_rows(self) -> int | None:
        """Number of rows of which the cells stay in cache; None for all rows at once."""

    def start(self) -> tuple[np.ndarray, np.ndarray]:
        """Return a rough posterior of each row.

        Returns
        -------
        mean : ndarray of shape (n, d)
            Means.
        precision : ndarray of shape (n, d, d)
            Precision matrices.
        """

    def longest_step(self, root: np.ndarray) -> np.ndarray:
        """Return the largest distance of points of a trapezoid rule, infinite if not known.

        Parameters
        ----------
        root : ndarray of shape (..., d, d)
            The points are z = root^T s.

        Returns
        -------
        ndarray of shape (...)
            In units of s, along any direction.
        """

    def second_start(self, mode: np.ndarray, precision: np.ndarray) -> np.ndarray:
        """Return a point away from the mode, from which another mode may be found.

        Called only where the density is not `unimodal`.

        Parameters
        ----------
        mode : ndarray of shape (n, d)
            Modes of the rows.
        precision : ndarray of shape (n, d, d)
            Precision matrices there.

        Returns
        -------
        ndarray of shape (n, d)
            One point for each row.
        """

    def expected(self, mean: np.ndarray, covariance: np.ndarray | None = None) -> Any:
        """Return the expectations of a row under a Gaussian q.

        Parameters
        ----------
        mean : ndarray of shape (n, d)
        covariance : ndarray of shape (n, d, d) or (n, d), optional
            Full or diagonal; None for the values at `mean` itself.

        Returns
        -------
        reconstruction, energy : ndarray of shape (n,)
            E log p(x | z) and E log p(x, z).
        gradient : ndarray of shape (n, d)
            Of the energy in the mean.
        curvature : ndarray of shape (n, d, d)
            E of minus the Hessian of log p(x, z).
        """

    def gradient(self, Z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return log p(x, z) and its gradient in z.

        Parameters
        ----------
        Z : ndarray of shape (S, n, d)
            Latents.

        Returns
        -------
        log_joint : ndarray of shape (S, n)
            In nats.
        gradient : ndarray of shape (S, n, d)
            In nats per unit of z.
        """

    def defensive_draws(
        self, normal: np.ndarray, centre: np.ndarray, root: np.ndarray
    ) -> np.ndarray:
        """Return standard normals as draws that cover the prior.

        Parameters
        ----------
        normal : ndarray of shape (S, n, d) or (S, 1, d)
            Standard normals.
        centre : ndarray of shape (n, d)
            Centre of the posterior.
        root : ndarray of shape (n, d, d)
            Its covariance is root^T root.

        Returns
        -------
        ndarray of shape (S, n, d)
            Draws of z.
        """

    def log_defensive_density(
        self, Z: np.ndarray, squares: np.ndarray, log_det: np.ndarray
    ) -> np.ndarray:
        """Return the log-density of `defensive_draws`.

        Parameters
        ----------
        Z : ndarray of shape (S, n, d)
            Latents.
        squares : ndarray of shape (S, n)
            Squared Mahalanobis distances to the posterior's centre.
        log_det : ndarray of shape (n,)
            Half the log-determinants of its precision.

        Returns
        -------
        ndarray of shape (S, n)
            In nats.
        """

    def log_likelihood_at(self, points: np.ndarray) -> np.ndarray:
        """Return log p(x | z) at points that all rows share.

        Parameters
        ----------
        points : ndarray of shape (S, d)
            Points of z that all rows share.

        Returns
        -------
        ndarray of shape (n, S)
            In nats.
        """

    def expected_sums(self, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return expected sums of the cells, and their expected numbers, at shared points.

        Parameters
        ----------
        share : ndarray of shape (n, S)
            Weight of each point in the posterior of each row.

        Returns
        -------
        totals : ndarray of shape (S, p)
            Of the observed cells.
        counts : ndarray of shape (S, p)
            Numbers of observed cells.
        """
