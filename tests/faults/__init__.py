"""Faults in real processes on a real Kafka and a real Redis, and the guarantees that must hold afterwards."""

import deploy  # noqa: F401 - before gRPC is imported, see there.
