"""Factor models: Gaussian latents with a linear predictor per column."""
