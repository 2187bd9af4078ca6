"""Events with an identity that came before: in the same request, in an earlier one, and on another stream."""

import asyncio
from datetime import timedelta

import grpc
import pytest
from prometheus_client import REGISTRY

from cairn.v1 import events_pb2, ingest_pb2, ingest_pb2_grpc
from services.ingest.domain.kinds.erasure import Erasure
from tests.adapters.memory_event_log import MemoryEventLog
from tests.component.test_ingest_service import (
    ACCEPTED,
    DUPLICATE,
    NOW,
    REJECTED,
    Service,
    other,
    refused,
    submission,
)

CONFLICT, REVISED = ingest_pb2.EVENT_STATUS_CONFLICT, ingest_pb2.EVENT_STATUS_REVISED


@pytest.fixture
async def service(tmp_path):
    service = Service(tmp_path)
    await service.start()
    yield service
    await service.stop()


def graded(points, **fields):
    return submission(score=events_pb2.Score(raw=points, min=0, max=10), **{"event_id": "e1", **fields})


def at(days, **fields):
    sent = submission(**fields)
    sent.occurred_at.FromDatetime(NOW - timedelta(days=days))
    return sent


async def statuses(service, *events):
    return [result.status for result in await service.publish(*events)]


def counted(outcome):
    return REGISTRY.get_sample_value("cairn_ingest_events_total", {"outcome": outcome}) or 0


async def test_two_learners_with_the_same_source_and_id_are_two_events(service):
    ada, alan = await service.publish(submission("ada", event_id="e1"), submission("alan", event_id="e1"))
    assert [ada.status, alan.status] == [ACCEPTED, ACCEPTED]
    pseudonym = service.tenants.get("riverbend").pseudonym
    assert [ada.learner, alan.learner] == [pseudonym("ada"), pseudonym("alan")]
    assert {event.learner for event in service.stored()} == {pseudonym("ada"), pseudonym("alan")}


async def test_another_content_within_a_request_is_a_conflict_that_is_named_counted_and_not_written(service):
    before = counted("conflict")
    first, second = await service.publish(graded(2), graded(9, attempt=2))
    assert (first.status, second.status) == (ACCEPTED, CONFLICT)
    assert [problem.field for problem in second.problems] == [
        "events[1].assessment.score",
        "events[1].assessment.attempt",
    ]
    assert "send another event_id, or revises: true" in second.problems[0].reason
    assert (second.event_id, second.freshness_token, second.learner) == ("e1", "", "")
    assert not second.HasField("position")
    assert len(service.stored()) == 1
    assert counted("conflict") == before + 1


async def test_another_content_in_a_later_request_is_a_conflict(service):
    await service.publish(graded(2))
    (result,) = await service.publish(graded(9))
    assert result.status == CONFLICT
    assert len(service.stored()) == 1


async def test_a_conflict_does_not_change_what_later_events_are_compared_with(service):
    await service.publish(graded(2))
    assert await statuses(service, graded(9), graded(9), graded(2)) == [CONFLICT, CONFLICT, DUPLICATE]


async def test_a_repeat_of_an_earlier_request_is_a_duplicate_and_is_written_so_that_a_log_that_lost_it_has_it(service):
    await service.publish(graded(2))
    (result,) = await service.publish(graded(2))
    assert result.status == DUPLICATE
    assert len(service.stored()) == 2
    partition = service.log.partitions[result.position.partition]
    assert result.position.offset == len(partition) - 1
    assert result.freshness_token


async def test_a_revision_replaces_what_was_sent_and_says_so_in_the_log(service):
    await service.publish(graded(2))
    assert await statuses(service, graded(9, revises=True)) == [REVISED]
    assert [event.revises for event in service.stored()] == [False, True]
    assert service.record(1).revises
    assert await statuses(service, graded(9), graded(9, revises=True), graded(2)) == [DUPLICATE, DUPLICATE, CONFLICT]


async def test_a_revision_of_an_event_that_was_never_sent_is_a_new_event(service):
    assert await statuses(service, graded(9, revises=True)) == [ACCEPTED]
    assert service.record().revises


async def test_revisions_within_a_request_follow_each_other(service):
    events = [graded(2), graded(9, revises=True), graded(2, revises=True), graded(2)]
    results = await service.publish(*events)
    assert [result.status for result in results] == [ACCEPTED, REVISED, REVISED, DUPLICATE]
    assert len(service.stored()) == 3
    assert results[3].position == results[2].position


async def test_only_an_assessment_can_be_revised(service):
    wanted = events_pb2.PreferenceEvent(pace=events_pb2.PACE_BRISK)
    (result,) = await service.publish(other(preference=wanted, revises=True))
    assert result.status == REJECTED
    assert [problem.field for problem in result.problems] == ["events[0].revises"]


async def test_tags_that_changed_in_the_catalog_make_no_conflict(service):
    await service.publish(submission(item="item-1", event_id="e1"))
    service.tags._assessed[("riverbend", "item-1")] = ("other",)
    assert await statuses(service, submission(item="item-1", event_id="e1")) == [DUPLICATE]


async def test_two_streams_that_send_an_identity_at_once_know_of_each_other(service, monkeypatch):
    confirmed, written = asyncio.Event(), asyncio.Semaphore(0)

    async def submit(events, *, wait_for_room=False):
        positions = await MemoryEventLog.append(service.log, events)
        written.release()

        async def confirm():
            await confirmed.wait()
            return positions

        return confirm()

    monkeypatch.setattr(service.log, "submit", submit)
    first = asyncio.create_task(statuses(service, graded(2)))
    await written.acquire()
    second = asyncio.create_task(statuses(service, graded(9), graded(2)))
    await written.acquire()
    confirmed.set()
    assert await first == [ACCEPTED]
    assert await second == [CONFLICT, DUPLICATE]


async def test_an_event_that_the_log_did_not_confirm_is_not_known(service):
    service.log.reachable = False
    await refused(service.publish(graded(2)))
    service.log.reachable = True
    assert await statuses(service, graded(9)) == [ACCEPTED]


async def test_without_a_memory_the_reply_says_that_repeats_were_not_compared(service):
    await service.publish(graded(2))
    service.recent.available = False
    stub = ingest_pb2_grpc.IngestServiceStub(service.channel)
    metadata = (("authorization", f"Bearer {service.keys['riverbend']}"),)
    request = ingest_pb2.PublishEventsRequest(events=[graded(9), graded(8)])
    reply = await stub.PublishEvents(request, metadata=metadata, timeout=10)
    assert reply.not_compared
    assert [result.status for result in reply.results] == [ACCEPTED, CONFLICT]
    service.recent.available = True
    assert not (await stub.PublishEvents(request, metadata=metadata, timeout=10)).not_compared


async def test_an_assessment_older_than_the_learners_last_one_is_marked(service):
    await service.publish(at(2, event_id="e1"), at(1, learner="alan", event_id="e2"))
    results = await service.publish(
        at(3, event_id="old"), at(2, event_id="same"), at(1, event_id="new"), at(2, event_id="late"), submission()
    )
    assert [result.older for result in results] == [True, False, False, True, False]
    # A copy changes nothing, and so does its age.
    assert [result.older for result in await service.publish(at(3, event_id="old"))] == [False]


async def test_an_erased_learners_events_are_new_again(service):
    await service.publish(at(1, event_id="e1"))
    stub = ingest_pb2_grpc.IngestServiceStub(service.channel)
    metadata = (("authorization", f"Bearer {service.keys['riverbend']}"),)
    await stub.DeleteLearner(ingest_pb2.DeleteLearnerRequest(learner_id="ada"), metadata=metadata, timeout=10)
    (result,) = await service.publish(at(5, event_id="e1"))
    assert (result.status, result.older) == (ACCEPTED, False)


async def test_an_erasure_that_left_digests_is_not_confirmed(service):
    service.recent.available = False
    stub = ingest_pb2_grpc.IngestServiceStub(service.channel)
    metadata = (("authorization", f"Bearer {service.keys['riverbend']}"),)
    error = await refused(
        stub.DeleteLearner(ingest_pb2.DeleteLearnerRequest(learner_id="ada"), metadata=metadata, timeout=10)
    )
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "digests of the last ones may be left" in error.details()
    assert "send the request again" in error.details()
    assert [type(event.body) for event in service.stored()] == [Erasure]


async def test_an_assessment_cannot_revise_an_event_of_another_kind(service):
    opened = submission(event_id="e1", interaction=ingest_pb2.InteractionSubmission(resource="r", kind=1))
    assert await statuses(service, opened) == [ACCEPTED]
    (result,) = await service.publish(graded(4, revises=True))
    assert (result.status, [problem.field for problem in result.problems]) == (CONFLICT, ["events[0].body"])
    assert "revises" not in result.problems[0].reason
    assert len(service.stored()) == 1
