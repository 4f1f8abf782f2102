"""Hidden Markov chains: forward-backward, Viterbi and EM for labels that depend on the last one."""
