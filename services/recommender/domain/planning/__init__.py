"""Groups of a class that share a gap, and what each group does."""
