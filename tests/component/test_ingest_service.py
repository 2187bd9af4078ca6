"""The ingest service over real gRPC, with its ports in memory."""

import math
from datetime import UTC, datetime, timedelta

import grpc
import pytest
import structlog

from cairn.v1 import events_pb2, ingest_pb2, ingest_pb2_grpc
from services.common.auth.api_keys import create_api_key
from services.common.auth.identity import natural_event_id
from services.common.auth.tenant import ALL_SCOPES, Scope
from services.common.auth.tenants_file import load_tenants
from services.common.rpc.freshness import FreshnessInvalidError, decode
from services.common.rpc.message_scan import VALUES_OF_RECORD_MAX
from services.common.rpc.server import ServerOptions
from services.common.rpc.statuses import retry_after_s_of, violations_of
from services.ingest.adapters.grpc_publisher import GrpcPublisher
from services.ingest.application.ports import FieldReason, PublisherUnavailableError, SubmissionResult
from services.ingest.bootstrap import IngestAdapters, IngestOptions, ingest_server
from services.ingest.domain.kinds.assessment import Assessment
from services.ingest.domain.kinds.correction import Correction, Void
from services.ingest.domain.kinds.interaction import Interaction
from services.ingest.domain.kinds.preference import Preference
from services.ingest.domain.outcome import Score
from services.ingest.domain.repeats import Outcome
from services.ingest.domain.submission import Instant, Submission
from services.ingest.wire.records import event_type_of, learner_event_value
from services.ingest.wire.submissions import submission_message, submission_of
from tests.adapters.memory_event_log import MemoryEventLog, MemoryLearnerKeys, MemorySkillTags
from tests.adapters.memory_recent_events import MemoryRecentEvents

NOW = datetime(2026, 3, 4, 5, 6, 7, 89, tzinfo=UTC)
ACCEPTED, DUPLICATE, REJECTED = (
    ingest_pb2.EVENT_STATUS_ACCEPTED,
    ingest_pb2.EVENT_STATUS_DUPLICATE,
    ingest_pb2.EVENT_STATUS_REJECTED,
)
TAGS = {("riverbend", "item-1"): {"decimals": 0.5, "fractions": 0.5, "ratios": 1.0}, ("hilltop", "item-2"): {"x": 1.0}}


class Service:
    def __init__(self, tmp_path, *, ready=True, events_in_flight_max=100_000):
        self.log = MemoryEventLog(events_in_flight_max=events_in_flight_max)
        self.recent = MemoryRecentEvents()
        self.tags = MemorySkillTags(TAGS, ready=ready)
        self.learner_keys = MemoryLearnerKeys()
        self.tenants_file = tmp_path / "tenants.yaml"
        self.keys = {
            name: create_api_key(self.tenants_file, name, "test", ALL_SCOPES) for name in ("riverbend", "hilltop")
        }
        self.tenants = load_tenants(self.tenants_file)
        self.tenant = "riverbend"

    async def start(self, max_message_bytes=200_000):
        self.server = ingest_server(
            IngestAdapters(self.log, self.recent, self.tags, self.learner_keys, self.tenants, lambda: NOW),
            IngestOptions(ServerOptions("127.0.0.1:0", max_message_bytes=max_message_bytes, drain_s=0.1)),
        )
        address = await self.server.grpc.start()
        self.channel = grpc.aio.insecure_channel(address)
        return address

    async def stop(self):
        await self.channel.close()
        await self.server.stop()

    async def publish(self, *events):
        stub = ingest_pb2_grpc.IngestServiceStub(self.channel)
        metadata = (("authorization", f"Bearer {self.keys[self.tenant]}"),)
        reply = await stub.PublishEvents(ingest_pb2.PublishEventsRequest(events=events), metadata=metadata, timeout=10)
        return reply.results

    def stored(self):
        return [event for partition in self.log.partitions for event in partition]

    def record(self, index=0):
        return events_pb2.LearnerEvent.FromString(learner_event_value(self.stored()[index]))


@pytest.fixture
async def service(tmp_path):
    service = Service(tmp_path)
    await service.start()
    yield service
    await service.stop()


def submission(learner="ada", item="item-9", **fields):
    body = {
        name: fields.pop(name)
        for name in ("activity", "skills", "score", "attempt", "grain", "duration_ms")
        if name in fields
    }
    if "score" not in body:
        body["correct"] = True
    return ingest_pb2.EventSubmission(
        learner_id=learner,
        source=fields.pop("source", "gradebook"),
        assessment=ingest_pb2.AssessmentSubmission(item=item, **body),
        **fields,
    )


async def refused(call):
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value


async def test_an_accepted_event_is_on_the_log_with_everything_it_will_ever_say(service):
    sent = submission(event_id="e1", item="item-1", attempt=2, duration_ms=900, source_sequence="7")
    sent.occurred_at.FromDatetime(NOW - timedelta(days=1))
    (result,) = await service.publish(sent)
    record = service.record()
    assert (result.status, result.event_id) == (ACCEPTED, "e1")
    assert (record.event_id, record.tenant, record.source) == ("e1", "riverbend", "gradebook")
    assert record.learner == service.tenants.get("riverbend").pseudonym("ada")
    assert record.occurred_at == sent.occurred_at
    assert record.received_at.ToDatetime(UTC) == NOW
    assert list(record.assessment.skills) == ["ratios", "decimals", "fractions"]
    assert record.assessment.skills_from == events_pb2.SKILLS_FROM_CATALOG
    assert (record.assessment.resource, record.assessment.response) == ("item-1", 1.0)
    assert (record.assessment.attempt, record.assessment.duration_ms) == (2, 900)
    assert record.assessment.grain == events_pb2.GRAIN_ITEM
    assert not record.assessment.HasField("hints")


async def test_the_platforms_learner_id_never_enters_the_log(service):
    await service.publish(submission(learner="ada@example.org"))
    assert b"ada" not in learner_event_value(service.stored()[0])


async def test_forms_of_one_id_are_one_learner_and_one_event(service):
    forms = ["jos\u00e9", "jose\u0301", " jos\u00e9\u00a0"]
    results = await service.publish(*(submission(learner=form, event_id=form) for form in forms))
    assert [result.status for result in results] == [ACCEPTED, DUPLICATE, DUPLICATE]
    assert {result.event_id for result in results} == {"jos\u00e9"}
    assert {result.learner for result in results} == {service.tenants.get("riverbend").pseudonym("jos\u00e9")}
    hidden = await service.publish(submission(learner="jos\u00e9\u200b"), submission(event_id="\ufeffe"))
    assert [result.status for result in hidden] == [REJECTED, REJECTED]
    assert ["ZERO WIDTH" in result.problems[0].reason for result in hidden] == [True, True]


async def test_an_id_that_the_first_release_took_as_it_was_is_the_events_former_id(service):
    await service.publish(submission(event_id=" e1"), submission(item="jose\u0301"), submission(item="q", skills=["s"]))
    one, two, three = (service.record(index) for index in range(3))
    key = ("riverbend", "gradebook", one.learner)
    assert (one.event_id, one.former_event_id) == ("e1", " e1")
    assert two.event_id == natural_event_id((*key, "jos\u00e9", "", "", ""))
    assert two.former_event_id == natural_event_id((*key, "jose\u0301", "", "", ""))
    assert three.former_event_id == natural_event_id((*key, "q", "", "", ""))


async def test_a_time_that_was_not_sent_stays_absent(service):
    await service.publish(submission())
    assert not service.record().HasField("occurred_at")


async def test_a_token_asks_for_the_events_own_position_and_only_its_tenant_can_use_it(service):
    (result,) = await service.publish(submission())
    freshness = decode(result.freshness_token, service.tenants.get("riverbend").secret)
    assert freshness.log_identity == service.log.identity.topic_id
    assert (freshness.position.partition, freshness.position.offset) == (
        result.position.partition,
        result.position.offset,
    )
    with pytest.raises(FreshnessInvalidError):
        decode(result.freshness_token, service.tenants.get("hilltop").secret)


def other(**body):
    return ingest_pb2.EventSubmission(learner_id="ada", source="gradebook", source_sequence="1", **body)


async def test_interactions_preferences_and_corrections_are_on_the_log_as_they_will_be_read(service):
    opened = ingest_pb2.InteractionSubmission(
        resource="video-1", kind=events_pb2.INTERACTION_KIND_OPENED, recommendation_id="r-1", duration_ms=0
    )
    wanted = events_pb2.PreferenceEvent(goals=events_pb2.GoalSkills(), pace=events_pb2.PACE_BRISK)
    regraded = ingest_pb2.CorrectionSubmission(target_event_id="e1", score=events_pb2.Score(raw=1, max=4))
    voided = ingest_pb2.CorrectionSubmission(target_event_id="e1", target_source="old", voided=events_pb2.Void())
    results = await service.publish(
        other(interaction=opened), other(preference=wanted), other(correction=regraded), other(correction=voided)
    )
    assert [result.status for result in results] == [ACCEPTED] * 4
    pseudonym = service.tenants.get("riverbend").pseudonym("ada")
    assert {result.learner for result in results} == {pseudonym}
    records = [service.record(number) for number in range(4)]
    assert len({record.event_id for record in records}) == 4
    assert records[0].interaction == events_pb2.InteractionEvent(
        resource="video-1", kind=events_pb2.INTERACTION_KIND_OPENED, recommendation_id="r-1", duration_ms=0
    )
    assert records[1].preference == wanted
    assert records[1].preference.HasField("goals")
    assert not records[1].preference.HasField("interests")
    assert records[2].correction == events_pb2.CorrectionEvent(
        target_source="gradebook",
        target_event_id="e1",
        regrade=events_pb2.Regrade(score=events_pb2.Score(raw=1, min=0, max=4), response=0.25),
    )
    assert records[3].correction == events_pb2.CorrectionEvent(
        target_source="old", target_event_id="e1", voided=events_pb2.Void()
    )
    assert [event_type_of(event) for event in service.stored()] == [
        "cairn.v1.InteractionEvent",
        "cairn.v1.PreferenceEvent",
        "cairn.v1.CorrectionEvent",
        "cairn.v1.CorrectionEvent",
    ]


async def test_problems_of_the_other_kinds_have_their_path_in_the_request(service):
    results = await service.publish(
        submission(),
        other(interaction=ingest_pb2.InteractionSubmission()),
        other(preference=events_pb2.PreferenceEvent()),
        other(correction=ingest_pb2.CorrectionSubmission(correct=True)),
    )
    assert [result.problems[0].field for result in results[1:]] == [
        "events[1].interaction.resource",
        "events[2].preference",
        "events[3].correction.target_event_id",
    ]
    assert [result.learner for result in results[1:]] == ["", "", ""]


async def test_one_bad_event_never_sinks_the_batch(service):
    bad = submission(event_id="bad", score=events_pb2.Score(raw=math.nan, min=0, max=1), attempt=0)
    results = await service.publish(submission("a"), bad, submission("b"))
    assert [result.status for result in results] == [ACCEPTED, REJECTED, ACCEPTED]
    assert [(problem.field, problem.reason.partition(":")[0]) for problem in results[1].problems] == [
        ("events[1].assessment.score.raw", "is nan"),
        ("events[1].assessment.attempt", "is 0"),
    ]
    assert results[1].event_id == "bad"
    assert not results[1].HasField("position")
    assert not results[1].freshness_token
    assert len(service.stored()) == 2


async def test_constraints_beyond_protobuf_are_checked(service):
    no_body = ingest_pb2.EventSubmission(learner_id="a", source="s")
    no_outcome = ingest_pb2.EventSubmission(
        learner_id="a", source="s", assessment=ingest_pb2.AssessmentSubmission(item="i")
    )
    from_the_future = submission()
    from_the_future.occurred_at.FromDatetime(NOW + timedelta(minutes=5, seconds=1))
    results = await service.publish(no_body, no_outcome, submission(grain=9), from_the_future)
    assert [result.problems[0].field for result in results] == [
        "events[0].body",
        "events[1].assessment.outcome",
        "events[2].assessment.grain",
        "events[3].occurred_at",
    ]


async def test_a_duplicate_within_the_request_is_written_once_and_has_its_first_copys_position(service):
    results = await service.publish(
        submission(event_id="e1"), submission(event_id="e1", source="other"), submission(event_id="e1")
    )
    assert [result.status for result in results] == [ACCEPTED, ACCEPTED, DUPLICATE]
    assert results[2].position == results[0].position
    assert results[2].freshness_token == results[0].freshness_token
    assert len(service.stored()) == 2


async def test_the_copy_of_a_rejected_event_is_no_duplicate(service):
    results = await service.publish(submission(event_id="e1", attempt=0), submission(event_id="e1"))
    assert [result.status for result in results] == [REJECTED, ACCEPTED]


async def test_events_without_an_id_are_distinguished_by_their_sequence(service):
    results = await service.publish(
        submission(source_sequence="1"), submission(source_sequence="2"), submission(source_sequence="1")
    )
    assert [result.status for result in results] == [ACCEPTED, ACCEPTED, DUPLICATE]
    again = await service.publish(submission(source_sequence="1"))
    assert again[0].event_id == results[0].event_id


async def test_the_reply_says_which_new_assessments_are_evidence_of_no_skill(service):
    sent = [
        submission(event_id="untagged"),
        submission(event_id="tagged", item="item-1"),
        submission(event_id="named", skills=["s"]),
        other(interaction=ingest_pb2.InteractionSubmission(resource="r", kind=events_pb2.INTERACTION_KIND_OPENED)),
        submission(event_id="rejected", attempt=0),
        submission(event_id="untagged"),
    ]
    results = await service.publish(*sent)
    assert [result.status for result in results] == [ACCEPTED] * 4 + [REJECTED, DUPLICATE]
    assert [result.without_skills for result in results] == [True, False, False, False, False, False]


async def test_another_tenants_catalog_stamps_nothing(service):
    service.tenant = "hilltop"
    await service.publish(submission(item="item-1"))
    record = service.record()
    assert (list(record.assessment.skills), record.assessment.skills_from) == ([], events_pb2.SKILLS_FROM_NONE)
    assert record.assessment.resource == ""


@pytest.mark.parametrize(("count", "words"), [(0, "is empty"), (501, "has 501 events, a request takes 1 to 500")])
async def test_a_batch_of_the_wrong_size_is_named(service, count, words):
    error = await refused(service.publish(*[submission(event_id=str(n)) for n in range(count)]))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    (violation,) = violations_of(error)
    assert violation.field == "events"
    assert words in violation.reason
    assert not service.stored()


async def test_500_events_are_taken(service):
    results = await service.publish(*[submission(event_id=str(n)) for n in range(500)])
    assert {result.status for result in results} == {ACCEPTED}


async def test_too_many_bytes_are_named(service):
    error = await refused(service.publish(*[submission(event_id=str(n), item="i" * 60_000) for n in range(4)]))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "send fewer events per request" in violations_of(error)[0].reason
    assert "200000" in error.details()


async def test_a_log_that_is_away_gives_unavailable_and_no_acknowledgement(service):
    service.log.reachable = False
    error = await refused(service.publish(submission("a"), submission("b", attempt=0)))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "send the whole request again" in error.details()
    assert retry_after_s_of(error) == 1.0


async def test_a_full_log_asks_to_come_back(tmp_path):
    service = Service(tmp_path, events_in_flight_max=1)
    await service.start()
    error = await refused(service.publish(submission("a"), submission("b")))
    await service.stop()
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert retry_after_s_of(error) == 1.0


async def test_nothing_is_accepted_before_the_catalog_was_read(tmp_path):
    service = Service(tmp_path, ready=False)
    await service.start()
    error = await refused(service.publish(submission()))
    await service.stop()
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert not service.stored()


class TestDeleteLearner:
    @staticmethod
    async def delete(service, learner_id, key=None):
        stub = ingest_pb2_grpc.IngestServiceStub(service.channel)
        metadata = (("authorization", f"Bearer {key or service.keys['riverbend']}"),)
        request = ingest_pb2.DeleteLearnerRequest(learner_id=learner_id)
        return await stub.DeleteLearner(request, metadata=metadata, timeout=10)

    async def test_the_key_is_destroyed_before_the_log_says_that_the_learner_is_forgotten(self, service, monkeypatch):
        pseudonym = service.tenants.get("riverbend").pseudonym("ada")
        keys_gone = []
        append = service.log.append

        async def appended(events):
            keys_gone.append(list(service.learner_keys.destroyed))
            return await append(events)

        monkeypatch.setattr(service.log, "append", appended)
        with structlog.testing.capture_logs() as lines:
            reply = await self.delete(service, "ada")
        assert reply.key_destroyed
        assert keys_gone == [[("riverbend", pseudonym)]]
        record = service.record()
        assert record.WhichOneof("body") == "erasure"
        assert (record.tenant, record.learner, record.received_at.ToDatetime(UTC)) == ("riverbend", pseudonym, NOW)
        freshness = decode(reply.freshness_token, service.tenants.get("riverbend").secret)
        assert (freshness.position.partition, freshness.position.offset) == (
            reply.position.partition,
            reply.position.offset,
        )
        (line,) = [line for line in lines if line.get("audit")]
        assert (line["method"], line["tenant"]) == ("cairn.v1.IngestService/DeleteLearner", "riverbend")
        assert (line["partition"], line["offset"]) == (reply.position.partition, reply.position.offset)
        assert line["key_destroyed"]
        assert line["api_key"] == service.tenants.credential(service.keys["riverbend"]).api_key.key_id
        assert not any("ada" in str(value) or pseudonym in str(value) for value in line.values())

    async def test_the_answer_for_an_unknown_learner_is_like_that_for_a_known_one(self, service):
        await service.publish(submission(learner="ada"))
        known, unknown = await self.delete(service, "ada"), await self.delete(service, "nobody")
        assert known.key_destroyed == unknown.key_destroyed
        assert bool(known.freshness_token) == bool(unknown.freshness_token)

    async def test_a_key_without_the_scope_admin_may_not(self, service):
        narrow = create_api_key(service.tenants_file, "riverbend", "narrow", [Scope.INGEST])
        error = await refused(self.delete(service, "ada", narrow))
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED
        assert "IngestService/DeleteLearner needs the scope admin" in error.details()
        assert not service.stored()
        assert not service.learner_keys.destroyed
        admin = create_api_key(service.tenants_file, "riverbend", "operator", [Scope.ADMIN])
        await self.delete(service, "ada", admin)
        publish = ingest_pb2_grpc.IngestServiceStub(service.channel).PublishEvents
        metadata = (("authorization", f"Bearer {admin}"),)
        error = await refused(publish(ingest_pb2.PublishEventsRequest(), metadata=metadata, timeout=10))
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED

    async def test_an_id_that_cannot_be_one_is_named(self, service):
        error = await refused(self.delete(service, ""))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert violations_of(error)[0].field == "learner_id"

    async def test_a_key_that_could_not_be_destroyed_leaves_the_log_as_it_was(self, service):
        service.learner_keys.reachable = False
        error = await refused(self.delete(service, "ada"))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert "may not have been forgotten yet: send the request again" in error.details()
        assert not service.stored()


class TestGrpcPublisher:
    @staticmethod
    def publisher(service, patience_s=5.0, key=None):
        return GrpcPublisher(service.channel, key or service.keys["riverbend"], patience_s=patience_s)

    async def test_results_come_in_order_with_fields_named_within_the_event(self, service):
        good = Submission("a", "s", Assessment(item="i", outcome=True), event_id="e")
        bad = Submission("a", "s", Assessment(item="i", outcome=True, attempt=0, grain=9))
        results = await self.publisher(service).publish([good, bad, good])
        pseudonym = service.tenants.get("riverbend").pseudonym("a")
        assert results[0] == SubmissionResult(learner=pseudonym, without_skills=True)
        assert [problem.field for problem in results[1].problems] == ["assessment.grain", "assessment.attempt"]
        assert isinstance(results[1].problems[0], FieldReason)
        assert results[2] == SubmissionResult(Outcome.DUPLICATE, learner=pseudonym)

    @pytest.mark.parametrize("skill_characters", [200, 250])
    async def test_what_is_too_large_for_one_request_is_sent_in_several(self, service, skill_characters):
        # 500 events of about 3 kB or 4 kB, and a service that takes 200 kB.
        skills = tuple(f"{number}".ljust(skill_characters, "x") for number in range(16))
        assessment = Assessment(item="i", skills=skills, outcome=True)
        submissions = [Submission("a", "s", assessment, event_id=f"{number}") for number in range(500)]
        publisher = self.publisher(service)
        for outcome in (Outcome.ACCEPTED, Outcome.DUPLICATE):
            results = await publisher.publish(submissions)
            assert [result.outcome for result in results] == [outcome] * 500
        assert [event.event_id for event in service.stored()[:500]] == [f"{number}" for number in range(500)]

    @pytest.mark.parametrize("characters", [250_000, 3_000_000, 20_000_000], ids=["service", "receiver", "sender"])
    async def test_a_row_that_is_too_large_alone_is_that_rows_problem_alone(self, service, characters):
        good = [Submission("a", "s", Assessment(item=f"{number}", outcome=True)) for number in range(4)]
        large = Submission("a", "s", Assessment(item="x" * characters, outcome=True))
        results = await self.publisher(service).publish([*good[:2], large, *good[2:]])
        outcomes = [result.outcome for result in results]
        assert outcomes == [Outcome.ACCEPTED, Outcome.ACCEPTED, Outcome.REJECTED, Outcome.ACCEPTED, Outcome.ACCEPTED]
        (problem,) = results[2].problems
        assert f"the event takes {characters:,}"[:-4] in problem.reason
        assert "shorten its texts" in problem.reason

    @pytest.mark.parametrize("place", [0, 2, 4])
    async def test_a_row_that_no_request_may_hold_is_that_rows_problem_alone(self, service, place):
        rows = [Submission("a", "s", Assessment(item=f"{number}", outcome=True)) for number in range(4)]
        skills = tuple(map(str, range(VALUES_OF_RECORD_MAX + 1)))
        rows.insert(place, Submission("a", "s", Assessment(item="many", skills=skills, outcome=True)))
        results = await self.publisher(service).publish(rows)
        rejected = [number for number, result in enumerate(results) if result.outcome is Outcome.REJECTED]
        assert (len(results), rejected) == (5, [place])
        (problem,) = results[place].problems
        assert "more than 2,000 values: cairn.v1.AssessmentSubmission.skills" in problem.reason
        assert len(service.stored()) == 4

    async def test_a_log_that_comes_back_is_waited_for(self, service, monkeypatch):
        service.log.reachable = False
        failures = []

        async def append(events):
            failures.append(len(events))
            service.log.reachable = len(failures) > 1
            return await MemoryEventLog.append(service.log, events)

        monkeypatch.setattr(service.log, "append", append)
        monkeypatch.setattr("services.ingest.adapters.grpc_publisher.retry_after_s_of", lambda _: 0.01)
        results = await self.publisher(service).publish([Submission("a", "s", Assessment(item="i", outcome=True))])
        assert [result.outcome for result in results] == [Outcome.ACCEPTED]
        assert len(failures) == 2

    async def test_a_log_that_stays_away_is_given_up_with_a_sentence(self, service):
        service.log.reachable = False
        with pytest.raises(PublisherUnavailableError, match=r"did not accept the events for 0\.01 s \(UNAVAILABLE: "):
            await self.publisher(service, patience_s=0.01).publish(
                [Submission("a", "s", Assessment(item="i", outcome=True))]
            )

    async def test_a_wrong_key_is_not_tried_again(self, service):
        with pytest.raises(PublisherUnavailableError, match=r"refused the events \(UNAUTHENTICATED"):
            await self.publisher(service, key="wrong").publish(
                [Submission("a", "s", Assessment(item="i", outcome=True))]
            )

    @pytest.mark.parametrize(
        "body",
        [
            Interaction("r", 2, "id", 5),
            Interaction("r", 9),
            Preference((), ("dogs",), (1, 9), 2),
            Preference(),
            Correction("e", Void(), "s"),
            Correction("e", change=False),
            Correction("e", Score(0, 0, 0)),
            Correction("e", None),
            None,
        ],
    )
    def test_the_service_reads_exactly_what_a_client_sends(self, body):
        sent = Submission("a", "s", body, "e", Instant(5, 6), "7")
        assert submission_of(submission_message(sent)) == sent
