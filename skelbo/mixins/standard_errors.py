"""Standard errors of the estimators whose likelihood has derivatives in closed form."""

from __future__ import annotations

import copy
import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.exceptions import ConvergenceWarning

from skelbo.data.counts import is_count
from skelbo.data.random_stream import random_stream
from skelbo.data.rows import Rows
from skelbo.data.validation import InputValidation
from skelbo.data.weights import check_weights
from skelbo.mixture.mixture import Mixture
from skelbo.mixture.standard_errors import mixture_standard_errors, unsupported

METHODS = "information", "bootstrap"
NO_ROWS = (
    "standard_errors_ has not been computed here, and the rows of the fit are not (a copy, a file, "
    "a stream or a Dask collection does not keep them); call compute_standard_errors(X, "
    "sample_weight) with these rows."
)
UNSUPPORTED = (
    "standard_errors_ is not available: {reason}; call compute_standard_errors(X, sample_weight, "
    "method='bootstrap')."
)
CHANGED = (
    "the log-likelihood of these rows is {found:.6g} nats per row at the parameters, that of the "
    "fit is {expected:.6g}; pass the rows and the weights of the fit, unchanged, to "
    "compute_standard_errors(X, sample_weight)."
)
AT_A_SADDLE = (
    "log p(X) has a direction of negative information at the parameters, which are no maximum: "
    "standard errors along it are infinite; fit longer (max_iter, tol), or from another start."
)


@dataclass
class FitRows:
    """Rows of a fit, and the standard errors that were computed from them.

    Attributes
    ----------
    X : ndarray of shape (n_samples, n_features) or None
        As the fit read it; never copied, and released when the errors are there.
    weights : ndarray of shape (n_samples,) or None
    errors : dict or None
    """

    X: np.ndarray | None
    weights: np.ndarray | None = None
    errors: dict[str, Any] | None = field(default=None, repr=False)

    @classmethod
    def of_rows(cls, rows: Any) -> FitRows | None:
        """Return the rows of a fit, None where they are not in this process."""
        return cls(rows.X, rows.weights) if isinstance(rows, Rows) else None


class StandardErrors(InputValidation, ABC):
    """Standard errors of an estimator that supplies its parameters as a `Mixture`."""

    # Rows of the fit, from which standard errors are computed when they are first read.
    _data: FitRows | None = None
    lower_bound_: float

    @abstractmethod
    def _origin_and_theta(self) -> tuple[np.ndarray, Mixture]:
        """Return an origin near the rows, and the parameters about it."""

    def _public_errors(self, errors: dict[str, Any]) -> dict[str, Any]:
        """Return the errors of a mixture under the names and in the shapes of the attributes."""
        return errors

    @property
    def standard_errors_(self):
        """Standard errors of the fitted attributes, from the observed information.

        A dict with the names of the attributes without their underscore. Infinite where the rows
        do not determine a parameter, zero where it is at the edge of its domain.
        """
        self._check_fitted()
        data = self._data
        if data is None or (data.X is None and data.errors is None):
            raise AttributeError(NO_ROWS)
        if data.errors is None:
            errors = self._information_errors(data.X, data.weights)
            data.errors, data.X, data.weights = errors, None, None
        return data.errors

    def _summary_errors(self):
        return self.standard_errors_

    def compute_standard_errors(
        self, X, sample_weight=None, *, method="information", n_bootstrap=200, random_state=None
    ):
        """Compute `standard_errors_` from the rows of the fit.

        `standard_errors_` computes them when first read; this is for copies, files and
        streams, which do not keep the rows, and for the bootstrap.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows of the fit.
        sample_weight : array-like of shape (n_samples,), float or None, default=None
            Their frequency weights.
        method : {"information", "bootstrap"}, default="information"
            ``"information"``: the inverse of the observed information (Louis 1982).
            ``"bootstrap"``: the spread of fits to rows drawn with replacement, from the present
            parameters, their components matched to the present ones. It needs no likelihood that
            is quadratic near its maximum, and takes `n_bootstrap` fits.
        n_bootstrap : int, default=200
            Number of fits.
        random_state : int, RandomState or None, default=None
            Source of randomness of the bootstrap.

        Returns
        -------
        self : object
            The estimator.

        Raises
        ------
        ValueError
            If X are not the rows of the fit, or an argument cannot be used.
        AttributeError
            If there are too many parameters for an information matrix.

        Examples
        --------
        >>> import pickle
        >>> from sklearn.datasets import load_iris
        >>> from skelbo import EMGaussianMixture
        >>> X = load_iris().data
        >>> mixture = EMGaussianMixture(2, covariance_type="tied", random_state=0).fit(X)
        >>> copy = pickle.loads(pickle.dumps(mixture)).compute_standard_errors(X)
        >>> copy.standard_errors_["weights"].round(3)
        array([0.038, 0.038])
        """
        self._check_fitted()
        if method not in METHODS:
            raise ValueError(f"method={method!r}, expected one of {METHODS}; pass one of these.")
        X = self._validate(X)
        weights = check_weights(sample_weight, len(X))
        if method == "information":
            errors = self._information_errors(X, weights)
        else:
            if not is_count(n_bootstrap, 2):
                raise ValueError(
                    f"n_bootstrap={n_bootstrap!r}, expected an integer of at least 2; 200 give "
                    "errors to 5 %."
                )
            rng = random_stream(random_state)
            errors = self._bootstrap_errors(X, weights, int(n_bootstrap), rng)
        self._data = FitRows(None, None, errors)
        return self

    def _information_errors(self, X, weights) -> dict[str, Any]:
        """Return the errors by the observed information."""
        origin, theta = self._origin_and_theta()
        reason = unsupported(theta)
        if reason is not None:
            raise AttributeError(UNSUPPORTED.format(reason=reason))
        weights = np.ones(len(X)) if weights is None else weights
        errors, log_prob, saddle = mixture_standard_errors(theta, origin, X, weights)
        found, expected = log_prob / weights.sum(), self.lower_bound_
        if abs(found - expected) > 1e-5 * max(abs(expected), 1.0):
            raise ValueError(CHANGED.format(found=found, expected=expected))
        if saddle:
            warnings.warn(AT_A_SADDLE, ConvergenceWarning, stacklevel=4)
        return self._public_errors(errors)

    def _bootstrap_errors(self, X, weights, n_bootstrap: int, rng) -> dict[str, Any]:
        """Return the spread of the parameters of fits to rows drawn with replacement."""
        weights = np.ones(len(X)) if weights is None else weights
        share, n_rows = weights / weights.sum(), round(float(weights.sum()))
        resp = self._component_shares(X)
        draws: dict[str, list] = {}
        for _ in range(n_bootstrap):
            model: Any = copy.copy(self)
            model.set_callbacks()
            if "warm_start" in model.get_params(deep=False):
                model.set_params(warm_start=True)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model.fit(X, sample_weight=rng.multinomial(n_rows, share).astype(float))
            order = _matched(resp, model._component_shares(X))
            for name, value in model._estimates().items():
                draws.setdefault(name, []).append(_reordered(value, name, order, model))
        return {name: _spread(values) for name, values in draws.items()}

    def _component_shares(self, X) -> np.ndarray:
        """Return the probabilities of the components of each row."""
        return np.ones((len(X), 1))

    @abstractmethod
    def _estimates(self) -> dict[str, Any]:
        """Return the parameters under the names of `standard_errors_`, in the same shapes."""

    @abstractmethod
    def _component_axis(self, name: str) -> int | None:
        """Return the axis of a parameter that are the components; None if it has none."""

    def __getstate__(self):
        """Return the state with the errors that have been computed, without the rows of the fit."""
        state: dict[str, Any] = super().__getstate__()  # type: ignore[assignment]
        kept = {k: v for k, v in state.items() if k != "_data"}
        if self._data is not None and self._data.errors is not None:
            kept["_data"] = FitRows(None, None, self._data.errors)
        return kept


def _matched(resp: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the component of `other` that shares most with each component of `resp`."""
    return linear_sum_assignment(-(resp.T @ other))[1]


def _reordered(value: Any, name: str, order: np.ndarray, model: StandardErrors) -> Any:
    """Return a parameter with its components in another order."""
    axis = model._component_axis(name)
    if isinstance(value, list):
        return [np.take(table, order, axis) for table in value]
    return np.asarray(value) if axis is None else np.take(value, order, axis)


def _spread(values: list) -> Any:
    """Return standard deviations over a list of arrays, or of lists of arrays."""
    if isinstance(values[0], list):
        return [_spread(list(column)) for column in zip(*values, strict=True)]
    return np.std(np.asarray(values, dtype=np.float64), axis=0, ddof=1)
