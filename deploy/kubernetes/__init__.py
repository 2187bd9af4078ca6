"""A Kubernetes of one node on this machine, without Docker: for tests and trials of the chart."""
