"""Fitting the learned ranker, and keeping it in a bundle."""
