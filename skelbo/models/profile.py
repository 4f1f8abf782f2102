"""Interface of a profile likelihood, by which some models are fitted."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from skelbo.models.differentiable_model import Theta


class Profile(Protocol):
    """Profile likelihood of some parameters, maximised over the others, by E- and M-steps."""

    def start(self) -> np.ndarray:
        """Return the first values of the parameters that remain.

        Returns
        -------
        ndarray of shape (n_rest,)
            Parameters that remain.
        """

    def e_step(self, rest: np.ndarray) -> tuple[float, Any]:
        """Return the log-likelihood and the statistics for `m_step`.

        Parameters
        ----------
        rest : ndarray of shape (n_rest,)
            Parameters that remain.

        Returns
        -------
        log_likelihood : float
            Maximised over the other parameters, in nats per row.
        statistics : object
            For `m_step`.
        """

    def m_step(self, statistics: Any, rest: np.ndarray) -> np.ndarray:
        """Return better values of the parameters that remain.

        Parameters
        ----------
        statistics : object
            As `e_step` returns them.
        rest : ndarray of shape (n_rest,)
            Parameters that remain.

        Returns
        -------
        ndarray of shape (n_rest,)
            Of a likelihood that is not lower.
        """

    def to_vector(self, rest: np.ndarray) -> np.ndarray:
        """Return unconstrained coordinates.

        Parameters
        ----------
        rest : ndarray of shape (n_rest,)
            Parameters that remain.

        Returns
        -------
        ndarray of shape (n_rest,)
            Any real numbers are coordinates.
        """

    def from_vector(self, vector: np.ndarray) -> np.ndarray | None:
        """Return the parameters that remain.

        Parameters
        ----------
        vector : ndarray of shape (n_rest,)
            Coordinates.

        Returns
        -------
        ndarray of shape (n_rest,) or None
            None for a vector out of range.
        """

    def is_rounded(self, rest: np.ndarray) -> bool:
        """Return whether the log-likelihood has lost digits that a sum over rows keeps.

        Parameters
        ----------
        rest : ndarray of shape (n_rest,)
            Parameters that remain.

        Returns
        -------
        bool
            True beyond 1e-7 nats.
        """

    def theta(self, rest: np.ndarray) -> Theta:
        """Return all parameters of the model.

        Parameters
        ----------
        rest : ndarray of shape (n_rest,)
            Parameters that remain.

        Returns
        -------
        dict of str to ndarray
            As of `Model.start`.
        """
