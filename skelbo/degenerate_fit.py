"""Base class of the warnings about fits with a variance at its floor."""

from __future__ import annotations


class DegenerateFitWarning(UserWarning):
    """A variance reached its floor, so that the likelihood depends on that floor."""
