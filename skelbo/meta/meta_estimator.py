"""Base class of the meta-estimators: metadata, weights, tags and callbacks of what they fit."""

from __future__ import annotations

from abc import ABCMeta
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn import get_config
from sklearn.base import MetaEstimatorMixin
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import _safe_indexing, get_tags
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.validation import has_fit_parameter, validate_data

from skelbo.checked_parameters import CheckedParameters
from skelbo.data.numeric_table import as_table
from skelbo.data.weights import check_weights


class MetaEstimator(MetaEstimatorMixin, CallbackSupportMixin, CheckedParameters, metaclass=ABCMeta):
    """A meta-estimator around one parameter ``estimator``.

    It passes tables on as they are, so that pipelines of dataframes work, and routes metadata to
    the ``fit`` of the estimator. Weights are passed on and used by the meta-estimator itself.
    """

    estimator: Any

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator).input_tags
        tags.input_tags.allow_nan = inner.allow_nan
        tags.input_tags.sparse = inner.sparse
        return tags

    def get_metadata_routing(self):
        """Return the routing of metadata: to the ``fit`` of the estimator, and to this ``fit``.

        Returns
        -------
        routing : MetadataRouter
            As described in scikit-learn's User Guide on metadata routing.
        """
        router = MetadataRouter(owner=self).add_self_request(self)
        mapping = MethodMapping().add(caller="fit", callee="fit")
        return router.add(estimator=self.estimator, method_mapping=mapping)

    def _shaping_parameters(self) -> tuple[str, ...]:
        return ()

    def _check_table(self, X: Any, *, reset: bool) -> Any:
        """Return X, see `as_table`, after a check of its shape and of the names of its columns.

        The cells are left to the estimator.
        """
        X = as_table(X)
        name = type(self).__name__
        if issparse(X) and not get_tags(self.estimator).input_tags.sparse:
            raise TypeError(
                f"X is a sparse matrix, which the estimator of {name} does not take; pass "
                "X.toarray()."
            )
        if len(X.shape) != 2:
            raise ValueError(
                f"Expected 2D array, got an array of shape {X.shape} instead. Reshape your data: "
                "X.reshape(-1, 1) if it has a single feature, X.reshape(1, -1) if a single row."
            )
        for size, what in zip(X.shape, ("sample", "feature"), strict=True):
            if size == 0:
                raise ValueError(
                    f"Found array with 0 {what}(s) (shape={X.shape}) while a minimum of 1 is "
                    f"required by {name}."
                )
        validate_data(self, X, reset=reset, skip_check_array=True)
        return X

    def _fit_parameters(self, X: Any, sample_weight: Any, params: dict) -> tuple[Any, dict]:
        """Return the weights, a vector or None, and the parameters for ``estimator.fit``."""
        weights = check_weights(sample_weight, X.shape[0])
        if weights is not None:
            params = {**params, "sample_weight": weights}
        if get_config()["enable_metadata_routing"]:
            return weights, dict(process_routing(self, "fit", **params).estimator.fit)
        if weights is not None and not has_fit_parameter(self.estimator, "sample_weight"):
            raise ValueError(
                f"sample_weight got weights, which the fit of {type(self.estimator).__name__} does "
                "not take by that name; leave sample_weight=None, use an estimator that takes "
                "them, or route them: set_config(enable_metadata_routing=True)."
            )
        return weights, params

    def _fit_within(self, context: Any, name: str, model: Any, X: Any, y: Any, params: dict):
        """Fit a model as a task of this fit, to which callbacks are propagated."""
        task = context.subcontext(task_name=name)
        with task.propagate_callback_context(model):
            task.call_on_fit_task_begin(estimator=self, X=X, y=y)
            model.fit(X, **params) if y is None else model.fit(X, y, **params)
            task.call_on_fit_task_end(estimator=self, X=X, y=y)
        return model


def rows_of(params: dict, n_samples: int, rows: np.ndarray) -> dict:
    """Return metadata for some of the rows: what has one entry per row is cut."""

    def cut(value: Any) -> Any:
        table = hasattr(value, "shape") or isinstance(value, (list, tuple))
        length = np.shape(value)[:1] if table else ()
        return _safe_indexing(value, rows) if length == (n_samples,) else value

    return {name: cut(value) for name, value in params.items()}
