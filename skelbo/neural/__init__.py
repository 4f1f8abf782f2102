"""What a variational auto-encoder is made of: columns, likelihoods, networks, objectives."""
