"""Validation of records and imports. Every check collects all problems, each with its value and the remedy."""
