"""The mutation check: break each guarantee on purpose and verify that a test fails."""
