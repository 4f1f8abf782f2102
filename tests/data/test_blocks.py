"""Slices that cover a table."""

import pytest

from skelbo.data.blocks import iter_blocks


@pytest.mark.parametrize("n_rows", [0, 1, 5, 6])
@pytest.mark.parametrize("cells_per_row", [0, 1, 3, 100])
def test_every_row_is_in_one_block(n_rows, cells_per_row):
    blocks = list(iter_blocks(n_rows, cells_per_row, block_cells=6))
    assert [i for rows in blocks for i in range(rows.start, rows.stop)] == list(range(n_rows))
    assert all((rows.stop - rows.start) * cells_per_row <= max(6, cells_per_row) for rows in blocks)
