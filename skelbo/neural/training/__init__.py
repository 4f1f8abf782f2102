"""Training of a net: steps, early stopping, processes."""
