"""The integrated completed likelihood: its definition, weights, Dask, and who has it."""

import numpy as np
import pytest

from skelbo import EMGaussianMixture, GaussianMLE


def test_bic_plus_twice_the_entropy_of_the_most_probable_labels(faithful):
    X = faithful.copy()
    X[::9, 1] = np.nan
    model = EMGaussianMixture(3, random_state=0).fit(X)
    entropy = -np.log(model.predict_proba(X).max(axis=1)).sum()
    assert model.icl(X) == pytest.approx(model.bic(X) + 2 * entropy, rel=1e-13)
    assert model.icl(X) > model.bic(X)


def test_weights_are_repetitions(faithful):
    model = EMGaussianMixture(2, random_state=0).fit(faithful)
    weights = np.arange(272) % 3
    repeated = model.icl(np.repeat(faithful, weights, axis=0))
    assert model.icl(faithful, sample_weight=weights) == pytest.approx(repeated, rel=1e-12)


def test_of_a_dask_collection(faithful):
    array = pytest.importorskip("dask.array")
    model = EMGaussianMixture(2, random_state=0).fit(faithful)
    lazy, weights = array.from_array(faithful, chunks=(100, 2)), np.arange(272.0)
    lazy_weights = array.from_array(weights, chunks=100)
    expected = model.icl(faithful, sample_weight=weights)
    assert model.icl(lazy, sample_weight=lazy_weights) == pytest.approx(expected, rel=1e-12)


def test_of_one_component_is_bic(faithful):
    model = EMGaussianMixture(1).fit(faithful)
    assert model.icl(faithful) == model.bic(faithful)


def test_a_model_without_labels_has_none():
    assert not hasattr(GaussianMLE(), "icl")
    assert hasattr(EMGaussianMixture(), "icl")
