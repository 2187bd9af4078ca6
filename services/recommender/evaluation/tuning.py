"""Choosing the settings of each collaborative model on an inner split: the data to judge on is never touched."""

from __future__ import annotations

from services.recommender.models.families import FAMILIES, Choice, choose

__all__ = ["FAMILIES", "Choice", "choose"]
