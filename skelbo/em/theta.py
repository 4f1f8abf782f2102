"""The parameters of a model with hidden variables, as the EM engine uses them."""

from __future__ import annotations

from typing import Any, Protocol, Self

import numpy as np


class Theta(Protocol):
    """Parameters theta of a model p(x, z; theta) whose E- and M-step are in closed form; immutable.

    An implementation gets starts, restarts, acceleration and progress from `EMEngine`. The
    engine passes the statistics from the E-step to the M-step and does not read them.

    Attributes
    ----------
    is_regular : bool
        Whether no parameter had to be altered for the bound to be finite (a covariance that was
        raised to its floor, say). Of several starts, one that ends regular is preferred.
    """

    @property
    def is_regular(self) -> bool: ...  # noqa: D102

    def e_step(self, rows: Any) -> tuple[float, Any]:
        """Return log p(X; theta) and the expected statistics under p(z | X; theta).

        Parameters
        ----------
        rows : object
            The data, of whatever kind the model reads.

        Returns
        -------
        bound : float
            In nats per row: the weighted sum over the rows over the sum of the weights.
        statistics : object
            Summed over the rows.
        """

    def m_step(self, statistics: Any, regularization: Any) -> Self:
        """Return the maximiser of the expected log p(X, z).

        Parameters
        ----------
        statistics : object
            As `e_step` returns them.
        regularization : object
            Passed through from the engine; keeps covariances regular, for instance.

        Returns
        -------
        Theta
            Of the shapes of this one.

        Raises
        ------
        AscentError
            If there is no maximiser.
        """

    def to_vector(self, units: np.ndarray) -> np.ndarray:
        """Return unconstrained coordinates of theta.

        Parameters
        ----------
        units : ndarray of shape (n_features,)
            Scale of each column of X, positive: coordinates in these units are of order one.

        Returns
        -------
        ndarray of shape (n_coordinates,)
            Any real numbers are coordinates.
        """

    def from_vector(self, vector: np.ndarray, units: np.ndarray) -> Self | None:
        """Return the theta with these coordinates.

        Parameters
        ----------
        vector : ndarray of shape (n_coordinates,)
            Any numbers, possibly far from every theta that was met.
        units : ndarray of shape (n_features,)
            Scale of each column of X, positive: coordinates in these units are of order one.

        Returns
        -------
        Theta or None
            None if none has them.
        """
