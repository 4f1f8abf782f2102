"""EM for mixtures: E-step, M-step, starts, prediction and streams."""
