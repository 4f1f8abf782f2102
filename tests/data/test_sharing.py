"""Shared results: kept within the block, for each key, and nowhere else."""

from skelbo.data.sharing import is_sharing, shared, sharing


def test_a_result_is_computed_once_within_the_block():
    calls = []

    def compute():
        calls.append(None)
        return len(calls)

    assert shared("key", compute) == 1 and shared("key", compute) == 2 and not is_sharing()
    with sharing():
        assert is_sharing()
        assert shared("key", compute) == shared("key", compute) == 3
        assert shared("other", compute) == 4
    assert shared("key", compute) == 5
