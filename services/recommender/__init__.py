"""Keeps an estimate of every learner's mastery and ranks what to work on next."""
