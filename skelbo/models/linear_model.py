r"""Models whose cells depend on z through a linear predictor eta = b + W z, column by column."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from skelbo.likelihoods import Likelihood
from skelbo.likelihoods.noise_floor import noise_floor
from skelbo.models.complete_derivatives import complete_information, complete_scores
from skelbo.models.interface import Model
from skelbo.models.model import LatentVariableModel


class LinearModel(Model, LatentVariableModel):
    r"""Model with :math:`\eta = b + W z` and :math:`x_j \sim p(x_j \mid \eta_j)`, on NumPy arrays.

    What the methods of inference require is described in `skelbo.models.interface.Model`.

    Attributes
    ----------
    noise : {"diag", "isotropic"}
        One noise variance for each column, or one for all.
    fit_intercept : bool
        Whether b is fitted; else it is zero.
    """

    noise: str
    fit_intercept: bool

    @property
    @abstractmethod
    def column_likelihood(self) -> Likelihood:
        """The likelihood of every column."""

    @property
    def unit_powers(self) -> dict[str, int]:  # type: ignore[override]
        """Powers of a common unit of the columns: Gaussian columns have one."""
        if not self.column_likelihood.has_noise:
            return {}
        return {"loadings": 1, "intercepts": 1, "noise_variance": 2}

    @abstractmethod
    def draw_latents(self, n_samples, theta, rng):
        """Draw z from the prior.

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
        ndarray of shape (n_samples, n_latents)
            One draw for each row.
        """

    def initialize(self, X, rng):
        """Return the parameters of the first start, which does not depend on `rng`.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Rows, NaN where missing.
        rng : numpy.random.RandomState
            Source of randomness.

        Returns
        -------
        dict of str to ndarray
            As in the notes of the class.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo.models import FactorModel
        >>> X = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
        >>> theta = FactorModel(1).initialize(X, np.random.RandomState(0))
        >>> {name: value.shape for name, value in theta.items()}
        {'loadings': (2, 1), 'intercepts': (2,), 'noise_variance': (2,)}
        """
        return self.start(np.asarray(X), np.ones(len(X)), rng, 0)

    def log_likelihood(self, X, Z, theta):
        """Return log p(x | z; theta) over the observed cells.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Rows, NaN where missing.
        Z : ndarray of shape (n_draws, n_samples, n_latents)
            Latents.
        theta : dict of str to ndarray
            Parameters.

        Returns
        -------
        ndarray of shape (n_draws, n_samples)
            In nats.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo.models import FactorModel
        >>> theta = {"loadings": np.ones((3, 1)), "intercepts": np.zeros(3)}
        >>> model = FactorModel(1, likelihood="bernoulli")
        >>> model.log_likelihood(np.ones((1, 3)), np.zeros((1, 1, 1)), theta).round(3)
        array([[-2.079]])
        """
        return self.joint(np.asarray(X), theta).log_likelihood(np.asarray(Z))

    def lower_limits(self, X, weights):
        """Return the floor of the noise variance."""
        if not self.column_likelihood.has_noise:
            return {}
        floor = noise_floor(X, weights)
        return {"noise_variance": floor if self.noise == "diag" else np.asarray(floor.mean())}

    def scores(self, theta, X, Z):
        """Return the gradient of log p(x, z; theta) in theta, (S, n, P)."""
        return complete_scores(self, theta, X, Z)

    def information(self, theta, X, Z, weights):
        """Return minus the Hessian of E log p(x, z; theta) in theta, (P, P)."""
        return complete_information(self, theta, X, Z, weights)

    def mean(self, Z, theta):
        """Return E[x | z].

        Parameters
        ----------
        Z : ndarray of shape (n_samples, n_latents)
            Latents.
        theta : dict of str to ndarray
            Parameters.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            In the units of the data: means, probabilities or rates.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo.models import FactorModel
        >>> theta = {"loadings": np.ones((2, 1)), "intercepts": np.zeros(2)}
        >>> FactorModel(1, likelihood="poisson").mean(np.array([[0.0], [1.0]]), theta).round(3)
        array([[1.   , 1.   ],
               [2.718, 2.718]])
        """
        return self.column_likelihood.mean(theta["intercepts"] + Z @ theta["loadings"].T)

    def sample(self, n_samples, theta, rng):
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
        X : ndarray of shape (n_samples, n_features)
            Rows.
        Z : ndarray of shape (n_samples, n_latents)
            Latents.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo.models import FactorModel
        >>> theta = {"loadings": np.ones((2, 1)), "intercepts": np.zeros(2)}
        >>> model = FactorModel(1, likelihood="bernoulli")
        >>> X, Z = model.sample(5, theta, np.random.RandomState(0))
        >>> X.shape, Z.shape
        ((5, 2), (5, 1))
        """
        Z = self.draw_latents(n_samples, theta, rng)
        return self.sample_given(Z, theta, rng), Z

    def sample_given(self, Z, theta, rng):
        """Draw rows given their latents, (n_samples, n_features), for Z (n_samples, n_latents)."""
        eta = theta["intercepts"] + Z @ theta["loadings"].T
        return self.column_likelihood.sample(eta, theta.get("noise_variance", 1.0), rng)
