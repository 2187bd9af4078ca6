"""`cairn learner erase`, and the preferences in `cairn learner show`, against a fake service."""

from __future__ import annotations

from concurrent import futures

import grpc
import pytest
from typer.testing import CliRunner

from cairn.v1 import catalog_pb2, events_pb2, ingest_pb2, ingest_pb2_grpc, recommender_pb2, recommender_pb2_grpc
from services.common.learners.suppression_file import read_suppression
from services.recommender.application.state.repair import RepairReport
from services.recommender.cli.learners import app


class Ingest(ingest_pb2_grpc.IngestServiceServicer):
    def __init__(self):
        self.requests = []
        self.metadata = {}
        self.refuse = None
        self.key_destroyed = True

    def DeleteLearner(self, request, context):  # noqa: N802 - the name of the RPC.
        self.requests.append(request)
        self.metadata = dict(context.invocation_metadata())
        if self.refuse is not None:
            context.abort(*self.refuse)
        return ingest_pb2.DeleteLearnerResponse(
            position=ingest_pb2.LogPosition(partition=2, offset=17), key_destroyed=self.key_destroyed
        )


class Recommender(recommender_pb2_grpc.RecommendationServiceServicer):
    def GetLearner(self, request, context):  # noqa: N802 - the name of the RPC.
        if request.learner_id == "nobody":
            return recommender_pb2.GetLearnerResponse(epoch=1, degraded=[recommender_pb2.DEGRADATION_NEW_LEARNER])
        wants = events_pb2.PreferenceEvent(
            goals=events_pb2.GoalSkills(skills=["6.RP.A.3"]),
            interests=events_pb2.InterestTopics(topics=["space"]),
            formats=events_pb2.PreferredKinds(kinds=[catalog_pb2.RESOURCE_KIND_VIDEO]),
            pace=events_pb2.PACE_GENTLE,
        )
        return recommender_pb2.GetLearnerResponse(epoch=1, preferences=wants)


@pytest.fixture
def service(monkeypatch):
    service = Ingest()
    server = grpc.server(futures.ThreadPoolExecutor(1))
    ingest_pb2_grpc.add_IngestServiceServicer_to_server(service, server)
    recommender_pb2_grpc.add_RecommendationServiceServicer_to_server(Recommender(), server)
    service.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    monkeypatch.setenv("CAIRN_API_KEY", "cairn_key")
    monkeypatch.setenv("CAIRN_TARGET_RECOMMENDER", service.target)
    yield service
    server.stop(None).wait()


def run(*arguments: str, answer: str | None = None):
    return CliRunner().invoke(app, ["learner", *arguments], input=answer)


def test_an_erasure_asks_for_confirmation_and_reports_its_result(service):
    result = run("erase", "amy", "--yes", "--target", service.target)
    assert result.exit_code == 0, result.output
    assert [request.learner_id for request in service.requests] == ["amy"]
    assert service.metadata["authorization"] == "Bearer cairn_key"
    assert "partition 2, offset 17" in result.output
    assert "can no longer be read" in result.output
    service.key_destroyed = False
    assert "retention" in run("erase", "amy", "--yes", "--target", service.target).output


def test_an_erased_learner_is_added_to_the_list_of_learners_to_leave_out(service, tmp_path):
    path = tmp_path / "suppressed.csv"
    arguments = ("--yes", "--target", service.target, "--suppress", str(path))
    assert f"{path} now leaves the learner out" in run("erase", "amy", *arguments).output
    assert f"{path} already left the learner out" in run("erase", "amy", *arguments).output
    assert "amy" in read_suppression(path)
    assert "amy" not in path.read_text()


def test_no_learner_is_added_to_the_list_whose_erasure_failed_or_was_declined(service, tmp_path):
    path = tmp_path / "suppressed.csv"
    assert run("erase", "amy", "--target", service.target, "--suppress", str(path), answer="n\n").exit_code == 1
    service.refuse = (grpc.StatusCode.PERMISSION_DENIED, "the key lacks the scope admin")
    assert run("erase", "amy", "--yes", "--target", service.target, "--suppress", str(path)).exit_code == 1
    assert not path.exists()


def test_an_erasure_says_when_the_list_cannot_be_extended_and_what_to_do(service, tmp_path):
    path = tmp_path / "class.csv"
    path.write_text("learner\namy\n")
    result = run("erase", "amy", "--yes", "--target", service.target, "--suppress", str(path))
    assert result.exit_code == 2
    assert "the erasure is at partition 2, offset 17" in result.output
    assert "The learner is erased; run the command again to add them to a list" in result.output


def test_no_learner_is_forgotten_without_a_confirmation(service):
    result = run("erase", "amy", "--target", service.target, answer="n\n")
    assert result.exit_code == 1
    assert service.requests == []
    assert run("erase", "amy", "--target", service.target, answer="y\n").exit_code == 0
    assert len(service.requests) == 1


def test_an_id_of_which_nothing_is_known_is_named_before_it_is_erased(service):
    result = run("erase", "nobody", "--target", service.target, answer="n\n")
    assert "nothing is known of 'nobody': check the id" in result.output
    assert service.requests == []
    assert "nothing is known" not in run("erase", "amy", "--yes", "--target", service.target).output
    shown = run("show", "nobody", "--target", service.target)
    assert shown.exit_code == 0
    assert "nothing is known of 'nobody': check the id" in shown.output


@pytest.mark.parametrize("held", [{"state": None, "records": []}, {"state": None, "records": [{}]}])
def test_an_export_of_nothing_says_so(monkeypatch, held):
    monkeypatch.setattr("services.recommender.bootstrap.personal.pseudonym_of", lambda *_: "A" * 26)
    monkeypatch.setattr("services.recommender.cli.personal._asked", lambda *_: held)
    result = run("export", "nobody", "--tenant", "riverbend")
    assert result.exit_code == 0
    assert ("nothing is stored of 'nobody' of tenant 'riverbend'" in result.stderr) == (not held["records"])


@pytest.mark.parametrize("known", [True, False])
def test_a_repair_of_an_id_of_which_nothing_is_known_says_so(monkeypatch, known):
    async def repaired(_file, key, **_):
        return [RepairReport(key, 0, 0, 0, 0, known=known)]

    monkeypatch.setattr("services.recommender.bootstrap.personal.pseudonym_of", lambda *_: "A" * 26)
    monkeypatch.setattr("services.recommender.bootstrap.repair.repair_learners", repaired)
    result = run("repair", "nobody", "--tenant", "riverbend")
    assert result.exit_code == 0
    assert ("is repaired" in result.output) == known
    assert ("nothing is known of 'nobody'" in result.output) != known


@pytest.mark.parametrize("named", ["A" * 26, f"riverbend/{'A' * 26}"])
def test_a_repair_takes_a_learner_as_logs_and_errors_name_them(monkeypatch, named):
    keys = []

    async def repaired(_file, key, **_):
        keys.append(key)
        return [RepairReport(key, 0, 0, 0, 0)]

    monkeypatch.setattr("services.recommender.bootstrap.repair.repair_learners", repaired)
    monkeypatch.setattr("services.recommender.bootstrap.personal.pseudonym_of", lambda *_: "B" * 26)
    assert run("repair", named, "--tenant", "riverbend").exit_code == 0
    assert keys == [f"riverbend/{'A' * 26}".encode()]


@pytest.mark.parametrize("command", ["show", "erase", "export", "repair"])
@pytest.mark.parametrize(("learner", "named"), [("a\u200by", "U+200B ZERO WIDTH SPACE"), ("a\udcff", "U+DCFF")])
def test_an_id_with_a_character_that_nobody_sees_ends_a_command_with_its_name(service, command, learner, named):
    result = run(
        command, learner, *(("--tenant", "t") if command in {"export", "repair"} else ("--target", service.target))
    )
    assert result.exit_code == 2
    assert named in result.output
    assert service.requests == []


def test_an_erasure_goes_on_where_nobody_can_say_whether_the_learner_is_known(service):
    result = run("erase", "amy", "--yes", "--target", service.target, "--recommender", "127.0.0.1:1")
    assert result.exit_code == 0
    assert "whether anything is known of 'amy' was not checked" in result.output
    assert "--recommender" in result.output
    assert len(service.requests) == 1


def test_a_refused_erasure_is_reported_with_the_reason(service):
    service.refuse = (grpc.StatusCode.PERMISSION_DENIED, "the key lacks the scope admin")
    result = run("erase", "amy", "--yes", "--target", service.target)
    assert result.exit_code == 1
    assert "scope admin" in result.output


def test_an_ingest_service_that_does_not_answer_is_named():
    result = run("erase", "amy", "--yes", "--target", "127.0.0.1:1")
    assert result.exit_code in {1, 2}


def test_a_learners_preferences_are_shown(service):
    result = run("show", "amy", "--target", service.target)
    assert result.exit_code == 0, result.output
    for line in ("goals: 6.RP.A.3", "interests: space", "prefers: video", "pace: gentle"):
        assert line in result.output


def test_events_are_of_a_tenants_learner(service):
    result = run("show", "amy", "--events", "--target", service.target)
    assert result.exit_code == 2
    assert "--tenant" in result.output
