"""Collaborative filtering: fits, scores and chooses a family of models."""
