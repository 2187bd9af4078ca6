"""Entry points for calls and records."""
