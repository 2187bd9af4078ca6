"""A request of many events does not hold up other calls."""

import asyncio
import time
import uuid

import pytest

from services.common.turns import Pauses
from tests.http_requests import HttpIngest

EVENTS = 50


def event(number):
    return {"learner_id": "ada", "source": "lms", "event_id": f"e{number}", "item": f"q{number}", "correct": True}


def statement(number):
    return {
        "id": str(uuid.UUID(int=number)),
        "actor": {"mbox": "mailto:ada@example.com"},
        "verb": {"id": "http://adlnet.gov/expapi/verbs/answered"},
        "object": {"id": f"http://example.com/q/{number}"},
        "result": {"success": True},
    }


@pytest.mark.parametrize(
    ("path", "entry", "steps"),
    [
        # What takes long for each event: reading it, checking it, answering for it.
        ("/v1/events:batch", event, 3),
        # Reading it, telling it from others, checking it, keeping it.
        ("/xAPI/statements", statement, 4),
    ],
)
async def test_other_calls_run_between_the_events_of_a_request(tmp_path, monkeypatch, path, entry, steps):
    service, rounds = HttpIngest(tmp_path), 0
    # A pause is due after each event.
    monkeypatch.setattr(Pauses.__init__, "__defaults__", (0.0, time.perf_counter))

    async def others():
        nonlocal rounds
        while True:
            await asyncio.sleep(0)
            rounds += 1

    running = asyncio.create_task(others())
    body = [entry(number) for number in range(EVENTS)]
    answer = await service.request("POST", path, body, headers=(("X-Experience-API-Version", "1.0.3"),))
    running.cancel()
    assert answer.status == 200
    assert rounds >= steps * EVENTS
