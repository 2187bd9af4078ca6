"""Fits the learned ranker and stores it in a bundle."""
