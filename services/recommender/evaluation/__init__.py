"""Evaluation of the models: protocols, data, measures with intervals, and the report. Servers do not use it."""
