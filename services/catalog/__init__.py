"""Keeps what learners can be given, and the skills it is about."""
