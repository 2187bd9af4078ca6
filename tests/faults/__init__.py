"""Faults in real processes on a real Kafka and a real Redis, and the guarantees that must hold afterwards."""
