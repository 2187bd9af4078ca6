"""Wires the recommender's processes and commands."""
