"""Fitting networks: a branch, the conventional network, several at once, means of several."""
