"""Bridges to fitting libraries: fit and infer."""
