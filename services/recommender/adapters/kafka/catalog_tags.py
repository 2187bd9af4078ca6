"""The catalog's skills and tags, read once from its compacted topics."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from services.common.kafka.compacted import CompactedView
from services.common.kafka.connection import KafkaConnection
from services.common.kafka.envelope import RESOURCES, SKILLS
from services.recommender.adapters.kafka.catalog import CatalogContents
from services.recommender.application.ports.catalog import CatalogTags


class KafkaCatalogTags:
    """Implements CatalogTagsReader."""

    def __init__(self, connection: KafkaConnection) -> None:
        self._connection = connection

    async def read(self) -> CatalogTags:
        """See the port. Also raises what `CompactedView.run` raises."""
        contents = CatalogContents()

        def apply(_topic: str, records: Sequence[Any]) -> None:
            contents.apply(records)

        view = CompactedView(self._connection, [RESOURCES, SKILLS], apply)
        reading, ready = asyncio.create_task(view.run()), asyncio.create_task(view.wait_ready())
        try:
            await asyncio.wait((reading, ready), return_when=asyncio.FIRST_COMPLETED)
            if not ready.done():
                # It ends only with an error.
                await reading
        finally:
            reading.cancel()
            ready.cancel()
            await asyncio.gather(reading, ready, return_exceptions=True)
        # As the catalog service counts: behind the end of a transaction, which is not a record.
        read = view.next_offsets
        return CatalogTags(read[RESOURCES], read[SKILLS], contents.assessed_skills(), contents.skills())
