"""Settings of the catalog service."""

from __future__ import annotations

from pydantic import Field

from services.common.environment import OptionalPath
from services.common.kafka.settings import KafkaSettings
from services.common.settings import ProcessSettings, ServerSettings


class CatalogSettings(ProcessSettings, KafkaSettings, ServerSettings):
    """`CAIRN_` and the field's name in the environment."""

    catalog_import_records_max: int = Field(
        default=200_000, ge=1, description="Most skills and resources in one import."
    )
    catalog_import_bytes_max: int = Field(
        default=256 * 1024 * 1024, ge=1024, description="Largest encoded size of one import."
    )
    catalog_taggers: OptionalPath = Field(
        default=None, description="Folder of the tenants' taggers, each in a folder of the tenant's name."
    )
