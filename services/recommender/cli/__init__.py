"""The recommender's commands."""
