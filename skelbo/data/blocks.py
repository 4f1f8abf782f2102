"""Blocks of rows: slices of a table that bound the memory of temporaries."""

from __future__ import annotations

from collections.abc import Iterator

# Cells of temporaries per block: 2 MiB of float64, within the cache of a core.
BLOCK_CELLS = 2**18


def iter_blocks(
    n_rows: int, cells_per_row: int = 1, block_cells: int = BLOCK_CELLS
) -> Iterator[slice]:
    """Yield consecutive slices that cover the rows of a table.

    Parameters
    ----------
    n_rows : int
        Number of rows.
    cells_per_row : int
        Size of the temporaries that one row needs.
    block_cells : int
        Size of the temporaries of a block; a block holds at least one row.

    Yields
    ------
    rows : slice
        Start and stop of a block, both within the table.

    Examples
    --------
    >>> from skelbo.data.blocks import iter_blocks
    >>> list(iter_blocks(5, cells_per_row=10, block_cells=25))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    size = max(1, block_cells // max(1, cells_per_row))
    for start in range(0, n_rows, size):
        yield slice(start, min(start + size, n_rows))
