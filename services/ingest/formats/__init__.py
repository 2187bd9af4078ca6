"""Readers of the files that districts have."""
