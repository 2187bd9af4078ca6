"""Fitting models on the log."""
