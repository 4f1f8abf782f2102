"""What a Gaussian is: its moments, its covariance structures, its densities."""
