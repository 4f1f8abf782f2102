"""Quasi-random copies are uniform and independent."""

import numpy as np
from scipy import stats

from skelbo.inference.sampling.sobol import ShiftedSobol


def test_quasi_random_copies_are_uniform_and_independent():
    noise = ShiftedSobol((500, 2), np.random.RandomState(0)).run(256)
    assert np.array_equal(np.bincount(noise.part), [192, 32, 32])
    assert stats.kstest(noise.normal[0, :, 0], "norm").pvalue > 1e-3
    means = noise.normal.reshape(8, 32, 500, 2).mean(1)
    # Even spacing: the mean of 32 points errs a third of what independent ones do ...
    assert means.std() < 0.4 / np.sqrt(32)
    # ... and differently in every copy.
    assert abs(np.corrcoef(means[0].ravel(), means[1].ravel())[0, 1]) < 0.12
