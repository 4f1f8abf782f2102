"""Passes over rows that are compiled by numba or run in torch."""
