"""The mutation check: each guarantee is broken on purpose, and a test must fail for it."""
