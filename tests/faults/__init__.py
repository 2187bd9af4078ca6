"""Faults in real processes on a real Kafka and a real Redis, and what must hold afterwards."""
