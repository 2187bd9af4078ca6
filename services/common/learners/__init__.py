"""Learners as people write them down: ids in tables, and lists of learners to leave out."""
