"""Data of the tests of this folder."""

import pytest
from sklearn.datasets import load_wine
from sklearn.preprocessing import scale


@pytest.fixture(scope="module")
def wine():
    return scale(load_wine().data)
