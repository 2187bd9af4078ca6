"""Fitting the learner model, and the published models it is compared with."""
