"""Encryption of learners' values in the log, with one key per learner."""
