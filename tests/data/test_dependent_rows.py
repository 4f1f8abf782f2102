"""Rows of sequences are held out whole, or in one piece, or by error."""

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skelbo import EMHiddenMarkovModel, GaussianMLE
from skelbo.data.dependent_rows import check_held_out, form_sequences, ids_of_rows

CHAIN = EMHiddenMarkovModel(2)
IDS = np.repeat([3, 1, 2], 4)


def test_which_estimators_are_of_sequences():
    assert form_sequences(CHAIN)
    assert form_sequences(make_pipeline(StandardScaler(), CHAIN))
    assert not form_sequences(GaussianMLE())
    assert not form_sequences(object())


def test_ids_of_a_column():
    X = np.column_stack([np.arange(12.0), IDS])
    frame = pd.DataFrame({"x": X[:, 0], "patient": list("aaaabbbbcccc")})
    assert ids_of_rows(CHAIN, X) is None
    np.testing.assert_array_equal(ids_of_rows(EMHiddenMarkovModel(2, group_column=1), X), IDS)
    named = EMHiddenMarkovModel(2, group_column="patient")
    assert list(ids_of_rows(named, frame)) == list("aaaabbbbcccc")


def test_whole_sequences_and_pieces_are_held_out():
    check_held_out(CHAIN, np.arange(4, 9), None)
    check_held_out(CHAIN, np.r_[0:4, 8:12], IDS)
    check_held_out(CHAIN, np.r_[2:4, 5:8], IDS)
    check_held_out(CHAIN, np.isin(IDS, [3, 2]), IDS)
    check_held_out(GaussianMLE(), np.array([5, 1, 3]), None)


@pytest.mark.parametrize("rows", [[0, 2], [3, 2, 1], [0, 1, 3, 8]])
@pytest.mark.parametrize("groups", [None, IDS])
def test_rows_here_and_there_are_refused(rows, groups):
    with pytest.raises(
        ValueError, match="rows of EMHiddenMarkovModel form sequences, of which row"
    ):
        check_held_out(CHAIN, rows, groups)


def test_groups_that_do_not_reach_the_chain_are_refused():
    pipeline = make_pipeline(StandardScaler(), CHAIN)
    with pytest.raises(
        ValueError, match="emhiddenmarkovmodel__group_column is None, and groups ar"
    ):
        check_held_out(pipeline, np.arange(4), IDS)
    pipeline.set_params(emhiddenmarkovmodel__group_column=0)
    check_held_out(pipeline, np.arange(4), IDS)
