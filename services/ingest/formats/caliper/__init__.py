"""Caliper Analytics of 1EdTech (IMS Global), versions 1.0, 1.1 and 1.2."""

from services.ingest.formats.caliper.profiles import load_profile
from services.ingest.formats.caliper.reader import envelope_problems, is_envelope, rows_of, version_problem

__all__ = ["envelope_problems", "is_envelope", "load_profile", "rows_of", "version_problem"]
