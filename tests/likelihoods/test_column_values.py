"""The rule of "auto", and that summaries of parts are that of the whole."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skelbo.likelihoods.column_values import ColumnValues
from skelbo.likelihoods.vocabulary import detect

COLUMNS = {
    "0/1": (np.tile([0.0, 1.0], 20), "bernoulli"),
    "codes": (np.tile([0.0, 1.0, 2.0], 20), "categorical"),
    "a gap in the codes": (np.tile([0.0, 9.0], 20), "categorical"),
    "too few rows": (np.arange(9.0), "gaussian"),
    "counts": (np.arange(200.0) % 12, "gaussian"),
    "a negative one": (np.tile([-1.0, 1.0], 20), "gaussian"),
    "numbers": (np.linspace(0, 1, 40), "gaussian"),
    "one value": (np.ones(40), "gaussian"),
    "nothing": (np.full(40, np.nan), "gaussian"),
}


@pytest.mark.parametrize("case", COLUMNS)
def test_what_auto_stands_for(case):
    column, name = COLUMNS[case]
    assert detect(column) == name
    with_gaps = np.append(column, [np.nan] * 5)
    observed = ~np.isnan(with_gaps)[None]
    assert (
        ColumnValues.of_columns(with_gaps[None], np.ones(len(with_gaps)), observed).name(0) == name
    )


def test_summaries_add_up_and_weights_are_repetition():
    rng = np.random.default_rng(0)
    values = np.stack([rng.integers(0, 4, 30), rng.standard_normal(30)])
    weights = rng.integers(1, 4, 30).astype(float)
    whole = ColumnValues.of_columns(values, weights)
    parts = [ColumnValues.of_columns(values[:, s], weights[s]) for s in (slice(9), slice(9, None))]
    repeated = np.repeat(values, weights.astype(int), axis=1)
    counted = ColumnValues.of_columns(repeated, np.ones(repeated.shape[1]))
    for other in (parts[0] + parts[1], counted):
        for name, expected in vars(whole).items():
            assert_array_equal(getattr(other, name), expected)
