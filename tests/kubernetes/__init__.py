"""The chart on a real Kubernetes: `python -m tests.kubernetes`."""
