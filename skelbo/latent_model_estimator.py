"""Shell of the estimators that take a model: VariationalEM and MCEM."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import _fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from skelbo.data.dask_dispatch import in_memory
from skelbo.em.loop import Ascent
from skelbo.em.progress import Progress
from skelbo.em.restarts import climb_from_each
from skelbo.estimator import LatentVariableEstimator, random_stream
from skelbo.inference.annealing import annealed_start
from skelbo.inference.distinct_rows import DistinctRows
from skelbo.inference.fitted_model import FittedModel
from skelbo.inference.model_names import NAMES, adapt, build_model, check_params
from skelbo.inference.standard_errors import (
    monte_carlo_errors,
    n_entries,
    standard_errors,
)
from skelbo.models.model import LatentVariableModel

MODEL_CONSTRAINTS: dict = {
    "n_components": [Interval(Integral, 1, None, closed="left")],
    "model": [StrOptions(set(NAMES)), LatentVariableModel],
    "params_init": [dict, None],
    "max_iter": [Interval(Integral, 1, None, closed="left")],
    "tol": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
    "n_init": [Interval(Integral, 1, None, closed="left")],
    "n_importance_samples": [Interval(Integral, 10, None, closed="left")],
    "device": [str, None],
    "random_state": ["random_state"],
    "warm_start": ["boolean"],
    "verbose": ["verbose"],
}

NO_ERRORS = (
    "{name} is not available: params_ has {size} numbers, and the information matrix is formed for "
    "at most {limit}; use fewer latents or columns, or bootstrap: fit clones with "
    "params_init=params_ and sample_weight=rng.multinomial(n, np.full(n, 1 / n)), and take the "
    "spread of their params_."
)


class LatentModelEstimator(LatentVariableEstimator):
    """A `LatentVariableModel` and its parameters behind scikit-learn's interface.

    A subclass supplies `_ascend`, and the family of q, `_family`, behind its bounds and latents.
    """

    @abstractmethod
    def _ascend(self, model, data: DistinctRows, theta, progress, rng) -> Ascent:
        """Run one ascent from theta."""

    @abstractmethod
    def _family(self, model) -> str:
        """Return the family of q: "mean_field" or "full"."""

    @abstractmethod
    def _finish(self, fitted: FittedModel, data: DistinctRows, best: Ascent) -> None:
        """Publish what belongs to one algorithm alone, and warn."""

    # -------------------------------------------------------------------- fit

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, sample_weight=None):
        """Fit the model to the rows of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, possibly with missing cells (NaN), which drop out of the likelihood. A Dask
            array or dataframe of up to 1 GiB is brought into memory: every row has a q of its own.
        y : Ignored
            For the sake of pipelines.
        sample_weight : array-like of shape (n_samples,), optional
            Frequency weights: weight 2 is the row twice, weight 0 is the row absent.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If the model or the data cannot be used, or if every start fails.
        """
        X, weights = self._validate_fit(*in_memory(self, X, sample_weight))
        user_model = build_model(self.model, self.n_components)
        model = adapt(user_model, self.device)
        data = DistinctRows.of_table(X, weights)
        model.check(data.X)
        rng = random_stream(self.random_state)
        seed = rng.randint(2**31 - 1)
        starts = list(self._starts(model, data, rng))
        progress = Progress(self, X, len(starts), self.max_iter, self.verbose)
        restarts = climb_from_each(
            starts,
            lambda start: self._ascend(model, data, start(), progress, rng),
            progress,
            is_regular=lambda theta: True,
        )
        best = restarts.best
        rotate = model.is_rotation_invariant(data.X, self._family(model))
        self._publish(user_model, best, model.identify(best.theta, rotate=rotate), seed, X.dtype)
        self.failed_starts_ = restarts.failures
        fitted = self._fitted()
        if fitted.model.bound_is_sampled:
            self._publish_bound(data.mean(fitted.elbo_terms(data.X).elbo))
        self._finish(fitted, data, best)
        for message in fitted.model.warnings(fitted.theta, data.X, data.weights):
            warnings.warn(message, UserWarning, stacklevel=2)
        progress.end()
        return self

    def _starts(self, model, data: DistinctRows, rng):
        """Yield a function for each start that returns its first parameters."""
        if self.warm_start and hasattr(self, "params_"):
            yield lambda: self._given(self.params_, "params_", model, data, rng)
            return
        if self.params_init is not None:
            yield lambda: self._given(self.params_init, "params_init", model, data, rng)
            return
        anneal = getattr(self, "annealing", True) and model.closed_form
        start = partial(annealed_start, model) if anneal else model.start
        for number in range(self.n_init):
            yield partial(start, data.X, data.weights, rng, number)

    @staticmethod
    def _given(params, name, model, data, rng):
        return check_params(params, model.start(data.X, data.weights, rng, 0), name)

    def _publish(self, model, ascent: Ascent, theta: dict, seed: int, dtype: np.dtype) -> None:
        self.model_ = model
        self.params_ = {k: np.asarray(v, dtype=dtype)[()] for k, v in theta.items()}
        self._seed = seed
        self._publish_ascent(ascent)

    def _publish_bound(self, bound: float) -> None:
        """Publish a bound that was climbed on samples less its optimism, as `elbo` measures it."""
        optimism = self.lower_bound_ - bound
        self.lower_bounds_ = [value - optimism for value in self.lower_bounds_[:-1]] + [bound]
        self.lower_bound_ = bound

    def _publish_errors(self, fitted, data, draws=None) -> None:
        """Publish standard errors, and Monte Carlo errors if there are draws, where P allows it."""
        self._errors: dict[str, Any] = {}
        self._n_entries = n_entries(fitted.theta)
        if self._n_entries > fitted.model.max_information:
            return
        errors, root = standard_errors(fitted, data)
        self._errors["standard_errors_"] = self._named(errors)
        if draws is not None:
            errors = monte_carlo_errors(fitted, data, draws, root)
            self._errors["mc_standard_errors_"] = self._named(errors)

    def _error(self, name: str) -> dict[str, Any]:
        check_is_fitted(self)
        if name not in self._errors:
            raise AttributeError(
                NO_ERRORS.format(
                    name=name,
                    size=self._n_entries,
                    limit=adapt(self.model_, self.device).max_information,
                )
            )
        return self._errors[name]

    @property
    def standard_errors_(self):
        """Standard errors of `params_`, from the observed information of log p(X) (Louis 1982)."""
        return self._error("standard_errors_")

    def _named(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return a dict like `params_` in the dtype of the data."""
        return {k: np.asarray(v, dtype=self.params_[k].dtype)[()] for k, v in values.items()}

    # -------------------------------------------------------------- after fit

    def _fitted(self) -> FittedModel:
        theta = {k: np.asarray(v, dtype=np.float64) for k, v in self.params_.items()}
        model = adapt(self.model_, self.device)
        return FittedModel(model, theta, self._family(model), self.n_importance_samples, self._seed)

    @property
    def n_parameters_(self):
        """Number of free parameters."""
        check_is_fitted(self)
        return self._fitted().model.n_parameters(self.params_)

    @property
    def _n_features_out(self):
        return self.model_.n_latents

    def _log_prob(self, X):
        return self._fitted().log_prob(X)

    def _elbo_terms(self, X):
        return self._fitted().elbo_terms(X)

    def _posterior_mean(self, X):
        return self._fitted().mean(X)

    def _reconstruct(self, Z):
        fitted = self._fitted()
        return fitted.model.mean(Z.astype(np.float64), fitted.theta).astype(Z.dtype)

    def _expected_cells(self, X):
        return self._fitted().impute(X)

    def _draw(self, n_samples, random_state):
        fitted = self._fitted()
        X, Z = fitted.model.sample(n_samples, fitted.theta, random_stream(random_state))
        dtype = np.result_type(*self.params_.values())
        return X.astype(dtype), Z.astype(dtype)
