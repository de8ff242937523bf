"""Real images as exemplars: the baselines of condensation."""
