"""Builds the container images (`make image`)."""
