"""Standard errors of the parameters of a `LatentVariableModel`, from the observed information."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any

import numpy as np

from skelbo.data.threads import threads_for
from skelbo.data.validation import InputValidation
from skelbo.data.weights import check_weights
from skelbo.inference.distinct_rows import DistinctRows
from skelbo.inference.fitted_model import FittedModel
from skelbo.inference.information import n_entries
from skelbo.inference.row_report import RowReport
from skelbo.inference.standard_errors import standard_errors
from skelbo.inference.table_unit import TableUnit

NO_ERRORS = (
    "{name} is not available: params_ has {size} numbers, and the information matrix is formed for "
    "at most {limit}; use fewer latents or columns, or bootstrap: fit clones with "
    "params_init=params_ and sample_weight=rng.multinomial(n, np.full(n, 1 / n)), and take the "
    "spread of their params_."
)
NO_ROWS = (
    "{name} has not been computed, and neither a file nor a copy keeps the rows of the fit; call "
    "compute_standard_errors(X, sample_weight) with these rows."
)


class ModelStandardErrors(InputValidation, ABC):
    """Standard errors of an estimator that supplies its model and parameters as a `FittedModel`.

    They are computed when first read, at no cost to `fit`.
    """

    params_: dict[str, Any]
    n_importance_samples: int
    verbose: int
    # Names of the errors of the parameters.
    _error_names: tuple[str, ...] = ("standard_errors_",)
    # Those that have been computed, by these names.
    _errors: dict[str, Any]
    # Rows of the fit, from which they are computed.
    _data: DistinctRows | None = None

    @abstractmethod
    def _fitted(self) -> FittedModel:
        """Return the model with its parameters as they are now."""

    @property
    def standard_errors_(self):
        """Standard errors of `params_`, from the observed information of log p(X) (Louis 1982)."""
        return self._error("standard_errors_")

    def _summary_errors(self):
        return self.standard_errors_

    def compute_standard_errors(self, X, sample_weight=None):
        """Compute `standard_errors_` from the rows of the fit.

        `standard_errors_` computes them when first read; a fitted estimator that comes from a
        file or is a copy does not have the rows for it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows of the fit.
        sample_weight : array-like of shape (n_samples,), optional
            Their frequency weights.

        Returns
        -------
        self : object
            The estimator.

        Raises
        ------
        AttributeError
            If there are too many parameters for an information matrix.

        Examples
        --------
        >>> import pickle
        >>> from sklearn.datasets import load_iris
        >>> from skelbo import VariationalEM
        >>> from skelbo.models import FactorModel
        >>> X = load_iris().data
        >>> factor = VariationalEM(model=FactorModel(1, noise="isotropic")).fit(X)
        >>> copy = pickle.loads(pickle.dumps(factor)).compute_standard_errors(X)
        >>> copy.standard_errors_["intercepts"].round(3)
        array([0.066, 0.031, 0.144, 0.065])
        """
        self._check_fitted()
        X = self._validate(X)
        data = DistinctRows.of_table(X, check_weights(sample_weight, len(X)))
        self._errors = self._computed_errors("standard_errors_", data)
        return self

    def _error(self, name: str) -> dict[str, Any]:
        """Return the errors with this name, which are computed if they are not there."""
        self._check_fitted()
        if name not in self._errors:
            if self._data is None:
                raise AttributeError(NO_ROWS.format(name=name))
            self._errors = self._computed_errors(name, self._data)
            self._data = None  # nothing else needs the rows
        return self._errors[name]

    def _computed_errors(self, name: str, data: DistinctRows) -> dict[str, Any]:
        """Return all errors of the parameters by their names; `name` is the one that is read."""
        fitted = self._fitted()
        size, limit = n_entries(fitted.theta), fitted.model.max_information
        if size > limit:
            raise AttributeError(NO_ERRORS.format(name=name, size=size, limit=limit))
        unit = TableUnit.of_rows(fitted.model, data)
        fitted, data = replace(fitted, theta=unit.relative(fitted.theta)), unit.table(data)
        with threads_for(len(data.X) * self.n_importance_samples):
            errors, root = standard_errors(fitted, data, RowReport() if self.verbose else None)
            found = {"standard_errors_": errors, **self._further_errors(fitted, data, root)}
        dtype = np.result_type(*self.params_.values())
        return {name: as_dtype(unit.absolute(errors), dtype) for name, errors in found.items()}

    def _further_errors(self, fitted: FittedModel, data: DistinctRows, root) -> dict[str, Any]:
        """Return the errors of one algorithm by their names; `root` is of their covariance."""
        return {}

    def __getstate__(self):
        """Return the state without the rows of the fit."""
        state: dict[str, Any] = super().__getstate__()  # type: ignore[assignment]
        return {k: v for k, v in state.items() if k != "_data"}


def as_dtype(theta: dict[str, Any], dtype) -> dict[str, Any]:
    """Return parameters in the dtype of the data."""
    return {k: np.asarray(v, dtype=dtype)[()] for k, v in theta.items()}
