"""Interface of a model p(x, z; theta): the attributes and methods that inference uses.

A `Model` holds hyperparameters; parameters theta are a dict of float64 arrays. Shapes: n rows, p
columns, d latents, S points or draws of z for each row, P entries of theta in the order of the
dict. Densities are in nats.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from skelbo.models.differentiable_model import DifferentiableModel, Theta
from skelbo.models.profile import Profile

# Smallest and largest values of parameters by their names.
Limits = dict[str, tuple[Any, Any]]
# Beyond this many parameters the information matrix of a built-in model is not formed.
MAX_INFORMATION = 1500


class Model(DifferentiableModel):
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
    bound_is_sampled = False
    has_gradient = False
    gaussian_posterior = False
    max_information = MAX_INFORMATION
    unit_powers: dict[str, int] = {}

    @abstractmethod
    def check(self, X: np.ndarray) -> None:
        """Check the hyperparameters, and the cells of X.

        Parameters
        ----------
        X : ndarray of shape (n, p)
            Rows, NaN where missing.

        Raises
        ------
        ValueError
            If they are unusable; with parameter, value and remedy.
        """

    def check_fit(self, X: np.ndarray) -> None:
        """Check that X can be fitted, beyond what `check` asks of rows that are scored.

        Parameters
        ----------
        X : ndarray of shape (n, p)
            Rows, NaN where missing.

        Raises
        ------
        ValueError
            If values are too large for a fit; with column, value and remedy.
        """
        return None

    @abstractmethod
    def start(self, X: np.ndarray, weights: np.ndarray, rng: Any, number: int) -> Theta:
        """Return the first parameters of a start.

        Parameters
        ----------
        X : ndarray of shape (n, p)
            Rows, NaN where missing.
        weights : ndarray of shape (n,)
            Frequency weights.
        rng : numpy.random.RandomState
            Source of randomness.
        number : int
            Number of the start, from 0.

        Returns
        -------
        dict of str to ndarray
            Parameters by their names.
        """

    @abstractmethod
    def joint(self, X: np.ndarray, theta: Theta) -> Any:
        """Return log p(x, z; theta) of rows as a function of z.

        Parameters
        ----------
        X : ndarray of shape (n, p)
            Rows, NaN where missing.
        theta : dict of str to ndarray
            Parameters.

        Returns
        -------
        JointDensity
            A `BinaryJointDensity` or `ContinuousJointDensity`, by `latent`.
        """

    # ------------------------------------------------------------- theta step

    def moments_suffice(self, theta: Theta, n_rows: int) -> bool:
        """Return whether `maximize` needs no more of q than its mean and covariance.

        Parameters
        ----------
        theta : dict of str to ndarray
            Parameters.
        n_rows : int
            Number of rows.

        Returns
        -------
        bool
            `closed_form` by default.
        """
        return self.closed_form

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
        theta : dict of str to ndarray
            Parameters.
        X : ndarray of shape (n, p)
            Rows, NaN where missing.
        weights : ndarray of shape (S, n)
            Weights of the draws times those of the rows.
        mean : ndarray of shape (S, n, d)
            Draws, or (S = 1) means of q.
        covariance : ndarray of shape (n, d, d) or (n, d), optional
            Covariances or variances of q.
        n_steps : int, default=2
            Number of Newton steps where there is no closed form.
        expand : bool, default=False
            Whether to fit the mean and covariance of the prior, too, if the model is `expandable`.

        Returns
        -------
        dict of str to ndarray
            Parameters of an expected log-density that is not lower.
        """

    def maximize_at(self, theta: Theta, points, mass, totals, counts) -> Theta:
        """Raise E log p(x, z; theta) where all rows share points of z.

        Only for models whose joint density `supports_grid`.

        Parameters
        ----------
        theta : dict of str to ndarray
            Parameters.
        points : ndarray of shape (S, d)
            Points of z.
        mass : ndarray of shape (S,)
            Expected weight of the rows at each point.
        totals : ndarray of shape (S, p)
            Expected sums; see `ContinuousJointDensity.expected_sums`.
        counts : ndarray of shape (S, p)
            Expected numbers of observed cells.

        Returns
        -------
        dict of str to ndarray
            Parameters of an expected log-density that is not lower.

        Raises
        ------
        NotImplementedError
            If the model has no such step.
        """
        raise NotImplementedError(f"{type(self).__name__} has no theta step on shared points.")

    def expected_gradient(
        self, theta: Theta, X, weights: np.ndarray, mean: np.ndarray, covariance=None
    ) -> Theta:
        """Return the gradient in theta of the function that `maximize` raises.

        Parameters
        ----------
        theta : dict of str to ndarray
            Parameters.
        X : ndarray of shape (n, p)
            Rows, NaN where missing.
        weights : ndarray of shape (S, n)
            Weights of the draws times those of the rows.
        mean : ndarray of shape (S, n, d)
            Draws, or (S = 1) means of q.
        covariance : ndarray of shape (n, d, d) or (n, d), optional
            Covariances or variances of q.

        Returns
        -------
        dict of str to ndarray
            Arrays of the shapes of theta.

        Raises
        ------
        NotImplementedError
            If the model does not have `has_gradient`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no gradient.")

    def profile(self, X: np.ndarray, weights: np.ndarray) -> Profile | None:
        """Return the profile likelihood of a table, where the model has one.

        Parameters
        ----------
        X : ndarray of shape (n, p)
            Rows, NaN where missing.
        weights : ndarray of shape (n,)
            Frequency weights.

        Returns
        -------
        Profile or None
            None by default.
        """
        return None

    def lower_limits(self, X: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return the smallest values of parameters without which the likelihood is unbounded.

        Parameters
        ----------
        X : ndarray of shape (n, p)
            Rows, NaN where missing.
        weights : ndarray of shape (n,)
            Frequency weights.

        Returns
        -------
        dict of str to ndarray
            By the names of the parameters; empty by default.
        """
        return {}

    def limits(self, X: np.ndarray, weights: np.ndarray) -> Limits:
        """Return the ranges of parameters within which `maximize` keeps them.

        Parameters
        ----------
        X : ndarray of shape (n, p)
            Rows, NaN where missing.
        weights : ndarray of shape (n,)
            Frequency weights.

        Returns
        -------
        dict of str to (ndarray, ndarray)
            Smallest and largest values by the names of the parameters; by default those of
            `lower_limits`.
        """
        return {name: (low, np.inf) for name, low in self.lower_limits(X, weights).items()}

    def away_from_boundary(self, theta: Theta) -> Theta:
        """Move the probabilities of latents away from 0 and 1, for annealing.

        Parameters
        ----------
        theta : dict of str to ndarray
            Parameters.

        Returns
        -------
        dict of str to ndarray
            Theta itself by default.
        """
        return theta

    def relaxation(self) -> Model:
        """Return a model with this one as a special case, in which annealed chains mix better.

        Returns
        -------
        Model
            Itself by default.
        """
        return self

    def restrict(self, theta: Theta) -> Theta:
        """Return the parameters of this model that are nearest to some of `relaxation`.

        Parameters
        ----------
        theta : dict of str to ndarray
            Parameters of `relaxation`.

        Returns
        -------
        dict of str to ndarray
            Parameters of this model.
        """
        return theta

    def diverges(self, theta: Theta) -> bool:
        """Return whether a parameter grows as it does where the likelihood has no maximum.

        Parameters
        ----------
        theta : dict of str to ndarray
            Parameters.

        Returns
        -------
        bool
            False by default.
        """
        return False

    # --------------------------------------------------------------- answers

    @abstractmethod
    def n_parameters(self, theta: Theta) -> int:
        """Return the number of free parameters.

        Parameters
        ----------
        theta : dict of str to ndarray
            Parameters.

        Returns
        -------
        int
            Without those that equations determine.
        """

    @abstractmethod
    def mean(self, Z: np.ndarray, theta: Theta) -> np.ndarray:
        """Return E[x | z].

        Parameters
        ----------
        Z : ndarray of shape (n, d)
            Latents.
        theta : dict of str to ndarray
            Parameters.

        Returns
        -------
        ndarray of shape (n, p)
            In the units of the data.
        """

    @abstractmethod
    def sample(self, n_samples: int, theta: Theta, rng: Any) -> tuple[np.ndarray, np.ndarray]:
        """Draw rows with their latents.

        Parameters
        ----------
        n_samples : int
            Number of rows.
        theta : dict of str to ndarray
            Parameters.
        rng : numpy.random.RandomState
            Source of randomness.

        Returns
        -------
        X : ndarray of shape (n_samples, p)
            Rows.
        Z : ndarray of shape (n_samples, d)
            Latents.
        """

    @abstractmethod
    def sample_given(self, Z: np.ndarray, theta: Theta, rng: Any) -> np.ndarray:
        """Draw rows given their latents.

        Parameters
        ----------
        Z : ndarray of shape (n, d)
            Latents.
        theta : dict of str to ndarray
            Parameters.
        rng : numpy.random.RandomState
            Source of randomness.

        Returns
        -------
        ndarray of shape (n, p)
            One draw for each row of Z.
        """

    def bound_terms(self, joint: Any, q: Any) -> Any:
        """Return the terms of the bound of q, measured on other samples than q was fitted to.

        Parameters
        ----------
        joint : JointDensity
            Of the rows.
        q : Posterior
            Fitted to the rows.

        Returns
        -------
        ElboTerms
            Arrays of shape (n,), in nats.
        """
        return q.terms

    def warnings(self, theta: Theta, X: np.ndarray, weights: np.ndarray) -> Sequence[str | Warning]:
        """Return messages, or warnings, about parameters at the edge of their domain.

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
        sequence of str or Warning
            With cause and remedy; empty by default.
        """
        return []
