"""Benchmarks of speed and memory on this machine: `make bench`."""
