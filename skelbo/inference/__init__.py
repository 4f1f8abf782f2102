"""What is done to a model: steps over q, steps over theta, log p(x), standard errors."""
