"""Hostile tables, estimators with hostile options, and the laws that every answer obeys."""
