"""Constructor parameters as Python's own numbers and strings."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator


class PythonParameters(BaseEstimator):
    """An estimator or model that keeps numpy's scalars among its parameters as Python's.

    Searches pass the elements of arrays. Their arithmetic is that of their type: 127 + 1 as int8
    is -128, an unsigned number has no negative, a float32 rounds what it meets, and no file names
    a `numpy.str_`.

    Examples
    --------
    >>> import numpy as np
    >>> from skelbo import EMGaussianMixture
    >>> EMGaussianMixture(np.int8(3), covariance_type=np.str_("diag"))
    EMGaussianMixture(covariance_type='diag', n_components=3)
    """

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; fitted and private ones as they are."""
        is_parameter = not (name.startswith("_") or name.endswith("_"))
        if is_parameter and isinstance(value, (np.number, np.bool_, np.str_)):
            value = value.item()
        super().__setattr__(name, value)
