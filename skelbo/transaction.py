"""Transactions: a fit that fails or is interrupted leaves the estimator as it was."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from sklearn.base import _fit_context

Method = TypeVar("Method", bound=Callable[..., Any])
# Modules whose functions run many fits: an interrupt is meant for all of them.
SEARCHES = (
    "sklearn.model_selection",
    "skelbo.meta.candidate",
    "skelbo.meta.criterion_search",
    "skelbo.meta.generative_classifier",
    "skelbo.comparison",
)


def fit_method(method: Method) -> Method:
    """Turn `fit` or `partial_fit` into a transaction on the attributes of the estimator.

    Parameters are validated first, and callbacks of scikit-learn managed. A fit that continues
    another one (`partial_fit`, ``warm_start=True``) is refused if a parameter that shapes the
    fitted attributes has changed. On any exception all attributes, `n_features_in_` included, are
    what they were before the call; at the end the parameters of the fit are recorded.
    """
    return _transaction(method, _fit_context(prefer_skip_nested_validation=True)(method))


def meta_fit_method(method: Method) -> Method:
    """Turn `fit` of a meta-estimator into a transaction; see `fit_method`.

    The parameters of the estimators that it fits are validated, too.
    """
    return _transaction(method, _fit_context(prefer_skip_nested_validation=False)(method))


def _transaction(method: Method, managed: Callable[..., Any]) -> Method:

    @wraps(method)
    def run(self, *args, **kwargs):
        before = vars(self).copy()
        try:
            if method.__name__ == "partial_fit" or before.get("warm_start"):
                self._check_unchanged()
            result = managed(self, *args, **kwargs)
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise
        self._fitted_with = {name: getattr(self, name) for name in self._shaping_parameters()}
        return result

    return run  # type: ignore[return-value]


def is_within_search() -> bool:
    """Return whether the present call comes from a search or a comparison of estimators."""
    frame = inspect.currentframe()
    while frame is not None:
        if str(frame.f_globals.get("__name__")).startswith(SEARCHES):
            return True
        frame = frame.f_back
    return False
