"""Codes of rows: the nearest vectors of a codebook."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from skelbo.neural.model.code_posterior import CodePosterior


def nearest(encodings, codebook):
    """Return the codes of encodings (n, C, size) in a codebook (C, K, size)."""
    family = SimpleNamespace(codebook=codebook, soft=False)
    return CodePosterior(family, encodings).codes.numpy()


def test_the_code_is_the_nearest():
    rng = np.random.default_rng(0)
    v, e = torch.as_tensor(rng.normal(size=(50, 2, 3))), torch.as_tensor(rng.normal(size=(2, 5, 3)))
    distances = (v[:, :, None] - e).square().sum(-1)
    np.testing.assert_array_equal(nearest(v, e), distances.argmin(-1).numpy())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_of_codes_that_differ_by_rounding_the_first_is_the_nearest(dtype):
    eps = torch.finfo(dtype).eps
    e = torch.tensor([[[0.7, -0.3], [0.7, -0.3], [0.1, 0.2]]], dtype=dtype)
    e[0, 1] *= 1 + 3 * eps
    steps = eps * torch.arange(-4, 5, dtype=dtype)
    v = (e[0, 0] * (1 + steps[:, None]))[:, None]
    assert not nearest(v, e).any()


def test_far_encodings_have_the_code_in_their_direction():
    e = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [1.0, 1e-3]]], dtype=torch.float64)
    v = torch.tensor([[[0.0, 1e200]], [[1e200, 1e200]]], dtype=torch.float64)
    assert nearest(v, e).ravel().tolist() == [1, 2]
