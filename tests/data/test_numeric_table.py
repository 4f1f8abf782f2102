"""Tables as numbers: masks, dates, strings."""

from datetime import date

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_array_equal

from skelbo import EMGaussianMixture, GaussianMLE
from skelbo.data.numeric_table import as_numbers

DAYS = ["2020-01-01", "2020-01-02", None]
FRAME = pd.DataFrame({"a": [1.0, 2.0, 4.0], "b": [3.0, 1.0, 2.0]})
DATED = {
    "array": np.array([["2020-01-01", "NaT"], ["2020-01-02", "2020-01-03"]], "datetime64[D]"),
    "durations": np.array([[1, 2], [3, 4]], "timedelta64[s]"),
    "list": [[1, np.datetime64("2020-01-01")], [2, np.datetime64("NaT")]],
    "pandas": FRAME.assign(when=pd.to_datetime(DAYS)),
    "time zone": FRAME.assign(when=pd.to_datetime(DAYS).tz_localize("UTC")),
    "objects": FRAME.assign(when=np.array([date(2020, 1, day) for day in (1, 2, 3)], object)),
    "missing objects": FRAME.assign(when=np.array([1, 2, pd.NaT], object)),
    "periods": FRAME.assign(when=pd.period_range("2020-01", periods=3, freq="M")),
    "pandas durations": FRAME.assign(when=pd.to_timedelta([1, 2, None], unit="D")),
    "only dates": pd.DataFrame({"when": pd.to_datetime(DAYS), "then": pd.to_datetime(DAYS)}),
    "polars": pl.DataFrame({"a": [1.0, 2.0], "when": [date(2020, 1, 1), None]}),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
def test_a_masked_cell_is_a_missing_cell(dtype):
    X = np.ma.array(
        [[1, 2], [3, -999], [5, 4], [7, 9]], dtype, mask=[[0, 0], [0, 1], [0, 0], [0, 0]]
    )
    holes = X.astype(np.float64 if dtype == np.int64 else dtype).filled(np.nan)
    assert_array_equal(as_numbers(X), holes)
    assert as_numbers(X).dtype == holes.dtype
    assert X[1, 1] is np.ma.masked
    for model in (GaussianMLE(), EMGaussianMixture(1)):
        model.fit(X)
        assert_array_equal(model.lower_bounds_, model.fit(holes).lower_bounds_)
        assert_array_equal(model.score_samples(X), model.score_samples(holes))
        assert_array_equal(model.impute(X), model.impute(holes))
    assert_array_equal(as_numbers(list(X)), np.asarray(holes, np.float64))
    with pytest.raises(ValueError, match="Z contains NaN"):
        model.inverse_transform(np.ma.array([[1.0], [2.0]], mask=[[0], [1]]))


@pytest.mark.parametrize("table", DATED)
def test_dates_are_refused_by_the_name_of_their_column(table):
    column = "'when'" if not isinstance(DATED[table], np.ndarray | list) else r"\d"
    with pytest.raises(ValueError, match=f"column {column} of X holds dates or durations"):
        GaussianMLE().fit(DATED[table])


@pytest.mark.parametrize(
    "table",
    [
        FRAME.assign(name=["x", "y", "z"]),
        FRAME.assign(name=pd.Categorical(["x", "y", "z"])),
        pl.DataFrame({"a": [1.0, 2.0], "name": ["x", "y"]}),
    ],
)
def test_strings_name_their_column(table):
    with pytest.raises(ValueError, match="could not convert string to float: 'x' .column 'name'"):
        GaussianMLE().fit(table)
    with pytest.raises(ValueError, match="'x' .column 1 of X"):
        GaussianMLE().fit([[1, "x"], [2, "y"]])


@pytest.mark.parametrize(
    "table",
    [
        FRAME,
        pl.DataFrame({"a": [1.0, 2.0, 4.0], "b": [3.0, 1.0, 2.0]}),
        FRAME.astype(object),
        FRAME.astype("Int64"),
        FRAME.to_numpy().tolist(),
        FRAME.to_numpy().astype(str),
        np.ma.array(FRAME.to_numpy()),
    ],
)
def test_numbers_of_every_kind_are_numbers(table):
    mean = GaussianMLE().fit(FRAME).mean_
    assert_array_equal(GaussianMLE().fit(table).mean_, mean)


@pytest.mark.parametrize("kind", ["array", "rows", "frame", "nullable"])
def test_pandas_na_is_a_missing_cell(kind):
    cells = np.array([[1, 3], [2, pd.NA], [None, 2], [4, 4], [0, 1]], dtype=object)
    table = {
        "array": cells,
        "rows": cells.tolist(),
        "frame": pd.DataFrame(cells, columns=["a", "b"]),
        "nullable": pd.DataFrame(cells, columns=["a", "b"]).astype("Int64"),
    }[kind]
    before = np.ravel(table) if kind == "array" else None
    expected = GaussianMLE().fit([[1, 3], [2, np.nan], [np.nan, 2], [4, 4], [0, 1]])
    assert_array_equal(GaussianMLE().fit(table).covariance_, expected.covariance_)
    assert before is None or before[3] is pd.NA  # the user's table is left alone
