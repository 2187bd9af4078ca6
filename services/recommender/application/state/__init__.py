"""Turning the log into learner state: folding, epochs and snapshots."""
