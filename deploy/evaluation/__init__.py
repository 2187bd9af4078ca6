"""Running every evaluation, and the documents that hold their figures."""
