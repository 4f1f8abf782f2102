"""The start of a codebook: k-means of the encodings of each position."""

import numpy as np
import pytest
import torch

from skelbo.neural.training.codebook import _clustered


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_encodings_that_differ_by_rounding_share_a_code(dtype):
    rng = np.random.default_rng(0)
    points = np.repeat([[0.5, -1.0], [-2.0, 0.25]], [6, 2], axis=0)
    noise = 4 * torch.finfo(dtype).eps * rng.integers(-1, 2, (8, 2))
    encodings = torch.as_tensor(points + noise, dtype=dtype)[:, None]
    codebook, shares, _ = _clustered(encodings, None, 4, seed=0)
    assert sorted(shares[0].tolist()) == [0, 0, 0.25, 0.75]
    assert len(torch.unique(codebook[0], dim=0)) == 2
