"""Base class of the warnings about fits at the edge of what a likelihood can tell."""

from __future__ import annotations


class DegenerateFitWarning(UserWarning):
    """A variance reached its floor, so that the likelihood depends on that floor."""
