"""Progress of the computation of standard errors, printed on the terminal."""

from __future__ import annotations

import time

# Seconds between two lines.
INTERVAL = 2.0


class RowReport:
    """Printer of the number of rows that are done, every other second."""

    def __init__(self) -> None:
        self.clock = time.perf_counter()

    def __call__(self, n_done: int, n_rows: int) -> None:
        """Print a line if the last one is old."""
        if time.perf_counter() - self.clock > INTERVAL:
            print(f"Standard errors: {n_done} of {n_rows} rows")
            self.clock = time.perf_counter()
