"""Warnings about fits with a variance at its floor."""

from __future__ import annotations


class DegenerateFitWarning(UserWarning):
    """Warning about a variance at its floor, on which the likelihood then depends."""


class NoiseFloorWarning(DegenerateFitWarning):
    """Warning about a noise variance of Gaussian columns at its floor."""
