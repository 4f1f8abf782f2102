"""Networks that parametrise p(x | z) and q(z | x), and their training."""
