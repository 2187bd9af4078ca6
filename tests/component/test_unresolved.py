"""`cairn catalog unresolved`: items whose responses are evidence of no skill."""

from __future__ import annotations

from datetime import timedelta

import orjson
import pytest
from rich.console import Console

from cairn.v1 import events_pb2
from services.common.kafka.envelope import record_key
from services.recommender.application.operations import unresolved
from services.recommender.application.operations.export import LogRows
from services.recommender.application.operations.unresolved import unresolved_items
from services.recommender.cli.unresolved import print_unresolved, unresolved_as_json
from services.recommender.domain.learner.restamp import Restamp, RestampedEvents
from services.recommender.wire.export import event_row
from tests.learner_events import TENANT, WHEN, message

UNTAGGED = {"skills": [], "skills_from": events_pb2.SKILLS_FROM_NONE}
ON_ACTIVITY = {"item": "", "grain": events_pb2.GRAIN_ACTIVITY}


class Log:
    """Rows of one partition, in batches of two."""

    def __init__(self, events):
        self._rows = [
            event_row(record_key(one.tenant, one.learner), one.SerializeToString(), [])
            | {"partition": 0, "offset": offset}
            for offset, one in enumerate(events)
        ]

    async def total(self):
        return len(self._rows)

    async def batches(self, tenant):
        for start in range(0, len(self._rows), 2):
            some = self._rows[start : start + 2]
            yield LogRows([row for row in some if row["tenant"] == tenant], start + len(some), 3, 1)


def response(number, item="item-1", *, days=0, learner="ada", **fields):
    one = message(number, learner, item=item, **(UNTAGGED | fields))
    one.occurred_at.FromDatetime(WHEN + timedelta(days=days))
    return one


async def found_in(*events, served=None, catalog=None, shown=None):
    progress = [] if shown is None else shown
    return await unresolved_items(
        Log(events), TENANT, served, {TENANT: catalog or {}}, lambda done, total: progress.append((done, total))
    )


def keys(found):
    return [(item.item, item.activity, item.responses) for item in found.items]


async def test_items_and_activities_without_a_skill_are_listed_with_their_traffic_most_first():
    shown = []
    found = await found_in(
        response(1, days=3),
        response(2, skills=["s"], skills_from=events_pb2.SKILLS_FROM_EVENT),
        response(3, "", activity="quiz-1", grain=events_pb2.GRAIN_ACTIVITY),
        response(4, days=1, learner="alan"),
        response(5, "item-2", activity="quiz-1"),
        response(6, days=2),
        response(7, "item-2", activity="quiz-1"),
        shown=shown,
    )
    assert keys(found) == [("item-1", "", 3), ("item-2", "quiz-1", 2), ("", "quiz-1", 1)]
    first = found.items[0]
    assert (len(first.learners), first.first_at, first.last_at) == (
        2,
        WHEN + timedelta(days=1),
        WHEN + timedelta(days=3),
    )
    assert (found.responses, found.other_responses, found.erased, found.unreadable) == (6, 0, 3, 1)
    assert shown == [(2, 7), (4, 7), (6, 7), (7, 7)]


async def test_events_that_are_no_responses_and_other_tenants_are_not_counted():
    opened = message(1)
    opened.interaction.resource = "item-1"
    assert keys(await found_in(opened, message(2, tenant="hilltop", **UNTAGGED), response(3))) == [("item-1", "", 1)]


async def test_a_response_of_unknown_time_counts_as_given_when_it_was_received():
    undated, unknown = message(1, **UNTAGGED), message(2, **UNTAGGED)
    for one in (undated, unknown):
        one.ClearField("occurred_at")
        one.ClearField("received_at")
    undated.received_at.FromDatetime(WHEN)
    found = await found_in(undated, unknown)
    assert [(item.first_at, item.last_at) for item in found.items] == [(WHEN, WHEN), (None, None)]


async def test_what_the_catalog_says_now_is_shown_of_each():
    catalog = {"item-1": ("fractions",), "item-2": (), "quiz-1": ("ratios", "area")}
    found = await found_in(
        response(1), response(2, "item-2"), response(3, "item-2", activity="quiz-1"), response(4, "x"), catalog=catalog
    )
    assert [(item.item, item.activity, item.in_catalog, item.skills_now) for item in found.items] == [
        ("item-1", "", True, ("fractions",)),
        ("item-2", "", True, ()),
        ("item-2", "quiz-1", True, ("ratios", "area")),
        ("x", "", False, ()),
    ]


async def test_what_the_served_epoch_has_resolved_is_not_listed():
    served = Restamp(RestampedEvents.WITHOUT_SKILLS, {TENANT: {"item-1": ("fractions",)}}, {0: 3})
    found = await found_in(response(1), response(2, "item-2"), response(3), response(4), served=served)
    assert keys(found) == [("item-1", "", 1), ("item-2", "", 1)]


async def test_memory_is_bounded_and_the_rest_is_counted(monkeypatch):
    monkeypatch.setattr(unresolved, "ITEMS_MAX", 3)
    monkeypatch.setattr(unresolved, "LEARNERS_MAX", 2)
    events = [response(number, f"item-{number % 5}", learner=f"learner-{number}") for number in range(20)]
    found = await found_in(*events)
    assert keys(found) == [("item-0", "", 4), ("item-1", "", 4), ("item-2", "", 4)]
    assert [len(item.learners) for item in found.items] == [2, 2, 2]
    assert (found.responses, found.other_responses) == (20, 8)
    assert "8 of the responses are to items beyond" in said(found)


def said(found, limit=20):
    console = Console(width=200, record=True, file=None, quiet=False)
    with console.capture() as captured:
        print_unresolved(console, found, limit)
    return captured.get()


async def test_people_read_what_to_do_next():
    found = await found_in(response(1, "[item]", days=5), response(2, "item-2"), catalog={"item-2": ("area",)})
    text = said(found)
    assert "responses without a skill: 2 (items: 2, activities: 0)" in text
    assert "[item]" in text
    assert "2026-09-06" in text
    assert "cairn replay --epoch next --parameters same --restamp" in text
    assert "Next: import what the catalog lacks" in text
    assert "1 more are not shown" in said(found, 1)
    assert "Next: all of them are tagged now" in said(await found_in(response(1), catalog={"item-1": ("area",)}))
    assert "every response is evidence of a skill" in said(await found_in())


async def test_programs_read_all_of_it():
    found = await found_in(response(1, "", activity="quiz-1", grain=events_pb2.GRAIN_ACTIVITY))
    assert orjson.loads(unresolved_as_json(TENANT, found)) == {
        "tenant": TENANT,
        "responses": 1,
        "items": [
            {
                "item": None,
                "activity": "quiz-1",
                "responses": 1,
                "learners": 1,
                "more_learners": False,
                "first_at": "2026-09-01T08:00:00+00:00",
                "last_at": "2026-09-01T08:00:00+00:00",
                "in_catalog": False,
                "skills_now": [],
            }
        ],
        "other_responses": 0,
        "erased": 3,
        "unreadable": 1,
    }


@pytest.mark.parametrize("arguments", [["--tenant", "No Tenant"], []])
def test_a_wrong_tenant_is_named(arguments, monkeypatch):
    from typer.testing import CliRunner

    from services.recommender.cli.unresolved import app

    monkeypatch.delenv("CAIRN_TENANT", raising=False)
    result = CliRunner().invoke(app, arguments)
    assert (result.exit_code, "--tenant" in result.output) == (2, True)
