"""Draws from the posterior p(z | x) and expectations by them."""
