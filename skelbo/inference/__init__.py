"""Inference in a latent-variable model: posteriors, samplers, standard errors."""
