"""A block of rows as seen by K weighted Gaussians."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from skelbo.gaussian.moments import Moments


class DensityView(ABC):
    """What is said one component at a time, to the last digit.

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
        """Return log p(x, z = k), (K, n), in nats."""
        return self.log_prob + self.log_weights[:, None]

    def log_base(self) -> float:
        """Return zero: nothing is left out of `log_joint`."""
        return 0.0

    def total_log_base(self) -> float:
        """Return zero: nothing is left out of `log_joint`."""
        return 0.0

    @abstractmethod
    def moments(self, weights: np.ndarray) -> Moments:
        """Return the expected moments of the rows, weighted (n_components, n_rows)."""
