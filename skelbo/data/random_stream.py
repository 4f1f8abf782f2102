"""Random generators of the library: never NumPy's global one."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_random_state

EXPECTED = (
    "random_state is {!r}, expected None, an integer from 0 to 2**32 - 1 or a "
    "numpy.random.RandomState; of a Generator, pass int(generator.integers(2**32))."
)


def random_stream(random_state: Any) -> np.random.RandomState:
    """Return a generator that leaves NumPy's global one alone, also for None.

    Raises
    ------
    ValueError
        If it is neither None nor a seed nor a `numpy.random.RandomState`.
    """
    if random_state is None:
        return np.random.RandomState()
    try:
        return check_random_state(random_state)
    except ValueError:
        raise ValueError(EXPECTED.format(random_state)) from None
