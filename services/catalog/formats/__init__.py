"""Readers of catalog files."""
