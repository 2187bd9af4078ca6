"""A running system that a real Prometheus scrapes: for the test of rules and dashboards, and for their picture."""
