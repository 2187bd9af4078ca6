"""From a learner's state and a catalog to a ranked list with reasons."""
