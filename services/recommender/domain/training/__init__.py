"""What models are fitted on and how they are judged: responses, positives, splits and metrics."""
