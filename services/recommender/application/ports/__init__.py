"""What the recommender needs from outside, one file per group of ports."""
