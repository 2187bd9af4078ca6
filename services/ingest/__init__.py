"""Takes events from platforms and files and appends them to the log."""
