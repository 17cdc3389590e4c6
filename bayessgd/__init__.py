"""SGD trajectories as approximate Bayesian inference."""
