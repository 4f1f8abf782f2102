"""Encoder, decoder, likelihoods and objectives of an auto-encoder."""
