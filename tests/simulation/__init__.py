"""Simulates the worker under faults on a virtual clock: real code, simulated log and store, a seeded scheduler."""
