"""What can happen to a learner: one module per kind of event, with its type, its checks and its natural key."""
