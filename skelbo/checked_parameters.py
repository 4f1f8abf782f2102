"""Validation of constructor parameters: scikit-learn's, in which a bool is no number."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval, InvalidParameterError

from skelbo.python_parameters import PythonParameters


class CheckedParameters(PythonParameters):
    """An estimator whose counts and other numbers are no bools.

    Python counts True as an integer, and so do scikit-learn's intervals; lengths of arrays do not,
    and a file holds another value.
    """

    _parameter_constraints: dict[str, list[Any]]

    def _validate_params(self) -> None:
        """Raise InvalidParameterError for a parameter that is not what its constraints admit."""
        super()._validate_params()
        for name, constraints in self._parameter_constraints.items():
            value = getattr(self, name)
            number = any(isinstance(kind, Interval) or kind is Integral for kind in constraints)
            if number and isinstance(value, (bool, np.bool_)) and "boolean" not in constraints:
                raise InvalidParameterError(
                    f"The {name!r} parameter of {type(self).__name__} is {value!r}, expected a "
                    "number; pass 1 or 0 if that is meant."
                )
