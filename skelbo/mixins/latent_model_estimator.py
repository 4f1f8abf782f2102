"""Base class of the estimators that take a model, VariationalEM and MCEM."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from skelbo.data.dask_dispatch import in_memory
from skelbo.data.fingerprint import table_digest
from skelbo.data.precision import cast, cast_if_finite
from skelbo.data.random_stream import random_stream
from skelbo.data.threads import threads_for
from skelbo.em.checkpoint import FitCheckpoint
from skelbo.em.loop import Ascent
from skelbo.em.progress import Progress
from skelbo.em.restarts import climb_from_each
from skelbo.inference.annealing import annealed_start
from skelbo.inference.distinct_rows import DistinctRows
from skelbo.inference.file_fields import check_domains, model_vocabulary, theta_fields
from skelbo.inference.fitted_model import FittedModel
from skelbo.inference.model_names import NAMES, adapt, build_model, check_params
from skelbo.inference.table_unit import TableUnit
from skelbo.mixins.latent_variable_estimator import LatentVariableEstimator
from skelbo.mixins.model_standard_errors import ModelStandardErrors
from skelbo.mixins.summary import feature_names
from skelbo.models.boundary_warnings import BoundaryWarning
from skelbo.models.constraints import constraint_of
from skelbo.models.interface import Model, Theta
from skelbo.models.model import LatentVariableModel
from skelbo.persistence import Number, Sequence, Text
from skelbo.transaction import fit_method

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

# Called with the iteration, its bound and its parameters; whether the ascent is to stop.
Report = Callable[[int, float, Theta], bool]
# Values of z per row in one operation of a step: draws, or points of a quadrature.
DRAWS_AT_ONCE = 100
# Parameters beyond which a log-density of minus infinity is theirs, not that of a row far out.
LARGEST_PARAMETER = 1e140


class LatentModelEstimator(ModelStandardErrors, LatentVariableEstimator):
    """A `LatentVariableModel` and its parameters behind scikit-learn's interface.

    A subclass supplies `_ascend`, and the family of q, `_family`, behind its bounds and latents.
    """

    _resumes_fits = True

    @abstractmethod
    def _ascend(
        self,
        model: Model,
        data: DistinctRows,
        theta,
        report: Report,
        rng,
        checkpoint: FitCheckpoint | None,
    ) -> Ascent:
        """Run one ascent from theta; `report` is `ascend`'s `on_iteration`."""

    @abstractmethod
    def _family(self, model: Model) -> str:
        """Return the family of q: "mean_field" or "full"."""

    @abstractmethod
    def _finish(self, fitted: FittedModel, data: DistinctRows, best: Ascent) -> None:
        """Publish the attributes of one algorithm, and warn."""

    def _shaping_parameters(self):
        return "n_components", "model"

    def _is_annealed(self, model: Model) -> bool:
        """Return whether starts are found by simulated annealing."""
        return model.closed_form

    # -------------------------------------------------------------------- fit

    @fit_method
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
        TypeError
            If the model is a subclass of a built-in one that redefines its density.
        """
        X, weights = self._validate_fit(*in_memory(self, X, sample_weight))
        user_model = build_model(self.model, self.n_components)
        model, data = adapt(user_model, self.device), DistinctRows.of_table(X, weights)
        model.check(data.X)
        model.check_fit(data.X)
        rng = random_stream(self.random_state)
        unit = TableUnit.of_rows(model, data)
        starts = self._starts(model, unit, data, rng)
        progress = Progress(self, X, len(starts), self.max_iter, self.verbose)
        continued = vars(self).get("params_") if self.warm_start else None
        progress.protect(lambda: table_digest(X, weights), rng, continued)
        seed = rng.randint(2**31 - 1)
        with threads_for(len(data.X) * DRAWS_AT_ONCE):
            restarts = climb_from_each(
                starts,
                lambda start: self._ascend_in_unit(model, unit, data, start(), progress, rng),
                progress,
                is_regular=lambda theta: True,
            )
            self.failed_starts_, self._seed = restarts.failures, seed
            self._publish(user_model, model, unit, data, restarts.best, X.dtype)
        progress.end()
        return self

    def _ascend_in_unit(
        self, model: Model, unit: TableUnit, data: DistinctRows, theta, progress, rng
    ) -> Ascent:
        """Run one ascent in a unit of the table; return it in the units of the data."""
        shift = unit.log_density(data)

        def report(n_iter: int, bound: float, theta: Theta) -> bool:
            return progress.iteration(n_iter, bound + shift, unit.absolute(theta))

        ascent = self._ascend(model, unit.table(data), theta, report, rng, progress.checkpoint)
        return replace(
            ascent,
            theta=unit.absolute(ascent.theta),
            start_bound=ascent.start_bound + shift,
            lower_bounds=tuple(bound + shift for bound in ascent.lower_bounds),
        )

    def _publish(
        self,
        user_model: LatentVariableModel,
        model: Model,
        unit: TableUnit,
        data: DistinctRows,
        best: Ascent,
        dtype,
    ) -> None:
        """Set the fitted attributes, and warn."""
        rotate = model.is_rotation_invariant(data.X, self._family(model))
        theta = model.identify(best.theta, rotate=rotate)
        self.model_ = user_model
        self.params_ = {k: _in_precision(model, k, np.asarray(v), dtype) for k, v in theta.items()}
        self._data = data
        self._errors: dict[str, Any] = {}
        fitted = self._fitted()
        self._publish_ascent(best)
        if model.bound_is_sampled or self._is_rounded(best.theta, rotate):
            self._publish_bound(data.mean(fitted.elbo_terms(data.X).elbo))
        self._finish(fitted, data, best)
        inner = unit.table(data)
        for message in model.warnings(unit.relative(fitted.theta), inner.X, inner.weights):
            if isinstance(message, BoundaryWarning):
                message = message.named(vars(self).get("feature_names_in_"))
            warnings.warn(message, UserWarning, stacklevel=3)

    def _starts(
        self, model: Model, unit: TableUnit, data: DistinctRows, rng
    ) -> list[Callable[[], Theta]]:
        """Return a function for each start that returns its first parameters in the unit."""
        name, given = "params_init", self.params_init
        if self.warm_start and "params_" in vars(self):
            name, given = "params_", self.params_
        rows = unit.table(data)
        if given is not None:
            expected = partial(model.start, rows.X, rows.weights, rng, 0)
            return [lambda: unit.relative(check_params(given, expected(), name))]
        start = partial(annealed_start, model) if self._is_annealed(model) else model.start
        return [partial(start, rows.X, rows.weights, rng, number) for number in range(self.n_init)]

    def _is_rounded(self, theta: Theta, rotate: bool) -> bool:
        """Return whether p(x) under the published parameters is another one, by rounding.

        They are in the precision of the table, and intercepts far from zero have few digits where
        features change sides. A rotation of the loadings leaves the bound as it is.
        """
        kept = (key for key in theta if not (rotate and key == "loadings"))
        return not all(np.array_equal(theta[key], self.params_[key]) for key in kept)

    def _publish_bound(self, bound: float) -> None:
        """Publish the bound as `elbo` measures it; the bounds before it are lower by as much."""
        optimism = self.lower_bound_ - bound
        self.lower_bounds_ = [value - optimism for value in self.lower_bounds_[:-1]] + [bound]
        self.lower_bound_ = bound

    # ------------------------------------------------------------------ files

    @classmethod
    def _file_vocabulary(cls):
        return model_vocabulary()

    def _file_attributes(self):
        model = build_model(self.model, self.n_components)
        failure = Sequence((Number(integer=True, low=0), Text()), kind=tuple)
        return {
            **super()._file_attributes(),
            **theta_fields(model, self.n_features_in_, self._error_names),
            "failed_starts_": Sequence(failure),
            "_seed": Number(integer=True, low=0, high=2**32 - 1),
        }

    def _file_state(self):
        if repr(build_model(self.model, self.n_components)) != repr(self.model_):
            raise ValueError(
                f"model={self.model!r} was changed since the fit, which was of {self.model_!r}; "
                "set it back, or fit anew."
            )
        return super()._file_state()

    def _set_file_state(self, state):
        model = build_model(self.model, self.n_components)
        check_domains(state["params_"], model)
        super()._set_file_state({**state, "model_": model})

    # -------------------------------------------------------------- after fit

    def _fitted(self) -> FittedModel:
        theta = {k: np.asarray(v, dtype=np.float64) for k, v in self.params_.items()}
        model = adapt(self.model_, self.device)
        return FittedModel(model, theta, self._family(model), self.n_importance_samples, self._seed)

    @property
    def n_parameters_(self):
        """Number of free parameters."""
        self._check_fitted()
        return self._fitted().model.n_parameters(self.params_)

    @property
    def _n_features_out(self):
        return self.model_.n_latents

    def _log_prob(self, X):
        return self._computed("log_prob", X, n_points=self.n_importance_samples)

    def _elbo_terms(self, X):
        return self._computed("elbo_terms", X)

    def _posterior_mean(self, X):
        return self._computed("mean", X)

    def _reconstruct(self, Z):
        fitted = self._fitted()
        return cast(fitted.model.mean(Z.astype(np.float64), fitted.theta), Z.dtype)

    def _expected_cells(self, X):
        return self._computed("impute", X, n_points=self.n_importance_samples)

    def _summary_estimates(self):
        return self.params_

    def _summary_axis(self, name):
        built_in = type(self.model_).__module__.startswith("skelbo.")
        shape, names = np.shape(self.params_[name]), feature_names(self)
        columns = built_in and shape[:1] == (len(names),) and name != "probabilities"
        return (-len(shape), names) if columns else (-1, None)

    def _summary_domain(self, name):
        return self._fitted().model.constraints.get(name, "real")

    @property
    def latent_kind(self):
        """Kind of the latents, of the fitted model: "continuous" or "binary"."""
        model = vars(self).get("model_")
        return "continuous" if model is None else model.latent

    @property
    def column_likelihoods_(self):
        """Name of the likelihood of each column, an array of str (n_features,)."""
        self._check_fitted()
        kind = self.model_.get_params(deep=False).get("likelihood", "gaussian")
        name = kind if isinstance(kind, str) else kind.name
        return np.full(self.n_features_in_, name, dtype=object)

    def _posterior_std(self, X):
        return self._computed("std", X)

    def _draw_cells(self, X, n_draws, rng):
        return self._computed("draw_cells", X, n_draws, rng, n_points=self.n_importance_samples)

    def _computed(self, name: str, X, *arguments, n_points: int = DRAWS_AT_ONCE) -> Any:
        """Return an answer of the fitted model about rows.

        Raises
        ------
        ValueError
            If float64 does not hold what the parameters make of the rows.
        """
        fitted = self._fitted()
        try:
            with threads_for(len(X) * n_points), np.errstate(all="ignore"):
                answer = getattr(fitted, name)(X, *arguments)
        except (np.linalg.LinAlgError, OverflowError) as error:
            raise ValueError(_not_computable(fitted.theta, str(error))) from error
        first = {"log_prob": lambda: answer[0], "elbo_terms": lambda: answer.elbo}
        values = first.get(name, lambda: answer)()
        lost = np.isnan(values) | np.isposinf(values)
        if _largest(fitted.theta)[0] > LARGEST_PARAMETER:
            lost |= np.isinf(values)
        if lost.any():
            raise ValueError(_not_computable(fitted.theta, f"got {values[lost][0]}"))
        return answer

    def _draw(self, n_samples, random_state):
        fitted = self._fitted()
        X, Z = fitted.model.sample(n_samples, fitted.theta, random_stream(random_state))
        # Parameters that the precision of the table does not hold are in float64.
        dtype = min((v.dtype for v in self.params_.values()), key=lambda kind: kind.itemsize)
        return cast(X, dtype), Z.astype(dtype)


def _not_computable(theta: Theta, cause: str) -> str:
    """Return the message about parameters that float64 cannot compute answers with."""
    size, name = _largest(theta)
    return (
        f"float64 does not hold what params_ make of X ({cause}): params_[{name!r}] is as large as "
        f"{size:.3g}, expected parameters of a fit to rows like these; fit anew."
    )


def _largest(theta: Theta) -> tuple[float, str]:
    """Return the size and the name of the largest parameter."""
    return max((float(np.max(np.abs(value), initial=0.0)), name) for name, value in theta.items())


def _in_precision(model: Model, name: str, value: np.ndarray, dtype) -> Any:
    """Return a parameter in the precision of the table if that leaves it inside its domain."""
    rounded = cast_if_finite(value, dtype)
    inside = constraint_of(name, model.constraints).contains(rounded)
    return (rounded if inside else value)[()]
