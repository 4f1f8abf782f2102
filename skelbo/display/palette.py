"""Colours, markers and lines that people with any colour vision can distinguish.

The colours are those of Okabe and Ito (2008) without yellow, which is too light for lines; after
seven of them the markers and the dashes differ too. Continuous values have matplotlib's cividis,
values around zero its PuOr.
"""

from __future__ import annotations

BLUE, VERMILION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
COLORS = (BLUE, VERMILION, GREEN, "#CC79A7", ORANGE, "#56B4E9", "#000000")
MARKERS = "osD^vPX*<>p"
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
GREY = "0.45"
SEQUENTIAL, DIVERGING = "cividis", "PuOr"


def color(number: int) -> str:
    """Return the colour of the series with this number."""
    return COLORS[number % len(COLORS)]


def marker(number: int) -> str:
    """Return the marker of the series with this number; with `color` 77 combinations."""
    return MARKERS[number % len(MARKERS)]


def dashes(number: int):
    """Return the line style of the series with this number; it changes when colours repeat."""
    return DASHES[number // len(COLORS) % len(DASHES)]
