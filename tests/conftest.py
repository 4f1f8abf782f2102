"""Fixtures that scikit-learn's own tests expect, and the data that several files use."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_iris

DATA = Path(__file__).parents[1] / "examples" / "data"


@pytest.fixture(params=["float64", "float32"])
def global_dtype(request):
    return np.dtype(request.param)


@pytest.fixture
def global_random_seed():
    return 42


@pytest.fixture(scope="session")
def faithful():
    """Old Faithful: 272 eruptions and waits."""
    return np.loadtxt(DATA / "faithful.csv", delimiter=",", skiprows=1)


@pytest.fixture(scope="session")
def iris():
    return load_iris().data
