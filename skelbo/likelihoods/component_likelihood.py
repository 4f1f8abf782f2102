r"""Parameters of mixture components, estimated from additive statistics.

.. math:: \log p(x \mid k) = \log h(x) + \sum_s t_s(x)\, \eta_{sk}

The weighted sums of the sufficient statistics :math:`t_s` are all that an M-step needs; the
natural parameters :math:`\eta` make the densities of all rows products of matrices.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from skelbo.likelihoods.arrays import namespace
from skelbo.likelihoods.component_derivatives import numerical_derivatives

# Finite stand-in for log 0, so that 0 log 0 = 0; results below half of it are -inf.
LOG_ZERO = -1e30
# Probabilities this near to 0 or 1, and positive parameters this near to 0 relative to their
# mean, are at the edge of their domain.
EDGE = 1e-6


class ComponentLikelihood(ABC):
    """Distribution of a column in each component of a mixture: the second half of `Likelihood`.

    Attributes
    ----------
    attribute : str
        Fitted attribute of mixtures that holds the parameters of such columns.
    domain : {"real", "positive", "unit_interval", "simplex"}
        Domain of each parameter; "simplex": those of a column are positive and add up to one.
    is_block : bool
        Whether all such columns of a mixture form one block with a covariance, as Gaussian ones.
    mean_is_parameter : bool
        Whether the first parameter is the mean.
    """

    attribute = "other_parameters_"
    domain = "real"
    is_block = False
    mean_is_parameter = True

    @abstractmethod
    def log_base(self, x: Any) -> Any:
        """Return log h(x), the part of log p(x) without parameters.

        Parameters
        ----------
        x : array of shape (..., n_features)
            Cells.

        Returns
        -------
        float or array of shape (..., n_features)
            In nats.
        """

    @abstractmethod
    def sufficient_statistics(self, x: Any) -> Any:
        """Return the terms of log p(x) that are multiplied by parameters.

        Parameters
        ----------
        x : array of shape (n_samples, n_features)
            Rows, NaN where missing.

        Returns
        -------
        array of shape (n_statistics, n_samples, n_features)
            Zero at missing cells.
        """

    def statistics(self, x: Any, weights: Any) -> Any:
        """Return weighted sums of the sufficient statistics: those of disjoint rows add up.

        Parameters
        ----------
        x : array of shape (n_samples, n_features)
            Rows, NaN where missing.
        weights : array of shape (n_samples, n_components)
            Responsibilities times frequency weights.

        Returns
        -------
        array of shape (n_statistics, n_components, n_features)
            Additive over rows.
        """
        return weights.T @ self.sufficient_statistics(x)

    @abstractmethod
    def maximize(self, statistics: Any) -> Any:
        """Return the parameters of greatest weighted likelihood.

        Parameters
        ----------
        statistics : array of shape (n_statistics, n_components, n_features)
            Sums of `statistics` over all rows.

        Returns
        -------
        array of shape (n_parameters, n_components, n_features)
            On their natural scale, the boundary included (a probability of 0, say). The first is
            the mean; a likelihood of which that is not so sets `mean_is_parameter` to False and
            overrides `component_mean`, `component_cells` and `component_sample`.
        """

    @abstractmethod
    def natural_parameters(self, parameters: Any) -> Any:
        """Return the factors of the sufficient statistics in log p(x) - log h(x).

        Parameters
        ----------
        parameters : array of shape (n_parameters, n_components, n_features)
            As `maximize` returns them.

        Returns
        -------
        array of shape (n_statistics, n_components, n_features)
            `LOG_ZERO` in place of log 0.
        """

    def component_log_prob(self, x: Any, parameters: Any) -> Any:
        """Return log p(x | component) of each row, by products of matrices.

        Parameters
        ----------
        x : array of shape (n_samples, n_features)
            Rows, NaN where missing.
        parameters : array of shape (n_parameters, n_components, n_features)
            As `maximize` returns them.

        Returns
        -------
        array of shape (n_samples, n_components)
            In nats; -inf where a component excludes the row.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo.likelihoods import LIKELIHOODS
        >>> X = np.array([[0.0], [1.0]])
        >>> LIKELIHOODS["bernoulli"].component_log_prob(X, np.array([[[0.0], [0.5]]])).round(3)
        array([[ 0.   , -0.693],
               [  -inf, -0.693]])
        """
        xp = namespace(x)
        known, values = observed_cells(x)
        base = (known * self.log_base(values)).sum(-1)
        natural = self.natural_parameters(parameters)
        products = self.sufficient_statistics(x) @ xp.swapaxes(natural, 1, 2)
        result = products.sum(0) + base[:, None]
        return xp.where(result < 0.5 * LOG_ZERO, -np.inf, result)

    def component_mean(self, parameters: Any) -> Any:
        """Return E[x | component].

        Parameters
        ----------
        parameters : array of shape (n_parameters, n_components, n_features)
            As `maximize` returns them.

        Returns
        -------
        array of shape (n_components, n_features)
            In the units of x; NaN where codes have no mean.
        """
        return parameters[0]

    def component_variance(self, parameters: Any) -> Any:
        """Return the variance of x in each component, for the forecasts of hidden Markov models.

        Parameters
        ----------
        parameters : array of shape (n_parameters, n_components, n_features)
            As `maximize` returns them.

        Returns
        -------
        array of shape (n_components, n_features)
            In squared units of x; by default NaN, as of codes.
        """
        return parameters[0] * np.nan

    def component_cells(self, parameters: Any, resp: Any) -> Any:
        """Return E[x | resp] of cells, of codes the most probable one.

        Parameters
        ----------
        parameters : array of shape (n_parameters, n_components, n_features)
            As `maximize` returns them.
        resp : array of shape (n_samples, n_components)
            Probabilities of the components.

        Returns
        -------
        array of shape (n_samples, n_features)
            In the units of x.
        """
        return resp @ parameters[0]

    def component_derivatives(
        self, x: np.ndarray, parameters: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the derivatives of log p(x | component) in the parameters of one component.

        By default from numerical derivatives of `natural_parameters`, to eight digits or so.

        Parameters
        ----------
        x : ndarray of shape (n_samples, n_features)
            Rows, NaN where missing.
        parameters : ndarray of shape (n_parameters, n_features)
            As `maximize` returns them, of one component.
        weights : ndarray of shape (n_samples,)
            Weights of the rows in the sum.

        Returns
        -------
        scores : ndarray of shape (n_samples, n_parameters, n_features)
            First derivatives of each cell; zero where it is missing.
        information : ndarray of shape (n_parameters, n_parameters, n_features)
            Weighted sum over the rows of minus the second derivatives.
        """

        def natural(theta: np.ndarray) -> np.ndarray:
            values = self.natural_parameters(theta[:, None])[:, 0]
            return np.where(values < 0.5 * LOG_ZERO, -np.inf, values)

        return numerical_derivatives(natural, self.sufficient_statistics(x), parameters, weights)

    def at_edge(self, parameters: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return which parameters are at the edge of their domain, by default of `domain`.

        Parameters
        ----------
        parameters : ndarray of shape (n_parameters, n_components, n_features)
            As `maximize` returns them.
        weights : ndarray of shape (n_components,)
            Probabilities of the components.

        Returns
        -------
        ndarray of bool, of the shape of `parameters`
            A probability within 1e-6 of 0 or 1, a positive parameter below 1e-6 of its mean.
        """
        if self.domain == "real":
            return np.zeros(parameters.shape, dtype=bool)
        if self.domain == "positive":
            level = np.maximum(weights @ parameters, 1e-300)
            return parameters < EDGE * level[:, None]
        return (parameters < EDGE) | ((self.domain == "unit_interval") & (parameters > 1 - EDGE))

    def n_free(self, n_parameters: int) -> int:
        """Return how many of the parameters of a column in a component are free.

        Parameters
        ----------
        n_parameters : int
            Length of the first axis of the result of `maximize`.

        Returns
        -------
        int
            By default all.
        """
        return n_parameters

    def coordinates(self, parameters: Any) -> Any:
        """Return coordinates of the parameters in which EM is extrapolated.

        Parameters
        ----------
        parameters : array of shape (n_parameters, n_components, n_features)
            As `maximize` returns them.

        Returns
        -------
        array of the shape of `parameters`
            Finite on the boundary; by default the parameters themselves.
        """
        return parameters

    def from_coordinates(self, coordinates: Any) -> Any:
        """Return the parameters at any coordinates, the inverse of `coordinates`.

        Parameters
        ----------
        coordinates : array of shape (n_parameters, n_components, n_features)
            Possibly outside the image of `coordinates`.

        Returns
        -------
        array of the shape of `coordinates`
            Projected onto the domain; NaN where no parameters have the coordinates.
        """
        return coordinates


def observed_cells(x: Any) -> tuple[Any, Any]:
    """Return indicators of the observed cells, and the cells, both zero where missing.

    Parameters
    ----------
    x : array of shape (..., n_features)
        Cells.

    Returns
    -------
    known, values : array of shape (..., n_features)
        Numbers like x.
    """
    xp = namespace(x)
    missing = xp.isnan(x)
    return xp.where(missing, 0.0, xp.ones_like(x)), xp.where(missing, 0.0, x)


def indicators(x: Any, n_codes: int) -> Any:
    """Return which cells have each of the codes 0, 1, ..., n_codes - 1.

    Parameters
    ----------
    x : array of shape (..., n_features)
        Cells.
    n_codes : int
        Number of codes.

    Returns
    -------
    array of shape (n_codes, ..., n_features)
        Zeros and ones, numbers like x.
    """
    xp = namespace(x)
    codes = xp.arange(n_codes).reshape(n_codes, *[1] * x.ndim)
    equal = x == (codes if xp is np else codes.to(x.device))
    return equal.astype(x.dtype) if xp is np else equal.to(x.dtype)


def ratio(total: Any, weight: Any, otherwise: float) -> Any:
    """Return total / weight, and a neutral value where there is no weight.

    Parameters
    ----------
    total : array of shape (...,)
        Numerators.
    weight : array of shape (...,)
        Denominators.
    otherwise : float
        Value where there is no weight.

    Returns
    -------
    array of shape (...,)
        Quotients.
    """
    xp = namespace(total)
    empty = weight <= 0
    return xp.where(empty, otherwise, total / xp.where(empty, 1.0, weight))


def finite_log(x: Any) -> Any:
    """Return log x, and `LOG_ZERO` for 0.

    Parameters
    ----------
    x : array of shape (...,)
        Nonnegative numbers.

    Returns
    -------
    array of shape (...,)
        `LOG_ZERO` for 0.
    """
    xp = namespace(x)
    zero = x <= 0
    return xp.where(zero, LOG_ZERO, xp.log(xp.where(zero, 1.0, x)))
