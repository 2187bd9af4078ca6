"""Manages learning resources, their skills, and rules about them."""
