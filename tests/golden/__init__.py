"""Golden values: what the services answer, compared with what they answered when the values were written."""
