"""Suggests skills for untagged resources, with confidences that are calibrated on held-out resources."""
