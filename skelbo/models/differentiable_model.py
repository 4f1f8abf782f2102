"""Interface of the derivatives of log p(x, z; theta) in theta, and of what leaves p(x) unchanged.

Shapes as in `skelbo.models.interface`: n rows, p columns, d latents, S points or draws of z for
each row, P entries of theta in the order of the dict, C constraints.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

Theta = dict[str, np.ndarray]


class DifferentiableModel(ABC):
    """A model whose log-density has derivatives in theta: what standard errors need.

    Attributes
    ----------
    rotatable : bool
        Whether `rotate` leaves p(x) as it is.
    """

    rotatable = False

    def rotate(self, theta: Theta, rotation: np.ndarray) -> Theta:
        """Return the parameters for rotated latents.

        Parameters
        ----------
        theta : dict of str to ndarray
            Parameters.
        rotation : ndarray of shape (d, d)
            Orthogonal matrix; the new latents are rotation @ z.

        Returns
        -------
        dict of str to ndarray
            Parameters of the same p(x).

        Raises
        ------
        NotImplementedError
            If the model is not `rotatable`.
        """
        raise NotImplementedError(f"{type(self).__name__} is not rotatable.")

    def is_rotation_invariant(self, X: np.ndarray, posterior: str) -> bool:
        """Return whether a rotation of z leaves the bound of a family of q as it is.

        Parameters
        ----------
        X : ndarray of shape (n, p)
            Rows, NaN where missing.
        posterior : {"mean_field", "full", "exact"}
            Family of q.

        Returns
        -------
        bool
            False by default.
        """
        return False

    def identify(self, theta: Theta, *, rotate: bool = True) -> Theta:
        """Return the unique form of theta: order, signs and rotation of the latents.

        Parameters
        ----------
        theta : dict of str to ndarray
            Parameters.
        rotate : bool, default=True
            Whether to rotate the latents to their unique form, too.

        Returns
        -------
        dict of str to ndarray
            Parameters of the same p(x).
        """
        return theta

    @abstractmethod
    def scores(self, theta: Theta, X: np.ndarray, Z: np.ndarray) -> np.ndarray:
        """Return the gradient of log p(x, z; theta) in theta.

        Parameters
        ----------
        theta : dict of str to ndarray
            Parameters.
        X : ndarray of shape (n, p)
            Rows, NaN where missing.
        Z : ndarray of shape (S, n, d)
            Latents.

        Returns
        -------
        ndarray of shape (S, n, P)
            One for each row and draw, in nats per unit of theta.
        """

    @abstractmethod
    def information(self, theta: Theta, X, Z: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return minus the Hessian of E log p(x, z; theta) in theta.

        Parameters
        ----------
        theta : dict of str to ndarray
            Parameters.
        X : ndarray of shape (n, p)
            Rows, NaN where missing.
        Z : ndarray of shape (S, n, d)
            Latents.
        weights : ndarray of shape (S, n)
            Weights of the draws times those of the rows.

        Returns
        -------
        ndarray of shape (P, P)
            Sum over the rows.
        """

    def scores_and_information(
        self, theta: Theta, X, Z: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return what `scores` and `information` do; a model may share work between them.

        Parameters
        ----------
        theta : dict of str to ndarray
            Parameters.
        X : ndarray of shape (n, p)
            Rows, NaN where missing.
        Z : ndarray of shape (S, n, d)
            Latents.
        weights : ndarray of shape (S, n)
            Weights of the draws times those of the rows.

        Returns
        -------
        scores : ndarray of shape (S, n, P)
        information : ndarray of shape (P, P)
        """
        return self.scores(theta, X, Z), self.information(theta, X, Z, weights)

    def mixed_information(
        self, theta: Theta, X, Z: np.ndarray, shares: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Return E of minus the derivatives of log p(x, z) in theta and z, and twice in z.

        Parameters
        ----------
        theta : dict of str to ndarray
            Parameters.
        X : ndarray of shape (n, p)
            Rows, NaN where missing.
        Z : ndarray of shape (S, n, d)
            Latents.
        shares : ndarray of shape (S, n)
            Weights of the draws.

        Returns
        -------
        mixed : ndarray of shape (n, P, d)
            In theta and z, row by row.
        latent : ndarray of shape (n, d, d)
            Twice in z. By default the result is None: they are not available.
        """
        return None

    def expected_information(self, theta: Theta, X, weights: np.ndarray) -> np.ndarray | None:
        """Return the Fisher information of log p(X), where it is a closed form.

        Parameters
        ----------
        theta : dict of str to ndarray
            Parameters.
        X : ndarray of shape (n, p)
            Rows, NaN where missing.
        weights : ndarray of shape (n,)
            Frequency weights.

        Returns
        -------
        ndarray of shape (P, P) or None
            None by default.
        """
        return None

    def observed_information(self, theta: Theta, X, weights: np.ndarray) -> np.ndarray | None:
        """Return the observed information of log p(X), where it is a closed form.

        Parameters
        ----------
        theta : dict of str to ndarray
            Parameters.
        X : ndarray of shape (n, p)
            Rows, NaN where missing.
        weights : ndarray of shape (n,)
            Frequency weights.

        Returns
        -------
        ndarray of shape (P, P) or None
            None by default.
        """
        return None

    @abstractmethod
    def constraint_jacobian(self, theta: Theta) -> np.ndarray:
        """Return the gradients of equations that theta fulfils by `identify` or its domain.

        Parameters
        ----------
        theta : dict of str to ndarray
            Parameters.

        Returns
        -------
        ndarray of shape (C, P)
            One row for each equation.
        """

    def invariant_directions(self, theta: Theta) -> np.ndarray:
        """Return directions in which theta can move without changing p(x).

        Parameters
        ----------
        theta : dict of str to ndarray
            Parameters.

        Returns
        -------
        ndarray of shape (C, P)
            By default `constraint_jacobian`.
        """
        return self.constraint_jacobian(theta)
