"""Parameters that the user gives: shapes, columns, and what is complete."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skelbo.data.rows import Rows
from skelbo.mixture.chain.user_parameters import UserModel
from skelbo.mixture.emission_layout import EmissionLayout

NAMES = ["startprob", "transmat", "means", "precisions", "rates", "probabilities"]
X = np.array([[0.0, 1.5, 2.0, 1.0, 3.0], [1.0, 0.5, 0.0, 0.0, 1.0], [1.0, 2.5, 1.0, 1.0, 0.0]])
LAYOUT = EmissionLayout.of_rows(
    Rows(X), ["bernoulli", "gaussian", "categorical", "bernoulli", "poisson"]
)
COMPLETE = {
    "startprob": [0.5, 0.5],
    "transmat": np.full((2, 2), 0.5),
    "means": [[1.0], [2.0]],
    "precisions": np.ones((2, 1, 1)),
    "rates": [1.0, 4.0],
    "probabilities": [[0.1, 0.9], [[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]], [0.3, 0.4]],
}


def checked(**given):
    return UserModel.checked(2, LAYOUT, {f"{name}_init": given.get(name) for name in NAMES})


def test_everything_given_is_the_model():
    user = checked(**COMPLETE)
    assert user.is_complete(LAYOUT)
    origin = np.array([0.0, 1.0, 0.0, 0.0, 0.0])
    theta = user.whole(LAYOUT, origin)
    means = theta.emissions.about(-origin).mean()
    assert_array_equal(means[:, [0, 1, 3, 4]], [[0.1, 1, 0.3, 1], [0.9, 2, 0.4, 4]])
    assert theta.emissions.n_parameters == 2 * (1 + 2 + 2 + 1 + 1)
    # The same parameters override those of a start.
    start = checked(**{**COMPLETE, "means": [[7.0], [8.0]], "rates": [9.0, 9.0]})
    there = user.override(start.whole(LAYOUT, origin), origin)
    assert_array_equal(there.emissions.mean(), theta.emissions.mean())


@pytest.mark.parametrize("name", NAMES)
def test_one_that_is_left_out_leaves_the_rest(name):
    user = checked(**{key: value for key, value in COMPLETE.items() if key != name})
    assert not user.is_complete(LAYOUT)
    assert not checked().is_complete(LAYOUT)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"probabilities": [[0.1, 0.9]]}, r"has 1 entries, expected one for each .* \[0, 2, 3\]"),
        ({"probabilities": [[0.1], [[1, 0, 0]] * 2, [0, 1]]}, r"of column 0 has shape \(1,\)"),
        ({"probabilities": [[0, 1], [[1, 0]] * 2, [0, 1]]}, r"of column 2 has shape \(2, 2\)"),
        ({"probabilities": [[0, 1], [[1, 1, 0]] * 2, [0, 1]]}, "of column 2 .* a sum of 2"),
        ({"probabilities": [[0, 2], [[1, 0, 0]] * 2, [0, 1]]}, "expected numbers from 0 to 1"),
        ({"rates": [[1.0, 2.0]]}, r"rates_init has shape \(1, 2\), expected \(2, 1\)"),
        ({"rates": ["a", "b"]}, "rates_init is no array of numbers"),
        ({"rates": [1.0, np.nan]}, "rates_init contains NaN or infinity"),
        ({"means": np.ones((2, 5))}, r"means_init has shape \(2, 5\), expected \(2, 1\)"),
        ({"precisions": np.zeros((2, 1, 1))}, "precisions_init .*positive"),
    ],
)
def test_what_does_not_fit_is_named(given, message):
    with pytest.raises(ValueError, match=message):
        checked(**given)
