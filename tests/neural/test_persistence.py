"""Networks in files."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris
from torch import nn

from skelbo import VAEEstimator
from tests.neural.networks import small

IRIS = load_iris().data


def test_a_file_is_a_safetensors_file_that_other_programs_read(tmp_path):
    safetensors = pytest.importorskip("safetensors")
    pd = pytest.importorskip("pandas")
    X = pd.DataFrame(IRIS, columns=list("abcd"))
    model = small().fit(X)
    model.to_file(tmp_path / "model.safetensors")
    with safetensors.safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        weight = file.get_tensor("_net.weights.encoder.0.weight")
    torch.testing.assert_close(weight, model.encoder_[0].weight.detach(), rtol=0, atol=0)
    read = VAEEstimator.from_file(tmp_path / "model.safetensors")
    assert read.feature_names_in_.tolist() == list("abcd")
    np.testing.assert_array_equal(read.noise_variance_, model.noise_variance_)


def test_a_file_of_an_auto_encoder_holds_the_prior_of_its_codes(tmp_path):
    pytest.importorskip("safetensors")
    model = small(posterior="point").fit(IRIS)
    model.to_file(tmp_path / "model")
    loaded = VAEEstimator.from_file(tmp_path / "model")
    np.testing.assert_array_equal(loaded.score_samples(IRIS), model.score_samples(IRIS))
    assert loaded.noise_variance_ == model.noise_variance_


def test_networks_of_ones_own_are_passed_when_reading(tmp_path):
    model = small(encoder=nn.Linear).fit(IRIS)
    model.to_file(tmp_path / "model")
    with pytest.raises(ValueError, match="encoder is Linear, of the user's own, .* pass from_file"):
        VAEEstimator.from_file(tmp_path / "model")
    with pytest.raises(ValueError, match="encoder is Linear, but Bilinear was passed"):
        VAEEstimator.from_file(tmp_path / "model", encoder=nn.Bilinear)
    with pytest.raises(ValueError, match="pass the encoder and decoder that were used in fit"):
        VAEEstimator.from_file(
            tmp_path / "model", encoder=type("Linear", (nn.Sequential,), {})(nn.Linear(4, 4))
        )
    loaded = VAEEstimator.from_file(tmp_path / "model", encoder=nn.Linear)
    assert np.array_equal(loaded.transform(IRIS), model.transform(IRIS))


def test_callbacks_are_the_users_own(tmp_path):
    from skorch.callbacks import EpochTimer

    small(callbacks=[EpochTimer()]).fit(IRIS).to_file(tmp_path / "model")
    with pytest.raises(ValueError, match="callbacks is EpochTimer, of the user's own"):
        VAEEstimator.from_file(tmp_path / "model")
    assert VAEEstimator.from_file(tmp_path / "model", callbacks=None).callbacks is None
