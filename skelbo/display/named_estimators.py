"""Estimators and the names under which a picture shows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from sklearn.utils.validation import check_is_fitted

LACKS = "{name} has no {what}, which {display} shows; {remedy}."


def named_estimators(estimators: Any) -> dict[str, Any]:
    """Return estimators by name: the class, with a number where a class comes twice.

    Parameters
    ----------
    estimators : estimator, list of estimators or dict of str to estimator
        Fitted estimators.

    Returns
    -------
    named : dict of str to estimator
        In the order given.

    Raises
    ------
    ValueError
        If there are none.
    sklearn.exceptions.NotFittedError
        If one is not fitted.
    """
    if isinstance(estimators, Mapping):
        named = {str(name): estimator for name, estimator in estimators.items()}
    else:
        several = estimators if isinstance(estimators, list | tuple) else [estimators]
        named = _numbered(several)
    if not named:
        raise ValueError("No estimator was given, expected at least one; pass a fitted estimator.")
    for estimator in named.values():
        check_is_fitted(estimator)
    return named


def _numbered(estimators) -> dict[str, Any]:
    classes = [type(estimator).__name__ for estimator in estimators]
    total, seen, named = Counter(classes), Counter[str](), {}
    for name, estimator in zip(classes, estimators, strict=True):
        seen[name] += 1
        named[f"{name} {seen[name]}" if total[name] > 1 else name] = estimator
    return named


def require(estimator: Any, what: str, display: type, remedy: str) -> Any:
    """Return an attribute of an estimator, or raise an error that names it and the remedy."""
    value = getattr(estimator, what, None)
    if value is None:
        name = type(estimator).__name__
        message = LACKS.format(name=name, what=what, display=display.__name__, remedy=remedy)
        raise TypeError(message)
    return value
