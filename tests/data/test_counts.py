"""A number of draws or steps is an integer of at least 1, or an error that names it."""

import numpy as np
import pytest

from skelbo.data.counts import as_count


@pytest.mark.parametrize("value", [1, 7, np.int32(7), np.uint8(3)])
def test_integers_are_ints(value):
    assert as_count(value, "steps") == value
    assert type(as_count(value, "steps")) is int


@pytest.mark.parametrize("value", [0, -1, 2.5, True, "2", None])
def test_anything_else_is_named(value):
    with pytest.raises(ValueError, match=f"'steps': {value!r}, expected an integer .* 1, or none."):
        as_count(value, "steps", ", or none")
