"""Missing cells of new rows: their expectation, or draws of them, given the observed cells."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.preprocessing import FunctionTransformer

from skelbo.data.counts import as_count
from skelbo.data.dask_detection import is_dask
from skelbo.data.dask_dispatch import lazy_on_dask
from skelbo.data.precision import cast
from skelbo.data.random_stream import random_stream
from skelbo.data.validation import InputValidation

# End of the message about a number of draws that is none.
OR_EXPECTATIONS = ", or None for expectations"


class Imputation(InputValidation, ABC):
    """Imputation by an estimator that supplies ``_expected_cells`` and ``_draw_cells``."""

    @abstractmethod
    def _expected_cells(self, X: np.ndarray) -> np.ndarray:
        """Return E[x | observed cells] of every cell of validated rows, all of them incomplete."""

    def _draw_cells(self, X: np.ndarray, n_draws: int, rng: np.random.RandomState) -> np.ndarray:
        """Return draws of rows given their observed cells, (n_draws, n_samples, n_features).

        The rows are validated and incomplete; observed cells of the result are not read.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no draws of missing cells; leave n_draws=None for their "
            "expectations."
        )

    @abstractmethod
    def transform(self, X):
        """Return the latents, in the container of `set_output`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_latents)
            Or a dataframe.
        """

    def impute(self, X, n_draws=None, random_state=None):
        """Replace missing cells by their expectation given the observed ones, or by draws.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows with missing cells (NaN).
        n_draws : int or None, default=None
            Number of draws of the missing cells from p(x_missing | x_observed), for multiple
            imputation; None gives expectations (of a categorical column, the most probable code).
        random_state : int, RandomState or None, default=None
            Source of randomness of the draws; None draws afresh.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features), or (n_draws, n_samples, n_features)
            A complete copy, or several; observed cells are unchanged. A dataframe where X is one
            and ``set_output`` names one, unless there are draws.

        Raises
        ------
        ValueError
            If X has other columns than in the fit, or an infinite cell, or if `n_draws` is no
            integer of at least 1.

        Notes
        -----
        Draws are exact where the posterior of the latents is tractable (mixtures, Gaussian
        factors, listed binary latents); else the latents are resampled from importance-weighted
        draws. Parameters are held at their estimates.

        References
        ----------
        Little and Rubin (2019), *Statistical Analysis with Missing Data*, section 10.2.

        Examples
        --------
        >>> import numpy as np
        >>> from skelbo import GaussianMLE
        >>> X = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 5.0]])
        >>> model = GaussianMLE().fit(X)
        >>> model.impute([[1.0, np.nan]])
        array([[1., 2.]])
        >>> draws = model.impute([[1.0, np.nan]], n_draws=2000, random_state=0)
        >>> draws.shape, round(float(draws[:, 0, 1].mean()))
        ((2000, 1, 2), 2)
        """
        if n_draws is not None:
            return self._imputed_draws(X, n_draws, random_state)
        completed = self._completed(X)
        return completed if is_dask(X) else self._in_container(X, completed)

    @lazy_on_dask
    def _completed(self, X) -> np.ndarray:
        """Return the rows with expectations in the place of missing cells."""
        X = self._validate(X)
        return with_expectations(X, lambda incomplete: self._expected_cells(X[incomplete]))

    def _imputed_draws(self, X, n_draws, random_state) -> np.ndarray:
        """Return several copies of the rows with draws in the place of missing cells."""
        if is_dask(X):
            raise ValueError(
                f"n_draws={n_draws} got a Dask collection, expected a table in memory; pass blocks "
                "of X.compute(), or leave n_draws=None."
            )
        n_draws = as_count(n_draws, "n_draws", OR_EXPECTATIONS)
        X = self._validate(X)
        stream = random_stream(random_state)
        return with_draws(
            X, n_draws, lambda incomplete: self._draw_cells(X[incomplete], n_draws, stream)
        )

    def _in_container(self, X: Any, completed: np.ndarray, features: Any = None) -> Any:
        """Return a table as a dataframe where X is one and `set_output` names one.

        Its columns are those of `features`, by default of X.
        """
        if not (hasattr(X, "columns") and len(completed)):
            return completed
        kind = type(self.transform(X[:1])).__module__.partition(".")[0]
        if kind == "numpy":
            return completed
        names = FunctionTransformer(lambda table: completed, feature_names_out="one-to-one")
        return names.set_output(transform=kind).fit_transform(X if features is None else features)


def with_expectations(X: np.ndarray, expected: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return rows with expectations in the place of missing cells.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        NaN where missing.
    expected : callable, mask (n_samples,) -> ndarray of shape (n_incomplete, n_features)
        Returns expectations of the cells of the incomplete rows; those that are observed are not
        read.

    Returns
    -------
    ndarray of shape (n_samples, n_features)
    """
    missing = np.isnan(X)
    incomplete = missing.any(axis=1)
    completed = np.array(X)
    if incomplete.any():
        completed[missing] = cast(expected(incomplete)[missing[incomplete]], X.dtype)
    return completed


def with_draws(X: np.ndarray, n_draws: int, draw: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return copies of rows with draws in the place of missing cells.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        NaN where missing.
    n_draws : int
    draw : callable, mask (n_samples,) -> ndarray of shape (n_draws, n_incomplete, n_features)
        Returns draws of the incomplete rows; cells that are observed are not read.

    Returns
    -------
    ndarray of shape (n_draws, n_samples, n_features)
    """
    missing = np.isnan(X)
    incomplete = missing.any(axis=1)
    completed = np.repeat(X[None], n_draws, axis=0)
    if incomplete.any():
        completed[:, missing] = cast(draw(incomplete)[:, missing[incomplete]], X.dtype)
    return completed
