"""Adapters in memory, for tests. The behaviour suites in tests/suites hold them to what the real ones do."""
