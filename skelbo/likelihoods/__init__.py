"""Likelihoods of columns and of tables of mixed columns, on NumPy arrays and torch tensors."""

from skelbo.likelihoods.likelihood import Likelihood
from skelbo.likelihoods.table import MixedColumns
from skelbo.likelihoods.vocabulary import LIKELIHOODS, as_likelihood, column_likelihoods

__all__ = ["LIKELIHOODS", "Likelihood", "MixedColumns", "as_likelihood", "column_likelihoods"]
