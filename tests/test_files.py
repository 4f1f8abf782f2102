"""Files of fitted estimators: an estimator that is read goes on as the one that was written."""

import copy
import warnings

import numpy as np
import pytest

import skelbo
from skelbo.persistence.estimator_file import packed, unpacked
from tests.persistence.fitted import SUBJECTS, file_of

NAMES = pytest.mark.parametrize("name", SUBJECTS)
WARM = [name for name, s in SUBJECTS.items() if "warm_start" in s.estimator.get_params()]
STREAMS = [
    name
    for name, subject in SUBJECTS.items()
    if hasattr(subject.estimator, "partial_fit") and "holes" not in name
]


def pair(name):
    """Return the fitted estimator and the one read from its file, with the rows of the fit."""
    subject = SUBJECTS[name]
    data = file_of(name)
    read = unpacked(type(subject.estimator), data, subject.given)
    return copy.deepcopy(subject.estimator), read, subject.X


@pytest.fixture(autouse=True)
def few_iterations():
    """Fits of a few iterations warn that they did not converge."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@NAMES
def test_what_is_read_is_what_was_written_to_the_bit(name):
    """State of generators and order of cells in memory included."""
    written, read, _ = pair(name)
    assert packed(read) == file_of(name)
    # Rows of the fit are the one thing that neither files nor copies keep.
    assert set(vars(read)) == set(vars(written)) - {"_data"}


@NAMES
def test_scores_latents_and_draws_are_the_same_to_the_bit(name):
    written, read, X = pair(name)
    bounds = () if "point" in name else ("elbo",)
    for method in ("score_samples", "transform", *bounds):
        expected = getattr(written, method)(X)
        np.testing.assert_array_equal(getattr(read, method)(X), expected)
        assert getattr(read, method)(X).dtype == expected.dtype
    if "sample" not in vars(type(getattr(written, "model_", written))):
        return  # a model of one's own without it
    for seed in (0, None) if hasattr(written, "random_state_") else (0,):
        for got, expected in zip(
            read.sample(9, random_state=seed), written.sample(9, random_state=seed), strict=True
        ):
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("name", WARM)
def test_a_warm_start_goes_on_as_it_would_have(name):
    written, read, X = pair(name)
    for model in (written, read):
        model.set_params(warm_start=True).fit(X)
    assert packed(read) == packed(written)


@pytest.mark.parametrize("name", STREAMS)
def test_partial_fit_goes_on_as_it_would_have(name):
    written, read, X = pair(name)
    for model in (written, read):
        model.partial_fit(X[::2]).partial_fit(X[1::2])
    assert packed(read) == packed(written)


def test_every_public_estimator_has_files_that_are_tested():
    public = {getattr(skelbo, name) for name in skelbo.__all__ if name != "__version__"}
    estimators = {kind for kind in public if hasattr(kind, "to_file")}
    assert estimators == {type(subject.estimator) for subject in SUBJECTS.values()}
