"""The worker under faults, on a virtual clock: real code, a simulated log, a simulated store, a seeded scheduler."""
