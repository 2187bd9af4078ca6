"""Settings of the recommender's processes and commands."""

from __future__ import annotations

from pydantic import Field

from services.common.settings import KafkaSettings


class BundleSettings(KafkaSettings):
    """Where bundles are, and the log they are trained on."""

    bundles: str = Field(default="bundles", description="Where bundles are kept: a path or any URL that fsspec knows.")
