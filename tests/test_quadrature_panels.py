"""Panels of adaptive quadrature: what replaces and continues them."""

import numpy as np

from skelbo.quadrature_panels import subdivided


def test_halves_cover_their_panel_and_the_outermost_go_on():
    row, end = np.array([0, 0, 1]), np.array([-1, 1, 1])
    low, high = np.array([-2.0, 0.0, 0.0]), np.array([0.0, 2.0, 4.0])
    halved, extended = np.array([True, False, True]), np.array([True, False, True])
    found = subdivided(row, low, high, end, halved, extended)
    panels = sorted(zip(*(part.tolist() for part in found), strict=True))
    assert panels == [
        (0, -6.0, -2.0, -1),
        (0, -2.0, -1.0, 0),
        (0, -1.0, 0.0, 0),
        (1, 0.0, 2.0, 0),
        (1, 2.0, 4.0, 0),
        (1, 4.0, 12.0, 1),
    ]
