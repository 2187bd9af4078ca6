"""How good the models are: protocols, data, measures with intervals, and the report. Nothing here serves."""
