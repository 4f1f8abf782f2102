"""K Gaussians: moments, covariance structures, densities and missing cells."""
