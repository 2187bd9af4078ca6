"""The catalog's start on a cluster that does not take transactions yet."""

from __future__ import annotations

import pytest

from services.catalog import bootstrap
from services.catalog.application.ports import CatalogUnavailableError


class NewCluster:
    """Refuses the first turns."""

    def __init__(self, refusals):
        self.refusals = refusals

    async def take_turn(self):
        if self.refusals:
            self.refusals -= 1
            raise CatalogUnavailableError("the topic of transactions is being made")


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch):
    monkeypatch.setattr(bootstrap, "_AGAIN_S", 0.0)


async def test_the_first_turn_is_awaited_on_a_cluster_that_was_never_written_to():
    log = NewCluster(refusals=3)
    await bootstrap.take_first_turn(log)
    assert log.refusals == 0


async def test_a_cluster_that_goes_on_refusing_ends_the_start_with_its_reason(monkeypatch):
    monkeypatch.setattr(bootstrap, "_FIRST_TURN_S", 0.0)
    with pytest.raises(CatalogUnavailableError, match="being made"):
        await bootstrap.take_first_turn(NewCluster(refusals=3))
