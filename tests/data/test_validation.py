"""Tables and weights as users pass them: masked cells, dates, frames."""

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_array_equal

from skelbo import EMGaussianMixture, GaussianMLE, VAEEstimator, VariationalEM

ESTIMATORS = [
    GaussianMLE(),
    EMGaussianMixture(2, random_state=0),
    VariationalEM(1, model="gaussian"),
    VAEEstimator(1, hidden_layer_sizes=(4,), max_iter=2, random_state=0),
]
every_estimator = pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
quiet = pytest.mark.filterwarnings("ignore::UserWarning")


def table_with_holes(dtype):
    rng = np.random.default_rng(0)
    X = np.round(4 * rng.standard_normal((30, 3)) @ rng.standard_normal((3, 3)))
    return X.astype(dtype), rng.random(X.shape) < 0.2


@quiet
@every_estimator
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.int8])
def test_masked_cells_are_missing_cells(estimator, dtype):
    """Values under the mask have no part in fits, scores and imputations."""
    X, holes = table_with_holes(dtype)
    masked = np.ma.masked_array(X, mask=holes)
    plain = X.astype(dtype if np.dtype(dtype).kind == "f" else np.float64)
    plain[holes] = np.nan
    model = estimator.fit(masked)
    answers = model.score_samples(masked), model.impute(masked), model.transform(masked)
    estimator.fit(plain)
    for answer, name in zip(answers, ("score_samples", "impute", "transform"), strict=True):
        expected = getattr(model, name)(plain)
        assert_array_equal(answer, expected)
        assert type(answer) is np.ndarray and answer.dtype == plain.dtype
    assert model.score(masked) == model.score(plain)


@quiet
@every_estimator
def test_a_masked_array_without_a_mask_is_its_data(estimator):
    X = table_with_holes(np.float64)[0]
    assert estimator.fit(np.ma.masked_array(X)).score(X) == estimator.fit(X).score(X)


def test_a_masked_weight_is_refused():
    X, _ = table_with_holes(np.float64)
    weights = np.ma.masked_array(np.ones(30), mask=np.arange(30) == 3)
    with pytest.raises(ValueError, match="masked weights"):
        GaussianMLE().fit(X, sample_weight=weights)


DAYS = [datetime.date(2024, 1, day) for day in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("X", "where"),
    [
        (np.array([["2024-01-01"], ["NaT"], ["2024-01-03"]], dtype="M8[D]"), "X holds"),
        (np.array([[1], [2], [4]], dtype="m8[s]"), "X holds"),
        (pd.DataFrame({"a": [1.0, 2, 3, 4], "day": pd.to_datetime(DAYS)}), "column 'day' of X"),
        (pd.DataFrame({"a": pd.to_datetime(DAYS, utc=True)}), "column 'a' of X"),
        (pl.DataFrame({"a": [1.0, 2, 3, 4], "day": DAYS}), "column 'day' of X"),
    ],
    ids=["datetimes", "durations", "pandas", "time zone", "polars"],
)
def test_dates_are_refused_by_the_name_of_their_column(X, where):
    """NaT read as a float would be -9.2e18."""
    with pytest.raises(ValueError, match=f"{where}.* dates or durations, expected numbers"):
        GaussianMLE().fit(X)
