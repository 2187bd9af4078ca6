"""Fits the learner model and the published models that it is compared with."""
