"""Benchmarks of speed and memory on this machine: `make bench`."""

import deploy  # noqa: F401 - before gRPC is imported, see there.
