"""Rows of a table, in memory, on disk or in a Dask collection, in blocks."""
