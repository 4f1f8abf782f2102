"""Base classes and mixins of the estimators: everything that users call besides `fit`."""
