"""Gaussian q of each row: matrices that are no precisions."""

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from skelbo.inference.posteriors.gaussian_posterior import regular


def test_only_matrices_that_need_it_are_altered():
    """A saddle, and a matrix of rank one to rounding, beside one that is fine."""
    sound = np.diag([1.0, 1e8])
    singular = np.eye(2) + 1e95 * np.outer([0.02, 1.0], [0.02, 1.0])
    mended = regular(np.stack([sound, np.diag([2.0, -3.0]), singular]))
    assert_array_equal(mended[0], sound)
    assert_allclose(mended[1], np.diag([2.0, 3.0]))
    assert np.all(np.linalg.eigvalsh(mended[2]) > 0)
    assert np.isfinite(np.linalg.solve(mended, np.ones((3, 2, 1)))).all()
