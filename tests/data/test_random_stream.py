"""The generator of a method: a seed, a RandomState, or an error that names the parameter."""

import numpy as np
import pytest

from skelbo import EMHiddenMarkovModel, GaussianMLE, compare
from skelbo.data.random_stream import random_stream


@pytest.mark.parametrize("value", [-1, 2**32, 1.5, "0", np.random.default_rng(0)])
def test_no_seed(value, iris):
    match = "random_state is .*, expected None, an integer from 0 to"
    with pytest.raises(ValueError, match=match):
        random_stream(value)
    fitted = GaussianMLE().fit(iris)
    chain = EMHiddenMarkovModel(2, random_state=0).fit(iris)
    for ask in [
        lambda: fitted.sample(random_state=value),
        lambda: chain.sample(random_state=value),
        lambda: fitted.impute(iris, n_draws=2, random_state=value),
        lambda: compare([fitted], iris, random_state=value, progress=False),
    ]:
        with pytest.raises(ValueError, match=match):
            ask()


def test_seeds_and_streams():
    stream = np.random.RandomState(0)
    assert random_stream(stream) is stream
    assert random_stream(np.uint8(3)).rand() == random_stream(3).rand()


def test_folds_of_a_comparison_leave_the_global_generator_alone(iris):
    before = np.random.get_state()[1].copy()
    compare([GaussianMLE()], iris, random_state=None, progress=False)
    assert np.array_equal(np.random.get_state()[1], before)
