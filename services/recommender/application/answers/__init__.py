"""Answers to callers: recommendations, plans, previews and what is known of a learner."""
