"""Collaborative filtering: fitting, scoring and choosing a family of models."""
