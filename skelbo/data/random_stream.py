"""Random generators of the library: never NumPy's global one."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_random_state


def random_stream(random_state: Any) -> np.random.RandomState:
    """Return a generator that leaves NumPy's global one alone, also for None."""
    if random_state is None:
        return np.random.RandomState()
    return check_random_state(random_state)
