"""Columns, batches and streams of rows for networks."""
