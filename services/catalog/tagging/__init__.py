"""Suggests skills for resources that nobody has tagged, with confidences that hold on held-out resources."""
