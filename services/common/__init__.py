"""Infrastructure that every service shares. It contains no domain rules."""
