"""Files of fitted estimators."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris
from torch import nn

from skelbo import VAEEstimator
from tests.neural.networks import small

IRIS = load_iris().data


@pytest.mark.parametrize("likelihood", ["gaussian", "categorical"])
def test_a_file_without_pickle_holds_everything(tmp_path, likelihood):
    pytest.importorskip("safetensors")
    pd = pytest.importorskip("pandas")
    X = IRIS if likelihood == "gaussian" else np.round(IRIS)
    X = pd.DataFrame(np.array(X), columns=list("abcd"))
    model = small(likelihood=likelihood).fit(X)
    model.to_file(tmp_path / "model.safetensors")
    loaded = VAEEstimator.from_file(tmp_path / "model.safetensors")
    assert loaded.get_params() == model.get_params()
    assert np.array_equal(loaded.score_samples(X), model.score_samples(X))
    assert loaded.lower_bounds_ == model.lower_bounds_
    assert loaded.feature_names_in_.tolist() == list("abcd")
    np.testing.assert_array_equal(loaded.noise_variance_, model.noise_variance_)
    loaded.set_params(warm_start=True).fit(X)


def test_a_file_of_an_auto_encoder_holds_the_prior_of_its_codes(tmp_path):
    pytest.importorskip("safetensors")
    model = small(posterior="point").fit(IRIS)
    model.to_file(tmp_path / "model")
    loaded = VAEEstimator.from_file(tmp_path / "model")
    np.testing.assert_array_equal(loaded.score_samples(IRIS), model.score_samples(IRIS))
    assert loaded.noise_variance_ == model.noise_variance_


def test_networks_of_ones_own_are_passed_when_reading(tmp_path):
    pytest.importorskip("safetensors")
    model = small(encoder=nn.Linear).fit(IRIS)
    model.to_file(tmp_path / "model")
    with pytest.raises(ValueError, match="pass the encoder and decoder"):
        VAEEstimator.from_file(tmp_path / "model")
    loaded = VAEEstimator.from_file(tmp_path / "model", encoder=nn.Linear)
    assert np.array_equal(loaded.transform(IRIS), model.transform(IRIS))


def test_a_file_of_another_kind_is_refused(tmp_path):
    pytest.importorskip("safetensors")
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / "other")
    with pytest.raises(ValueError, match="expected 'skelbo.VAEEstimator/1'"):
        VAEEstimator.from_file(tmp_path / "other")
    (tmp_path / "text").write_text("no safetensors at all")
    with pytest.raises(ValueError, match="is no safetensors file"):
        VAEEstimator.from_file(tmp_path / "text")


def test_a_file_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    safetensors = pytest.importorskip("safetensors.torch")
    path, model = tmp_path / "model", small().fit(IRIS)
    model.to_file(path)

    def disk_full(tensors, place, metadata):
        place.write_text("half of")
        raise OSError("No space left on device")

    monkeypatch.setattr(safetensors, "save_file", disk_full)
    with pytest.raises(OSError, match="No space"):
        model.to_file(path)
    assert [file.name for file in tmp_path.iterdir()] == ["model"]
    assert VAEEstimator.from_file(path).score(IRIS) == model.score(IRIS)
