r"""Contract of a likelihood p(x | eta): the distribution of one column given its predictor.

A predictor :math:`\eta` is what a model or a decoder network returns for a cell: a mean, log-odds,
a log-rate. Mixtures estimate the parameters of each component instead: see
`component_likelihood`.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np

from skelbo.likelihoods.component_likelihood import ComponentLikelihood
from skelbo.likelihoods.predictor_derivatives import gaussian_mean, torch_derivatives
from skelbo.likelihoods.support import Support

# Distance of probabilities and rates from their limits where a predictor must be finite.
MARGIN = 1e-3


class Likelihood(Support, ComponentLikelihood):
    r"""Distribution of one column given its linear predictor, the same code for NumPy and torch.

    To add a likelihood, subclass this class, write the abstract methods and pass an instance
    wherever a name is accepted: ``FactorModel(2, likelihood=...)``, ``DecoderModel``,
    ``VAEEstimator``. A line in `skelbo.likelihoods.LIKELIHOODS` gives it a name there.

    Arrays of cells have shape (..., n_features) and are all of one library; functions of `arrays`
    and of `namespace` serve both. Cells and predictors broadcast.

    Attributes
    ----------
    name : str
        Name of the likelihood, its key in `LIKELIHOODS` if it has one.
    expects : str
        The values of such a column, and a remedy: the end of the error message of `check`.
    has_noise : bool
        Whether there is a noise variance beside the predictor. Models estimate it by the closed
        form of the Gaussian likelihood.
    has_codes : bool
        Whether the predictor of a cell is a vector, one entry per code: shape (..., n_codes).
    linear : bool
        Whether the log-kernel is linear in x, as in exponential families whose mean is sufficient.
    separable : bool
        Whether a column can be fitted without error by infinite loadings.
    closed : bool
        Whether the values of a column are known before the fit: of codes, their number.

    Notes
    -----
    Factor models need :math:`\log p(x \mid \eta)` to be concave in :math:`\eta`.

    `log_kernel`, `mean`, `sample` and `offset` serve models with a predictor;
    `sufficient_statistics`, `maximize` and `natural_parameters` serve mixtures. The default
    `derivatives` differentiate `log_kernel` by torch, and the default `expected` is a quadrature:
    override them where there are closed forms.

    References
    ----------
    McCullagh and Nelder (1989), *Generalized Linear Models*, sections 2.2 and 2.5.

    Examples
    --------
    Waiting times with an exponential distribution of mean :math:`e^\eta`:

    >>> import numpy as np
    >>> from skelbo.likelihoods import Likelihood
    >>> from skelbo.likelihoods.arrays import namespace
    >>> class Exponential(Likelihood):
    ...     name, expects = "exponential", "a nonnegative number; shift the column"
    ...
    ...     def supports(self, values):
    ...         return values >= 0
    ...
    ...     def log_kernel(self, x, eta, noise=1.0):
    ...         return -eta - x * namespace(eta).exp(-eta)
    ...
    ...     def mean(self, eta):
    ...         return namespace(eta).exp(eta)
    ...
    ...     def sample(self, eta, noise=1.0, rng=None):
    ...         return rng.exponential(np.exp(eta))
    ...
    ...     def offset(self, level, margin=1e-3):
    ...         return namespace(level).log(level + margin)
    ...
    ...     def sufficient_statistics(self, x):
    ...         observed = ~np.isnan(x)
    ...         return np.stack([observed, np.where(observed, x, 0.0)])
    ...
    ...     def maximize(self, statistics):
    ...         return statistics[1:] / statistics[:1]
    ...
    ...     def natural_parameters(self, parameters):
    ...         return np.stack([-np.log(parameters[0]), -1 / parameters[0]])
    >>> likelihood = Exponential()
    >>> float(likelihood.log_prob(np.array(2.0), np.array(0.0)))
    -2.0
    >>> X = np.array([[1.0], [3.0]])
    >>> likelihood.maximize(likelihood.statistics(X, np.ones((2, 1))))
    array([[[2.]]])
    """

    has_noise = False
    has_codes = False
    linear = False
    separable = False
    closed = True

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    # ---------------------------------------------------- given the predictor

    @abstractmethod
    def log_kernel(self, x: Any, eta: Any, noise: Any = 1.0) -> Any:
        """Return log p(x | eta) - log h(x), elementwise: see `log_base`.

        Parameters
        ----------
        x : array of shape (..., n_features)
            Cells.
        eta : array of shape (..., n_features) or (..., n_features, n_codes)
            Predictors.
        noise : array of shape (n_features,) or scalar
            Noise variances, for likelihoods that have them.

        Returns
        -------
        array of shape (..., n_features)
            In nats.
        """

    def log_base(self, x: Any) -> Any:
        """Return log h(x), the part of log p(x | eta) that depends on x alone.

        Parameters
        ----------
        x : array of shape (..., n_features)
            Cells.

        Returns
        -------
        float or array of shape (..., n_features)
            In nats; 0 by default.
        """
        return 0.0

    def log_prob(self, x: Any, eta: Any, noise: Any = 1.0) -> Any:
        """Return log p(x | eta).

        Parameters
        ----------
        x : array of shape (..., n_features)
            Cells.
        eta : array of shape (...,) or (..., n_codes)
            Predictors.
        noise : array of shape (n_features,) or scalar
            Noise variances, for likelihoods that have them.

        Returns
        -------
        array of shape (..., n_features)
            In nats.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo.likelihoods import LIKELIHOODS
        >>> round(float(LIKELIHOODS["bernoulli"].log_prob(np.array(1.0), np.array(0.0))), 4)
        -0.6931
        """
        return self.log_kernel(x, eta, noise) + self.log_base(x)

    def row_log_prob(self, x: Any, eta: Any, noise: Any = 1.0, mask: Any = None) -> Any:
        """Return the sum of log p(x | eta) over the observed cells of each row.

        Parameters
        ----------
        x : array of shape (..., n_features)
            Cells.
        eta : array of shape (..., n_features) or (..., n_features, n_codes)
            Predictors.
        noise : array of shape (n_features,) or scalar
            Noise variances, for likelihoods that have them.
        mask : array of shape (..., n_features), optional
            1 where observed, 0 where missing; there x must be a number all the same.

        Returns
        -------
        array of shape (...,)
            In nats.
        """
        cells = self.log_prob(x, eta, noise)
        return (cells if mask is None else cells * mask).sum(-1)

    def derivatives(self, x: Any, eta: Any, noise: Any = 1.0) -> tuple[Any, Any, Any]:
        """Return the log-kernel, its first, and minus its second derivative in eta.

        Parameters
        ----------
        x, eta : ndarray of shape (..., n_features)
            Cells and predictors.
        noise : ndarray of shape (n_features,) or scalar
            Noise variances, for likelihoods that have them.

        Returns
        -------
        value, slope, curvature : array of shape (..., n_features)
            Elementwise.
        """
        return torch_derivatives(self.log_kernel, x, eta, noise)

    def expected(
        self, x: Any, mean: Any, variance: Any, noise: Any = 1.0, reach: float = 1.0
    ) -> tuple[Any, Any, Any]:
        r"""Return means of `derivatives` over eta ~ N(mean, variance).

        They are the derivatives of the mean log-kernel (the theorems of Bonnet and of Price):
        :math:`E f'(\eta) = \partial_m E f(\eta)`, :math:`E f''(\eta) = 2\, \partial_v E f(\eta)`.

        Parameters
        ----------
        x : ndarray of shape (..., n_features)
            Cells.
        mean, variance : ndarray of shape (..., n_features)
            Of the predictors.
        noise : ndarray of shape (n_features,) or scalar
            Noise variances, for likelihoods that have them.
        reach : float
            An upper bound of all standard deviations of the fit. It alone sets the number of
            nodes, so that results for a row do not depend on the other rows.

        Returns
        -------
        value, slope, curvature : ndarray of shape (..., n_features)
            Elementwise.
        """
        return gaussian_mean(self.derivatives, x, mean, variance, noise, reach)

    def linear_form(self, eta: Any) -> tuple[Any, Any]:
        """Return s and a of a log-kernel s(eta) x - a(eta), of likelihoods that are `linear`.

        Parameters
        ----------
        eta : array of shape (..., n_features)
            Predictors.

        Returns
        -------
        s, a : array of shape (..., n_features)
            Elementwise.
        """
        constant = self.log_kernel(0.0, eta)
        return self.log_kernel(1.0, eta) - constant, -constant

    @abstractmethod
    def mean(self, eta: Any) -> Any:
        """Return E[x | eta].

        Parameters
        ----------
        eta : array of shape (..., n_features) or (..., n_features, n_codes)
            Predictors.

        Returns
        -------
        array of shape (..., n_features)
            In the units of x; of codes, the most probable one.
        """

    def average(self, eta: Any, share: Any) -> Any:
        """Return E[x] under weighted draws of eta; of codes, the most probable one.

        Parameters
        ----------
        eta : array of shape (n_draws, n_samples, n_features)
            Predictors.
        share : array of shape (n_draws, n_samples)
            Weights, which add up to one over the draws.

        Returns
        -------
        array of shape (n_samples, n_features)
            In the units of x.
        """
        return (self.mean(eta) * share[..., None]).sum(0)

    @abstractmethod
    def sample(self, eta: Any, noise: Any = 1.0, rng: Any = None) -> Any:
        """Draw x given eta.

        Parameters
        ----------
        eta : array of shape (...,) or (..., n_codes)
            Predictors.
        noise : array of shape (n_features,) or scalar
            Noise variances, for likelihoods that have them.
        rng : numpy.random.RandomState, or torch.Generator or None
            Source of randomness, of the library of `eta`; None is torch's global generator.

        Returns
        -------
        array of shape (..., n_features)
            In the units of x.
        """

    def component_sample(self, parameters: Any, labels: np.ndarray, rng: Any) -> Any:
        """Draw x from components of a mixture.

        Parameters
        ----------
        parameters : ndarray of shape (n_parameters, n_components, n_features)
            As `maximize` returns them.
        labels : ndarray of int, shape (n_samples,)
            The component of each row.
        rng : numpy.random.RandomState
            Source of randomness.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            In the units of x; by default `sample` at the predictors of the means.
        """
        with np.errstate(divide="ignore"):
            eta = self.offset(parameters[0], 0.0)
        return self.sample(eta[labels], 1.0, rng)

    def closed_at(self, n_codes: int) -> Likelihood:
        """Return the likelihood of a column with so many codes, of likelihoods with codes.

        Parameters
        ----------
        n_codes : int
            Number of codes: one more than the largest.

        Returns
        -------
        Likelihood
            By default itself.
        """
        return self

    # ------------------------------------------------------------ first values

    @abstractmethod
    def offset(self, level: Any, margin: float = MARGIN) -> Any:
        """Return the predictor of a column with this mean.

        Parameters
        ----------
        level : array of shape (...,) or (..., n_codes)
            Means of columns; of codes, their relative frequencies.
        margin : float, default=1e-3
            Distance that probabilities and rates keep from their limits; 0 may give infinity.

        Returns
        -------
        array of the shape of `level`
            Predictors.
        """

    def working_response(self, x: Any, noise: Any = 1.0) -> tuple[Any, Any]:
        """Return a rough predictor of each cell, and its precision.

        By default that of a mean equal to the cell, about 1/2 away from a limit.

        Parameters
        ----------
        x : array of shape (..., n_features)
            Cells.
        noise : array of shape (n_features,) or scalar
            Noise variances, for likelihoods that have them.

        Returns
        -------
        eta, precision : array of shape (..., n_features)
            The precision is positive.
        """
        eta = self.offset(x, 0.5)
        return eta, np.maximum(self.derivatives(x, eta, noise)[2], 1e-10)

    def information(self, level: Any, variance: Any) -> Any:
        """Return the Fisher information of eta in a cell of a column with these moments.

        Parameters
        ----------
        level, variance : array of shape (n_features,)
            Mean and variance of each column.

        Returns
        -------
        array of shape (n_features,)
            Minus the expected second derivative of log p(x | eta).
        """
        return self.derivatives(level, self.offset(level))[2]
