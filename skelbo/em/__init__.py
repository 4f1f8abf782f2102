"""The loop of every EM algorithm: acceleration, stopping rule, restarts and progress."""
