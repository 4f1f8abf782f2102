"""Attributes of fitted codes."""

import numpy as np

from skelbo.neural.code_attributes import CodeAttributes


def test_no_share_of_the_rows_is_above_one():
    # .1 + .2 + .3 is more than .3 + .2 + .1: the codes sum the weights of the rows by turns.
    attributes = CodeAttributes()
    attributes.n_components, attributes.n_codes = 2, 3
    attributes._publish_latents(np.array([[2, 0], [1, 0], [0, 0]]), np.array([0.1, 0.2, 0.3]))
    np.testing.assert_array_equal(attributes.code_usage_[1], [1.0, 0.0, 0.0])
    assert attributes.perplexity_[1] == 1.0
