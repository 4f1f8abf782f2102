"""Gaussians whose covariance is that of a factor analyser."""
