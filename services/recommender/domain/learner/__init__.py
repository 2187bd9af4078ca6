"""The learner: events, state, and the model that turns the first into the second."""
