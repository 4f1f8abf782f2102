"""Fixtures that scikit-learn's own tests expect, and the data that several files use."""

import os
import signal
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from sklearn.datasets import load_iris

# The same examples on every run and every machine: a failure is the change's, not the draw's.
settings.register_profile("suite", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("suite")

# numba keeps what it compiles beside the source or in the home folder. Where neither can be written
# to, the compiled passes are tested all the same.
CACHES = Path(__file__).parents[1], os.path.expanduser("~")
if not any(os.access(place, os.W_OK) for place in CACHES):
    os.environ.setdefault("NUMBA_CACHE_DIR", tempfile.mkdtemp(prefix="skelbo-numba-"))

DATA = Path(__file__).parents[1] / "examples" / "data"


# A shell ignores Ctrl-C in what it runs in the background; tests of interruptions send it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def seeded_generators():
    """Seed the global generators, from which networks that a test builds draw their weights."""
    np.random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


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
