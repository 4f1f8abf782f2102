"""Heywood cases: columns that the latents reproduce without noise."""

from __future__ import annotations

HEYWOOD = (
    "the noise variance of column {column} reached its floor, 1e-6 of the column's variance (a "
    "Heywood case: the column is a function of the latents); use fewer latents, "
    "noise='isotropic', or remove the column."
)
