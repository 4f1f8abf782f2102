"""Segments of runs that advance together, one row of each in every step.

NumPy takes microseconds for each operation, however small: short runs are stacked, and long ones
are cut into segments which are stacked as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

# Microseconds of a step of the recursions and the products, of a link from segment to segment (of
# one run, of several side by side), and of a row's products per entry: they decide where runs are
# cut, which changes last digits.
STEP_COST, LINK_COST, LINKS_COST, PRODUCT_COST = 17.0, 6.0, 30.0, 0.0015
# Cells of the products of all segments.
MAX_PRODUCT_CELLS = 2**22


class Links(NamedTuple):
    """Segments that have a successor, at one place of their runs, and these successors."""

    segments: np.ndarray
    successors: np.ndarray


@dataclass(frozen=True)
class Segments:
    """The rows of some pieces of runs, sorted by step and then by segment, longest first.

    Attributes
    ----------
    first : ndarray of int, shape (n_segments,)
        First row of each segment.
    length : ndarray of int, shape (n_segments,)
        Number of rows, descending.
    links : list of Links
        From the first segments of the pieces to the last.
    heads : ndarray of int, shape (n_pieces,)
        First segment of each piece.
    tails : ndarray of int, shape (n_pieces,)
        Last segment of each piece.
    """

    first: np.ndarray
    length: np.ndarray
    links: list[Links]
    heads: np.ndarray
    tails: np.ndarray

    @classmethod
    def of_pieces(cls, bounds: np.ndarray, size: int | None = None) -> Segments:
        """Cut pieces of the given bounds (n_pieces + 1,) into segments of at most `size` rows."""
        lengths = np.diff(bounds)
        size = int(lengths.max()) if size is None else size
        counts = -(-lengths // size)
        piece = np.repeat(np.arange(len(lengths)), counts)
        start = np.cumsum(counts) - counts
        place = np.arange(len(piece)) - start[piece]
        first = bounds[piece] + place * size
        length = np.minimum(size, bounds[piece + 1] - first)
        order = np.argsort(-length, kind="stable")
        rank = np.empty(len(order), np.intp)
        rank[order] = np.arange(len(order))
        links = []
        for step in range(int(counts.max()) - 1):
            at = np.flatnonzero((place == step) & (counts[piece] > step + 1))
            links.append(Links(rank[at], rank[at + 1]))
        return cls(first[order], length[order], links, rank[start], rank[start + counts - 1])

    @cached_property
    def alive(self) -> np.ndarray:
        """Number of segments that have a row in each step, (n_steps,), descending."""
        return len(self.length) - np.searchsorted(
            self.length[::-1], np.arange(int(self.length[0])), "right"
        )

    @cached_property
    def offsets(self) -> np.ndarray:
        """Place of the first row of each step among all, (n_steps + 1,)."""
        return np.concatenate([[0], np.cumsum(self.alive)])

    @cached_property
    def steps(self) -> list[tuple[int, int, int]]:
        """Places of the rows of each step from the second on, of those before, and their number."""
        offsets, alive = self.offsets.tolist(), self.alive.tolist()
        return [(offsets[t], offsets[t - 1], alive[t]) for t in range(1, len(alive))]

    @cached_property
    def previous(self) -> np.ndarray:
        """Place of the row before each row from the second step on."""
        steps = self.steps
        if not steps:
            return np.empty(0, np.intp)
        return np.concatenate([np.arange(before, before + n) for _, before, n in steps])

    @cached_property
    def single(self) -> list[tuple[int, int]] | None:
        """The links where only one piece is cut, else None."""
        if any(len(link.segments) > 1 for link in self.links):
            return None
        return [(int(link.segments[0]), int(link.successors[0])) for link in self.links]

    @cached_property
    def steps_back(self) -> list[tuple[int, tuple[int, int, int]]]:
        """The same from the last one to the second, numbered."""
        return list(enumerate(self.steps, 1))[::-1]

    @cached_property
    def order(self) -> np.ndarray | None:
        """Rows in the order of the steps, (n_rows,); None if that is the order of the table."""
        if len(self.length) == 1:
            return None
        return np.concatenate([self.first[:n] + t for t, n in enumerate(self.alive.tolist())])

    @cached_property
    def places_of_last(self) -> np.ndarray:
        """Place of the last row of each segment, (n_segments,)."""
        return self.offsets[self.length - 1] + np.arange(len(self.length))

    @cached_property
    def linked(self) -> np.ndarray:
        """Segments that have a successor, (n_linked,)."""
        return np.concatenate([link.segments for link in self.links])

    @cached_property
    def successors(self) -> np.ndarray:
        """Successors of the linked segments, (n_linked,)."""
        return np.concatenate([link.successors for link in self.links])

    def packed(self, values: np.ndarray) -> np.ndarray:
        """Return values (..., n_rows) in the order of the steps: a copy in C order."""
        if self.order is None:
            return np.array(values, order="C")
        return np.take(values, self.order, axis=-1)

    def unpack(self, packed: np.ndarray, out: np.ndarray) -> None:
        """Write values in the order of the steps to their rows, (..., n_rows)."""
        if self.order is None:
            out[...] = packed
        elif packed.ndim == 1:
            out[self.order] = packed
        else:
            for values, target in zip(packed, out, strict=True):
                target[self.order] = values


def segment_size(lengths: np.ndarray, n_states: int) -> int | None:
    """Return the number of rows of a segment, None where pieces are better left whole.

    Parameters
    ----------
    lengths : ndarray of int, shape (n_pieces,)
    n_states : int
    """
    longest = int(lengths.max())
    link = LINK_COST if np.count_nonzero(2 * lengths > longest) == 1 else LINKS_COST
    size = max(int(np.sqrt(link / STEP_COST * longest)), 8)
    n_segments = int((-(-lengths // size)).sum())
    if longest <= size or n_segments * n_states**2 > MAX_PRODUCT_CELLS:
        return None
    products = PRODUCT_COST * float(lengths.sum()) * n_states**2 * (1 + n_states / 8)
    cost = STEP_COST * size + link * longest / size + products
    return size if cost < STEP_COST * longest * 2 / 3 else None
