"""What operators and data teams do: status, dead letters, corrections, exports and personal data."""
