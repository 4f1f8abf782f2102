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
        """Return the joint density of some rows (a slice, or an array of integers)."""

    def log_likelihood(self, Z: np.ndarray) -> np.ndarray:
        """Return log p(x | z), (S, n), for Z of shape (S, n, d) or (S, 1, d)."""

    def log_prior(self, Z: np.ndarray) -> np.ndarray:
        """Return log p(z), (S, n) or (S, 1)."""

    def log_joint(self, Z: np.ndarray) -> np.ndarray:
        """Return log p(x, z), (S, n)."""


class BinaryJointDensity(JointDensity, Protocol):
    """log p(x, z; theta) of n rows, z binary."""

    def prior_mean(self) -> np.ndarray:
        """Return p(z_k = 1), (d,)."""

    def conditional_logit(self, Z: np.ndarray, k: int) -> np.ndarray:
        """Return log p(x, z_k=1, rest) - log p(x, z_k=0, rest).

        (S, n) for Z of shape (S, n, d); for probabilities Z of shape (n, d) its mean, (n,), over
        independent z_l, l != k.
        """

    def expected(self, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return E log p(x | z) and E log p(x, z), (n,), for independent z with means (n, d)."""


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
        """Return a rough posterior mean (n, d) and precision (n, d, d), row by row."""

    def second_start(self, mode: np.ndarray, precision: np.ndarray) -> np.ndarray:
        """Return a point (n, d) away from the mode, from which another mode may be found.

        Called only where the density is not `unimodal`.
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
        """Return log p(x, z), (S, n), and its gradient in z, (S, n, d)."""

    def defensive_draws(
        self, normal: np.ndarray, centre: np.ndarray, root: np.ndarray
    ) -> np.ndarray:
        """Return standard normals (S, n or 1, d) as draws (S, n, d) that cover the prior.

        `centre` (n, d) and `root` (n, d, d), covariance = root' root, describe the posterior.
        """

    def log_defensive_density(
        self, Z: np.ndarray, squares: np.ndarray, log_det: np.ndarray
    ) -> np.ndarray:
        """Return the log-density of `defensive_draws`, (S, n).

        `squares` (S, n) are squared Mahalanobis distances of Z to the posterior's centre, `log_det`
        (n,) half the log-determinants of its precision.
        """

    def log_likelihood_at(self, points: np.ndarray) -> np.ndarray:
        """Return log p(x | z), (n, S), at points (S, d) that all rows share."""

    def expected_sums(self, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return expected sums and numbers of observed cells, (S, p) each, for shares (n, S)."""
