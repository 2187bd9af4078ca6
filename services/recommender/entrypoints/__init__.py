"""Where calls and records come in."""
