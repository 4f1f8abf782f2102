"""Densities of a block of rows under K Gaussians, and the moments of an M-step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

import numpy as np

from skelbo.gaussian.moments import Moments


class BlockDensity(Protocol):
    """Densities and moments of a block of rows under K weighted Gaussians."""

    def log_joint(self) -> np.ndarray:
        """Return log p(x, z = k) - h(x) of each row.

        Returns
        -------
        ndarray of shape (n_components, n_rows)
            In nats; possibly -inf for a component that no sum over those of its row would show.
        """

    def whole_log_joint(self) -> np.ndarray:
        """Return the same of every component, however small beside the others.

        Returns
        -------
        ndarray of shape (n_components, n_rows)
            In nats.
        """

    def log_base(self) -> np.ndarray | float:
        """Return h(x) of each row, which `log_joint` leaves out.

        Returns
        -------
        float or ndarray of shape (n_rows,)
            In nats.
        """

    def total_log_base(self) -> float:
        """Return the weighted sum of h(x) over the rows.

        Returns
        -------
        float
            In nats.
        """

    def moments(self, weights: np.ndarray) -> Moments:
        """Return the expected moments of the rows.

        Parameters
        ----------
        weights : ndarray of shape (n_components, n_rows)
            Responsibilities times frequency weights.

        Returns
        -------
        Moments
            Weighted sums.
        """


class CompletedDensity(ABC):
    """Densities one component at a time, to the last digit, of rows with or without gaps.

    It is a `BlockDensity` with h(x) = 0.

    Attributes
    ----------
    log_weights : ndarray of shape (n_components,)
        Logarithms of the components' probabilities.
    log_prob : ndarray of shape (n_components, n_rows)
        Log-density of the observed cells of each row under each component, in nats.
    values : ndarray of shape (n_features, n_rows) or (n_components, n_features, n_rows)
        The rows, with missing cells at their expectation under each component.
    """

    log_weights: np.ndarray
    log_prob: np.ndarray
    values: np.ndarray

    def log_joint(self) -> np.ndarray:
        """Return log p(x, z = k) of each row.

        Returns
        -------
        ndarray of shape (n_components, n_rows)
            In nats.
        """
        return self.log_prob + self.log_weights[:, None]

    def whole_log_joint(self) -> np.ndarray:
        """Return the same of every component, however small beside the others.

        Returns
        -------
        ndarray of shape (n_components, n_rows)
            In nats.
        """
        return self.log_prob + self.log_weights[:, None]

    def log_base(self) -> float:
        """Return h(x): zero, nothing is left out of `log_joint`.

        Returns
        -------
        float
            In nats.
        """
        return 0.0

    def total_log_base(self) -> float:
        """Return the weighted sum of h(x) over the rows: zero.

        Returns
        -------
        float
            In nats.
        """
        return 0.0

    @abstractmethod
    def moments(self, weights: np.ndarray) -> Moments:
        """Return the expected moments of the rows.

        Parameters
        ----------
        weights : ndarray of shape (n_components, n_rows)
            Responsibilities times frequency weights.

        Returns
        -------
        Moments
            Weighted sums.
        """
