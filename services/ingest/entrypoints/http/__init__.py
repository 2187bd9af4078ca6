"""Events over HTTP: one module for each entry, and what they share."""
