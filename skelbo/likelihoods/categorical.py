"""Categorical likelihood: one of several codes."""

from __future__ import annotations

import numpy as np

from skelbo.likelihoods.arrays import draw_codes, namespace, special_functions, torch_of
from skelbo.likelihoods.component_derivatives import separate_derivatives
from skelbo.likelihoods.component_likelihood import finite_log, indicators, ratio
from skelbo.likelihoods.likelihood import MARGIN, Likelihood


class Categorical(Likelihood):
    r"""Code 0, 1, ..., K - 1 with probabilities :math:`\operatorname{softmax}(\eta)`.

    The predictor of a cell is a vector of K entries; an entry of -inf excludes its code, so that
    columns with different numbers of codes form one array.

    Parameters
    ----------
    n_codes : int, default=2
        K, for `sufficient_statistics`: the largest number of codes of the columns. Predictors
        have their own.
    closed : bool, default=False
        Whether larger codes than those are refused.
    """

    name = "categorical"
    expects = "integer codes 0, 1, 2, ...; encode the column, with OrdinalEncoder say"
    has_codes = True
    attribute, domain = "category_probabilities_", "simplex"
    mean_is_parameter = False

    def __init__(self, n_codes: int = 2, closed: bool = False):
        self.n_codes, self.closed = n_codes, closed
        if closed:
            self.expects = (
                f"one of the codes 0 to {n_codes - 1} of the fit; merge the code with one of them, "
                "set the cell to NaN, or fit with rows that have it"
            )

    def supports(self, values):
        """Accept nonnegative integers, up to the largest code where these are closed."""
        integers = (values >= 0) & (values == np.floor(values)) & np.isfinite(values)
        return integers & (values < self.n_codes) if self.closed else integers

    def _log_probabilities(self, eta):
        return special_functions(eta).log_softmax(eta, -1)

    def log_kernel(self, x, eta, noise=1.0):
        """Return the log-probability of each code."""
        log_probabilities = self._log_probabilities(eta)
        torch = torch_of(eta)
        if torch is not None:
            codes = x.long()[..., None].expand(*log_probabilities.shape[:-1], 1)
            return log_probabilities.gather(-1, codes)[..., 0]
        shape = np.broadcast_shapes(np.shape(x), log_probabilities.shape[:-1])
        codes = np.broadcast_to(x, shape).astype(np.intp)[..., None]
        full = np.broadcast_to(log_probabilities, (*shape, log_probabilities.shape[-1]))
        return np.take_along_axis(full, codes, -1)[..., 0]

    def mean(self, eta):
        """Return the most probable code: codes have no mean."""
        return _likeliest(self._log_probabilities(eta))

    def average(self, eta, share):
        """Return the most probable code under weighted draws of eta."""
        probabilities = namespace(eta).exp(self._log_probabilities(eta))
        return _likeliest((probabilities * share[..., None, None]).sum(0))

    def sample(self, eta, noise=1.0, rng=None):
        """Draw codes."""
        return draw_codes(namespace(eta).exp(self._log_probabilities(eta)), rng)

    def offset(self, level, margin=MARGIN):
        """Return the logarithms of the relative frequencies."""
        xp = namespace(level)
        return xp.log(xp.clip(level, margin, None))

    def sufficient_statistics(self, x):
        """Return the indicators of the codes."""
        return indicators(x, self.n_codes)

    def maximize(self, statistics):
        """Return the probability of each code; equal ones where there is no weight."""
        return ratio(statistics, statistics.sum(0), 1 / len(statistics))

    def natural_parameters(self, parameters):
        """Return the log-probabilities."""
        return finite_log(parameters)

    def component_mean(self, parameters):
        """Return NaN: codes have no mean."""
        return namespace(parameters).full_like(parameters[0], float("nan"))

    def component_cells(self, parameters, resp):
        """Return the most probable code."""
        return _likeliest(namespace(parameters).stack([resp @ p for p in parameters], -1))

    def component_sample(self, parameters, labels, rng):
        """Draw codes."""
        return draw_codes(np.moveaxis(parameters[:, labels], 0, -1), rng)

    def component_derivatives(self, x, parameters, weights):
        """Return the derivatives in the probabilities."""
        observed, safe = ~np.isnan(x[:, None]), np.maximum(parameters, 1e-300)
        hits = x[:, None] == np.arange(len(parameters))[:, None]
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            first, second = hits / safe, hits / safe**2
        return separate_derivatives(first, second, observed, weights)

    def closed_at(self, n_codes):
        """Return the likelihood that refuses codes from `n_codes` on; itself where it is closed."""
        return self if self.closed else Categorical(n_codes, closed=True)

    def n_free(self, n_parameters):
        """Return one less than the number of codes."""
        return n_parameters - 1

    def coordinates(self, parameters):
        """Return square roots of the probabilities, a point of a sphere."""
        return namespace(parameters).sqrt(parameters)

    def from_coordinates(self, coordinates):
        """Return squares of what is not negative, in proportion; NaN if nothing is positive."""
        squares = namespace(coordinates).clip(coordinates, 0.0, None) ** 2
        return squares / squares.sum(0)


def _likeliest(scores):
    codes = scores.argmax(-1)
    torch = torch_of(scores)
    return codes.astype(scores.dtype) if torch is None else codes.to(scores.dtype)
