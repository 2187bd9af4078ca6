"""`make test-chart`: what the chart renders is valid, safe and what the processes understand. No cluster is needed."""
