"""What a catalog accepts. Every check collects all problems, each with its value and the remedy."""
