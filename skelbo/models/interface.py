"""Interface of a model p(x, z; theta): the attributes and methods that inference uses.

A `Model` holds hyperparameters; parameters theta are a dict of float64 arrays. Shapes: n rows, p
columns, d latents, S points or draws of z for each row, P entries of theta in the order of the
dict. Densities are in nats.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

Theta = dict[str, np.ndarray]
# Beyond this many parameters the information matrix of a built-in model is not formed.
MAX_INFORMATION = 1500


class Profile(Protocol):
    """Profile likelihood of some parameters, maximised over the others, by E- and M-steps."""

    def start(self) -> np.ndarray:
        """Return the first values of the parameters that remain."""

    def e_step(self, rest: np.ndarray) -> tuple[float, Any]:
        """Return the log-likelihood per row, in nats, and statistics for `m_step`."""

    def m_step(self, statistics: Any, rest: np.ndarray) -> np.ndarray:
        """Return better values of the parameters that remain."""

    def to_vector(self, rest: np.ndarray) -> np.ndarray:
        """Return unconstrained coordinates."""

    def from_vector(self, vector: np.ndarray) -> np.ndarray | None:
        """Return the parameters that remain, None for a vector out of range."""

    def theta(self, rest: np.ndarray) -> Theta:
        """Return all parameters of the model."""


class Model(ABC):
    """A model as inference uses it; methods that few models need have defaults.

    Implemented by the built-in models and, for a model that a user wrote in torch, by
    `skelbo.inference.user_model.adapter.TorchModel`.

    Attributes
    ----------
    latent : {"continuous", "binary"}
    n_latents : int
    constraints : dict of str to {"positive", "unit_interval", "simplex"}
        Domains of the parameters that are not real.
    closed_form : bool
        Whether `maximize` needs the moments of q only, and binary starts may be annealed.
    expandable : bool
        Whether `maximize` can also fit the mean and covariance of the prior (PX-EM).
    rotatable : bool
        Whether `rotate` leaves p(x) as it is.
    bound_is_sampled : bool
        Whether q is fitted to samples, on which its bound looks too high; see `bound_terms`.
    has_gradient : bool
        Whether `expected_gradient` is available: the bound is then raised by its gradient first.
    gaussian_posterior : bool
        Whether p(z | x) is a Gaussian, whose moments need no draws.
    max_information : int
        Largest number of parameters for which an information matrix is formed.
    unit_powers : dict of str to int
        Power of a common unit of the columns that parameters are proportional to; empty if p(x)
        does not follow such a unit.
    """

    latent: str
    n_latents: int
    constraints: dict[str, str] = {}
    closed_form = False
    expandable = False
    rotatable = False
    bound_is_sampled = False
    has_gradient = False
    gaussian_posterior = False
    max_information = MAX_INFORMATION
    unit_powers: dict[str, int] = {}

    @abstractmethod
    def check(self, X: np.ndarray) -> None:
        """Raise ValueError if the hyperparameters or X (n, p), NaN where missing, are unusable."""

    @abstractmethod
    def start(self, X: np.ndarray, weights: np.ndarray, rng: Any, number: int) -> Theta:
        """Return the first parameters of the start with this number; `weights` is (n,)."""

    @abstractmethod
    def joint(self, X: np.ndarray, theta: Theta) -> Any:
        """Return log p(x, z; theta) of these rows as a function of z, a `JointDensity`."""

    # ------------------------------------------------------------- theta step

    @abstractmethod
    def maximize(
        self,
        theta: Theta,
        X: np.ndarray,
        weights: np.ndarray,
        mean: np.ndarray,
        covariance: np.ndarray | None = None,
        *,
        n_steps: int = 2,
        expand: bool = False,
    ) -> Theta:
        """Raise the weighted sum of E log p(x, z; theta); never lower it.

        Parameters
        ----------
        theta : dict of ndarray
        X : ndarray of shape (n, p)
        weights : ndarray of shape (S, n)
            Weights of the draws times those of the rows.
        mean : ndarray of shape (S, n, d)
            Draws, or (S = 1) means of q.
        covariance : ndarray of shape (n, d, d) or (n, d), optional
            Of q.
        n_steps : int
            Number of Newton steps where there is no closed form.
        expand : bool
            Also fit the mean and covariance of the prior, if the model is `expandable`.
        """

    def maximize_at(self, theta: Theta, points, mass, totals, counts) -> Theta:
        """Raise E log p(x, z; theta) where all rows share points of z.

        Only for models whose joint density `supports_grid`. `points` is (S, d), `mass` (S,) the
        expected weight of the rows at each; `totals`, `counts` (S, p) are those of `expected_sums`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no theta step on shared points.")

    def expected_gradient(
        self, theta: Theta, X, weights: np.ndarray, mean: np.ndarray, covariance=None
    ) -> Theta:
        """Return the gradient in theta of what `maximize` raises, a dict like theta."""
        raise NotImplementedError(f"{type(self).__name__} has no gradient.")

    def profile(self, X: np.ndarray, weights: np.ndarray) -> Profile | None:
        """Return the profile likelihood where the model has one, else None."""
        return None

    def lower_limits(self, X: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return the smallest values of parameters without which the likelihood is unbounded."""
        return {}

    def away_from_boundary(self, theta: Theta) -> Theta:
        """Return theta with the probabilities of latents moved away from 0 and 1, for annealing."""
        return theta

    def relaxation(self) -> Model:
        """Return a model with this one as a special case, in which annealed chains mix better."""
        return self

    def restrict(self, theta: Theta) -> Theta:
        """Return parameters of `relaxation` as parameters of this model, as near as they can be."""
        return theta

    def diverges(self, theta: Theta) -> bool:
        """Return whether a parameter grows as it does where the likelihood has no maximum."""
        return False

    # ------------------------------------------------- rotations, derivatives

    def rotate(self, theta: Theta, rotation: np.ndarray) -> Theta:
        """Return theta for latents rotation @ z, (d, d)."""
        raise NotImplementedError(f"{type(self).__name__} is not rotatable.")

    def is_rotation_invariant(self, X: np.ndarray, posterior: str) -> bool:
        """Return whether a rotation of z leaves the bound of this family of q as it is."""
        return False

    def identify(self, theta: Theta, *, rotate: bool = True) -> Theta:
        """Return the unique form of theta: order, signs and (if `rotate`) rotation of latents."""
        return theta

    @abstractmethod
    def scores(self, theta: Theta, X: np.ndarray, Z: np.ndarray) -> np.ndarray:
        """Return the gradient of log p(x, z; theta) in theta, (S, n, P), for Z (S, n, d)."""

    @abstractmethod
    def information(self, theta: Theta, X, Z: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return minus the Hessian of E log p(x, z; theta) in theta, (P, P); `weights` (S, n)."""

    def mixed_information(
        self, theta: Theta, X, Z: np.ndarray, shares: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Return E of minus the derivatives of log p(x, z) in theta and z, and twice in z.

        (n, P, d) and (n, d, d), row by row; `shares` (S, n) are the weights of the draws. None
        where they are not available.
        """
        return None

    def expected_information(self, theta: Theta, X, weights: np.ndarray) -> np.ndarray | None:
        """Return the Fisher information of log p(X), (P, P), where it is a closed form."""
        return None

    def observed_information(self, theta: Theta, X, weights: np.ndarray) -> np.ndarray | None:
        """Return the observed information of log p(X), (P, P), where it is a closed form."""
        return None

    @abstractmethod
    def constraint_jacobian(self, theta: Theta) -> np.ndarray:
        """Return the gradients (C, P) of equations that theta fulfils by `identify` or domain."""

    def invariant_directions(self, theta: Theta) -> np.ndarray:
        """Return directions (C, P) in which theta can move without changing p(x)."""
        return self.constraint_jacobian(theta)

    # --------------------------------------------------------------- answers

    @abstractmethod
    def n_parameters(self, theta: Theta) -> int:
        """Return the number of free parameters."""

    @abstractmethod
    def mean(self, Z: np.ndarray, theta: Theta) -> np.ndarray:
        """Return E[x | z], (n, p), for Z of shape (n, d)."""

    @abstractmethod
    def sample(self, n_samples: int, theta: Theta, rng: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return draws (x, z), (n_samples, p) and (n_samples, d), of the joint."""

    @abstractmethod
    def sample_given(self, Z: np.ndarray, theta: Theta, rng: Any) -> np.ndarray:
        """Return draws of x given z, (n, p), for Z of shape (n, d)."""

    def bound_terms(self, joint: Any, q: Any) -> Any:
        """Return the `ElboTerms` of q, measured on other samples than q was fitted to."""
        return q.terms

    def warnings(self, theta: Theta, X: np.ndarray, weights: np.ndarray) -> Sequence[str | Warning]:
        """Return messages, or warnings, about parameters at the edge of their domain."""
        return []
