"""Approximate and exact posteriors q(z) of the rows."""
