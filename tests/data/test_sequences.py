"""Runs of rows: contiguous ids, lists of tables, weights per run, the column of ids."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_array_equal

import skelbo
from skelbo.data.sequences import (
    refuse_list_of_sequences,
    run_weights,
    runs_of,
    split_group_column,
)

KINDS = {
    "numbers": [3, 3, 1, 1, 1, 2],
    "floats": [0.5, 0.5, 0.1, 0.1, 0.1, 9.0],
    "strings": list("bbaaac"),
    "mixed": np.array(["b", "b", 1, 1, 1, 2.5], dtype=object),
    "pandas": pd.Series(list("bbaaac")),
    "categories": pd.Series(list("bbaaac"), dtype="category"),
    "polars": pl.Series(list("bbaaac")),
    "one column": np.array([[3], [3], [1], [1], [1], [2]]),
    "booleans and dates": pd.to_datetime(["2020"] * 2 + ["2021"] * 3 + ["2022"]),
}


@pytest.mark.parametrize("groups", KINDS.values(), ids=KINDS)
def test_runs_of_ids(groups):
    runs = runs_of(groups, 6)
    assert_array_equal(runs.bounds, [0, 2, 5, 6])
    assert runs.n_runs == 3 and runs.n_rows == 6
    assert_array_equal(runs.lengths, [2, 3, 1])


def test_no_ids_are_one_run():
    assert_array_equal(runs_of(None, 4).bounds, [0, 4])


def test_an_id_that_returns_is_named_with_both_places():
    with pytest.raises(ValueError, match=r"groups: id 'a' of rows 0 to 1 returns in row 3"):
        runs_of(["a", "a", "b", "a"], 4)
    with pytest.raises(ValueError, match=r"group_column='g': id 7 of rows 1 to 1 returns in row 3"):
        runs_of([1, 7, 2, 7], 4, "group_column='g'")


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([1, 2], r"groups has shape \(2,\), expected \(3,\); pass the id"),
        ([[1, 2], [1, 2], [1, 2]], r"groups has shape \(3, 2\)"),
        ([1.0, np.nan, 2.0], "groups has no id in row 1"),
        (["a", None, "b"], "groups has no id in row 1"),
        (np.ma.array([1, 2, 3], mask=[0, 1, 0]), "groups has masked ids"),
    ],
)
def test_ids_that_are_none(groups, message):
    with pytest.raises(ValueError, match=message):
        runs_of(groups, 3)


# ------------------------------------------------------------------------- lists of tables


def test_sequences_join_tables():
    X, groups = skelbo.sequences([np.ones((2, 3)), np.zeros((1, 3))])
    assert X.shape == (3, 3)
    assert_array_equal(groups, [0, 0, 1])
    X, groups = skelbo.sequences([[1, 2], [3]], ids=["u", "v"])
    assert_array_equal(X, [[1], [2], [3]])
    assert_array_equal(groups, ["u", "u", "v"])


def test_sequences_join_dataframes():
    parts = [pd.DataFrame({"a": [1.0, 2.0]}), pd.DataFrame({"a": [3.0]})]
    X, groups = skelbo.sequences(parts)
    assert list(X.columns) == ["a"] and len(X) == 3
    assert_array_equal(runs_of(groups, 3).bounds, [0, 2, 3])


@pytest.mark.parametrize(
    ("arrays", "ids", "message"),
    [
        ([], None, "sequences got no array"),
        ([np.ones((1, 2)), np.ones((0, 2))], None, "sequence 1 has no rows"),
        ([np.ones((1, 2)), np.ones((1, 3))], None, "sequence 1 has 3 columns, sequence 0 has 2"),
        ([np.ones((1, 2))] * 2, ["a", "a"], "ids has 1 different names for 2 sequences"),
        ([np.ones((1, 2, 3))], None, r"a sequence has shape \(1, 2, 3\)"),
    ],
)
def test_sequences_that_do_not_fit_together(arrays, ids, message):
    with pytest.raises(ValueError, match=message):
        skelbo.sequences(arrays, ids)


@pytest.mark.parametrize(
    "X",
    [
        [np.ones((2, 1)), np.ones((3, 1))],
        [[[1.0], [2.0]], [[3.0]]],
        [[1.0, 2.0], [3.0]],
        [pd.DataFrame({"a": [1.0]}), pd.DataFrame({"a": [1.0]})],
        np.ones((2, 5, 3)),
        np.array([np.ones((2, 1)), np.ones((3, 1))], dtype=object),
    ],
    ids=["arrays", "lists", "ragged", "dataframes", "3d", "objects"],
)
def test_lists_of_sequences_are_refused_with_the_remedy(X):
    with pytest.raises(ValueError, match=r"X is a list of 2 sequences.*skelbo\.sequences"):
        refuse_list_of_sequences(X)


@pytest.mark.parametrize("X", [[[1.0, 2.0], [3.0, 4.0]], np.ones((3, 2)), [1.0, 2.0], "no table"])
def test_tables_pass(X):
    refuse_list_of_sequences(X)


# --------------------------------------------------------------------------------- weights


def test_weights_of_runs():
    runs = runs_of([0, 0, 1], 3)
    assert_array_equal(run_weights([2.0, 2.0, 0.0], runs), [2.0, 0.0])
    assert run_weights(None, runs) is None
    assert run_weights(1.0, runs) is None
    assert_array_equal(run_weights(3.0, runs), [3.0, 3.0])


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, 2.0, 1.0], r"sample_weight is 2 in row 1 and 1 in row 0 of the same sequence \(0\)"),
        ([0.0, 0.0, 0.0], "sample_weight is zero for all rows"),
        ([-1.0, -1.0, 1.0], "negative weights"),
        ([1.0], r"sample_weight has shape \(1,\)"),
    ],
)
def test_weights_that_are_none(weights, message):
    with pytest.raises(ValueError, match=message):
        run_weights(weights, runs_of([0, 0, 1], 3))


# -------------------------------------------------------------------------- column of ids


def test_column_of_ids():
    frame = pd.DataFrame({"x": [1.0, 2.0], "id": ["a", "b"], "y": [3.0, 4.0]})
    for column in ("id", 1, -2):
        X, groups = split_group_column(frame, column)
        assert list(X.columns) == ["x", "y"]
        assert_array_equal(groups, ["a", "b"])
    X, groups = split_group_column(pl.from_pandas(frame), "id")
    assert X.columns == ["x", "y"] and list(groups) == ["a", "b"]
    X, groups = split_group_column(np.array([[1.0, 7.0], [2.0, 8.0]]), -1)
    assert_array_equal(X, [[1.0], [2.0]])
    assert_array_equal(groups, [7.0, 8.0])
    X, groups = split_group_column([[1.0, "a"], [2.0, "b"]], 1)
    assert_array_equal(np.asarray(X, float), [[1.0], [2.0]])
    assert list(groups) == ["a", "b"]


@pytest.mark.parametrize(
    ("X", "column", "message"),
    [
        (pd.DataFrame({"x": [1.0]}), "id", r"group_column='id' is not a column of X.*\['x'\]"),
        (np.ones((2, 2)), "id", "group_column='id' is a name, but X has no column names"),
        (np.ones((2, 2)), 2, "group_column=2 is not the position of one of the 2 columns"),
        (np.ones(3), 0, "Expected 2D array"),
    ],
)
def test_no_such_column(X, column, message):
    with pytest.raises(ValueError, match=message):
        split_group_column(X, column)
