r"""Contract of a likelihood p(x | eta): the distribution of one column given its predictor.

A predictor :math:`\eta` is what a model or a decoder network returns for a cell: a mean, log-odds,
a log-rate. Mixtures estimate the parameters of each component from weighted sums instead.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from skelbo.likelihoods.arrays import namespace
from skelbo.likelihoods.quadrature import trapezoid

# Distance of probabilities and rates from their limits where a predictor must be finite.
MARGIN = 1e-3
# Finite stand-in for log 0, so that 0 log 0 = 0; results below half of it are -inf.
LOG_ZERO = -1e30


class Likelihood(ABC):
    r"""Distribution of one column given its linear predictor, the same code for NumPy and torch.

    To add a likelihood, subclass this class, write the abstract methods and pass an instance
    wherever a name is accepted: ``FactorModel(2, likelihood=...)``, ``DecoderModel``,
    ``VAEEstimator``. A line in `skelbo.likelihoods.LIKELIHOODS` gives it a name there.

    Arrays of cells have shape (..., n_features) and are all of one library; functions of `arrays`
    and of `namespace` serve both. Cells and predictors broadcast.

    Attributes
    ----------
    name : str
        Word of the vocabulary.
    expects : str
        The values of such a column, and a remedy: the end of the error message of `check`.
    has_noise : bool
        Whether there is a noise variance beside the predictor. Models estimate it by the closed
        form of the Gaussian likelihood.
    has_codes : bool
        Whether the predictor of a cell is a vector, one entry per code: shape (..., n_codes).
    separable : bool
        Whether a column can be fitted without error by infinite loadings.

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

    name: str
    expects: str
    has_noise = False
    has_codes = False
    separable = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    # ----------------------------------------------------------------- values

    @abstractmethod
    def supports(self, values: np.ndarray) -> np.ndarray:
        """Return whether values, which are not NaN, have a density, a boolean array."""

    def check(
        self,
        X: np.ndarray,
        columns: Sequence[int] | np.ndarray | None = None,
        first_row: int | None = None,
    ) -> None:
        """Raise an error that names the first cell without a density.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Rows, NaN where missing.
        columns : sequence of int, optional
            The columns to check; all by default.
        first_row : int, optional
            Number of the first row of X in the user's table; by default no row is named.

        Raises
        ------
        ValueError
            With the column, the value and a remedy.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo.likelihoods import LIKELIHOODS
        >>> LIKELIHOODS["poisson"].check(np.array([[0.0, 2.0], [3.0, np.nan]]))
        """
        chosen = np.arange(X.shape[1]) if columns is None else np.asarray(columns)
        values = X if columns is None else X[:, chosen]
        with np.errstate(invalid="ignore"):
            bad = ~(self.supports(values) | np.isnan(values))
        if not bad.any():
            return
        row, column = np.argwhere(bad)[0]
        value = values[row, column]
        negative = "Negative values in data: " if value < 0 else ""
        place = "" if first_row is None else f" in row {first_row + row}"
        raise ValueError(
            f"{negative}column {chosen[column]} of X has the value {value:g}{place}, but "
            f"likelihood {self.name!r} expected {self.expects}, or use likelihood 'gaussian'."
        )

    # ---------------------------------------------------- given the predictor

    @abstractmethod
    def log_kernel(self, x: Any, eta: Any, noise: Any = 1.0) -> Any:
        """Return log p(x | eta) - log h(x), in nats, elementwise: see `log_base`."""

    def log_base(self, x: Any) -> Any:
        """Return log h(x), the part of log p(x | eta) that depends on x alone; 0 by default."""
        return 0.0

    def log_prob(self, x: Any, eta: Any, noise: Any = 1.0) -> Any:
        """Return log p(x | eta).

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
        x, eta, noise : array
            As for `log_prob`.
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
        x, eta, noise : array
            As for `log_prob`; NumPy.

        Returns
        -------
        value, slope, curvature : array of shape (..., n_features)
            Elementwise.
        """
        import torch

        with torch.inference_mode(False), torch.enable_grad():
            cells = [torch.as_tensor(np.asarray(a, dtype=np.float64)) for a in (x, eta, noise)]
            point = cells[1].expand(torch.broadcast_shapes(*(c.shape for c in cells))).clone()
            point.requires_grad_()
            value = self.log_kernel(cells[0], point, cells[2])
            (slope,) = torch.autograd.grad(value.sum(), point, create_graph=True)
            (bend,) = torch.autograd.grad(slope.sum() + 0.0 * point.sum(), point)
        return value.detach().numpy(), slope.detach().numpy(), -bend.numpy()

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
        deviation = np.sqrt(variance)
        totals = [np.zeros_like(mean) for _ in range(3)]
        for node, weight in zip(*trapezoid(reach), strict=True):
            for total, part in zip(
                totals, self.derivatives(x, mean + node * deviation, noise), strict=True
            ):
                total += weight * part
        return totals[0], totals[1], totals[2]

    def log_normalizer(self, eta: Any) -> Any:
        """Return a(eta) of a log-kernel x * eta - a(eta); for natural predictors without noise."""
        return -self.log_kernel(0.0, eta)

    @abstractmethod
    def mean(self, eta: Any) -> Any:
        """Return E[x | eta]; of codes, the most probable one."""

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
        eta : array of shape (..., n_features) or (..., n_features, n_codes)
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
        """
        eta = self.offset(x, 0.5)
        return eta, np.maximum(self.derivatives(x, eta, noise)[2], 1e-10)

    def information(self, level: Any, variance: Any) -> Any:
        """Return the Fisher information of eta in a cell of a column with these moments."""
        return self.derivatives(level, self.offset(level))[2]

    # ------------------------------------------------- parameters of components

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
            On their natural scale, the boundary included (a probability of 0, say).
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


def observed_cells(x: Any) -> tuple[Any, Any]:
    """Return indicators of the observed cells, and the cells, both zero where missing."""
    xp = namespace(x)
    missing = xp.isnan(x)
    return xp.where(missing, 0.0, xp.ones_like(x)), xp.where(missing, 0.0, x)


def indicators(x: Any, n_codes: int) -> Any:
    """Return which cells have each of the codes 0, 1, ..., (n_codes, ...)."""
    xp = namespace(x)
    return xp.stack([xp.where(x == code, xp.ones_like(x), 0.0) for code in range(n_codes)])


def ratio(total: Any, weight: Any, otherwise: float) -> Any:
    """Return total / weight, and a neutral value where there is no weight."""
    xp = namespace(total)
    empty = weight <= 0
    return xp.where(empty, otherwise, total / xp.where(empty, 1.0, weight))


def finite_log(x: Any) -> Any:
    """Return log x, and `LOG_ZERO` for 0."""
    xp = namespace(x)
    zero = x <= 0
    return xp.where(zero, LOG_ZERO, xp.log(xp.where(zero, 1.0, x)))
